"""Findings as SARIF 2.1.0 (OASIS, sarif-v2.1.0-os), which CI systems show beside the code that they are about.

A module inside of a wheel is no file of the checkout: its place is the wheel as artifact, and the module's path as logical
location. The fingerprint has no version or message in it, so that a finding stays the same one from build to build.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conda2wheel._version import __version__
from conda2wheel.abi.findings import RULES, Finding, Severity
from conda2wheel.audit import Audited

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.LOAD: "error", Severity.FATAL: "error", Severity.SUSPICIOUS: "warning", Severity.NOTE: "note"}


def sarif(audited: Iterable[Audited]) -> dict[str, Any]:
    """One run with a result for every finding."""
    rules = sorted(RULES)
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "conda2wheel",
                        "semanticVersion": __version__,
                        "rules": [{"id": code, "shortDescription": {"text": RULES[code].meaning}} for code in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(item, finding, rules) for item in audited for finding in item.findings],
            }
        ],
    }


def _result(item: Audited, finding: Finding, rules: list[str]) -> dict[str, Any]:
    name = Path(item.source).name
    identity = "\0".join([finding.code, name.split("-")[0], finding.module, finding.symbol or ""])
    text = f"{finding.module}: {finding.message}" + (f" ({finding.hint})" if finding.hint else "")
    return {
        "ruleId": finding.code,
        "ruleIndex": rules.index(finding.code),
        "level": LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": quote(item.source)}},
                "logicalLocations": [{"fullyQualifiedName": f"{name}/{finding.module}", "kind": "module"}],
            }
        ],
        "partialFingerprints": {"finding/v1": hashlib.sha256(identity.encode()).hexdigest()},
        "properties": {"severity": str(finding.severity), "pyodide": item.pyodide, "symbol": finding.symbol},
    }
