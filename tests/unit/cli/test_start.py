"""What a command imports, since that is most of the time of a short one. Nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import conda

NEVER = {"asyncio", "cyclonedx", "importlib.metadata", "pydantic", "rattler", "rich"}  # of what stderr that is no terminal needs
HELP = NEVER | {
    "deflate", "email", "http", "packaging", "requests", "tomllib", "urllib.request", "yaml", "zstandard",
    "conda2wheel.commands", "conda2wheel.options", "conda2wheel.cli.options",
}  # fmt: skip
CONVERT = NEVER | {"filelock", "http", "requests", "sqlite3", "ssl", "urllib.request", "conda2wheel.net.download"}
CONVERT |= {f"conda2wheel.channels.{name}" for name in ("contents", "lists", "records", "repodata", "search")}


def imported(*words: str, cwd: Path) -> set[str]:
    code = (
        f"import sys; sys.argv = {['conda2wheel', *words]!r}\n"
        "before = set(sys.modules)\n"
        "from conda2wheel.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end\n"
        "print(*sys.modules.keys() - before, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_no_command(tmp_path: Path) -> None:
    assert imported("--help", cwd=tmp_path) & HELP == set()


@pytest.mark.parametrize("name", ["convert", "mirror"])
def test_help_of_a_command_imports_no_other(name: str, tmp_path: Path) -> None:
    found = imported(name, "--help", cwd=tmp_path)
    assert found & (HELP - {"conda2wheel.cli.options"}) == set()
    assert {f"conda2wheel.cli.{each}" for each in ("convert", "mirror", "serve", "bundle")} & found == {f"conda2wheel.cli.{name}"}


def test_convert_imports_what_its_package_needs(tmp_path: Path) -> None:
    package = conda.assemble("demo", "1.0", {"site-packages/demo.py": "x = 1\n"}, noarch="python", string="pyh1_0")
    assert imported("convert", str(package), "-o", str(tmp_path), cwd=tmp_path) & CONVERT == set()
