"""The exit status: 2 for a wrong use of the command, 1 for what was given and does not work, 0 otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import sets
from tests.helpers.command import run

CONFIG = ["run", "plan", "status", "publish", "rollback", "gc", "report"]
FILE_OPTIONS = [  # {file} is a file that is missing, no file, or cannot be read
    *(f"mirror {word} {{file}}" for word in CONFIG),
    "mirror retry {file} --all",
    "serve {file}",
    "serve token list --config {file}",
    "--defaults {file} names numpy",
    "check {wheel} --run {file}",
    "bundle --locked {file}",
]
MISSING = [  # {file} may also be a folder
    "convert {package} --libdir {file}",
    "convert {package} --recipes {file}",
    "audit {wheel} --libdir {file}",
    "audit {wheel} --find-links {file}",
    "check {wheel} --find-links {file}",
    "repair {wheel} --libdir {file}",
    "repair {wheel} --find-links {file}",
    "names numpy --libdir {file}",
    "verify {wheel} --from {file}",
]
INPUTS = [  # what is judged is missing: the others may be there
    "convert {file}.conda",
    "inspect {file}.conda",
    "audit {file}.whl",
    "repair {file}.whl",
    "check {file}.whl",
    "verify {file}.whl --from {package}",
    "index {file}.whl",
    "lock {file}.whl",
    "bundle {file}.conda",
    "recipe check {file}",
    "search numpy --index {file}",
]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("given")
    package = sets.pure("one")
    done = run("convert", package, "-o", folder)
    assert done.returncode == 0, done.stderr
    latin = folder / "latin.toml"
    latin.write_bytes(b'[channel]\nurls = ["\xe9"]\n')
    return {"package": package, "wheel": Path(done.stdout.strip()), "folder": folder, "latin": latin}


@pytest.mark.parametrize("command", FILE_OPTIONS)
def test_a_file_of_settings_that_cannot_be_read_is_a_wrong_use(command: str, given: dict[str, Path]) -> None:
    bad = [given["folder"] / "nothere", given["folder"]]
    if "--run" not in command and "--locked" not in command:
        bad.append(given["latin"])
    for file in bad:
        done = run(*_words(command, file, given), cwd=given["folder"])
        assert (done.returncode, done.stdout) == (2, ""), (file, done.stderr)
        assert file.name in "".join(done.stderr.split()), done.stderr


@pytest.mark.parametrize("command", MISSING)
def test_a_path_of_an_option_that_is_not_there_is_a_wrong_use(command: str, given: dict[str, Path]) -> None:
    done = run(*_words(command, given["folder"] / "nothere", given), cwd=given["folder"])
    assert (done.returncode, done.stdout) == (2, ""), done.stderr


@pytest.mark.parametrize("command", INPUTS)
def test_what_is_judged_and_is_not_there_has_failed(command: str, given: dict[str, Path]) -> None:
    done = run(*_words(command, given["folder"] / "nothere", given), cwd=given["folder"])
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "error: not-found:" in done.stderr


def test_a_wrong_match_spec_among_good_sources_is_a_wrong_use(given: dict[str, Path], tmp_path: Path) -> None:
    done = run("convert", given["package"], "numpy >>=", "-o", tmp_path / "out", "--offline")
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 1)
    assert "error: usage: " in done.stderr


def _words(command: str, file: Path, given: dict[str, Path]) -> list[str]:
    return [word.format(file=file, wheel=given["wheel"], package=given["package"]) for word in command.split()]
