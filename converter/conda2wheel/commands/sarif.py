"""Findings as SARIF 2.1.0 (OASIS, sarif-v2.1.0-os), which CI systems show beside the code that they concern.

A module inside of a wheel is no file of the checkout: its location is the wheel as artifact, with the path of the module as
logical location. The fingerprint contains no version and no message, so that a finding stays the same from build to build. It
contains the tags, since a folder may have a wheel for each CPython.
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
from conda2wheel.abi.audit.findings import RULES, Finding, Severity
from conda2wheel.commands.audit_result import Audited
from conda2wheel.errors import Conda2WheelError
from conda2wheel.net.urls import is_url

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {
    Severity.LOAD: "error",
    Severity.FATAL: "error",
    Severity.UPLOAD: "error",
    Severity.SUSPICIOUS: "warning",
    Severity.NOTE: "note",
}
NOWHERE = "runs-nowhere"  # concerns no single module
MEANINGS = {**{code: rule.meaning for code, rule in RULES.items()}, NOWHERE: "no known Pyodide would run it"}
CODES = sorted(MEANINGS)


def sarif(audited: Iterable[Audited], errors: Iterable[tuple[str, Conda2WheelError]] = ()) -> dict[str, Any]:
    """Return one run with a result for every finding, and a notification for each input (by its source) that failed."""
    failed = list(errors)
    rules = [{"id": code, "shortDescription": {"text": MEANINGS[code]}} for code in CODES]
    driver: dict[str, Any] = {"name": "conda2wheel", "version": __version__, "rules": rules}
    invocation: dict[str, Any] = {"executionSuccessful": not failed}
    if failed:
        codes = sorted({error.code for _, error in failed})
        driver["notifications"] = [{"id": code} for code in codes]
        invocation["toolExecutionNotifications"] = [_notification(source, error, codes) for source, error in failed]
    seen: Counter[str] = Counter()
    results = [result for item in audited for result in _results(item, seen)]
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _notification(source: str, error: Conda2WheelError, codes: list[str]) -> dict[str, Any]:
    return {
        "descriptor": {"id": error.code, "index": codes.index(error.code)},
        "level": "error",
        "message": {"text": str(error)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(source)}}}],
    }


def _results(item: Audited, seen: Counter[str]) -> Iterator[dict[str, Any]]:
    build = _build(item)
    for finding in item.findings:
        text = f"{finding.module}: {finding.message}" + (f" ({finding.hint})" if finding.hint else "")
        identity = "\0".join([finding.code, build, finding.module, _symbol(finding)])
        seen[identity] += 1  # a second finding with this identity is another one
        yield {
            **_result(item, finding.code, LEVELS[finding.severity], text, f"{identity}\0{seen[identity]}", finding.module),
            "properties": {
                "severity": str(finding.severity),
                "pyodide": item.pyodide,
                "verdict": str(finding.severity.verdict),
                "symbols": list(finding.names),
            },
        }
    if not item.ok and item.pyodide is None:
        identity = "\0".join([NOWHERE, build])
        seen[identity] += 1
        yield _result(item, NOWHERE, "error", item.line(), f"{identity}\0{seen[identity]}", None)


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


def _build(item: Audited) -> str:
    """Return what is the same in every version: of a wheel its distribution and tags, of a package its name."""
    name = _name(item.source)
    if item.kind == "wheel":
        distribution, *rest = name.split("-")
        return "-".join([distribution, *rest[1:]])
    return name.rsplit("-", 2)[0] if item.kind == "package" else name


def _symbol(finding: Finding) -> str:
    return finding.symbol or (finding.symbols[0] if finding.symbols else "")


def _uri(source: str) -> str:
    """Return a URI (RFC 3986), relative to the working folder if the input is below it."""
    if is_url(source):
        return source
    path = Path(os.path.relpath(source))
    return Path(os.path.abspath(source)).as_uri() if ".." in path.parts else quote(path.as_posix())
