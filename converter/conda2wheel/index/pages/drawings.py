"""SVG files: the graph of what a wheel NEEDs, and a package's badge.

They have no script, no style sheet and no address, and all texts in them are escaped, so that they are safe as files and inside a
page. Colours are attributes, which a page's style sheet overrides by the classes.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from conda2wheel.files.escape import printable
from conda2wheel.index.pages.catalogue import CataloguePackage, WheelLibrary

ROW, GAP, HEIGHT, MARGIN, LETTER = 34, 56, 26, 6, 7.3  # pixels
GROUPED = 4  # modules that NEED the same libraries: so many have boxes of their own
LETTERS = 30  # of a box
MOST = 400  # libraries in a picture
COLOURS = {"module": "#e8eef4", "vendored": "#e6f2e9", "shared": "#f3ecdc", "provided": "#ededed"}
BADGE = {
    "runs": "#1b7a45",
    "partly": "#94600a",
    "programs": "#2b5c8a",
    "nowhere": "#5f6670",
    "pending": "#5f6670",
    "failed": "#5f6670",
    "refused": "#5f6670",
}


@dataclass(frozen=True)
class _Node:
    """A box: its text, its kind, and what it stands for."""

    text: str
    kind: str
    title: str


def needed_graph(title: str, libraries: Sequence[WheelLibrary]) -> str | None:
    """Draw which members of a wheel NEED which libraries, from left to right; None where they NEED none."""
    libraries = libraries[:MOST]
    if not libraries:
        return None
    nodes, edges = _graph(libraries)
    columns = _columns(nodes, edges)
    places: dict[str, tuple[int, int, int]] = {}
    width = MARGIN
    for column in columns:
        wide = round(max(len(_shortened(nodes[name].text)) for name in column) * LETTER) + 20
        places |= {name: (width, MARGIN + row * ROW, wide) for row, name in enumerate(column)}
        width += wide + GAP
    width += MARGIN - GAP
    height = 2 * MARGIN + max(map(len, columns)) * ROW - (ROW - HEIGHT)
    lines = [_line(places[start], places[end]) for start, end in edges]
    boxes = [_box(places[name], node) for name, node in nodes.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="needed" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label="{_text(title)}" font-family="ui-monospace, DejaVu Sans Mono, monospace" font-size="12">'
        f"<title>{_text(title)}</title>{''.join(lines)}{''.join(boxes)}</svg>\n"
    )


def _graph(libraries: Sequence[WheelLibrary]) -> tuple[dict[str, _Node], list[tuple[str, str]]]:
    """Boxes by name, and lines between them; modules that NEED the same are one box."""
    nodes: dict[str, _Node] = {}
    needs: dict[str, list[str]] = defaultdict(list)
    kinds = {library.name: library.kind for library in libraries}
    for library in libraries:
        nodes[library.name] = _Node(posixpath.basename(library.name), library.kind, _about(library))
        for user in library.needed_by:
            needs[user].append(library.name)
    edges = [(user, name) for user, names in needs.items() if user in kinds for name in names if name != user]
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for user, names in needs.items():
        if user not in kinds:
            groups[tuple(sorted(names))].append(user)
    for group, users in groups.items():
        together = [users] if len(users) > GROUPED else [[user] for user in users]
        for members in together:
            key = "\n".join(members)
            text = posixpath.basename(members[0]) if len(members) == 1 else f"{len(members)} modules"
            nodes[key] = _Node(text, "module", ", ".join(members[:20]))
            edges += [(key, name) for name in group]
    return nodes, edges


def _about(library: WheelLibrary) -> str:
    words = {"vendored": "in this wheel", "shared": "in another wheel", "provided": "not in the wheel"}[library.kind]
    return f"{library.name}: {words}{f', from {library.source}' if library.source else ''}"


def _columns(nodes: Mapping[str, _Node], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Names by column: each is to the right of all that NEED it, as far as there is no circle. What is provided comes last."""
    users: dict[str, set[str]] = defaultdict(set)
    for start, end in edges:
        users[end].add(start)
    depth = dict.fromkeys(nodes, 0)
    for _ in range(min(len(nodes), 12)):  # a circle would push its members for ever
        new = {name: max((depth[user] + 1 for user in users[name]), default=0) for name in nodes}
        if new == depth:
            break
        depth = new
    inner = [name for name, node in nodes.items() if node.kind != "provided"]
    levels = sorted({depth[name] for name in inner})
    found = [sorted((name for name in inner if depth[name] == level), key=lambda name: nodes[name].text) for level in levels]
    provided = sorted((name for name, node in nodes.items() if node.kind == "provided"), key=lambda name: nodes[name].text)
    return [*found, provided] if provided else found


def _line(start: tuple[int, int, int], end: tuple[int, int, int]) -> str:
    x1, y1, x2, y2 = start[0] + start[2], start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    if x2 <= start[0]:  # back, or within a column
        x2 = end[0] + end[2]
        return f'<path d="M{x1} {y1}C{x1 + 40} {y1} {x2 + 40} {y2} {x2} {y2}" fill="none" stroke="#9aa3ad"/>'
    middle = (x1 + x2) // 2
    return f'<path d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}" fill="none" stroke="#9aa3ad"/>'


def _box(place: tuple[int, int, int], node: _Node) -> str:
    x, y, width = place
    return (
        f'<g class="{node.kind}"><title>{_text(node.title)}</title>'
        f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="4" fill="{COLOURS[node.kind]}" stroke="#9aa3ad"/>'
        f'<text x="{x + 9}" y="{y + 17}" fill="#20242a">{_text(_shortened(node.text))}</text></g>'
    )


def badge(package: CataloguePackage, shown: Mapping[str, str]) -> str:
    """Draw a package's badge.

    Args:
        package: the package.
        shown: the short form of the versions that it names, by version.
    """
    versions = dict.fromkeys(shown[each] for each in reversed([*package.runs, *package.partly]) if each in shown)
    words = {"runs": ", ".join(versions), "partly": f"{', '.join(versions)} in part"}
    plain = {"runs": "runs", "partly": "in part", "programs": "programs", "refused": "refused"}
    right = words.get(package.state) or plain.get(package.state, "not yet")
    first, second = _width("Pyodide"), _width(right)
    whole, label = first + second, f"Pyodide: {right}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{_text(label)}">'
        f"<title>{_text(label)}</title>"
        f'<rect width="{whole}" height="20" rx="3" fill="{BADGE[package.state]}"/>'
        f'<path d="M3 0H{first}V20H3A3 3 0 0 1 0 17V3A3 3 0 0 1 3 0Z" fill="#4a4f57"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana, DejaVu Sans, sans-serif" font-size="11">'
        f'<text x="{first / 2}" y="14" textLength="{first - 12}">Pyodide</text>'
        f'<text x="{first + second / 2}" y="14" textLength="{second - 12}">{_text(right)}</text></g></svg>\n'
    )


def _width(text: str) -> int:
    """The width of a half of a badge: text in Verdana of 11 pixels, and its margins."""
    return round(sum(3.9 if each in " .,:il" else 7.0 for each in text)) + 12


def _shortened(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 13]}…{text[-12:]}"


def _text(text: str) -> str:
    """A text of untrusted origin for XML, which has no control characters."""
    return escape(printable(text))
