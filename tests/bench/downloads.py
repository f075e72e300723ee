"""`scripts/bench downloads`: packages, and a set, from a server on loopback that answers as a distant one does."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import document
from tests.bench.distant import distant
from tests.bench.timing import Times, by_turns, ratio

FILES, SIZE = 24, 400_000
LATENCY = 0.03  # seconds before a server answers, as over an ocean
RATE = 4e6  # bytes a second of one connection
SPECS = ("shapes-one", "strict", "matplotlib")
Works = dict[str, Callable[[], object]]


def bench(rounds: int | None = None, files: int = FILES, latency: float = LATENCY) -> dict[str, Any]:
    """Many files, one file, and a set, each beside its floor or peer, by turns."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        root = Path(name)
        contents = {f"demo{number}-1.0-0.conda": os.urandom(SIZE) for number in range(files)}
        for file, data in contents.items():
            (root / file).write_bytes(data)
        url = stack.enter_context(distant(root, latency, RATE))
        many, one = works(url, contents)
        rows = {f"download {files} files of {SIZE / 1e6:g} MB": by_turns(many, rounds), "download one": by_turns(one, rounds)}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        of_set = _set(Path(name), stack, latency)
        rows[f"bundle {' '.join(SPECS)}"] = by_turns(of_set, rounds)
    compared = {
        what: {
            "times": {name: value.json() for name, value in times.items()},
            "ratios": {name: _ratio(times, name) for name in times if name != "conda2wheel"},
        }
        for what, times in rows.items()
    }
    return document.part(latency=latency, rate=RATE, rows=compared)


def _ratio(times: dict[str, Times], name: str) -> dict[str, float]:
    each = ratio(times["conda2wheel"], times[name])
    return {"median": each.median, "least": each.least, "most": each.most}


def works(url: str, contents: dict[str, bytes]) -> tuple[Works, Works]:
    """Each way of downloading all files, and of downloading one, into a new folder."""
    from rattler import Client
    from rattler.package_streaming import download_to_path

    from conda2wheel.channels.downloads import AT_ONCE, Downloads
    from conda2wheel.net.remote_file import RemoteFile

    wanted = [RemoteFile(f"{url}/{file}", hashlib.sha256(data).hexdigest(), len(data)) for file, data in contents.items()]

    def ours(files: list[RemoteFile]) -> None:
        with tempfile.TemporaryDirectory() as cache:
            Downloads(cache=Path(cache)).fetch(files, 1 << 30)

    def rattler() -> None:
        async def all_of_them(folder: Path) -> None:
            client, turns = Client.default_client(), asyncio.Semaphore(AT_ONCE)

            async def one(each: RemoteFile) -> None:
                async with turns:
                    await download_to_path(client, each.url, folder / each.url.rpartition("/")[2])

            await asyncio.gather(*map(one, wanted))

        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(all_of_them(Path(folder)))

    def sequential(files: list[RemoteFile]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for each in files:
                urllib.request.urlretrieve(each.url, Path(folder) / each.url.rpartition("/")[2])

    many: Works = {
        "conda2wheel": lambda: ours(wanted),
        "py-rattler download_to_path, unchecked": rattler,
        "floor: urllib, one after the other": lambda: sequential(wanted),
    }
    return many, {"conda2wheel": lambda: ours(wanted[:1]), "floor: urllib": lambda: sequential(wanted[:1])}


def _set(place: Path, stack: contextlib.ExitStack, latency: float) -> Works:
    """A set of small packages from a slow channel, with nothing in the cache, beside its parts one after the other."""
    from conda2wheel.bundle.build import bundle_specs
    from conda2wheel.bundle.lockfile import read_bundle_lock
    from conda2wheel.channels.downloads import FRESH, Downloads
    from conda2wheel.channels.search import find
    from conda2wheel.commands.convert import convert
    from conda2wheel.net.remote_file import RemoteFile
    from tests.helpers import sets

    root = place / "channel"
    sets.indexed(root, sets.packages())
    url = stack.enter_context(distant(root, latency, RATE))

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            downloads = Downloads(cache=Path(folder) / "cache", fresh=FRESH)
            bundle_specs(SPECS, channels=[url], out=f"{folder}/set", downloads=downloads)

    made = bundle_specs(SPECS, channels=[url], out=place / "set", downloads=Downloads(cache=place / "cache"))
    lock = read_bundle_lock(made.folder / "bundle.lock")
    needed = [each.package for each in lock.steps]

    def parts() -> None:
        with tempfile.TemporaryDirectory() as folder:
            downloads = Downloads(cache=Path(folder) / "cache", fresh=FRESH)
            find(SPECS[0], [url], downloads)
            downloads.fetch([RemoteFile(each.url, each.sha256, each.size) for each in (*needed, *lock.libraries)], 1 << 30)
            libdirs = [each.source for each in lock.libraries]
            for each in needed:
                convert(each.source, out=folder, libdirs=libdirs, downloads=downloads)

    return {"conda2wheel": ours, "floor: read lists, download, convert each": parts}


def table(part: dict[str, Any]) -> str:
    """For a terminal."""
    lines = [f"{part['latency'] * 1000:.0f} ms and {part['rate'] / 1e6:.0f} MB/s a connection"]
    for what, row in part["rows"].items():
        times = {name: Times.of(value) for name, value in row["times"].items()}
        lines.append(f"  {what:44} {times['conda2wheel'].median:8.3f} s")
        for name, each in row["ratios"].items():
            lines.append(f"    {name:42} {times[name].median:8.3f} s   {each['median']:5.2f} x of it")
    return "\n".join(lines)
