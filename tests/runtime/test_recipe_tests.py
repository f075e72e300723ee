"""The smoke test of a conversion recipe travels in the wheel's account, and `check` runs it in a real Pyodide."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.pyodide import check_wheels
from tests.helpers import sets

pytestmark = pytest.mark.runtime


def converted(script: str, tmp_path: Path) -> Path:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "demo.toml").write_text(f'package = "demo"\nwhy = "w"\n[test]\nscript = """\n{script}"""\n')
    wheel = convert(sets.native("demo"), out=tmp_path / "dist", recipes=[recipes]).wheel
    assert wheel is not None
    return wheel


def test_it_is_run_after_the_imports(tmp_path: Path) -> None:
    wheel = converted("import demo\nassert demo.one() == 1\nprint('computed')\n", tmp_path)
    (checked,) = check_wheels([wheel])
    assert checked.ok
    assert checked.script is not None
    assert checked.script.stdout == "computed\n"
    other = tmp_path / "other.py"
    other.write_text("print('instead')")
    (checked,) = check_wheels([wheel], script=other)
    assert checked.script is not None
    assert checked.script.stdout == "instead\n"


def test_a_wheel_that_imports_and_fails_its_test_is_not_ok(tmp_path: Path) -> None:
    (checked,) = check_wheels([converted("import demo\ndemo.fail()\n", tmp_path)])
    assert [module.ok for module in checked.modules] == [True]
    assert not checked.ok
    assert checked.script is not None
    assert "ValueError: raised in C" in (checked.script.error or "")
