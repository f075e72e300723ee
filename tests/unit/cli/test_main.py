"""Each command in an interpreter that has imported nothing: the other tests fork theirs (`tests.helpers.command`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conda2wheel import convert
from tests.helpers import sets
from tests.helpers.cache import REPOSITORY

RECIPE = min((REPOSITORY / "recipes").glob("*.toml"))


@pytest.mark.parametrize(
    "words",
    [
        "convert PACKAGE -o DIST",
        "inspect PACKAGE",
        "audit PACKAGE",
        "verify WHEEL --from PACKAGE",
        "repair WHEEL -o DIST",
        "names attrs",
        "recipe check RECIPE",
    ],
)
def test_a_command_starts_by_itself(words: str, tmp_path: Path) -> None:
    package = sets.pure("one")
    wheel = convert(package, out=tmp_path).wheel
    places = {"PACKAGE": package, "WHEEL": wheel, "DIST": tmp_path / "dist", "RECIPE": RECIPE}
    command = [sys.executable, "-m", "conda2wheel", *(str(places.get(word, word)) for word in words.split())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "Traceback" not in done.stderr
