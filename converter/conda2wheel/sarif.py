"""Findings as SARIF 2.1.0 (OASIS, sarif-v2.1.0-os), which CI systems show beside the code that they are about.

A module inside of a wheel is no file of the checkout: its place is the wheel as artifact, and the module's path as logical
location. The fingerprint has no version or message in it, so that a finding stays the same one from build to build.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conda2wheel._version import __version__
from conda2wheel.abi.findings import RULES, Finding, Severity
from conda2wheel.audited import Audited
from conda2wheel.conda.fetch import is_url
from conda2wheel.outcome import Conda2WheelError

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.LOAD: "error", Severity.FATAL: "error", Severity.SUSPICIOUS: "warning", Severity.NOTE: "note"}
NOWHERE = "runs-nowhere"  # what is not about one module
MEANINGS = {**{code: rule.meaning for code, rule in RULES.items()}, NOWHERE: "no Pyodide that is known would run it"}
CODES = sorted(MEANINGS)


def sarif(audited: Iterable[Audited], errors: Iterable[Conda2WheelError] = ()) -> dict[str, Any]:
    """One run with a result for every finding, and a notification for each input that could not be judged."""
    failed = list(errors)
    invocation: dict[str, Any] = {"executionSuccessful": not failed}
    if failed:
        invocation["toolExecutionNotifications"] = [{"level": "error", "message": {"text": str(error)}} for error in failed]
    rules = [{"id": code, "shortDescription": {"text": MEANINGS[code]}} for code in CODES]
    driver = {"name": "conda2wheel", "version": __version__, "rules": rules}
    results = [result for item in audited for result in _results(item)]
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _results(item: Audited) -> Iterator[dict[str, Any]]:
    name = _name(item.source)
    seen: Counter[str] = Counter()
    for finding in item.findings:
        text = f"{finding.module}: {finding.message}" + (f" ({finding.hint})" if finding.hint else "")
        identity = "\0".join([finding.code, name.partition("-")[0], finding.module, _symbol(finding)])
        seen[identity] += 1  # the second of its kind is another finding
        yield {
            **_result(item, finding.code, LEVELS[finding.severity], text, f"{identity}\0{seen[identity]}", finding.module),
            "properties": {
                "severity": str(finding.severity),
                "pyodide": item.pyodide,
                "symbols": list(finding.symbols or ([finding.symbol] if finding.symbol else [])),
            },
        }
    if not item.ok and item.pyodide is None:
        yield _result(item, NOWHERE, "error", item.line(), "\0".join([NOWHERE, name.partition("-")[0]]), None)


def _result(item: Audited, code: str, level: str, text: str, identity: str, module: str | None) -> dict[str, Any]:
    location: dict[str, Any] = {
        # Some CI systems show no result without a region, and a wheel has no lines.
        "physicalLocation": {"artifactLocation": {"uri": _uri(item.source)}, "region": {"startLine": 1}}
    }
    if module is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": f"{_name(item.source)}/{module}", "kind": "module"}]
    return {
        "ruleId": code,
        "ruleIndex": CODES.index(code),
        "level": level,
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"finding/v1": hashlib.sha256(identity.encode()).hexdigest()},
    }


def _name(source: str) -> str:
    return source.rstrip("/").rpartition("/")[2] or source


def _symbol(finding: Finding) -> str:
    return finding.symbol or (finding.symbols[0] if finding.symbols else "")


def _uri(source: str) -> str:
    """A URI (RFC 3986): relative to the folder that the tool was called in, where the input lies below it."""
    if is_url(source):
        return source
    relative = os.path.relpath(source)
    return Path(source).absolute().as_uri() if relative.startswith("..") else quote(Path(relative).as_posix())
