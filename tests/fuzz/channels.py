"""Targets: what channels say: repodata, and the info part of their packages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import msgpack
import zstandard

from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.lists import ChannelLists, PackageList
from conda2wheel.channels.records import read
from conda2wheel.channels.remote_info import read_local_info
from conda2wheel.channels.repodata import channel_url
from conda2wheel.channels.search import builds
from conda2wheel.mirror.plan.select import class_of, list_packages, refused
from conda2wheel.mirror.state.match_specs import MatchSpecs
from tests.fuzz import seeds
from tests.fuzz.archives import TARGETS as ARCHIVES
from tests.fuzz.model import Target, require
from tests.fuzz.mutate import either, json_document, plain, tokens
from tests.fuzz.work import scratch

RECORD = {key: value for key, value in seeds.INDEX.items() if key != "constrains"}


def _run_repodata(data: bytes) -> None:
    with scratch() as folder:
        for subdir in ("emscripten-wasm32", "noarch"):
            (folder / "channel" / subdir).mkdir(parents=True)
            (folder / "channel" / subdir / "repodata.json").write_bytes(data if subdir != "noarch" else b'{"packages": {}}')
        downloads = Downloads(cache=folder / "cache")
        address = (folder / "channel").as_uri()
        found = list_packages([address], downloads).packages
        for each in found:
            _ = (class_of(each), refused(each))
            require(bool(each.sha256), "a package without sha256")
        MatchSpecs(["demo >=1", "*"]).fit(found)
        builds("demo", [address], downloads)


def _repodata_seeds() -> Iterator[bytes]:
    rows = {
        "demo-1.0-py313h1_0.conda": {**RECORD, "sha256": "0" * 64, "md5": "0" * 32, "size": 10},
        "demo-0.9-py313h1_0.conda": {**RECORD, "version": "0.9", "sha256": "1" * 64, "size": 10, "track_features": "x"},
    }
    yield json.dumps(
        {"info": {"subdir": "emscripten-wasm32"}, "packages.conda": rows, "packages": {}, "repodata_version": 1}
    ).encode()
    yield json.dumps(
        {"info": {"base_url": "https://host/x"}, "packages": {"demo-1.0-0.tar.bz2": {**RECORD, "sha256": "0" * 64}}}
    ).encode()


def _run_shard(data: bytes) -> None:
    """A shard as it lies in the cache: its hash is right."""
    body = zstandard.compress(data)
    sha256 = hashlib.sha256(body).hexdigest()
    with scratch() as folder:
        (folder / "shards").mkdir()
        (folder / "shards" / sha256).write_bytes(body)
        channel = channel_url("https://host/channel")
        listed = PackageList("noarch", channel.child("noarch"), shards={"demo": sha256})
        found = ChannelLists(channel, folder, offline=True).read("noarch", ["demo"], listed)
        if found is not None:
            for each in read(channel, found).records:
                json.loads(each.to_json())


def _shard_seeds() -> Iterator[bytes]:
    record = {**RECORD, "sha256": bytes(32), "md5": bytes(16), "size": 10}
    yield msgpack.packb({"packages": {}, "packages.conda": {"demo-1.0-py313h1_0.conda": record}})
    yield msgpack.packb({"packages": {"demo-1.0-0.tar.bz2": {**record, "noarch": "python"}}, "removed": []})


def _run_contents(data: bytes) -> None:
    with scratch() as folder:
        path = folder / "demo-1.0-0.conda"
        path.write_bytes(data)
        read_local_info(path, "x")


_ARCHIVE = next(each for each in ARCHIVES if each.name == "archive")
TARGETS = [
    Target("repodata", "a channel's repodata.json, by py-rattler", _run_repodata, _repodata_seeds, json_document, minute=5_500),
    Target("shard", "a shard of a channel's list (msgpack)", _run_shard, _shard_seeds, either(plain, tokens), minute=15_000),
    Target(
        "contents",
        "the info part of a package, as it is read from a channel",
        _run_contents,
        _ARCHIVE.seeds,
        _ARCHIVE.mutate,
        minute=15_000,
    ),
]
