"""The report for machines: JUnit XML for CI systems, and metrics for the textfile collector of Prometheus' node exporter.

JUnit has a test case an item. A failed item is an `error`, and an item that had a wheel before and is refused now is a `failure`.
Any other refusal is `skipped`, with its code: it is a verdict about the package and does not change, so that a CI that failed for
it would always fail. Items that were not tried yet are skipped as well.

Metrics are in the text format 0.0.4: HELP and TYPE before the samples, and no time stamps, which the collector does not accept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.files.escape import printable
from conda2wheel.files.writing import write_file
from conda2wheel.mirror.report.missing import KINDS
from conda2wheel.mirror.report.model import CHANGES, PENDING, MirrorReport, ReportItem
from conda2wheel.mirror.report.pages import pages_below
from conda2wheel.mirror.report.text import text
from conda2wheel.mirror.state.model import RESULT_STATUSES

PREFIX = "conda2wheel_mirror"
_Sample = tuple[Mapping[str, str], float]


def files(report: MirrorReport, root: str = "") -> dict[str, bytes]:
    """All files of a report that are served, by name: the page and its parts, report.json, report.xml, report.txt.

    Args:
        report: the report; the same report gives the same bytes.
        root: the path from the files to the folder of `blobs/`.
    """
    return files_below(report, (root,))[0]


def files_below(report: MirrorReport, roots: Sequence[str]) -> list[dict[str, bytes]]:
    """`files` for several roots, in which only the page differs."""
    document = report.json()
    texts = {"report.json": _json(document), "report.xml": junit(report), "report.txt": text(report, every=True)}
    contents = {name: content.encode("utf-8", "replace") for name, content in texts.items()}
    return [contents | found for found in pages_below(document, roots)]


def json_text(report: MirrorReport) -> str:
    """`MirrorReport.json` as ASCII text, which any reader accepts."""
    return _json(report.json())


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document) + "\n"  # in one line: json writes indented text ten times as slowly


def junit(report: MirrorReport) -> str:
    """JUnit XML with a `testsuite` a channel and a `testcase` an item, of class SUBDIR.NAME and name VERSION-BUILD."""
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
    """Write the result of an item; returns the attribute that counts it."""
    if item.status == "done":
        return "passed"
    code = (item.result and item.result.code) or item.status
    message = (item.result and item.result.message) or "not tried yet"
    if item.status == "failed":
        kind, counted = "error", "errors"
    elif item.status == "refused" and item.previous_status == "done":
        kind, counted = "failure", "failures"
    else:
        kind, counted = "skipped", "skipped"
    element = ET.SubElement(case, kind, message=printable(f"{code}: {message}"))
    if kind != "skipped":
        element.set("type", printable(code))
    hint = item.result and item.result.hint
    element.text = printable(hint) if hint else REFUSAL_CODES[code].meaning if code in REFUSAL_CODES else None
    return counted


def _number(element: ET.Element, numbers: Mapping[str, int], items: Iterable[ReportItem]) -> None:
    items = tuple(items)
    element.set("tests", str(len(items)))
    for name in ("errors", "failures", "skipped"):
        element.set(name, str(numbers.get(name, 0)))
    element.set("time", f"{sum(item.seconds for item in items):.3f}")


def metrics(report: MirrorReport) -> str:
    """Metrics for Prometheus. Names end in their unit; all are gauges, since each run starts anew."""
    return "".join(_metric(name, meaning, samples) for name, meaning, samples in _metrics(report))


def write_metrics(report: MirrorReport, path: Path) -> None:
    """Write the metrics file atomically, as the textfile collector requires. Raises `Failed` (disk)."""
    write_file(path, lambda: iter([metrics(report).encode("utf-8", "replace")]))


def _metrics(report: MirrorReport) -> Iterator[tuple[str, str, list[_Sample]]]:
    counts = report.counts
    yield "items", "Packages of the channel by status.", [({"status": s}, counts[s]) for s in (*RESULT_STATUSES, PENDING)]
    yield "quarantined", "Packages that are no longer tried.", [({}, counts["quarantined"])]
    yield "projects", "Projects with a wheel.", [({}, counts["projects"])]
    yield "wheels", "Wheels in the index.", [({}, counts["wheels"])]
    yield "wheels_bytes", "Size of all wheels in the index.", [({}, counts["bytes"])]
    yield "wheels_runs_except", "Wheels of which a part does not run.", [({}, counts["runs_except"])]
    yield "refused", "Refused packages by code.", _coded({**dict.fromkeys(REFUSAL_CODES, ()), **report.refused}, "code")
    yield "failed", "Failed packages by class.", _coded(report.failed, "class")
    if report.missing is not None:
        kinds = Counter(each.kind for each in report.missing)
        yield "missing", "Required distributions that are not here.", [({"kind": kind}, kinds[kind]) for kind in KINDS]
        yield "unjudged", "Wheels that fit no Pyodide that was searched.", [({}, report.unjudged)]
    if report.run is not None:
        yield "start_time_seconds", "When the last run began, since 1970.", [({}, report.run.started)]
        yield "duration_seconds", "How long the last run took.", [({}, report.run.seconds)]
        yield "worked", "Items that the last run worked on.", [({}, report.run.worked)]
        yield (
            "changes",
            "Changes that the last run found.",
            [({"kind": kind}, len(report.changes.get(kind, ()))) for kind in CHANGES],
        )
        yield "stage_seconds", "Time in each stage, all workers.", [({"stage": s.name}, s.seconds) for s in report.stages]
        yield "downloaded_bytes", "Bytes that the last run downloaded.", [({}, report.downloaded)]
        yield "published", "Whether the last run could publish.", [({}, 0 if report.problem else 1)]
    yield "look", "Reasons for a person to look.", [({}, len(report.attention))]
    info = {"converter": report.converter, "generation": report.generation or ""}
    yield "info", "The current generation and the converter that made it.", [(info, 1)]


def _coded(items: Mapping[str, tuple[ReportItem, ...]], label: str) -> list[_Sample]:
    return [({label: code}, len(found)) for code, found in sorted(items.items())]


def _metric(name: str, meaning: str, samples: Iterable[_Sample]) -> str:
    lines = [f"# HELP {PREFIX}_{name} {meaning}", f"# TYPE {PREFIX}_{name} gauge"]
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{PREFIX}_{name}{f'{{{pairs}}}' if pairs else ''} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
