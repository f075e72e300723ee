"""docs/reference/findings.md explains every code, and with the severities that the engine gives it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conda2wheel.abi.audit.findings import RULES, Severity
from tests.helpers.signals import VERSIONS, signals
from tests.runtime.test_signals import judged

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")
ROWS = {
    match[1]: set(match[2].split(", "))
    for match in re.finditer(r"^\| `([a-z0-9-]+)` \| ([a-z, ]+) \|", PAGE.partition("## What is found")[2], re.MULTILINE)
}


def test_every_code_is_explained_and_none_that_there_is_not() -> None:
    assert ROWS.keys() == RULES.keys()
    assert {word for words in ROWS.values() for word in words} <= {str(severity) for severity in Severity}


@pytest.mark.long
def test_the_severities_are_those_that_are_found() -> None:
    found: dict[str, set[str]] = {}
    for signal in signals():
        for pyodide in VERSIONS:
            for finding in judged(signal, pyodide):
                found.setdefault(finding.code, set()).add(str(finding.severity))
    assert {code: words for code, words in found.items() if not words <= ROWS[code]} == {}
    # and none is promised that no signal shows, but these, which test_engine.py and test_libs_first.py of tests/unit/abi/audit,
    # tests/unit/abi/test_engines.py, tests/unit/cli/test_audit.py and tests/unit/commands/test_repair.py have
    elsewhere = {
        ("engine", "load"),
        ("engine", "note"),
        ("engine", "suspicious"),
        ("any-tag", "suspicious"),
        ("libs-order", "load"),
        ("not-abi3", "suspicious"),
        ("not-installed", "load"),
        ("not-installed", "suspicious"),
        ("private-api", "note"),
        ("symbol-clash", "note"),
    }
    # those about an upload are in tests/unit/wheel/test_pypi.py
    promised = {(code, word) for code, words in ROWS.items() for word in words if not code.startswith("pypi-")}
    assert promised - {(code, word) for code, words in found.items() for word in words} == elsewhere


def test_the_number_of_signals_is_right() -> None:
    (number,) = re.findall(r"with (\d+) small modules", PAGE)
    assert int(number) == len(signals())
