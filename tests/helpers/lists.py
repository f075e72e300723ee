"""Channels that list what a test says, in each form, without packages."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import zstandard

FORMS = ("plain", "zst", "current", "sharded")
NAMES = {"plain": "repodata.json", "zst": "repodata.json.zst", "current": "current_repodata.json"}
SOUND = {
    "name": "spam",
    "version": "1.0",
    "build": "h_0",
    "build_number": 0,
    "depends": ["python >=3.13,<3.14.0a0"],
    "subdir": "emscripten-wasm32",
    "sha256": "a" * 64,
    "size": 1,
}
# Records that cannot be used, by file name: what differs from SOUND, and a part of the reason.
ODD: dict[str, tuple[dict[str, Any], str]] = {
    "x-1.0..!-0.tar.bz2": ({"version": "1.0..!"}, "malformed version"),
    "capital-1.0-h_0.conda": ({"name": "Capital"}, "capitals"),
    "nosuch.tar.bz2": ({}, "file name"),
    "../../evil-1-0.conda": ({}, "file name"),
    "b-1-0.conda": ({"build": "a b"}, "build string"),
    "n-1-0.conda": ({"build_number": "1"}, "build number"),
    "h-1-0.conda": ({"sha256": "zz"}, "sha256"),
    "s-1-0.conda": ({"subdir": "linux-64"}, "subdir"),
    "d-1-0.conda": ({"depends": ["a" + "(" * 20_000]}, "no match spec"),
    "l-1-0.conda": ({"depends": "numpy"}, "no list of match specs"),
    "t-1-0.conda": ({"timestamp": 1 << 62}, "timestamp"),
    "o-1-0.conda": ({"noarch": "bogus"}, "bogus"),
    "m-1-0.conda": ({"md5": "zz"}, "digest"),
    "u-1-0.conda": ({"license": "\ud800"}, "surrogate"),
    "q-1-0.conda": ({"license": {"deep": 1}}, "license"),
}


def odd_records() -> dict[str, dict[str, Any]]:
    """SOUND, and every record of ODD, by file name."""
    odd = {filename: {**SOUND, "name": filename[0], **change} for filename, (change, _) in ODD.items()}
    return {"spam-1.0-h_0.conda": dict(SOUND), **odd}


def channel(root: Path, form: str, records: Mapping[str, Mapping[str, Any]], info: Mapping[str, Any] | None = None) -> Path:
    """Write the lists of a channel: `records` for emscripten-wasm32, and nothing for noarch."""
    for subdir in ("emscripten-wasm32", "noarch"):
        folder = root / subdir
        folder.mkdir(parents=True, exist_ok=True)
        listed = records if subdir == "emscripten-wasm32" else {}
        if form == "sharded":
            _shards(folder, listed, {"subdir": subdir, **(info or {})})
            continue
        data = json.dumps({"info": {"subdir": subdir, **(info or {})}, **_tables(listed)}).encode()
        (folder / NAMES[form]).write_bytes(zstandard.compress(data) if form == "zst" else data)
    return root


def _tables(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    tars = {name: record for name, record in records.items() if name.endswith(".tar.bz2")}
    return {"packages": tars, "packages.conda": {name: record for name, record in records.items() if name not in tars}}


def _shards(folder: Path, records: Mapping[str, Mapping[str, Any]], info: Mapping[str, Any]) -> None:
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for filename, record in records.items():
        binary = copy.deepcopy(dict(record))
        if len(str(binary.get("sha256"))) == 64:
            binary["sha256"] = bytes.fromhex(binary["sha256"])
        by_name.setdefault(str(record["name"]), {})[filename] = binary
    shards = {}
    for name, listed in by_name.items():
        data = zstandard.compress(msgpack.packb(_tables(listed), unicode_errors="surrogatepass"))
        sha256 = hashlib.sha256(data)
        shards[name] = sha256.digest()
        (folder / f"{sha256.hexdigest()}.msgpack.zst").write_bytes(data)
    listing = {"info": {"base_url": "", "shards_base_url": "", **info}, "shards": shards}
    (folder / "repodata_shards.msgpack.zst").write_bytes(zstandard.compress(msgpack.packb(listing)))
