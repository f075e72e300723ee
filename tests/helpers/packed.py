"""Conda packages written in one go: what rattler-build would write, without a process for each, and the same bytes each time."""

from __future__ import annotations

import bz2
import hashlib
import json
import posixpath
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
import zstandard

from tests.helpers.conda import Link, tar

Files = Mapping[str, bytes | Link]


def pack(
    folder: Path,
    index: Mapping[str, Any],
    files: Files,
    *,
    about: Mapping[str, Any],
    info: Files,
    archive: str = "tar.bz2",
    level: int | None = None,
) -> Path:
    """Write NAME-VERSION-BUILD.<archive> into a folder. `index` is its index.json; paths.json is made of `files`; `info` are more
    files of info/, by their names there; `level` is bz2's or zstd's: 1 or 3, which are fast."""
    path = folder / f"{index['name']}-{index['version']}-{index['build']}.{archive}"
    described: dict[str, bytes | Link] = {
        "info/index.json": dumped(index),
        "info/about.json": dumped(about),
        "info/paths.json": dumped({"paths": _paths(files), "paths_version": 1}),
        **{f"info/{name}": content for name, content in info.items()},
    }
    if archive == "tar.bz2":
        path.write_bytes(bz2.compress(tar({**described, **files}), level or 1))
        return path
    compress = zstandard.ZstdCompressor(level=level or 3, threads=0 if level is None else -1).compress
    stem = path.name.removesuffix(".conda")
    with zipfile.ZipFile(path, "w") as zipped:  # ZipInfo's own date is 1980: the same bytes each time
        for name, content in (
            ("metadata.json", b'{"conda_pkg_format_version":2}'),
            (f"pkg-{stem}.tar.zst", compress(tar(files))),
            (f"info-{stem}.tar.zst", compress(tar(described))),
        ):
            zipped.writestr(zipfile.ZipInfo(name), content)
    return path


def recipe(index: Mapping[str, Any], host: Sequence[Mapping[str, Any]], compiler: str) -> Files:
    """The files of info/ from which the compiler follows, as rattler-build leaves them: the resolved build and host packages, and
    the variant."""
    variant = {"c_compiler": "emscripten", "c_compiler_version": compiler, "target_platform": index["subdir"]}
    tool = "emscripten_emscripten-wasm32"
    build = {"name": tool, "version": compiler, "build": "h4616a5c_0", "build_number": 0, "depends": [], "subdir": "noarch"}
    rendered = {
        "recipe": {"package": {"name": index["name"], "version": index["version"]}, "build": {"string": index["build"]}},
        "build_configuration": {"target_platform": index["subdir"], "variant": variant},
        "finalized_dependencies": {
            "build": {"specs": [{"source": f"{tool} {compiler}.*"}], "resolved": [build]},
            "host": {"specs": [{"source": record["name"]} for record in host], "resolved": list(host)},
        },
    }
    return {
        "hash_input.json": dumped(variant),
        "recipe/variant_config.yaml": "".join(f"{key}: {value}\n" for key, value in variant.items()).encode(),
        "recipe/rendered_recipe.yaml": yaml.dump(rendered, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)).encode(),
        "tests/tests.yaml": b"[]\n",
    }


def dumped(document: Any) -> bytes:
    """JSON as rattler-build writes it."""
    return json.dumps(document, indent=2, sort_keys=True).encode()


def _paths(files: Files) -> list[dict[str, Any]]:
    rows = []
    for path, content in sorted(files.items()):
        if isinstance(content, Link):  # conda's rows have the target's hash and the length of the link's text
            target = files[posixpath.normpath(posixpath.join(posixpath.dirname(path), content.target))]
            assert isinstance(target, bytes)
            row = {"path_type": "softlink", "sha256": hashlib.sha256(target).hexdigest(), "size_in_bytes": len(content.target)}
        else:
            row = {"path_type": "hardlink", "sha256": hashlib.sha256(content).hexdigest(), "size_in_bytes": len(content)}
        rows.append({"_path": path, **row})
    return rows
