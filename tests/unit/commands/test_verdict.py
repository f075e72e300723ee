"""convert refuses what would not run, and --allow lets it pass and says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.errors import Failed
from tests.helpers import conda, zig
from tests.helpers.shapes import MODULE, SUFFIX, dist_info, package, refused

FILE = f"demo/_demo{SUFFIX}"
INFO = dist_info("demo-1.0")
ABI_3_1_45 = ("python", "emscripten-abi ==3.1.45")
THROW = "__cxa_throw(0, 0, 0)"


def demo(declarations: str, expression: str, *, python: str = "313") -> bytes:
    source = zig.extension("_demo", {"go": expression}, declarations=declarations)
    return zig.side_module("_demo", source, python=python).read_bytes()


def native(module: bytes) -> Path:
    return package({**MODULE, **INFO, FILE: module})


def test_a_function_that_is_not_defined_is_refused_with_its_name(tmp_path: Path) -> None:
    source = native(demo("extern int nobody_has_this(void);", zig.integer("nobody_has_this()")))
    refusal = refused(source, tmp_path, "unresolved-symbol", "nobody_has_this")
    assert (FILE in refusal.message, "Pyodide 0.29.5" in refusal.message) == (True, True)
    assert "--allow unresolved-symbol" in refusal.hint
    result = convert(source, out=tmp_path, allow=["unresolved-symbol"])
    assert [(w.code, w.file) for w in result.warnings if w.code == "allowed"] == [("allowed", FILE)]
    assert result.wheel is not None


def test_allowing_one_code_allows_no_other(tmp_path: Path) -> None:
    source = native(demo("extern int nobody_has_this(void);", zig.integer("nobody_has_this()")))
    refused(source, tmp_path, "unresolved-symbol", allow=["signature-mismatch", "abi-conflict", "missing-library"])


def test_a_function_of_another_type_is_refused(tmp_path: Path) -> None:
    wrong = demo("extern int zlibVersion(int, long long);", zig.integer("zlibVersion(1, 2)"))
    refused(native(wrong), tmp_path, "signature-mismatch", r"zlibVersion.*\(i32, i64\) -> i32.*\(\) -> i32")


def test_what_throws_without_catching_is_refused_where_exceptions_are_always_on_and_a_warning_elsewhere(tmp_path: Path) -> None:
    declarations = "extern void __cxa_throw(void *, void *, void *);"
    refused(native(demo(declarations, f"({THROW}, (PyObject *)0)")), tmp_path, "abi-conflict", "without any way to catch one")
    old = demo(declarations, f"({THROW}, (PyObject *)0)", python="311")
    site = "lib/python3.11/site-packages"
    files: dict[str, conda.Content] = {f"{site}/demo/_demo{zig.suffix('311')}": old, f"{site}/demo/__init__.py": "x = 1\n"}
    result = convert(package({}, outside=files, depends=ABI_3_1_45), out=tmp_path)
    assert [w.code for w in result.warnings].count("cannot-catch") == 1


def test_a_platform_that_no_pyodide_has_cannot_be_judged(tmp_path: Path) -> None:
    source = native(demo("extern int nobody_has_this(void);", zig.integer("nobody_has_this()")))
    result = convert(source, out=tmp_path, platform="emscripten_3_1_73_wasm32")
    assert "no-pyodide" in {w.code for w in result.warnings}


def test_a_code_that_cannot_be_allowed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not a code that can be allowed") as caught:
        convert(native(demo("", "0")), out=tmp_path, allow=["unsafe-archive"])
    assert caught.value.code == "usage"
    command = [sys.executable, "-m", "conda2wheel", "convert", "x.tar.bz2", "--allow", "bad-name"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "--allow" in done.stderr) == (2, True)
