"""What another index, such as PyPI, has for Pyodide of a mirror's projects.

The answers are kept in the store for a week, so that a run asks little; one that fails leaves its project unknown.
"""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import unquote

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from conda2wheel.errors import Conda2WheelError
from conda2wheel.files.documents import DocumentError, parse_json
from conda2wheel.mirror.store.base import Store
from conda2wheel.net.download import FileRequests

KNOWN = "pypi.json"  # in the store
WEEK = 7 * 86400.0
AT_ONCE = 6
LARGEST = 32 << 20  # bytes of a page
_WHEEL = re.compile(r">\s*([^<>\s]+\.whl)\s*</a", re.IGNORECASE)


@dataclass(frozen=True)
class OtherIndex:
    """Another index.

    Attributes:
        url: the address of its simple pages.
        now: seconds since 1970.
    """

    url: str
    now: float

    def tags(self, store: Store, projects: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The platform tags for Pyodide, or any, that the index has of projects; those that could not be asked are missing."""
        known = _read(store)
        wanted = sorted(set(projects))
        fresh = {name: known[name] for name in wanted if name in known and 0 <= self.now - known[name][0] < WEEK}
        asked = self._ask([name for name in wanted if name not in fresh])
        if asked:
            found = {**known, **{name: (self.now, tags) for name, tags in asked.items()}}
            rows = {name: {"asked": moment, "tags": list(tags)} for name, (moment, tags) in sorted(found.items())}
            store.put(KNOWN, (json.dumps({"schema": 1, "projects": rows}) + "\n").encode())
        older = {name: known[name] for name in wanted if name in known and name not in asked}
        return {name: tags for name, (_, tags) in older.items()} | asked

    def _ask(self, names: list[str]) -> dict[str, tuple[str, ...]]:
        if not names:
            return {}
        requests = FileRequests()
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                answers = pool.map(lambda name: self._tags(requests, name), names)
                return {name: tags for name, tags in zip(names, answers, strict=True) if tags is not None}
        finally:
            requests.close()

    def _tags(self, requests: FileRequests, name: str) -> tuple[str, ...] | None:
        """What the index has of a project; None where it does not say."""
        page = io.BytesIO()
        try:
            requests.get(f"{self.url.rstrip('/')}/{name}/", page, LARGEST)
        except Conda2WheelError as error:
            return () if error.code == "not-found" else None
        return pyodide_tags(page.getvalue().decode("utf-8", "replace"))


def pyodide_tags(page: str) -> tuple[str, ...]:
    """The platform tags for Pyodide, or any, of the wheels on a page (PEP 503).

    >>> pyodide_tags('<a href="x">a-1-py3-none-any.whl</a><a>a-1-cp313-cp313-pyemscripten_2025_0_wasm32.whl</a><a>a-1.zip</a>')
    ('any', 'pyemscripten_2025_0_wasm32')
    """
    found: set[str] = set()
    for text in _WHEEL.findall(page):
        try:
            tags = parse_wheel_filename(unquote(html.unescape(text)))[3]
        except (InvalidWheelFilename, ValueError):
            continue
        found |= {
            tag.platform
            for tag in tags
            if tag.platform.endswith("wasm32") or (tag.platform == "any" and "py3" in tag.interpreter)
        }
    return tuple(sorted(found))


def _read(store: Store) -> dict[str, tuple[float, tuple[str, ...]]]:
    """What was asked before: the time and the answer; nothing if it is damaged."""
    try:
        rows = parse_json(store.get(KNOWN) or b"{}")["projects"]
        return {str(name): (float(row["asked"]), tuple(map(str, row["tags"]))) for name, row in rows.items()}
    except (DocumentError, KeyError, TypeError, ValueError, AttributeError):
        return {}
