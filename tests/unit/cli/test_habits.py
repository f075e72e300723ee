"""What all commands have: variables of the environment, defaults of a file, -q and --log-level; found by walking the tree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from conda2wheel.cli import app
from conda2wheel.cli.defaults import DefaultsFile, default_map, may_be_found
from conda2wheel.cli.habits import PREFIX, RESERVED, leaves, option_name, options_of, variables
from conda2wheel.cli.messages import LogLevel, settings
from conda2wheel.errors import Failed
from tests.helpers import command, conda, sets

ROOT = typer.main.get_command(app)
COMMANDS = list(leaves(ROOT))
BARE = {name: value for name, value in os.environ.items() if not name.startswith(f"{PREFIX}_") or name.endswith("_CACHE")}


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    yield
    settings.level = LogLevel.INFO


def example(option: Any) -> str:
    """A text that an option takes."""
    descriptor = option.type_descriptor
    if option.is_flag:
        return "1"
    if descriptor.is_choice:
        return str(getattr(descriptor.choices[0], "value", descriptor.choices[0]))
    return "3"


def test_the_walk_finds_all_commands() -> None:
    words = [" ".join(each) for each, _ in COMMANDS]
    assert {"convert", "mirror run", "recipe check", "serve", "serve token create"} <= set(words)
    assert all({"quiet", "log_level"} <= {option.name for option in options_of(found)} for _, found in COMMANDS)


@pytest.mark.parametrize(("words", "found"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_each_option_has_variables(words: tuple[str, ...], found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for option in options_of(found):
        names = option.envvar
        assert names == variables(words, option)
        for name in names:
            with monkeypatch.context() as patched:
                patched.setenv(name, example(option))
                with found.make_context(words[-1], [], resilient_parsing=True) as context:
                    assert context.get_parameter_source(option.name).name == "ENVIRONMENT", name
                    assert not option.expose_value or context.params[option.name] not in (None, False, []), name


def test_a_variable_means_one_thing() -> None:
    own = [option.envvar[0] for words, found in COMMANDS for option in options_of(found) if words]
    assert len(own) == len(set(own))
    general = {name for _, found in COMMANDS for option in options_of(found) for name in option.envvar[1:]}
    assert not general & set(own)
    assert not general & {f"{PREFIX}_{name}" for name in RESERVED}


def test_the_command_line_comes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    package = sets.pure("one")
    (tmp_path / "conda2wheel.toml").write_text('out = "of-all"\n[convert]\nout = "of-one"\nstrict = true\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    def folder(*words: object, **environ: str) -> str:
        done = command.run("convert", package, *words, cwd=below, env={**BARE, **environ})
        assert done.returncode == 0, done.stderr
        return os.path.relpath(os.path.dirname(os.path.abspath(below / done.stdout.strip())), tmp_path)

    assert folder() == "of-one"
    assert folder(CONDA2WHEEL_OUT="environ") == "a/b/environ"
    assert folder(CONDA2WHEEL_OUT="environ", CONDA2WHEEL_CONVERT_OUT="own") == "a/b/own"
    assert folder("-o", "given", CONDA2WHEEL_OUT="environ") == "a/b/given"
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'conda2wheel-user'\n")
    assert folder() == "of-one"  # it has no table of ours
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.conda2wheel.convert]\nout = 'wheels'\n")
    assert folder() == "a/wheels"
    (below / ".git").mkdir()
    assert folder() == "a/b/dist"  # the search ends at the root of a repository
    assert folder(CONDA2WHEEL_DEFAULTS=str(tmp_path / "conda2wheel.toml")) == "of-one"
    (tmp_path / "other.toml").write_text(f'out = "{tmp_path / "anywhere"}"\n')
    assert folder(CONDA2WHEEL_DEFAULTS=str(tmp_path / "other.toml")) == "anywhere"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('plattform = "auto"', "there is no key 'plattform' (did you mean platform?)"),
        ("[convert]\nlevels = 3", "there is no key 'convert.levels' (did you mean level?)"),
        ("[mirror.runs]\nlimit = 3", "there is no key 'mirror.runs' (did you mean run?)"),
        ("[convert]\nstrict = 'yes'", "'convert.strict' is not true or false"),
        ("level = [3]", "'level' is not a text or a number"),
        ("level = ", "is not TOML"),
        ("out = '../elsewhere'", "'out' is not below the folder of the file: ../elsewhere"),
        ("libdir = ['https://example.org/x.conda']", "'libdir' may not be a URL in a file that is found in a folder"),
        ("out = '/etc'", "'out' is not below the folder of the file: /etc"),
        ("max-size = '1T'", "'max-size' may not be set by a file that is found in a folder"),
        ("[audit]\nsarif = 'x'", "'audit.sarif' may not be set by a file that is found in a folder"),
    ],
)
def test_what_a_file_may_not_say_is_one_line(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "conda2wheel.toml").write_text(text)
    done = command.run("convert", sets.pure("one"), "--dry-run", cwd=tmp_path, env=BARE)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"conda2wheel: error: usage: {tmp_path / 'conda2wheel.toml'}: ")
    assert why in line


def test_a_misspelt_variable_is_a_warning_with_the_nearest_name(tmp_path: Path) -> None:
    wrong = {"OFLINE": "OFFLINE", "CONVERT_LEVLE": "CONVERT_LEVEL", "CACH": "CACHE", "NO_ISOLATE": "ISOLATE", "QQQQ": ""}
    known = {
        "AUDIT_FAIL_ON": "load",
        "MIRROR_RUN_WORKERS": "1",
        "PYODIDE": "0.29",
        "DIRS": "/x",
    }  # of other commands, and no options
    given = {f"{PREFIX}_{name}": value for name, value in [*dict.fromkeys(wrong, "1").items(), *known.items()]}
    done = command.run("convert", sets.pure("one"), "--dry-run", cwd=tmp_path, env={**BARE, **given})
    lines = [line for line in done.stderr.splitlines() if line.startswith("conda2wheel: warning: ")]
    assert done.returncode == 0
    assert [line.split()[2] for line in lines] == sorted(f"{PREFIX}_{name}" for name in wrong)
    for name, near in wrong.items():
        (line,) = [line for line in lines if f"{PREFIX}_{name} " in line]
        assert line.endswith(f"; did you mean {PREFIX}_{near}?" if near else "--help lists the options"), line
    quiet = command.run("convert", sets.pure("one"), "--dry-run", "-q", cwd=tmp_path, env={**BARE, **given})
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_a_wrong_value_says_where_it_is_from(tmp_path: Path) -> None:
    done = command.run("convert", "x", cwd=tmp_path, env={**BARE, "CONDA2WHEEL_LEVEL": "77"})
    assert (done.returncode, "(from CONDA2WHEEL_LEVEL)" in done.stderr) == (2, True)
    (tmp_path / "conda2wheel.toml").write_text("[convert]\nplatform = ['nonsense']\n")
    done = command.run("convert", "x", cwd=tmp_path, env=BARE)
    assert (done.returncode, f"(from {tmp_path / 'conda2wheel.toml'})" in done.stderr) == (2, True)
    done = command.run("convert", "x", "--platform", "nonsense", cwd=tmp_path, env=BARE)
    assert (done.returncode, "(from" in done.stderr) == (2, False)


def test_a_file_of_a_stranger_sets_no_address_no_file_and_no_limit(tmp_path: Path) -> None:
    """Each option that names one, of each command: in a table of the command, and for all."""
    refused = set()
    for words, found in COMMANDS:
        for option in options_of(found):
            if may_be_found(words, option):
                continue
            refused.add(option_name(option))
            table: Any = {option_name(option): True if option.is_flag else "3"}
            for word in reversed(words):
                table = {word: table}
            with pytest.raises(Failed, match="may not be set by a file that is found"):
                default_map(ROOT, DefaultsFile(tmp_path / "conda2wheel.toml", table, found=True))
            made = default_map(ROOT, DefaultsFile(tmp_path / "conda2wheel.toml", table, found=False))
            for word in words:
                made = made[word]
            assert made[option.name]
    assert {
        "sarif",
        "run",
        "locked",
        "html",
        "dask",
        "store",
        "host",
        "port",
        "index",
        "url",
        "pyodide-url",
        "max-size",
    } <= refused
    assert {"scope", "expires", "config", "workers", "accept-vanished"} <= refused


def test_a_found_file_may_choose_the_channel_and_paths_of_its_folder(tmp_path: Path) -> None:
    table = {
        "channel": "https://example.org/c",
        "repair": {"find-links": "beside"},
        "libdir": ["a", "/b"],
        "audit": {"for": "pypi"},
    }
    made = default_map(ROOT, DefaultsFile(tmp_path / "conda2wheel.toml", table, found=True))
    paths = [str(tmp_path / "a"), "/b"]
    assert made["convert"] == {"channel": ["https://example.org/c"], "libdir": paths}
    assert made["repair"] == {"find_links": [str(tmp_path / "beside")], "libdir": paths}
    assert next(iter(made["audit"].values())) == paths


def test_what_stderr_shows(tmp_path: Path) -> None:
    package, gone = conda.repack(sets.pure("one"), {"share/a": conda.Link("nowhere")}), tmp_path / "gone.conda"
    words = ("convert", package, gone, "-o", tmp_path / "dist")

    def kinds(*more: str, before: str = "", **environ: str) -> set[str]:
        done = command.run(*filter(None, [before]), *words, *more, cwd=tmp_path, env={**BARE, **environ})
        assert (done.returncode, done.stdout) == (1, f"{tmp_path / 'dist' / 'one-1.0-py3-none-any.whl'}\n")
        return {line.split(": ")[1] if line.count(": ") > 1 else "count" for line in done.stderr.splitlines()}

    assert kinds() == {"error", "warning", "count"}
    assert kinds("-q") == kinds(before="-q") == kinds(CONDA2WHEEL_QUIET="1") == {"error"}
    assert kinds("--log-level", "warning") == {"error", "warning"}
    assert kinds("--log-level", "debug") >= {"error", "warning", "count"}


@pytest.mark.parametrize("name", ["file", "numpy-1.0-py3-none-any.whl", "some.conda"])
def test_out_that_is_a_file_says_so(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command.run("convert", sets.pure("one"), "-o", name, cwd=tmp_path, env=BARE)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Invalid value for --out: {name} is " in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_wrong_value_is_said_without_the_words_of_the_library_that_checks_it(tmp_path: Path) -> None:
    done = command.run("convert", "x", "--level", "99", cwd=tmp_path, env=BARE)
    assert done.returncode == 2
    assert "Invalid value for '--level': should be less than or equal to 12" in done.stderr
