"""The report for machines: JUnit XML, which CI systems show, and metrics, which Prometheus' node exporter reads from a file.

JUnit: a test case an item. What failed is an `error` (an accident, no verdict); what had a wheel before and is refused now is a
`failure`; any other refusal is `skipped`, with its code: it is a verdict about the package and the same tomorrow, so that a CI
that went red for it would be red for ever and read by nobody. What was not tried yet is skipped as well.

Metrics: the text format 0.0.4 (HELP and TYPE before the samples, no time stamps: the textfile collector refuses a file with any).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.files.escape import printable
from conda2wheel.files.writing import write_file
from conda2wheel.mirror.report.missing import KINDS
from conda2wheel.mirror.report.model import CHANGES, PENDING, MirrorReport, ReportItem
from conda2wheel.mirror.report.pages import pages
from conda2wheel.mirror.report.text import text
from conda2wheel.mirror.state.model import RESULT_STATUSES

PREFIX = "conda2wheel_mirror"
_Sample = tuple[Mapping[str, str], float]


def files(report: MirrorReport, root: str = "") -> dict[str, bytes]:
    """Every form that is served, by name: the page and its parts, report.json, report.xml, report.txt. `root` leads from them to
    the folder in which `blobs/` lies. The same report gives the same bytes."""
    document = report.json()
    told = {"report.json": _json(document), "report.xml": junit(report), "report.txt": text(report, every=True)}
    return {name: form.encode("utf-8", "replace") for name, form in told.items()} | dict(pages(document, root))


def json_text(report: MirrorReport) -> str:
    """`MirrorReport.json` as a document; ASCII, so that any reader takes it."""
    return _json(report.json())


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document) + "\n"  # in one line: with indents it takes Python ten times as long


def junit(report: MirrorReport) -> str:
    """One `testsuite` a channel, one `testcase` an item: its class is SUBDIR.NAME, its name VERSION-BUILD."""
    root = ET.Element("testsuites", name="conda2wheel mirror")
    totals: Counter[str] = Counter()
    for channel in dict.fromkeys(item.package.channel for item in report.items):
        items = [item for item in report.items if item.package.channel == channel]
        suite = ET.SubElement(root, "testsuite", name=printable(str(items[0].json()["channel"])))
        numbers: Counter[str] = Counter()
        for item in items:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=printable(f"{item.package.subdir}.{item.package.name}"),
                name=printable(item.label.partition("/")[2].removeprefix(f"{item.package.name}-")),
                time=f"{item.seconds:.3f}",
            )
            numbers[_verdict(case, item)] += 1
        _number(suite, numbers, items)
        totals += numbers
    _number(root, totals, report.items)
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _verdict(case: ET.Element, item: ReportItem) -> str:
    """Write what became of an item; gives the attribute that counts it."""
    if item.status == "done":
        return "passed"
    code = (item.done and item.done.code) or item.status
    message = (item.done and item.done.message) or "not tried yet"
    if item.status == "failed":
        kind, counted = "error", "errors"
    elif item.status == "refused" and item.was == "done":
        kind, counted = "failure", "failures"
    else:
        kind, counted = "skipped", "skipped"
    told = ET.SubElement(case, kind, message=printable(f"{code}: {message}"))
    if kind != "skipped":
        told.set("type", printable(code))
    hint = item.done and item.done.hint
    told.text = printable(hint) if hint else REFUSAL_CODES[code].meaning if code in REFUSAL_CODES else None
    return counted


def _number(element: ET.Element, numbers: Mapping[str, int], items: Iterable[ReportItem]) -> None:
    items = tuple(items)
    element.set("tests", str(len(items)))
    for name in ("errors", "failures", "skipped"):
        element.set(name, str(numbers.get(name, 0)))
    element.set("time", f"{sum(item.seconds for item in items):.3f}")


def metrics(report: MirrorReport) -> str:
    """What Prometheus keeps over time. Names end in their unit; everything is a gauge, since a run starts anew."""
    return "".join(_metric(name, told, samples) for name, told, samples in _metrics(report))


def write_metrics(report: MirrorReport, path: Path) -> None:
    """Whole or not at all, as the textfile collector wants it. Raises `Failed` (disk)."""
    write_file(path, lambda: iter([metrics(report).encode("utf-8", "replace")]))


def _metrics(report: MirrorReport) -> Iterator[tuple[str, str, list[_Sample]]]:
    counts = report.counts
    yield "items", "Packages of the channel by status.", [({"status": s}, counts[s]) for s in (*RESULT_STATUSES, PENDING)]
    yield "quarantined", "Packages that are no longer tried.", [({}, counts["quarantined"])]
    yield "projects", "Projects with a wheel.", [({}, counts["projects"])]
    yield "wheels", "Wheels in the index.", [({}, counts["wheels"])]
    yield "wheels_bytes", "Size of all wheels in the index.", [({}, counts["bytes"])]
    yield "refused", "Refused packages by code.", _coded({**dict.fromkeys(REFUSAL_CODES, ()), **report.refused}, "code")
    yield "failed", "Failed packages by class.", _coded(report.failed, "class")
    if report.missing is not None:
        kinds = Counter(each.kind for each in report.missing)
        yield "missing", "Required distributions that are not here.", [({"kind": kind}, kinds[kind]) for kind in KINDS]
        yield "unjudged", "Wheels for which no Pyodide was given to look in.", [({}, report.unjudged)]
    if report.run is not None:
        yield "start_time_seconds", "When the last run began, since 1970.", [({}, report.run.started)]
        yield "duration_seconds", "How long the last run took.", [({}, report.run.seconds)]
        yield "worked", "Items that the last run worked on.", [({}, report.run.worked)]
        yield "changes", "What the last run met.", [({"kind": kind}, len(report.changes.get(kind, ()))) for kind in CHANGES]
        yield "stage_seconds", "Time in each stage, all workers.", [({"stage": s.name}, s.seconds) for s in report.stages]
        yield "downloaded_bytes", "Bytes that the last run downloaded.", [({}, report.downloaded)]
        yield "published", "Whether the last run could publish.", [({}, 0 if report.problem else 1)]
    yield "look", "Reasons for a person to look.", [({}, len(report.look))]
    told = {"converter": report.converter, "generation": report.generation or ""}
    yield "info", "Who made which generation.", [(told, 1)]


def _coded(items: Mapping[str, tuple[ReportItem, ...]], label: str) -> list[_Sample]:
    return [({label: code}, len(found)) for code, found in sorted(items.items())]


def _metric(name: str, told: str, samples: Iterable[_Sample]) -> str:
    lines = [f"# HELP {PREFIX}_{name} {told}", f"# TYPE {PREFIX}_{name} gauge"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{PREFIX}_{name}{f'{{{inside}}}' if inside else ''} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
