"""The README tells the truth: every code, option and warning that the program knows is in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conda2wheel.errors import REFUSAL_CODES

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text(encoding="utf-8")
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in sorted((REPO / "converter").rglob("*.py")))
MANUAL = {"--out": "-o", "--verbose": "-v"}  # what the manual calls them


def section(command: str) -> str:
    return README.partition(f"## {command}\n")[2].partition("\n## ")[0]


def test_every_refusal_code_is_explained_as_the_mirror_explains_it() -> None:
    rows = [f"| `{code}` | {row.meaning} | {row.advice} |" for code, row in REFUSAL_CODES.items()]
    assert [row for row in rows if row not in README.splitlines()] == []


@pytest.mark.parametrize(("kind", "least"), [("ConversionWarning", 25), ("Failed", 6)])
def test_every_warning_and_every_accident_is_explained(kind: str, least: int) -> None:
    codes = set(re.findall(kind + r'\(\s*"([a-z-]+)"', SOURCES))
    assert len(codes) >= least
    assert sorted(code for code in codes if f"`{code}`" not in README) == []


COMMANDS = ("convert", "inspect", "audit", "repair", "verify", "check", "names", "bundle")
OF_MIRROR = ("run", "plan", "status", "report", "retry", "rollback", "gc")


@pytest.mark.parametrize("command", [*COMMANDS, *(f"mirror {each}" for each in OF_MIRROR)])
def test_every_option_is_in_the_manual(command: str) -> None:
    command, *own = command.split()
    asked = [sys.executable, "-m", "conda2wheel", command, *own, "--help"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    options = {MANUAL.get(option, option) for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", told)} - {"--help"}
    assert options
    manual = section(command) + (section("convert") if command in ("inspect", "bundle") else "")  # their bounds are convert's
    assert sorted(option for option in options if option not in manual) == []
