"""Each signal of the ABI alone: what the audit says of it, and what becomes of it in real Pyodides.

What comes of each is written down in `tests/helpers/signals_of_*.py`, so that verdict and run cannot be wrong together.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from conda2wheel.abi.audit.engine import audit_units, verdict
from conda2wheel.abi.audit.findings import RULES, Finding, Severity
from conda2wheel.abi.audit.unit import AuditUnit
from tests.helpers.signals import VERSIONS, Came, Signal, signals
from tests.helpers.trials import tried

pytestmark = pytest.mark.runtime

# What a signal comes to, by the verdict. `odd` is a right answer by luck.
VERDICTS: dict[Came, set[Severity | None]] = {
    "load": {Severity.LOAD},
    "fatal": {Severity.FATAL},
    "wrong": {Severity.SUSPICIOUS},
    "odd": {Severity.SUSPICIOUS},
    "right": {Severity.NOTE, None},
}
# Codes of which no signal is made here, and where they are tried instead.
ELSEWHERE = {
    "not-installed": "a matter of where installers put files, before any loader: tests/unit/commands/test_repair.py",
    "any-tag": "a matter of the tag, which no loader reads: tests/unit/cli/test_audit.py",
    "engine": "a matter of the engine, not of the Pyodide: tests/unit/abi/test_engines.py",
    "libs-order": "a matter of loaders before 0.27: tests/runtime/test_libs_first.py",
    "broken-library": "a consequence of another finding: tests/unit/abi/audit/test_engine.py",
    "not-abi3": "a claim of the tag, which no loader reads: tests/unit/abi/audit/test_engine.py",
    "private-api": "runs where the function is there: tests/unit/abi/audit/test_engine.py",
}


def judged(signal: Signal, pyodide: str) -> list[Finding]:
    """What the audit finds in all of a signal's wheels, installed together."""
    units = [AuditUnit.of_bytes(name, files, name) for name, files in signal.files(pyodide).items()]
    return [finding for findings in audit_units(units, pyodide).values() for finding in findings]


def surprises(pyodide: str, tries: Sequence[Signal]) -> dict[str, tuple[str, tuple[str, str]]]:
    """The signals of which something else becomes than is written down: that, and what became of it."""
    expected = {signal.name: signal.came[VERSIONS.index(pyodide)].replace("odd", "right") for signal in tries}
    found = tried(pyodide, tries)
    return {name: (word, found[name]) for name, word in expected.items() if found[name][0] != word}


# The slowest: each signal in an interpreter of its own. The quick tests below compare the audit with the same table.
@pytest.mark.long
@pytest.mark.parametrize("pyodide", VERSIONS)
def test_what_becomes_of_each_signal_is_what_is_written_down(pyodide: str) -> None:
    assert surprises(pyodide, signals()) == {}


def test_what_becomes_of_signals_that_run_and_of_one_of_each_other_end_is_what_is_written_down() -> None:
    """Those that run leave their interpreter to the next one, so that this takes two starts and not sixty."""
    pyodide = "0.29.5"
    by_end: dict[Came, list[Signal]] = {}
    for signal in signals():
        by_end.setdefault(signal.came[VERSIONS.index(pyodide)], []).append(signal)
    assert by_end.keys() == VERDICTS.keys()
    some = [*by_end["right"], *by_end["odd"], *by_end["wrong"], by_end["load"][0], by_end["fatal"][0]]
    assert surprises(pyodide, some) == {}


@pytest.mark.parametrize("pyodide", VERSIONS)
def test_the_verdict_is_what_becomes_of_each_signal(pyodide: str) -> None:
    wrong = {}
    for signal in signals():
        findings = judged(signal, pyodide)
        word = signal.came[VERSIONS.index(pyodide)]
        if verdict(findings) not in VERDICTS[word]:
            wrong[signal.name] = (word, [(finding.severity, finding.code, finding.message) for finding in findings])
    assert wrong == {}


@pytest.mark.parametrize("pyodide", VERSIONS)
def test_the_finding_that_decides_has_the_code_that_explains_it(pyodide: str) -> None:
    wrong = {}
    for signal in signals():
        word = signal.came[VERSIONS.index(pyodide)]
        worst = verdict(findings := judged(signal, pyodide))
        codes = {finding.code for finding in findings if finding.severity is worst}
        if word != "right" and not codes & set((signal.code or "").split()):
            wrong[signal.name] = (signal.code, codes)
    assert wrong == {}


def test_a_signal_that_comes_to_nothing_anywhere_is_told_all_the_same_where_it_has_a_code() -> None:
    for signal in signals():
        if signal.code and set(signal.came) == {"right"}:
            for pyodide in VERSIONS:
                assert {finding.code for finding in judged(signal, pyodide)} & set(signal.code.split()), (signal.name, pyodide)


def test_every_rule_has_a_signal() -> None:
    found = {finding.code for signal in signals() for pyodide in VERSIONS for finding in judged(signal, pyodide)}
    of_an_index = {
        code for code in RULES if code.startswith("pypi-")
    }  # no loader reads what they judge: tests/unit/wheel/test_pypi.py
    assert RULES.keys() - found - ELSEWHERE.keys() - of_an_index == set()
    assert not found & ELSEWHERE.keys() - {"private-api", "broken-library"}


def test_the_signals_that_were_asked_for_are_there() -> None:
    names = {signal.name for signal in signals()}
    assert names >= {
        "wasm_exceptions",
        "js_exceptions",
        "wasm_longjmp",
        "js_longjmp",
        "only_throws",
        "threads",
        "wrong_type",
        "no_function",
        "no_data",
        "weak_function",
        "weak_data",
        "object_file",
        "old_section",
        "legalised",
        "like_kiwisolver",
        "like_pillow",
        "plain",
    }
    assert len(names) == len(signals())
