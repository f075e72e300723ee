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

from tests.bench import audit, convert, document, downloads, mirror, packages, serve, tables

PARTS = ("convert", "audit", "downloads", "mirror", "serve")
BY_DEFAULT = ("convert", "audit", "downloads")


def parsed(words: Sequence[str], usage: str) -> argparse.Namespace:
    """The arguments; the help is the script's own docstring."""
    parser = argparse.ArgumentParser(prog="scripts/bench", usage=usage, add_help=False)
    parser.add_argument("what", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--json", type=Path)
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
    chosen = PARTS if "all" in names else tuple(names) or (("convert",) if paths else BY_DEFAULT)
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        # Installed programs have their bytecode; a process that must not write it measures the compiler.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ.setdefault("PYTHONPYCACHEPREFIX", folder)
        for name in chosen:
            measured[name] = _measure(name, asked, paths)
    if asked.json is not None:
        made = document.document(measured, quick=False)
        if asked.json.is_file():
            made = document.merged(json.loads(asked.json.read_text(encoding="utf-8")), made)
        asked.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


def _measure(name: str, asked: argparse.Namespace, paths: list[Path]) -> dict[str, Any]:
    if name == "convert":
        if paths:
            return _given(paths)
        sizes = [each for each in packages.SIZES if asked.sizes is None or each.megabytes in asked.sizes]
        counts = packages.COUNTS if asked.counts is None else asked.counts
        part = convert.bench(sizes, counts, report=_show)
        _show(tables.threads_table(part["threads"]))
        return part
    if name == "audit":
        return audit.bench(paths or None, report=_show)
    if name == "mirror":
        part = mirror.bench(asked.artifacts)
        _show(mirror.table(part))
        return part
    part, table = (downloads.bench(), downloads.table) if name == "downloads" else (serve.bench(), serve.table)
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
