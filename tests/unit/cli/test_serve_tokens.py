"""`conda2wheel serve token`: made once, listed without secrets, revoked."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from conda2wheel.serve.tokens import TokenFolder
from tests.helpers.command import run


def test_a_token_is_made_listed_and_revoked(tmp_path: Path) -> None:
    env = {**os.environ, "CONDA2WHEEL_DATA": str(tmp_path)}
    made = run("serve", "token", "create", "--name", "nightly", "--scope", "audit", "--expires", "never", env=env)
    assert (made.returncode, made.stderr) == (0, "")
    text = made.stdout.strip()
    token = TokenFolder(tmp_path / "tokens").find(text, time.time())
    assert token is not None
    assert (token.name, token.scopes, token.expires) == ("nightly", ("audit",), None)
    listed = run("serve", "token", "list", "--json", env=env)
    assert text.rpartition("_")[2] not in listed.stdout
    assert [(each["id"], each["expired"]) for each in json.loads(listed.stdout)["tokens"]] == [(token.id, False)]
    assert token.id in run("serve", "token", "list", env=env).stdout
    assert run("serve", "token", "revoke", token.id, env=env).returncode == 0
    again = run("serve", "token", "revoke", token.id, env=env)
    assert (again.returncode, again.stdout) == (1, "")
    assert "no token has the id" in again.stderr


def test_wrong_wishes_are_one_line_and_exit_2(tmp_path: Path) -> None:
    env = {**os.environ, "CONDA2WHEEL_DATA": str(tmp_path)}
    for options in (["--scope", "root"], ["--scope", "read", "--expires", "soon"]):
        wrong = run("serve", "token", "create", "--name", "x", *options, env=env)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert len(wrong.stderr.splitlines()) == 1


def test_a_configuration_says_where_its_tokens_are(tmp_path: Path) -> None:
    config = tmp_path / "mirror.toml"
    config.write_text('[channel]\nurls = ["emscripten-forge-4x"]\n[output]\nstore = "store"\n[serve]\ntokens = "keys"\n')
    made = run("serve", "token", "create", "--name", "x", "--scope", "read", "--config", config, "--json")
    assert made.returncode == 0, made.stderr
    assert [path.stem for path in (tmp_path / "keys").iterdir()] == [json.loads(made.stdout)["id"]]
