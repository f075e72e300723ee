"""The report as a web page: static files that any server, or a browser without a server, can show.

`report.html` has the overview; `report.js` makes the table of all packages from JSON in the page, because a page that is opened
from a disk may not request a second file. All text from packages (names, messages, hints) is escaped here, and set as text in the
script. The page's Content-Security-Policy forbids all other scripts, styles and addresses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import quote, urlencode

from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.files.escape import format_seconds, format_size, printable
from conda2wheel.mirror.report import charts

ASSETS = ("report.css", "report.js")
STATUSES = ("done", "refused", "failed", "pending")
FILTERS = (*STATUSES, "quarantined", "runs_except")  # counts by which the table can be filtered
LABELS = {"bytes": "of wheels", "runs_except": "run except for a part"}
LISTED = 200  # missing distributions in the page; report.json has all
REQUIRERS = 3  # wheels shown for each
_JSON = json.JSONEncoder(separators=(",", ":")).encode
_PLAIN = re.compile(r"[ -\[\]-~]*").fullmatch  # ASCII without a backslash: nothing in it was escaped


def pages(report: Mapping[str, Any], root: str = "") -> Mapping[str, bytes]:
    """The files of a report's page, by name.

    Args:
        report: `MirrorReport.json`, schema 1; the same report gives the same bytes.
        root: the path from the files to the folder of `blobs/`.
    """
    return pages_below(report, (root,))[0]


def pages_below(report: Mapping[str, Any], roots: Sequence[str]) -> list[dict[str, bytes]]:
    """`pages` for several roots, which takes hardly longer than for one."""
    assets = {name: files(__package__).joinpath(name).read_bytes() for name in ASSETS}
    parts = _parts(_clean({key: value for key, value in report.items() if key != "items"}))
    data = _data(report["items"])
    template = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    htmls = (template.substitute(parts, data=f'{{"root":{_script(root)},{data}}}') for root in roots)
    return [{**assets, "report.html": html.encode()} for html in htmls]


def _clean(value: Any) -> Any:
    """The same value with control characters escaped."""
    if isinstance(value, str):
        return value if value.isprintable() else printable(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {printable(key): _clean(each) for key, each in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list | tuple) else value


def _parts(report: Mapping[str, Any]) -> dict[str, str]:
    """What the template has, without the data."""
    return {
        "title": escape(f"Wheels of {', '.join(_short(channel) for channel in report['channels']) or 'no channel'}"),
        "about": escape(_about(report)),
        "look": _attention(report),
        "tiles": _tiles(report),
        "changes": _changes(report),
        "cards": "".join(_cards(report)),
        "missing": _missing(report),
        "codes": _codes(),
    }


def _short(channel: str) -> str:
    return channel.rstrip("/").rpartition("/")[2] or channel


def _stem(wheel: str) -> str:
    """NAME VERSION of a wheel's file name."""
    return " ".join(wheel.split("-")[:2])


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _about(report: Mapping[str, Any]) -> str:
    run = report["run"]
    parts = [f"{_moment(run['started'])}, {format_seconds(run['seconds'])}, {run['worked']} worked on" if run else "no run yet"]
    parts += [f"generation {report['generation']}"] if report["generation"] else []
    parts += [f"conda2wheel {report['converter']}", *report["channels"]]
    return " · ".join(parts)


def _attention(report: Mapping[str, Any]) -> str:
    if not report["look"]:
        return ""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in report["look"])
    return f'<section class="look" aria-labelledby="look"><h2 id="look">Needs attention</h2><ul>{reasons}</ul></section>'


def _link(text: str, **search: str) -> str:
    """A link to the table with a filter."""
    return f'<a href="#{escape(urlencode(search, quote_via=quote))}">{escape(text)}</a>'


def _tiles(report: Mapping[str, Any]) -> str:
    counts, before = report["counts"], report["before"]
    tiles = []
    for name in ("packages", "projects", "wheels", "bytes", "runs_except", "done", "refused", "failed", "pending", "quarantined"):
        if name in {"runs_except", "pending", "quarantined"} and not counts[name]:
            continue
        form = format_size if name == "bytes" else _number
        difference = counts[name] - before[name] if name in before else 0
        change = f"{'+' if difference > 0 else '−'}{form(abs(difference))} since last run" if difference else ""
        label = _link(LABELS.get(name, name), status=name) if name in FILTERS else LABELS.get(name, name)
        tiles.append(f'<li class="{name}"><b>{form(counts[name])}</b> {label} <small>{change}</small></li>')
    return "".join(tiles)


def _changes(report: Mapping[str, Any]) -> str:
    changed = [f"{len(which)} {kind}" for kind, which in report["changes"].items() if which]
    return f'<p class="changes">In this run: {", ".join(changed)}.</p>' if changed else ""


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _cards(report: Mapping[str, Any]) -> Iterator[str]:
    counts = report["counts"]
    parts = {status: counts[status] for status in STATUSES}
    legend = "".join(f'<li><i class="{s}"></i>{_link(s, status=s)} {_number(n)}</li>' for s, n in parts.items() if n)
    yield _card("Packages by status", f'{charts.share(parts)}<ul class="legend">{legend}</ul>')
    refused = [
        (_link(code, status="refused", code=code), each["count"], str(each["count"])) for code, each in report["refused"].items()
    ]
    if refused:
        yield _card("Refused, by code", _bars(refused, "refused"))
    partly = [
        (_link(code, status="runs_except", search=f"warning:{code}"), each["count"], str(each["count"]))
        for code, each in report["runs_except"].items()
    ]
    if partly:
        yield _card("Run except for a part, by finding", _bars(partly, "refused"))
    failed = [
        (_link(code, status="failed", code=code), each["count"], str(each["count"])) for code, each in report["failed"].items()
    ]
    if failed:
        last = "".join(
            f"<p><b>{escape(code)}</b>{': ' if each['meaning'] else ''}{escape(each['meaning'] or '')}. "
            f"Last: {escape(each['package'])}: {escape(each['message'] or 'no message')}</p>"
            for code, each in report["failed"].items()
        )
        yield _card("Failed, by class", _bars(failed, "failed") + last)
    stages = [(escape(name), each["seconds"], format_seconds(each["seconds"])) for name, each in report["stages"].items()]
    if stages:
        downloaded = f"<p>{format_size(report['downloaded'])} downloaded</p>" if report["downloaded"] else ""
        yield _card("Time in this run, all workers", _bars(stages, "time") + downloaded)
    if slow := [
        (_link(each["package"].partition("/")[2], open=each["package"]), each["seconds"], format_seconds(each["seconds"]))
        for each in report["slowest"]
    ]:
        yield _card("Slowest", _bars(slow, "time"))
    if large := [
        (_link(_stem(each["wheel"]), open=each["package"]), each["bytes"], format_size(each["bytes"]))
        for each in report["largest"]
    ]:
        yield _card("Largest wheels", _bars(large, "size"))
    if libraries := [
        (escape(_stem(each["wheel"])), each["bytes"], f"{format_size(each['bytes'])}, {each['users']} wheels")
        for each in report["libraries"]
    ]:
        yield _card("Shared libraries", _bars(libraries, "size"))
    runs = [*report["history"], *([report["run"]] if report["run"] else [])]
    if len(runs) > 1:
        recent_runs = runs[-charts.RUNS :]
        columns = [(_moment(run["started"]), {s: run["counts"].get(s, 0) for s in STATUSES}) for run in recent_runs]
        ends = f'<p class="ends"><span>{columns[0][0]}</span><span>{columns[-1][0]}</span></p>'
        yield _card(f"The last {len(columns)} runs", charts.history(columns) + ends)


def _card(title: str, content: str) -> str:
    return f'<section class="card"><h2>{escape(title)}</h2>{content}</section>\n'


def _bars(rows: Iterable[tuple[str, float, str]], kind: str) -> str:
    """A table of bars, of rows of (HTML, number, number as text)."""
    rows = list(rows)
    most = max((value for _, value, _ in rows), default=0)
    lines = "".join(
        f'<tr><th scope="row">{label}</th><td>{charts.bar(value, most, kind)}</td><td class="n">{escape(words)}</td></tr>'
        for label, value, words in rows
    )
    return f'<table class="bars">{lines}</table>'


def _data(items: Iterable[Mapping[str, Any]]) -> str:
    """The data of `report.js` beside the root: members of a JSON object in which no `</script>` or `<!--` can occur."""
    codes = {code: {"meaning": row.meaning, "advice": row.advice} for code, row in REFUSAL_CODES.items()}
    return f'"codes":{_script(codes)},"items":[{",".join(map(_item, items))}]'


def _item(item: Mapping[str, Any]) -> str:
    text = _JSON(_compact(item))
    return _for_script(text if _PLAIN(text) else _JSON(_compact(_clean(item))))


def _script(value: Any) -> str:
    return _for_script(_JSON(value))


def _for_script(text: str) -> str:
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _compact(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item without empty values, and with its URL only if it is http or https."""
    compact = {key: value for key, value in item.items() if value}
    if not re.match(r"https?://", compact.get("url", "")):
        compact.pop("url", None)
    if "wheel" in compact:
        compact["wheel"] = {key: value for key, value in item["wheel"].items() if value} | {"blob": quote(item["wheel"]["blob"])}
    return compact


def _missing(report: Mapping[str, Any]) -> str:
    if report["missing"] is None:
        return "<p>No Pyodide was searched.</p>"
    if not report["missing"]:
        return "<p>Nothing is missing: all requirements are in this index or in Pyodide.</p>" + _unjudged(report)
    columns = ("Distribution", "Wheels", "What is known", "Pyodide", "Required by")
    heads = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in columns)
    rows = "".join(_missing_row(each, report["missing_kinds"]) for each in report["missing"][:LISTED])
    left = len(report["missing"]) - LISTED
    return (
        (
            "<p>Distributions that wheels require, and that neither this index nor Pyodide has.</p>\n"
            f'<table class="wide" role="table"><thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
            f'<tbody role="rowgroup">{rows}</tbody></table>\n'
        )
        + (f"<p>{left} more are in report.json.</p>" if left > 0 else "")
        + _unjudged(report)
    )


def _unjudged(report: Mapping[str, Any]) -> str:
    return f"<p>{report['unjudged']} wheels fit no Pyodide that was searched.</p>" if report["unjudged"] else ""


def _missing_row(each: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    known = escape(kinds[each["kind"]] + (f": {', '.join(each['there'])}" if each["there"] else ""))
    if each["code"]:
        known += f" ({_link(each['code'], search=each['name'])})"
    requirers = [escape(f"{_stem(one['wheel'])}: {one['requirement']}") for one in each["wanted"][:REQUIRERS]]
    if (more := len(each["wanted"]) - REQUIRERS) > 0:
        requirers.append(_link(f"and {more} more", search=f"requires:{each['name']}"))
    cells = (("Wheels", str(len(each["wanted"]))), ("Known", known), ("Pyodide", escape(", ".join(each["pyodide"]))))
    return (
        f'<tr role="row"><th role="rowheader" scope="row">{escape(each["name"])}</th>'
        + "".join(f'<td role="cell" data-label="{label}">{content}</td>' for label, content in cells)
        + f'<td role="cell" class="wanted" data-label="Required by">{"<br>".join(requirers)}</td></tr>'
    )


def _codes() -> str:
    return "".join(
        f'<dt id="code-{code}"><code>{code}</code></dt>'
        f"<dd>{_ticks(row.meaning)}. What to do: {_ticks(row.advice)}. "
        f"{_link('Its packages', status='refused', code=code)}</dd>\n"
        for code, row in REFUSAL_CODES.items()
    )


def _ticks(text: str) -> str:
    """Text as HTML, with code in backticks as `<code>`."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
