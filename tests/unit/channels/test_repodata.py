"""What channels list: in every form that they serve it in, with every fault of a server, from the cache alone."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rattler.index import index_fs

from conda2wheel.channels import repodata
from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.search import find
from conda2wheel.errors import Failed
from conda2wheel.net import download
from tests.helpers import conda
from tests.helpers.served import Served, serve

FORMS = {"plain": (False, False), "zst": (True, False), "sharded": (True, True)}
LISTS = {"plain": "*/repodata.json", "zst": "*/repodata.json.zst", "sharded": "*/repodata_shards.msgpack.zst"}
ABOUT = {"license": "MIT", "summary": "a demo"}


def indexed(root: Path, form: str) -> Path:
    """A channel with demo 1.0 and 1.10, which lists them in one form alone."""
    (root / "emscripten-wasm32").mkdir(parents=True)
    (root / "noarch").mkdir()
    for version in ("1.0", "1.10"):
        add(root, version)
    zst, shards = FORMS[form]
    asyncio.run(index_fs(root, write_zst=zst, write_shards=shards))
    if form != "plain":  # rattler always writes it; here no other form may be read in secret
        for plain in root.glob("*/repodata.json"):
            plain.unlink()
    if form == "sharded":
        for packed in root.glob("*/repodata.json.zst"):
            packed.unlink()
    return root


def add(root: Path, version: str) -> None:
    files = {"site-packages/demo.py": "x = 1\n"}
    made = conda.assemble("demo", version, files, noarch="python", string="pyh1_0", about=ABOUT)
    shutil.copy(made, root / "noarch" / made.name)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(form: str, tmp_path: Path) -> Iterator[Served]:
    with serve(indexed(tmp_path / "channel", form)) as running:
        yield running


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Served]:
    """A channel that lists its packages in all forms, as rattler writes them."""
    root = indexed(tmp_path / "channel", "plain")
    asyncio.run(index_fs(root))
    with serve(root) as running:
        yield running


def newest(served: Served, downloads: Downloads) -> str:
    return find("demo", [served.url], downloads).version


def test_every_form_is_read_and_the_cache_alone_is_enough_later(served: Served, form: str) -> None:
    assert newest(served, Downloads()) == "1.10"
    assert served.asked(LISTS[form])
    served.fault(status=500)
    served.forget()
    assert newest(served, Downloads(offline=True)) == "1.10"
    assert not served.requests


def test_without_a_cache_offline_is_one_clear_line(served: Served) -> None:
    with pytest.raises(Failed, match=r"cannot read http://.*no usable repodata cache") as caught:
        newest(served, Downloads(offline=True))
    assert (caught.value.code, caught.value.hint) == ("network", "run it once without --offline")
    assert not served.requests


@pytest.mark.parametrize("etags", [True, False])
def test_what_is_new_in_a_channel_is_seen(etags: bool, whole: Served) -> None:
    whole.etags = etags
    assert newest(whole, Downloads()) == newest(whole, Downloads()) == "1.10"
    add(whole.root, "2.0")
    asyncio.run(index_fs(whole.root))
    assert newest(whole, Downloads()) == "2.0"
    assert newest(whole, Downloads(offline=True)) == "2.0"


def test_one_run_asks_a_channel_once(whole: Served) -> None:
    run = Downloads(fresh=3600)
    assert newest(whole, run) == "1.10"
    whole.forget()
    assert newest(whole, run) == "1.10"
    assert not whole.requests
    assert newest(whole, Downloads(fresh=3600)) == "1.10"
    assert whole.requests


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"status": 429}, {"cut": 0.5}, {"spoil": True}])
def test_a_fault_that_passes_is_survived(fault: dict[str, Any], served: Served, form: str) -> None:
    """A list that is spoiled once is requested again, or another form of it is read."""
    served.fault(LISTS[form], times=1, **fault)
    assert newest(served, Downloads()) == "1.10"
    served.fault(status=500)
    assert newest(served, Downloads(offline=True)) == "1.10"


@pytest.mark.parametrize("fault", [{"status": 404}, {"status": 403}, {"cut": 0.5}, {"spoil": True}])
def test_a_channel_whose_shards_are_broken_is_read_by_its_plain_list(fault: dict[str, Any], whole: Served) -> None:
    whole.fault("*shards*", **fault)
    for _ in range(2):
        assert newest(whole, Downloads()) == "1.10"
        assert newest(whole, Downloads(offline=True)) == "1.10"
    whole.heal()
    assert newest(whole, Downloads()) == newest(whole, Downloads(offline=True)) == "1.10"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 404}, "it has no list of packages for emscripten-wasm32 or noarch"),
        ({"status": 401}, "401 Unauthorized"),
        ({"status": 403}, "403 Forbidden"),
        ({"cut": 0.5}, "the connection broke after"),
        ({"spoil": True}, "is not JSON|is not zstd|is not msgpack|has sha256|lists no shards|no such file"),
    ],
)
def test_a_fault_that_stays_is_one_clear_line_and_nothing_of_it_is_kept(
    fault: dict[str, Any], words: str, served: Served, form: str
) -> None:
    served.fault(**fault)
    with pytest.raises(Failed, match=words) as caught:
        newest(served, Downloads())
    assert caught.value.code == "network"
    assert "\n" not in str(caught.value)
    assert f"cannot read {served.url}: " in caught.value.message
    with pytest.raises(Failed):
        newest(served, Downloads(offline=True))
    served.heal()
    assert newest(served, Downloads()) == newest(served, Downloads(offline=True)) == "1.10"


def test_garbage_that_a_server_swears_to_is_given_up(tmp_path: Path) -> None:
    """What is damaged is not kept, or the server would answer 304 for ever."""
    root = indexed(tmp_path / "channel", "plain")
    good = (root / "noarch/repodata.json").read_bytes()
    with serve(root) as served:
        (root / "noarch/repodata.json").write_bytes(b'{"packages": {')
        with pytest.raises(Failed, match=r"repodata\.json is not JSON") as caught:
            newest(served, Downloads())
        assert "\n" not in str(caught.value)
        (root / "noarch/repodata.json").write_bytes(good)
        assert newest(served, Downloads()) == "1.10"


@pytest.mark.parametrize("what", ["shards/*", "*/*.repodata_shards.msgpack.zst", "*/*.json.zst"])
def test_a_spoiled_cache_is_mended(what: str, whole: Served, cache: Path) -> None:
    if what == "*/*.json.zst":
        whole.fault("*shards*", status=404)
    assert newest(whole, Downloads()) == "1.10"
    spoiled = list(cache.glob(f"repodata/{what}"))
    assert spoiled
    for path in spoiled:
        path.write_bytes(b"garbage")
    assert newest(whole, Downloads()) == "1.10"
    assert newest(whole, Downloads(offline=True)) == "1.10"


def test_a_server_that_is_gone_spoils_nothing(whole: Served) -> None:
    assert newest(whole, Downloads()) == "1.10"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Failed, match="Connection refused") as caught:
            find("demo", [f"http://127.0.0.1:{taken.getsockname()[1]}"], Downloads())
    assert caught.value.code == "network"
    whole.fault(status=500)
    assert newest(whole, Downloads(offline=True)) == "1.10"


def test_a_server_that_never_answers_is_given_up(whole: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 1)
    with whole.hold(), pytest.raises(Failed, match="cannot read") as caught:
        newest(whole, Downloads())
    assert caught.value.code == "network"


def test_channels_are_not_read_over_an_open_line() -> None:
    for address in ("http://example.org/channel", "s3://bucket/channel", "ftp://127.0.0.1/channel"):
        with pytest.raises(Failed, match="only https and file URLs"):
            find("demo", [address])


def test_where_no_cache_can_be_it_works_without(whole: Served, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert newest(whole, Downloads(cache=tmp_path / "file" / "cache")) == "1.10"


def test_a_folder_without_a_list_of_packages_is_told_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "noarch").mkdir()
    with pytest.raises(Failed) as caught:
        find("demo", [tmp_path.as_uri()], Downloads())
    assert "noarch/repodata.json" in caught.value.hint
    assert "conda index" in caught.value.hint


def test_a_local_folder_is_a_channel_by_its_path_and_its_url(whole: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole.root)
    for channel in (str(whole.root), ".", whole.root.as_uri()):
        for downloads in (Downloads(), Downloads(offline=True)):
            found = find("demo", [channel], downloads)
            assert (found.version, found.url.startswith("file:///")) == ("1.10", True)
    assert not whole.requests


def test_channels_are_read_by_many_threads_at_once(whole: Served) -> None:
    found: list[str] = []
    run = Downloads(fresh=3600)
    threads = [threading.Thread(target=lambda: found.append(newest(whole, run))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["1.10"] * 8


def test_the_names_of_a_channel_are_those_of_its_platform(tmp_path: Path) -> None:
    root = indexed(tmp_path / "channel", "sharded")
    shutil.copytree(root / "noarch", root / "emscripten-wasm32", dirs_exist_ok=True)
    for package in (root / "emscripten-wasm32").glob("*.tar.bz2"):
        package.unlink()
    native = conda.assemble("native", "1.0", {"lib/libnative.so": b"\0asm\1\0\0\0"}, string="h1_0", about=ABOUT)
    shutil.copy(native, root / "emscripten-wasm32" / native.name)
    asyncio.run(index_fs(root, force=True))
    with serve(root) as served:
        assert repodata.package_names(served.url, Downloads()) == ["native"]


def asking(url: str) -> subprocess.Popen[str]:
    """A person who asks a channel for something, in a process that ends as soon as it has the answer."""
    code = "from conda2wheel.net import download; download.TIMEOUT = 10**6; from conda2wheel.cli import main; main()"
    command = [sys.executable, "-c", code, "names", "demo", "--channel", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_does_not_wait_for_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = asking(f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        silent.settimeout(600)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
