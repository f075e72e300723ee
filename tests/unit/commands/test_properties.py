"""What holds for every package and wheel: convert does not depend on how the package is packed or where it runs, repair and the
linking of what is linked change nothing.

Packages are drawn: side modules that NEED each other, libraries with aliases, scripts, data, METADATA. Some examples by default,
many more with --long.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conda2wheel.abi.side_module import side_modules
from conda2wheel.commands.convert import convert
from conda2wheel.commands.repair import repair
from conda2wheel.wheel.reader import read_wheel
from tests.fuzz import seeds
from tests.fuzz.textfiles import TextFile
from tests.helpers import handmade

FEW = settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
MANY = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
ABOUT_THE_ARCHIVE = ("conda2wheel.json", "sboms/conda2wheel.cdx.json", "RECORD")  # they name it and its sha256
MOMENT = 1_750_000_000
LIBRARIES = ("liba", "libb", "libc")
TIME_ZONES = ("UTC", "Pacific/Kiritimati", "America/Los_Angeles")


@dataclass(frozen=True)
class Drawn:
    """A package: its files by path, and a library's package for a libdir."""

    files: tuple[TextFile, ...]
    libdir: tuple[TextFile, ...]


@dataclass(frozen=True)
class Packing:
    """How the members of a package are written: their order, the format of the tar, the compression, one zst frame or many."""

    shuffled: Callable[[Sequence[TextFile]], list[TextFile]]
    tar_format: int = tarfile.GNU_FORMAT
    suffix: str = ".tar.bz2"
    level: int = 1
    frame: int = 1 << 20
    owner: int = 0
    folders: bool = False


def _libraries(needs: Mapping[str, Sequence[str]]) -> dict[str, bytes]:
    return {
        name: handmade.module(
            [("env", f"{other}_call", ">i") for other in others],
            {f"{name}_call": ">i", f"{name}_state": "i"},
            needed=[f"{other}.so" for other in others],
            strings=[name],
        )
        for name, others in needs.items()
    }


@st.composite
def packages(draw: st.DrawFn) -> Drawn:
    """Packages that convert."""
    needs = {name: draw(st.lists(st.sampled_from(LIBRARIES), unique=True, max_size=2)) for name in LIBRARIES}
    needs = {name: [other for other in others if other != name] for name, others in needs.items()}
    used = draw(st.lists(st.sampled_from(LIBRARIES), unique=True, min_size=1))
    inside = set(draw(st.lists(st.sampled_from(LIBRARIES), unique=True)))
    libraries = _libraries(needs)
    module = handmade.module(
        [("env", f"{name}_call", ">i") for name in used], {"PyInit__x": ">i"}, needed=[f"{name}.so" for name in used]
    )
    summary = draw(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=20))
    data = draw(
        st.dictionaries(st.from_regex(r"[a-zé]{1,6}(/[a-z]{1,4})?\.(txt|py|bin)", fullmatch=True), st.binary(max_size=50))
    )
    site = {
        "demo/__init__.py": b"x = '/opt/placehold/lib'\n",
        f"demo/_x{seeds.SUFFIX}": module,
        **{f"demo/data/{path}": content for path, content in data.items()},
        "demo-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nSummary: {summary}\n".encode(),
        "demo-1.0.dist-info/entry_points.txt": seeds.ENTRY_POINTS,
    }
    index = {**seeds.INDEX, "depends": ["python", "python_abi 3.13.* *_cp313", "emscripten-abi >=4.0.9,<4.0.10", "numpy"]}
    files = [
        TextFile("info/index.json", json.dumps(index).encode()),
        TextFile("info/licenses/LICENSE", b"MIT\n"),
        *(TextFile(f"{seeds.SITE}/{path}", content) for path, content in site.items()),
        *(TextFile(f"lib/{name}.so.1", libraries[name]) for name in LIBRARIES if name in inside),
        *(TextFile(f"lib/{name}.so", b"", f"{name}.so.1") for name in LIBRARIES if name in inside),
        TextFile("bin/tool", b"#!/opt/placehold/bin/python\n"),
        TextFile("share/demo/x", b"\0/opt/placehold\0"),
    ]
    other = {**seeds.INDEX, "name": "libs", "version": "1.0", "depends": []}
    libdir = [
        TextFile("info/index.json", json.dumps(other).encode()),
        *(TextFile(f"lib/{name}.so", libraries[name]) for name in LIBRARIES if name not in inside),
        TextFile("lib/other", b"x"),
    ]
    return Drawn(tuple(seeds.with_paths(files)), tuple(seeds.with_paths(libdir)))


@st.composite
def packings(draw: st.DrawFn) -> Packing:
    """Ways to pack one package."""
    dice = draw(st.randoms(use_true_random=False))

    def shuffled(files: Sequence[TextFile]) -> list[TextFile]:
        found = list(files)
        dice.shuffle(found)
        return found

    return Packing(
        shuffled,
        draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])),
        draw(st.sampled_from([".tar.bz2", ".conda", ".tar.gz"])),
        draw(st.integers(1, 9)),
        draw(st.sampled_from([1 << 20, 1000])),
        draw(st.sampled_from([0, 1000])),
        draw(st.booleans()),
    )


def write(folder: Path, files: Sequence[TextFile], packing: Packing, name: str = "demo-1.0-py313h1_0") -> Path:
    """Write a package archive."""
    path = folder / f"{name}{packing.suffix}"
    members = packing.shuffled(files)
    if packing.suffix != ".conda":
        data = _tar(members, packing)
        path.write_bytes(
            bz2.compress(data, packing.level) if packing.suffix == ".tar.bz2" else gzip.compress(data, packing.level)
        )
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        for part, own in (("pkg", False), ("info", True)):
            data = _tar([each for each in members if each.path.startswith("info/") is own], packing)
            frames = [data[at : at + packing.frame] for at in range(0, len(data), packing.frame)]
            packed = b"".join(zstandard.ZstdCompressor(level=packing.level).compress(frame) for frame in frames)
            archive.writestr(f"{part}-{name}.tar.zst", packed)
    return path


def _tar(files: Sequence[TextFile], packing: Packing) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=packing.tar_format) as archive:
        for each in files:
            if packing.folders:
                folder = tarfile.TarInfo(each.path.rpartition("/")[0])
                folder.type = tarfile.DIRTYPE
                archive.addfile(folder)
            member = tarfile.TarInfo(each.path)
            member.mtime, member.uid, member.uname = MOMENT + packing.owner, packing.owner, "me" if packing.owner else ""
            if each.target is None:
                member.size = len(each.content)
                archive.addfile(member, io.BytesIO(each.content))
            else:
                member.type, member.linkname = tarfile.SYMTYPE, each.target
                archive.addfile(member)
    return stream.getvalue()


@dataclass
class Place:
    """A temporary folder with packages in it."""

    folder: Path
    count: int = field(default=0)

    def converted(self, drawn: Drawn, packing: Packing) -> Path:
        """Convert a drawn package, packed so, with its libdir."""
        self.count += 1
        work = self.folder / str(self.count)
        (work / "libs").mkdir(parents=True)
        write(work / "libs", drawn.libdir, packing, "libs-1.0-h_0")
        return convert(write(work, drawn.files, packing), out=work / "dist", libdirs=[work / "libs"]).wheel


@contextmanager
def place() -> Iterator[Place]:
    """A folder for one example; hypothesis calls a test many times with one `tmp_path`."""
    with tempfile.TemporaryDirectory() as folder:
        yield Place(Path(folder))


PLAIN = Packing(list)


def members(wheel: Path) -> dict[str, bytes]:
    """The members in their order, without what tells of the archive."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    info = next(name.partition("/")[0] for name in found if name.endswith(".dist-info/WHEEL"))
    return {name: data for name, data in found.items() if name not in {f"{info}/{each}" for each in ABOUT_THE_ARCHIVE}}


def account(wheel: Path) -> str:
    """The provenance and the bill of materials without the hashes of archives and the serial number that follows from them."""
    with zipfile.ZipFile(wheel) as archive:
        texts = [archive.read(name).decode() for name in archive.namelist() if name.endswith((".cdx.json", "/conda2wheel.json"))]
    return re.sub(r"[0-9a-f]{64}|urn:uuid:[0-9a-f-]+", "", "\n".join(texts))


def packed_anyhow(drawn: Drawn, one: Packing, other: Packing) -> None:
    """Members, their order, their bytes."""
    with place() as here:
        first, second = here.converted(drawn, one), here.converted(drawn, other)
        assert first.name == second.name
        assert list(members(first).items()) == list(members(second).items())
        if one.suffix == other.suffix:
            assert account(first) == account(second)


def run_anywhere(drawn: Drawn, zone: str, mask: int, threads: int) -> None:
    """The whole file."""
    with place() as here, circumstances(zone, mask):
        first = here.converted(drawn, PLAIN).read_bytes()
    with place() as here, circumstances("UTC", 0o22), ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(Place(here.folder / str(number)).converted, drawn, PLAIN) for number in range(threads)]
        assert {job.result().read_bytes() for job in jobs} == {first}


@contextmanager
def circumstances(zone: str, mask: int) -> Iterator[None]:
    """Another time zone and umask."""
    before, known = os.umask(mask), os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        os.umask(before)
        if known is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = known
        time.tzset()


def linked_once(drawn: Drawn) -> None:
    """A converted wheel needs no repair; a bare wheel that is repaired needs none again, with libraries at hand or without."""
    with place() as here:
        wheel = here.converted(drawn, PLAIN)
        again = repair(wheel, out=here.folder / "again", libdirs=[here.folder / "1" / "libs"])
        assert not again.changed
        assert Path(again.wheel).read_bytes() == wheel.read_bytes()
        bare = here.folder / "demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl"
        site = f"{seeds.SITE}/"
        files = [each._replace(path=each.path.removeprefix(site)) for each in drawn.files if each.path.startswith(site)]
        bare.write_bytes(seeds.as_wheel([*files, TextFile("demo-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n")]))
        libdirs = [here.folder / "1" / "libs", *here.folder.glob("1/demo-*")]
        once = repair(bare, out=here.folder / "once", libdirs=libdirs)
        assert once.changed
        needed = {name for each in side_modules(read_wheel(Path(once.wheel)).files).values() for name in each.needed}
        assert needed
        for number, places in enumerate(([], libdirs)):
            twice = repair(once.wheel, out=here.folder / f"twice{number}", libdirs=places)
            assert not twice.changed
            assert Path(twice.wheel).read_bytes() == Path(once.wheel).read_bytes()


ANYWHERE: dict[str, Any] = {
    "drawn": packages(),
    "zone": st.sampled_from(TIME_ZONES),
    "mask": st.sampled_from([0, 0o77, 0o27]),
    "threads": st.integers(1, 3),
}


@FEW
@given(packages(), packings(), packings())
def test_members_do_not_depend_on_how_a_package_is_packed(drawn: Drawn, one: Packing, other: Packing) -> None:
    packed_anyhow(drawn, one, other)


@FEW
@given(**ANYWHERE)
def test_bytes_do_not_depend_on_time_zone_umask_and_threads(drawn: Drawn, zone: str, mask: int, threads: int) -> None:
    run_anywhere(drawn, zone, mask, threads)


@FEW
@given(packages())
def test_what_is_linked_is_not_linked_again(drawn: Drawn) -> None:
    linked_once(drawn)


@pytest.mark.long
@MANY
@given(packages(), packings(), packings())
def test_members_of_many_do_not_depend_on_how_a_package_is_packed(drawn: Drawn, one: Packing, other: Packing) -> None:
    packed_anyhow(drawn, one, other)


@pytest.mark.long
@MANY
@given(**ANYWHERE)
def test_bytes_of_many_do_not_depend_on_time_zone_umask_and_threads(drawn: Drawn, zone: str, mask: int, threads: int) -> None:
    run_anywhere(drawn, zone, mask, threads)


@pytest.mark.long
@MANY
@given(packages())
def test_what_is_linked_is_not_linked_again_of_many(drawn: Drawn) -> None:
    linked_once(drawn)


CODE = """
import os, sys
from conda2wheel import convert
if os.getuid() == 0 and sys.argv[4] != "0":
    convert(sys.argv[1], out=sys.argv[2], libdirs=[sys.argv[3]], dry_run=True)  # imports all while this user can read it
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[4]))
print(convert(sys.argv[1], out=sys.argv[2], libdirs=[sys.argv[3]]).sha256)
"""


@pytest.mark.long
@settings(MANY, max_examples=10)
@given(
    packages(), st.integers(0, 2**32 - 1), st.sampled_from(["C", "C.UTF-8", "POSIX", "tr_TR.UTF-8"]), st.sampled_from([0, 65534])
)
def test_bytes_do_not_depend_on_hash_seed_locale_and_user(drawn: Drawn, seed: int, locale: str, user: int) -> None:
    with place() as here:
        here.folder.chmod(0o777)
        first = here.converted(drawn, PLAIN)
        for each in (here.folder, *here.folder.rglob("*")):
            each.chmod(0o777 if each.is_dir() else 0o644)
        out = here.folder / "elsewhere"
        out.mkdir()
        out.chmod(0o777)
        sources = [next((here.folder / "1").glob("demo-*")), out, here.folder / "1" / "libs", user]
        environ = {**os.environ, "PYTHONHASHSEED": str(seed), "LC_ALL": locale, "PYTHONUTF8": "0", "HOME": str(out)}
        command = [sys.executable, "-c", CODE, *map(str, sources)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (out / first.name).read_bytes() == first.read_bytes()
        shutil.rmtree(out)
