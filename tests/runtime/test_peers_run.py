"""What auditwheel-emscripten and ours make of the same wheels, in a real Pyodide."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.commands.audit import audit
from conda2wheel.pyodide import check_wheels
from tests.helpers import conda, zig
from tests.unit.commands.test_peers import COUNT, NAMES, answering, by_them, by_us, wheel

pytestmark = pytest.mark.runtime

PYODIDES = [pytest.param("313", "0.29.5", id="0.29.5"), pytest.param("314", "314.0.7", id="314.0.7", marks=pytest.mark.long)]
WEAK = "extern unsigned long strlen(const char *) __attribute__((weak)); extern int atoi(const char *) __attribute__((weak));"
WEAK_BODY = '(strlen ? strlen("abc") : 0) + (atoi ? atoi("4") : 0)'


def libs(folder: Path) -> Path:
    count = zig.shared_library(NAMES[2], "static int n; int count(void) { return ++n; }", exports=["count"])
    conda.lay(folder, {NAMES[2]: count, NAMES[1]: conda.Link(NAMES[2]), NAMES[0]: conda.Link(NAMES[1])})
    return folder


def said(path: Path, pyodide: str, code: str, folder: Path) -> str:
    """What a script prints where the wheel is installed, or why it could not be."""
    script = folder / "script.py"
    script.write_text(code)
    (checked,) = check_wheels([path], pyodide=pyodide, script=script)
    if checked.install_errors:
        return checked.install_errors[0]
    assert checked.script is not None
    return checked.script.stdout or str(checked.script.error)


@pytest.mark.parametrize(("python", "pyodide"), PYODIDES)
def test_a_counter_under_three_names_is_one_counter_of_ours_and_three_of_theirs(
    python: str, pyodide: str, tmp_path: Path
) -> None:
    users = {f"_u{n}": answering(f"_u{n}", "count()", COUNT, [name]) for n, name in enumerate(NAMES)}
    source = wheel(tmp_path, users, python=python)
    folder = libs(tmp_path / "lib")
    code = "from pkg import _u0, _u1, _u2\nprint(_u0.go(), _u1.go(), _u2.go())\n"
    assert said(by_us(source, folder, tmp_path), pyodide, code, tmp_path) == "1 2 3\n"
    assert by_them(source, folder, tmp_path).returncode == 0
    assert said(tmp_path / "theirs" / source.name, pyodide, code, tmp_path) == "1 1 1\n"


@pytest.mark.long
@pytest.mark.parametrize(("python", "pyodide"), PYODIDES)
def test_two_weak_imports_cost_their_wheel_its_libraries(python: str, pyodide: str, tmp_path: Path) -> None:
    """By the wrong count, the loader reads on in the middle of the entries, and never gets to RUNTIME_PATH."""
    data = answering("_weak", f"{WEAK_BODY} + count()", f"{WEAK} {COUNT}", ["libcount.so.1"])
    source = wheel(tmp_path, {"_weak": data}, python=python)
    folder = libs(tmp_path / "lib")
    code = "from pkg import _weak\nprint(_weak.go())\n"
    ours = by_us(source, folder, tmp_path)
    assert audit(ours, pyodide).ok
    assert said(ours, pyodide, code, tmp_path) == "8\n"
    by_them(source, folder, tmp_path, "--no-mangle")
    theirs = tmp_path / "theirs" / source.name
    assert "libcount.so.1" in said(theirs, pyodide, code, tmp_path)
    (missing,) = [finding for finding in audit(theirs, pyodide).findings if finding.code == "missing-library"]
    assert "more entries than it counts" in missing.message
    assert "build it again" in missing.hint
