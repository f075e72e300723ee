"""convert refuses what does not load, warns of what ends the interpreter, and says what --allow and --strict change."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.commands.inspect import inspect
from conda2wheel.errors import Failed
from conda2wheel.results import Converted
from tests.helpers import command, conda, zig
from tests.helpers.shapes import MODULE, SUFFIX, dist_info, package, refused

FILE = f"demo/_demo{SUFFIX}"
INFO = dist_info("demo-1.0")
ABI_3_1_45 = ("python", "emscripten-abi ==3.1.45")
THROW = "__cxa_throw(0, 0, 0)"


def demo(declarations: str, expression: str, *, python: str = "313") -> bytes:
    source = zig.extension("_demo", {"go": expression}, declarations=declarations)
    return zig.side_module("_demo", source, python=python).read_bytes()


def provenance(result: Converted) -> dict[str, Any]:
    with zipfile.ZipFile(result.wheel) as archive:
        document: dict[str, Any] = json.loads(archive.read("demo-1.0.dist-info/conda2wheel.json"))
    return document


def native(module: bytes) -> Path:
    return package({**MODULE, **INFO, FILE: module})


def test_a_function_that_is_not_defined_is_a_warning_that_names_module_and_symbol(tmp_path: Path) -> None:
    source = native(demo("extern int nobody_has_this(void);", zig.integer("nobody_has_this()")))
    result = convert(source, out=tmp_path)
    (warning,) = [each for each in result.warnings if each.code == "unresolved-symbol"]
    assert (warning.file, "nobody_has_this" in warning.message) == (FILE, True)
    assert [(part.module, part.code, part.symbols) for part in result.unusable] == [
        (FILE, "unresolved-symbol", ("nobody_has_this",))
    ]
    assert provenance(result)["unusable"] == [part.json() for part in result.unusable] == result.json()["unusable"]
    assert dict(inspect(result.wheel).facts)["unusable"] == (f"{FILE}: {warning.message}",)


def test_strict_refuses_it_and_allowing_its_code_lets_it_pass(tmp_path: Path) -> None:
    source = native(demo("extern int nobody_has_this(void);", zig.integer("nobody_has_this()")))
    refusal = refused(source, tmp_path, "unresolved-symbol", "nobody_has_this", strict=True)
    assert (FILE in refusal.message, "Pyodide 0.29.5" in refusal.message, "--strict" in refusal.hint) == (True, True, True)
    others = ["signature-mismatch", "abi-conflict", "missing-library"]
    refused(source, tmp_path, "unresolved-symbol", allow=others, strict=True)
    result = convert(source, out=tmp_path, allow=["unresolved-symbol"], strict=True)
    assert [(w.code, w.file) for w in result.warnings if w.code == "allowed"] == [("allowed", FILE)]
    assert [provenance(result)["options"][key] for key in ("strict", "allow")] == [True, ["unresolved-symbol"]]


def test_of_twenty_modules_the_one_that_calls_what_is_not_there_is_named(tmp_path: Path) -> None:
    good, bad = demo("", "0"), demo("extern int nobody_has_this(void);", zig.integer("nobody_has_this()"))
    others = {f"demo/_m{n}{SUFFIX}": good.replace(b"PyInit__demo", f"PyInit__m{n:03}".encode()) for n in range(19)}
    result = convert(package({**MODULE, **INFO, **others, FILE: bad}), out=tmp_path)
    assert [(part.module, part.symbols) for part in result.unusable] == [(FILE, ("nobody_has_this",))]


def test_what_does_not_load_is_refused_and_can_be_allowed(tmp_path: Path) -> None:
    source = native(demo("extern int nobody_has_this;", zig.integer("nobody_has_this")))
    refusal = refused(source, tmp_path, "unresolved-symbol", "nobody_has_this")
    assert "--allow unresolved-symbol" in refusal.hint
    refused(source, tmp_path, "unresolved-symbol", allow=["signature-mismatch", "abi-conflict", "missing-library"])
    result = convert(source, out=tmp_path, allow=["unresolved-symbol"])
    assert [(w.code, w.file) for w in result.warnings if w.code == "allowed"] == [("allowed", FILE)]
    assert result.unusable == ()


def test_a_needed_entry_with_a_slash_that_is_nowhere_is_refused_and_can_be_allowed(tmp_path: Path) -> None:
    code = zig.extension("_demo", {"go": zig.integer("taken()")}, declarations="extern int taken(void);")
    module = zig.side_module("_demo", code, needed=["lib-none.so"]).read_bytes().replace(b"lib-none.so", b"lib/none.so")
    refused(native(module), tmp_path, "missing-library", "lib/none.so")
    result = convert(native(module), out=tmp_path, allow=["missing-library"])
    assert {warning.code for warning in result.warnings} >= {"allowed"}


def test_a_function_of_another_type_is_refused(tmp_path: Path) -> None:
    wrong = demo("extern int zlibVersion(int, long long);", zig.integer("zlibVersion(1, 2)"))
    refused(native(wrong), tmp_path, "signature-mismatch", r"zlibVersion.*\(i32, i64\) -> i32.*\(\) -> i32")


def test_what_throws_without_catching_is_a_warning_where_exceptions_are_always_on_and_elsewhere(tmp_path: Path) -> None:
    declarations = "extern void __cxa_throw(void *, void *, void *);"
    source = native(demo(declarations, f"({THROW}, (PyObject *)0)"))
    refused(source, tmp_path, "abi-conflict", "without any way to catch one", strict=True)
    old = demo(declarations, f"({THROW}, (PyObject *)0)", python="311")
    site = "lib/python3.11/site-packages"
    files: dict[str, conda.Content] = {f"{site}/demo/_demo{zig.suffix('311')}": old, f"{site}/demo/__init__.py": "x = 1\n"}
    for each in (source, package({}, outside=files, depends=ABI_3_1_45)):
        result = convert(each, out=tmp_path)
        assert [w.code for w in result.warnings].count("cannot-catch") == 1
        assert [part.code for part in result.unusable] == ["cannot-catch"]


def test_a_platform_that_no_pyodide_has_cannot_be_judged(tmp_path: Path) -> None:
    source = native(demo("extern int nobody_has_this(void);", zig.integer("nobody_has_this()")))
    result = convert(source, out=tmp_path, platform="emscripten_3_1_73_wasm32")
    assert "no-pyodide" in {w.code for w in result.warnings}


def test_a_code_that_cannot_be_allowed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not a code that can be allowed") as caught:
        convert(native(demo("", "0")), out=tmp_path, allow=["unsafe-archive"])
    assert caught.value.code == "usage"
    done = command.run("convert", "x.tar.bz2", "--allow", "bad-name")
    assert (done.returncode, "--allow" in done.stderr) == (2, True)
