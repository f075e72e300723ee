"""What piplite of JupyterLite reads: `all.json`, and wheels with names that `jupyter lite build` takes.

Measured with jupyterlite-pyodide-kernel 0.7.2 (Pyodide 0.29.3) and 0.8.6 (314.0.6):

* The addon looks for wheels by patterns of file names: `*py3-none-any.whl`, `*emscripten_*_wasm32.whl`, `*pyodide_*_wasm32.whl`,
  and 0.8 also `*pyemscripten_*_wasm32.whl`. 0.7 breaks where two match one name ("'post_build' has duplicated definition").
* micropip of Pyodide 0.29.3 takes `pyodide_2025_0`, and not `pyemscripten_2025_0`; that of 314 takes both forms.
* piplite reads tags from `filename` and downloads from `url`, so that these may differ. It appends `?sha256=...` to the `url` of
  a file beside `all.json`, so that a metadata file is never found.
* `all.json` of the addon has one wheel of each version; piplite chooses among several.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.tags import Tag
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from conda2wheel.abi.platforms import compressed_tags, parse
from conda2wheel.conda.origin import MemberSource
from conda2wheel.files.packagefile import BytesBlob, Limits
from conda2wheel.files.reading import corrupt
from conda2wheel.index.simple import IndexFile
from conda2wheel.wheel import editor
from conda2wheel.wheel.reader import read_wheel
from conda2wheel.wheel.writer import build_wheel

ALL_JSON = "all.json"
_PURE = "py3-none-any.whl"


def piplite_name(filename: str) -> str | None:
    """The name under which `jupyter lite build` and piplite take a wheel; None for one that is not for Pyodide.

    >>> piplite_name("demo-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.pyodide_2025_0_wasm32.whl")
    'demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl'
    >>> piplite_name("demo-1.0-cp311-abi3-pyemscripten_2025_0_wasm32.pyemscripten_2026_0_wasm32.whl")
    'demo-1.0-cp311-abi3-pyodide_2025_0_wasm32.pyodide_2026_0_wasm32.whl'
    >>> piplite_name("demo-1.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl")
    'demo-1.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl'
    >>> piplite_name("demo-1.0-py38-none-any.whl")
    'demo-1.0-py3-none-any.whl'
    >>> piplite_name("demo-1.0-cp313-cp313-manylinux_2_28_x86_64.whl") is None
    True
    """
    *head, python, abi, platform = filename.removesuffix(".whl").split("-")
    if platform == "any":
        if filename.endswith(_PURE) or abi != "none":
            return filename if abi == "none" else None
        is_python_3 = any(each.startswith(("py3", "cp3")) for each in python.split("."))
        return "-".join([*head, _PURE]) if is_python_3 else None
    rows = {row.name: row for tag in platform.split(".") if (row := parse(tag)) is not None}
    if not rows:
        return None
    tags = compressed_tags(rows.values(), "pyodide")
    if "." in tags:  # the patterns that match one name must not be two
        tags = ".".join(tag.replace("pyemscripten_", "pyodide_") for tag in sorted(tags.split("."), key=_year))
    return "-".join([*head, python, abi, f"{tags}.whl"])


def _year(tag: str) -> str:
    return tag.partition("_")[2]


def renamed_wheel(path: Path, filename: str, limits: Limits | None = None) -> Iterator[bytes]:
    """The bytes of a wheel under another name of its tags: members keep theirs, but for the `Tag` lines of WHEEL and for RECORD.

    Raises:
        Refused: corrupt-archive, unsafe-archive, too-large.
        Failed: not-found, unreadable.
    """
    wheel = read_wheel(path, limits)
    info = wheel.info("WHEEL")
    if info is None:
        raise corrupt(str(path), f"not a wheel: it has no {wheel.dist_info}/WHEEL")
    tags: Iterable[Tag] = parse_wheel_filename(filename)[3]
    text = info.blob.read().decode("utf-8", "surrogateescape")
    new = BytesBlob(editor.wheel_file(text, tags, native=False).encode("utf-8", "surrogateescape"))
    source = MemberSource(kind="wheel", name=wheel.name, version=wheel.version, filename=path.name, sha256="", license=None)
    members = editor.members(wheel, source, {info.path: (new, {})}, ())
    return build_wheel(members, wheel.dist_info, wheel.timestamp)


def all_json(projects: Iterable[tuple[str, IndexFile, str]]) -> str:
    """The text of `all.json`.

    Args:
        projects: normalised names, entries with addresses that are whole or relative to `all.json`, and names for piplite.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for project, file, name in sorted(projects, key=lambda each: (each[0], Version(each[1].version), each[2])):
        release = {
            "comment_text": "",
            "digests": {"sha256": file.sha256},
            "downloads": -1,
            "filename": name,
            "has_sig": False,
            "packagetype": "bdist_wheel",
            "python_version": "py3",
            "requires_python": file.requires_python,
            "size": file.size,
            "url": file.url,
            "yanked": False,
            "yanked_reason": None,
        }
        found.setdefault(project, {}).setdefault(file.version, []).append(release)
    return json.dumps({project: {"releases": versions} for project, versions in found.items()}, indent=2) + "\n"
