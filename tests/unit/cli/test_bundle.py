"""`conda2wheel bundle`: stdout, stderr and exit status."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import command, sets


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sets.indexed(
        tmp_path_factory.mktemp("channel"), [sets.native("numeric", "2.4.0"), sets.native("picky", requires=["other>=1"])]
    )


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return command.run("bundle", *arguments, cwd=folder)


def test_stdout_has_the_folder_alone(channel: str, tmp_path: Path) -> None:
    done = run("numeric", "picky", "--channel", channel, "-o", "set", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "set\n")
    assert "2 converted, 0 from PyPI, 0 from Pyodide" in done.stderr
    assert "not in the folder: other>=1 (picky requires other>=1)" in done.stderr


def test_one_json_document_for_a_program(channel: str, tmp_path: Path) -> None:
    done = run("numeric", "--channel", channel, "-o", "set", "--json", folder=tmp_path)
    told: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, told["schema"]) == (0, 1)
    (result,) = told["results"]
    assert (result["status"], result["folder"], result["platform"]) == ("bundled", "set", "pyemscripten_2025_0_wasm32")
    assert [wheel["filename"] for wheel in result["wheels"]] == [
        "numeric-2.4.0-cp313-cp313-pyemscripten_2025_0_wasm32.pyodide_2025_0_wasm32.whl"
    ]


def test_a_failure_is_a_line_and_a_document(channel: str, tmp_path: Path) -> None:
    done = run("nobody", "--channel", channel, "--json", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("conda2wheel: error: not-found: nobody")
    (result,) = json.loads(done.stdout)["results"]
    assert (result["status"], result["code"], result["folder"]) == ("failed", "not-found", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [(), ("numeric", "--locked", "bundle.lock")])
def test_specs_or_a_lock_and_not_both(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert "give match specs or files, or a lock with --locked" in " ".join(done.stderr.replace("│", " ").split())


def test_a_lock_is_made_again(channel: str, tmp_path: Path) -> None:
    assert run("numeric", "--channel", channel, "-o", "one", folder=tmp_path).returncode == 0
    done = run("--locked", "one/bundle.lock", "-o", "two", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "two\n")
    assert (tmp_path / "one/simple/numeric/index.html").read_bytes() == (tmp_path / "two/simple/numeric/index.html").read_bytes()
