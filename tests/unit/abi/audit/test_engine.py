"""The audit's rules without a Pyodide: what it takes from names, claims and places, and how it puts findings together.

What really becomes of each signal is in tests/runtime/test_signals.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from conda2wheel.abi.audit import findings
from conda2wheel.abi.audit.engine import audit_units, verdict
from conda2wheel.abi.audit.findings import RULES, Finding, Severity
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.options import ALLOWABLE
from tests.helpers import handmade, zig
from tests.helpers.signals import answer, library, module, placed

PYODIDE = "0.29.5"
PRIVATE = "_PyThreadState_GetCurrent"


def found(files: Mapping[str, bytes], pyodide: str = PYODIDE, *, abi3: str | None = None) -> list[Finding]:
    return list(audit_units([AuditUnit.of_bytes("one", files, "one", abi3)], pyodide)["one"])


def codes(files: Mapping[str, bytes], pyodide: str = PYODIDE, *, abi3: str | None = None) -> set[tuple[str, str]]:
    return {(finding.code, str(finding.severity)) for finding in found(files, pyodide, abi3=abi3)}


def taking(name: str, symbols: Mapping[str, str]) -> dict[str, bytes]:
    """An extension module that calls these functions, given by their C types."""
    calls = "".join(f"if (args == (PyObject *)1) (void){symbol}();" for symbol in symbols)
    return module(name, f"{calls} return 0;", "".join(f"extern {kind} {symbol}(void);" for symbol, kind in symbols.items()))


def abi3(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name.replace(zig.suffix("313"), ".abi3.so"): data for name, data in files.items()}


def test_private_functions_of_cpython_are_a_note_that_names_them() -> None:
    (finding,) = found(taking("private", {PRIVATE: "void *"}))
    assert (finding.code, finding.severity, finding.symbols) == ("private-api", Severity.NOTE, (PRIVATE,))


def test_a_claim_of_abi3_is_measured_by_the_limited_api_of_its_version() -> None:
    plain = abi3(taking("plain_abi", {"PyErr_Occurred": "void *"}))
    assert codes(plain, abi3="cp311") == set()
    newer = abi3(taking("newer_abi", {"PyEval_GetFrameBuiltins": "void *"}))  # since 3.13
    assert codes(newer, abi3="cp313") == set()
    (finding,) = found(newer, abi3="cp311")
    assert (finding.code, finding.severity) == ("not-abi3", Severity.SUSPICIOUS)
    assert "PyEval_GetFrameBuiltins" in finding.message
    outside = abi3(taking("outside_abi", {"PyUnstable_InterpreterFrame_GetLine": "int"}))
    assert ("not-abi3", "suspicious") in codes(outside)  # by the file's name alone


def test_users_of_a_broken_library_have_a_finding_that_names_it() -> None:
    base = library("libbroken.so", "extern int nobody_data; int in_broken(void) { return nobody_data; }", ["in_broken"])
    using = module("uses_broken", answer("in_broken()"), "extern int in_broken(void);", needed=["libbroken.so"])
    findings = found({**using, **base})
    by_module = {(finding.module, finding.code): finding for finding in findings if finding.severity is Severity.LOAD}
    assert by_module.keys() == {("libbroken.so", "unresolved-symbol"), (next(iter(using)), "broken-library")}
    assert "libbroken.so" in by_module[next(iter(using)), "broken-library"].message


def test_a_broken_library_without_users_keeps_a_whole_wheel_from_loading() -> None:
    base = library("libalone.so", "extern int nobody_data; int in_alone(void) { return nobody_data; }", ["in_alone"])
    assert verdict(found({**module("beside", answer("1")), **base})) is Severity.LOAD


def test_what_another_wheel_brings_counts_if_it_is_installed() -> None:
    base = library("libshared.so", "int in_shared(void) { return 1; }", ["in_shared"])
    using = module("uses_shared", answer("in_shared()"), "extern int in_shared(void);", needed=["libshared.so"])
    assert {code for code, _ in codes(using)} >= {"missing-library"}
    beside = AuditUnit.of_bytes("two", base, "two")
    assert audit_units([AuditUnit.of_bytes("one", using, "one")], PYODIDE, [beside])["one"] == ()
    elsewhere = AuditUnit.of_bytes("two", placed("deep/folder", base), "two")
    assert verdict(audit_units([AuditUnit.of_bytes("one", using, "one")], PYODIDE, [elsewhere])["one"]) is Severity.LOAD


@pytest.mark.parametrize("pyodide", ["0.27.7", "0.29.5"])
def test_a_chain_of_libraries_has_any_length(pyodide: str) -> None:
    length = 1500  # more than Python's stack has frames
    chain = {f"libchain{n}.so": handmade.module(needed=[f"libchain{n + 1}.so"]) for n in range(length)}
    (finding,) = (each for each in found(chain, pyodide) if each.code == "missing-library")
    assert (finding.module, f"libchain{length}.so" in finding.message) == (f"libchain{length - 1}.so", True)


def test_each_judged_unit_has_a_finding_about_a_clash() -> None:
    def wheel(version: int) -> AuditUnit:
        source = f"int clash_data = {version};"
        flags = ("-fvisibility=default",)
        made = library(f"libclash{version}.so", source, ["clash_data"], cflags=flags, ldflags=("--export-dynamic",))
        user = module(f"clash{version}", answer("clash_data"), "extern int clash_data;", needed=[f"libclash{version}.so"])
        return AuditUnit.of_bytes(f"wheel{version}", {**made, **user}, f"wheel{version}")

    one, two = wheel(1), wheel(2)
    both = audit_units([one, two], PYODIDE)
    assert {name: {finding.code for finding in findings} for name, findings in both.items()} == {
        "wheel1": {"symbol-clash"},
        "wheel2": {"symbol-clash"},
    }
    assert "libclash2.so of wheel2" in both["wheel1"][0].message
    assert audit_units([one], PYODIDE, [two]).keys() == {"wheel1"}
    assert audit_units([one], PYODIDE)["wheel1"] == ()


def test_inline_code_in_a_library_and_its_user_is_a_note() -> None:
    flags = ("-fvisibility=default",)
    dynamic = ("--export-dynamic",)
    inline = "__attribute__((weak)) int inline_{n}(int a) {{ return a + {v}; }} int (*{w}(void))(int) {{ return inline_{n}; }}"
    made = library(
        "libinlined.so", inline.format(n="same", v=1, w="theirs"), ["inline_same", "theirs"], cflags=flags, ldflags=dynamic
    )
    declared = f"extern int (*theirs(void))(int); {inline.format(n='same', v=2, w='ours')}"
    body = answer("theirs()(1) + ours()(1)")
    needs = module("inlined", body, declared, flags=flags, ldflags=dynamic, needed=["libinlined.so"], exports=["inline_same"])
    assert ("symbol-clash", "note") in codes({**needs, **made})
    assert ("symbol-clash", "suspicious") not in codes({**needs, **made})
    alone = module("not_inlined", answer("ours()(1)"), declared, flags=flags, ldflags=dynamic, exports=["inline_same"])
    assert ("symbol-clash", "suspicious") in codes({**alone, **made})  # nothing says that they belong together


def test_many_symbols_with_one_problem_are_one_finding_that_names_them_all() -> None:
    names = {f"absent_{n}": "int" for n in range(7)}
    (finding,) = found(taking("many_absent", names))
    assert (finding.severity, finding.symbol, set(finding.symbols)) == (Severity.FATAL, None, set(names))
    assert "imports 7 functions (absent_0, absent_1" in finding.message
    assert finding.json()["symbols"] == list(finding.symbols)


def test_findings_come_worst_first() -> None:
    files = taking("several", {"absent_one": "int", PRIVATE: "void *"})
    bad = module("unloadable", answer("absent_data"), "extern int absent_data;")
    assert [finding.severity for finding in found({**files, **bad})] == [Severity.LOAD, Severity.FATAL, Severity.NOTE]


def test_an_unknown_pyodide_and_two_units_of_one_name_are_errors() -> None:
    with pytest.raises(ValueError, match=r"9\.9\.9"):
        audit_units([AuditUnit.of_bytes("one", {}, "one")], "9.9.9")
    with pytest.raises(ValueError, match="same name"):
        audit_units([AuditUnit.of_bytes("one", {}, "one"), AuditUnit.of_bytes("one", {}, "one")], PYODIDE)


def test_nothing_to_judge_is_no_finding() -> None:
    assert audit_units([AuditUnit.of_bytes("one", {}, "one")], PYODIDE) == {"one": ()}
    assert verdict(()) is None


def test_every_finding_that_can_refuse_has_a_refusal_code() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in Path(findings.__file__).parent.glob("*.py"))
    found = set(re.findall(r'\(\s*"([a-z0-9-]+)",\s*Severity\.(?:LOAD|FATAL)', sources))
    assert len(found) >= 15
    assert sorted(code for code in found if RULES[code].refusal is None) == []


def test_every_rule_that_refuses_has_a_code_of_the_contract() -> None:
    assert {rule.refusal for rule in RULES.values() if rule.refusal} <= REFUSAL_CODES.keys()
    assert {rule.refusal for rule in RULES.values()} >= ALLOWABLE
    with pytest.raises(ValueError, match="unknown finding code"):
        Finding("no-such-rule", Severity.NOTE, "x.so", "x")
