"""The command line of `scripts/bench`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import audit, convert, document, downloads, figures, mirror, packages, page, serve, tables
from tests.helpers.pyemscripten import published

PARTS = ("convert", "audit", "downloads", "mirror", "serve")
BY_DEFAULT = ("convert", "audit", "downloads")


def parsed(words: Sequence[str], usage: str) -> argparse.Namespace:
    """The arguments; the help is the script's own docstring."""
    parser = argparse.ArgumentParser(prog="scripts/bench", usage=usage, add_help=False)
    parser.add_argument("what", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--from", type=Path, dest="source")
    parser.add_argument("--sizes", type=lambda text: [float(each) for each in text.split(",")])
    parser.add_argument("--counts", type=lambda text: [int(each) for each in text.split(",") if each])
    parser.add_argument("--artifacts", type=int, default=mirror.ARTIFACTS)
    return parser.parse_args(words)


def main(words: Sequence[str], usage: str) -> int:
    """Measure the parts that were asked for; figures go to stdout as they come, the document to --json."""
    asked = parsed(words, usage)
    if asked.help:
        print(usage)
        return 0
    names = [each for each in asked.what if each in (*PARTS, "all")]
    paths = [Path(each) for each in asked.what if each not in (*PARTS, "all")]
    for path in paths:
        if not path.is_file():
            print(f"scripts/bench: {path}: neither a part ({', '.join(PARTS)}, all) nor a file", file=sys.stderr)
            return 2
    if asked.source is not None:
        made = json.loads(asked.source.read_text(encoding="utf-8"))
    else:
        chosen = PARTS if "all" in names else tuple(names) or (("convert",) if paths else BY_DEFAULT)
        made = document.document(_measured(chosen, asked, paths), asked.quick)
        if asked.json is not None:
            if asked.json.is_file():
                made = document.merged(json.loads(asked.json.read_text(encoding="utf-8")), made)
            asked.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    if asked.plot is not None:
        page.draw(figures.figures(made), asked.plot)
    if asked.docs:
        page.write(made)
    return 0


def _measured(chosen: Sequence[str], asked: argparse.Namespace, paths: list[Path]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        # Installed programs have their bytecode; a process that must not write it measures the compiler.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ.setdefault("PYTHONPYCACHEPREFIX", folder)
        return {name: _measure(name, asked, paths) for name in chosen}


def _measure(name: str, asked: argparse.Namespace, paths: list[Path]) -> dict[str, Any]:
    if name == "convert":
        if paths:
            return _given(paths)
        wanted = asked.sizes or ([packages.SIZES[0].megabytes] if asked.quick else None)
        sizes = [each for each in packages.SIZES if wanted is None or each.megabytes in wanted]
        counts = asked.counts if asked.counts is not None else () if asked.quick else packages.COUNTS
        with_many = wanted is None or packages.MANY_SIZE / packages.MB in wanted
        part = convert.bench(sizes, counts, rounds=1 if asked.quick else None, with_many=with_many, report=_show)
        _show(tables.threads_table(part["threads"]))
        return part
    if name == "audit":
        given = paths or ([published("contourpy-1.4.0-cp313").get()] if asked.quick else None)
        return audit.bench(given, rounds=1 if asked.quick else None, report=_show)
    if name == "mirror":
        part = mirror.bench(asked.artifacts)
        _show(mirror.table(part))
        return part
    part, table = (
        (downloads.bench(1 if asked.quick else None), downloads.table) if name == "downloads" else (serve.bench(), serve.table)
    )
    _show(table(part))
    return part


def _given(paths: list[Path]) -> dict[str, Any]:
    """Packages that were named."""
    rows = []
    _show(tables.convert_head())
    for path in paths:
        rows.append({"size": path.name.partition("-")[0], **convert.one(path), "memory": convert.memory(path)})
        _show(tables.convert_row(rows[-1]))
    return document.part(by_size=rows, by_count=[], threads=[])


def _show(text: str) -> None:
    print(text, flush=True)
