"""Channels that steer: what their lists name, and where they lead, is held to the rules for packages."""

from __future__ import annotations

import hashlib
import io
import json
import resource
from pathlib import Path
from typing import Any

import pytest
import zstandard

from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.open import open_package
from conda2wheel.channels.repodata import all_records
from conda2wheel.channels.search import find, resolve_source
from conda2wheel.errors import Failed, Refused
from conda2wheel.net import download, urls
from tests.helpers import conda, lists
from tests.helpers.served import serve

RECORDS = {"spam-1.0-h_0.conda": lists.SOUND}
ELSEWHERE = ("file:///etc", "http://example.org/x", "http://[::1", "ftp://example.org/", "https://", "http://127.0.0.1:99999/")


@pytest.mark.parametrize("key", ["base_url", "shards_base_url"])
@pytest.mark.parametrize("address", ELSEWHERE)
def test_a_list_names_no_files_and_no_plain_http(
    key: str, address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    form = "plain" if key == "base_url" else "sharded"
    with serve(lists.channel(tmp_path, form, RECORDS, {key: address})) as served, pytest.raises(Failed) as caught:
        find("spam", [served.url], Downloads())
    assert (caught.value.code, "its list of packages names" in caught.value.message) == ("network", True)
    assert capfd.readouterr().err == ""  # no panic in Rust


def test_a_list_of_another_machine_does_not_name_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    there = urls.Address("https://example.org/channel/noarch")
    for address in ("http://127.0.0.1/x", "https://localhost/x", "http://[::1]/x", "//127.0.0.1/x"):
        with pytest.raises(Failed, match="which is not opened"):
            urls.steered(there, address)
    assert urls.steered(there, "https://files.example.org/x/") == "https://files.example.org/x/"
    assert urls.steered(there, "../../x") == "https://example.org/x"


def test_a_list_may_name_another_folder_of_its_server(tmp_path: Path) -> None:
    with serve(lists.channel(tmp_path, "sharded", RECORDS, {"base_url": "../files/"})) as served:
        assert find("spam", [served.url], Downloads()).url == f"{served.url}/files/spam-1.0-h_0.conda"


@pytest.mark.parametrize(
    "to", ["http://example.org/r.json", "file:///etc/passwd", "http://[::1", "//example.org:99999/", "http://x y"]
)
def test_a_list_is_not_redirected_to_where_a_package_is_not(to: str, tmp_path: Path) -> None:
    with serve(lists.channel(tmp_path, "plain", RECORDS)) as served:
        served.fault("*/repodata*", status=302, location=to)
        with pytest.raises(Failed) as caught:
            find("spam", [served.url], Downloads())
    assert caught.value.code == "network"


def test_redirects_have_an_end(tmp_path: Path) -> None:
    with serve(lists.channel(tmp_path, "plain", RECORDS)) as served:
        served.fault("*.json", status=302, location="/noarch/repodata.json")
        with pytest.raises(Failed, match="redirect"):
            find("spam", [served.url], Downloads())
        assert served.requests["/noarch/repodata.json"] <= 2 * (download.MAX_REDIRECTS + 1)


def test_a_shard_with_another_hash_is_not_taken(tmp_path: Path) -> None:
    root = lists.channel(tmp_path, "sharded", RECORDS)
    (shard,) = (root / "emscripten-wasm32").glob("[0-9a-f]*.msgpack.zst")
    shard.write_bytes(zstandard.compress(b"\x80"))
    with serve(root) as served, pytest.raises(Failed, match=r"has sha256 .*, not the one that its list names"):
        find("spam", [served.url], Downloads())


def bomb(piece: bytes, count: int) -> bytes:
    """Compress `piece` so many times, without holding it."""
    out = io.BytesIO()
    with zstandard.ZstdCompressor(level=3).stream_writer(out, closefd=False) as writer:
        for _ in range(count):
            writer.write(piece)
    return out.getvalue()


@pytest.mark.parametrize(
    ("form", "piece", "count"),
    [
        ("repodata.json.zst", b" " * (1 << 20), 80),
        ("repodata.json.zst", b'{"":[{},{},{},{}]},' * 50_000, 40),
        ("repodata.json.zst", b"[" * (1 << 20), 5),
        ("repodata.json.zst", b'{"packages":{' + b",".join(b'"a-1-%d.conda":0' % n for n in range(60_000)) + b"}}", 1),
        ("repodata_shards.msgpack.zst", b"\x91" * (1 << 20), 12),
        ("repodata_shards.msgpack.zst", b"\x91" * (1 << 20), 5),
    ],
)
def test_a_list_unpacks_to_a_bounded_size_in_bytes_and_values(form: str, piece: bytes, count: int, tmp_path: Path) -> None:
    root = lists.channel(tmp_path, "plain", {})
    for subdir in ("noarch", "emscripten-wasm32"):
        (root / subdir / "repodata.json").unlink()
        data = bomb(piece, count)
        assert len(data) < 1_000_000
        (root / subdir / form).write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serve(root) as served, pytest.raises(Failed) as caught:
        find("spam", [served.url], Downloads())
    assert caught.value.code == "network"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20, "more than 1 GiB"


def test_the_hash_of_a_package_in_a_folder_is_compared(tmp_path: Path) -> None:
    root = lists.channel(tmp_path, "plain", {})
    files = {"site-packages/spam.py": "x = 1\n"}
    made = conda.assemble("spam", "1.0", files, noarch="python", string="pyh1_0", about={"license": "MIT"})
    (root / "noarch" / made.name).write_bytes(made.read_bytes())
    record: dict[str, Any] = {**lists.SOUND, "build": "pyh1_0", "subdir": "noarch", "depends": ["python"]}
    path = root / "noarch" / "repodata.json"
    for sha256, right in ((hashlib.sha256(made.read_bytes()).hexdigest(), True), ("b" * 64, False)):
        path.write_text(json.dumps({"packages": {made.name: {**record, "sha256": sha256}}}))
        found = resolve_source("spam", [str(root)])
        if right:
            assert open_package(found.url).name == "spam"
        else:
            with pytest.raises(Refused, match="has sha256"):
                open_package(found.url)


def test_a_bare_304_is_no_error(tmp_path: Path) -> None:
    root = lists.channel(tmp_path, "plain", RECORDS)
    with serve(root) as served:
        assert find("spam", [served.url], Downloads()).version == "1.0"
        served.fault("*.json", status=304)
        assert find("spam", [served.url], Downloads()).version == "1.0"


@pytest.mark.long
def test_twenty_thousand_records_are_read_and_the_odd_ones_named(tmp_path: Path) -> None:
    records = {f"p{n}-1.{n}-h_0.conda": {**lists.SOUND, "name": f"p{n}", "version": f"1.{n}"} for n in range(20_000)}
    records["p7-1.7-h_0.conda"]["version"] = "1.0..!"
    read = all_records(lists.channel(tmp_path, "plain", records).as_uri(), Downloads())
    assert (len(read.records), [each.filename for each in read.left_out]) == (19_999, ["p7-1.7-h_0.conda"])
