"""The distribution is `conda2wheel-wasm`: no text tells people to install `conda2wheel`, which on PyPI is another project."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
NAME = "conda2wheel-wasm"
BARE = r"(?<![\w./-])conda2wheel(?![\w./-])"  # neither conda2wheel-wasm nor a path
ARGUMENTS = r"(?:(?!&&|--from|--spec)[^\n|;`#])*?"  # of the same command, none of which names the distribution
INSTALLERS = "(?:pip3?|pipx|uv|uv pip|uv tool|poetry|pdm|hatch|conda|mamba|micropip)"
INSTALLS = re.compile(
    r"(?:"
    rf"\b{INSTALLERS}[ .](?:install|add|run|download|inject)\b{ARGUMENTS}{BARE}"
    rf"|\b(?:uvx|uv tool run|pipx run)\b{ARGUMENTS}{BARE}"
    rf"|{BARE}\["
    rf"|{BARE}\s*(?:===?|>=|<=|~=|!=|@)\s*[\dg]"
    rf"|\b(?:requires|[a-z_-]*dependencies|requirements)\b[\"']?\s*[:=]\s*\[[^\]]*{BARE}[\"' ,\]]"
    r"|^\s*(?:- )?conda2wheel\s*$"
    r")",
    re.MULTILINE,
)


def texts() -> Iterator[tuple[str, str]]:
    """Every text that people read: path and content of each file that git tracks or would track, but for the tests."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in listed:
        path = REPOSITORY / name
        if not name.startswith("tests/") and path.is_file():
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:  # the symbol data
                continue


def test_the_distribution_has_its_own_name_and_the_command_keeps_its() -> None:
    assert PYPROJECT["project"]["name"] == NAME
    assert PYPROJECT["project"]["scripts"] == {"conda2wheel": "conda2wheel.cli:main"}


def test_no_text_installs_the_other_project() -> None:
    found = [f"{name}: {match[0].strip()}" for name, text in texts() for match in INSTALLS.finditer(text)]
    assert found == []


def test_every_extra_that_is_named_exists() -> None:
    extras = {extra for _, text in texts() for names in re.findall(rf"{NAME}\[([^\]]*)\]", text) for extra in names.split(",")}
    assert extras <= PYPROJECT["project"]["optional-dependencies"].keys()
    assert {"check", "mirror", "dask"} <= extras


@pytest.mark.parametrize(
    "text",
    [
        "pip install conda2wheel",
        "python -m pip install --upgrade 'conda2wheel'",
        "pip install -U conda2wheel && conda2wheel convert x",
        "pip install 'conda2wheel[check]'",
        "needs conda2wheel[mirror] on each machine",
        "uv tool install conda2wheel",
        "uvx conda2wheel convert x",
        "pipx install conda2wheel",
        "pipx run conda2wheel convert x",
        "uv add conda2wheel",
        "uv pip install conda2wheel",
        'await micropip.install("conda2wheel")',
        "conda2wheel==0.1",
        "conda2wheel >= 1",
        "conda2wheel @ git+URL",
        "requirements:\n  - conda2wheel\n",
        'requires = ["conda2wheel"]',
        'dependencies = ["cibuildwheel", "conda2wheel"]',
        "additional_dependencies: [conda2wheel]",
        'before-build = "pip install conda2wheel"',
    ],
)
def test_an_instruction_to_install_it_is_found(text: str) -> None:
    assert INSTALLS.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install conda2wheel-wasm",
        "pip install 'conda2wheel-wasm[check]'",
        "pip install 'conda2wheel-wasm @ git+URL' && conda2wheel convert x",
        "pip install . ; conda2wheel check x.whl",
        "uvx --from conda2wheel-wasm conda2wheel convert x",
        "pipx run --spec conda2wheel-wasm conda2wheel convert x",
        "git clone URL conda2wheel && pip install ./conda2wheel",
        "conda2wheel verify --from PATH",
        "`conda2wheel` is the command",
        "from conda2wheel import convert",
        'version = version("conda2wheel-wasm")',
    ],
)
def test_other_sentences_are_none(text: str) -> None:
    assert not INSTALLS.search(text)
