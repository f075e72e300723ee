"""Targets: the public functions, on packages and wheels that are given as text."""

from __future__ import annotations

import csv
import email.parser
import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from packaging.utils import parse_wheel_filename

from conda2wheel import Converted, Limits, audit, convert, inspect, repair, verify
from conda2wheel.channels.downloads import Downloads
from conda2wheel.index.pages.catalogue import WheelDetails
from conda2wheel.index.pages.details import SUFFIX, read_details, wheel_verdicts
from tests.fuzz import seeds, textfiles
from tests.fuzz.model import Target, check_json, require
from tests.fuzz.mutate import Mutator, either, files, json_document, lines, module, plain, tokens
from tests.fuzz.textfiles import TextFile
from tests.fuzz.work import scratch

LIMITS = Limits(members=2000, size=64 << 20, member_size=32 << 20, ratio_from=8 << 20, header=1 << 16)
OFFLINE = Downloads(cache=Path("/nonexistent"), offline=True)
STEM = "demo-1.0-py313h1_0"
WHEEL = "demo-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl"


def contents(path: str) -> Mutator:
    """How a file of a package or wheel is changed by its name."""
    if path.endswith(".json"):
        return json_document
    if ".so" in path:
        return module
    return either(lines, tokens, plain)


def lay(folder: Path, data: bytes) -> tuple[Path, Path]:
    """Write the package of a text, and the library packages of its `libdir/`; returns the package and the libdir."""
    members = textfiles.read(data)
    libdir = folder / "libs"
    libdir.mkdir()
    others = [each for each in members if each.path.startswith("libdir/")]
    if others:
        inside = [TextFile(each.path.removeprefix("libdir/"), each.content, each.target) for each in others]
        _tar(libdir / "libz-1.3-0.tar.gz", seeds.with_paths(inside))
    package = folder / f"{STEM}.tar.gz"
    _tar(package, seeds.with_paths(each for each in members if not each.path.startswith("libdir/")))
    return package, libdir


def _tar(path: Path, members: Iterable[TextFile]) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each in members:
            member = tarfile.TarInfo(each.path)
            if each.target is None:
                member.size = len(each.content)
                archive.addfile(member, io.BytesIO(each.content))
            else:
                member.type, member.linkname = tarfile.SYMTYPE, each.target
                archive.addfile(member)
    path.write_bytes(gzip.compress(stream.getvalue(), 1, mtime=0))


def _run_convert(data: bytes) -> None:
    with scratch() as folder:
        package, libdir = lay(folder, data)
        result = convert(package, out=folder / "dist", libdirs=[libdir], limits=LIMITS, downloads=OFFLINE)
        check_json(result.json())
        check_wheel(result.wheel)
        if result.sha256 and result.sha256[0] == "0":  # of one in sixteen
            again = convert(package, out=folder / "again", libdirs=[libdir], limits=LIMITS, downloads=OFFLINE)
            require(again.sha256 == result.sha256, "a second conversion has other bytes")


def check_wheel(wheel: Path) -> None:
    """A wheel is what its own RECORD, its file name and other readers say."""
    name, version, _, _ = parse_wheel_filename(wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        require(archive.testzip() is None, "a damaged member")
        members = archive.namelist()
        require(len(members) == len(set(members)), "a member twice")
        info = next(each.partition("/")[0] for each in members if each.endswith(".dist-info/WHEEL") and each.count("/") == 1)
        record = archive.read(f"{info}/RECORD").decode("utf-8")
        rows = list(csv.reader(record.splitlines()))
        require(all(len(row) == 3 for row in rows), "a row of RECORD that is none")
        require(sorted(row[0] for row in rows) == sorted(members), "RECORD lists other members")
        for path in members:
            require(not path.startswith("/") and ".." not in path.split("/") and "\\" not in path, f"a member {path!r}")
        metadata = email.parser.BytesParser().parsebytes(archive.read(f"{info}/METADATA"))
        require(
            metadata["Name"] is not None
            and str(version) == str(parse_wheel_filename(f"x-{metadata['Version']}-py3-none-any.whl")[1]),
            "METADATA has another version",
        )
        require(
            str(name)
            == str(parse_wheel_filename(f"{metadata['Name'].replace('-', '_').replace('.', '_')}-1-py3-none-any.whl")[0]),
            "METADATA has another name",
        )
        json.loads(archive.read(f"{info}/conda2wheel.json"))


def _packages() -> Iterator[bytes]:
    yield from seeds.packages()
    index = {**seeds.INDEX, "name": "libz", "version": "1.3", "depends": []}
    libdir = [
        TextFile("libdir/info/index.json", json.dumps(index).encode()),
        TextFile("libdir/lib/libz.so.1.3", seeds.library()),
        TextFile("libdir/lib/libz.so", b"", "libz.so.1.3"),
        TextFile("libdir/info/run_exports.json", b'{"weak": ["libz >=1.3,<2"]}'),
    ]
    yield textfiles.write([*(each for each in seeds.package() if not each.path.startswith("lib/libz")), *libdir])


def _run_inspect(data: bytes) -> None:
    with scratch() as folder:
        package, _ = lay(folder, data)
        check_json(inspect(package, limits=LIMITS, downloads=OFFLINE).json())


def lay_wheel(folder: Path, data: bytes) -> Path:
    """Write the wheel of a text."""
    path = folder / WHEEL
    path.write_bytes(seeds.as_wheel(each for each in textfiles.read(data) if each.path))
    return path


def _run_audit(data: bytes) -> None:
    with scratch() as folder:
        found = audit(lay_wheel(folder, data), limits=LIMITS, downloads=OFFLINE)
        check_json(found.json())


def _run_repair(data: bytes) -> None:
    with scratch() as folder:
        wheel = lay_wheel(folder, data)
        inspected = inspect(wheel, limits=LIMITS, downloads=OFFLINE)
        check_json(inspected.json())
        found = repair(wheel, out=folder / "dist", limits=LIMITS, downloads=OFFLINE)
        check_json(found.json())
        if hashlib.sha256(data).hexdigest()[0] in "0123":
            again = repair(found.wheel, out=folder / "again", limits=LIMITS, downloads=OFFLINE)
            require(again.wheel.read_bytes() == found.wheel.read_bytes(), "a repair of what was repaired changes it")


def _wheels() -> Iterator[bytes]:
    yield textfiles.write(seeds.wheel())
    yield textfiles.write(from_zip(converted()))
    yield textfiles.write(each for each in seeds.wheel() if "libz" not in each.path)
    for path in seeds.given((".whl",)):
        found = [each for each in from_zip(path.read_bytes()) if not each.path.endswith("/RECORD")]
        kept = [
            each._replace(content=seeds.skeleton(each.content)) if each.content.startswith(b"\0asm") else each for each in found
        ]
        yield textfiles.write(each for each in kept if len(each.content) < 4096 or ".so" in each.path)


def from_zip(data: bytes) -> list[TextFile]:
    """The members of a wheel but its RECORD."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [
            TextFile(each.filename, archive.read(each)) for each in archive.infolist() if not each.filename.endswith("/RECORD")
        ]


def _run_details(data: bytes) -> None:
    """What the pages show of a wheel that a mirror made: its bill of materials and provenance are changed, too."""
    with scratch() as folder:
        found = read_details(lay_wheel(folder, data))
        check_json(found.details.json())
        require(WheelDetails.from_json(json.loads(found.by_suffix()[SUFFIX])) == found.details, "details change when written")
        wheel_verdicts(WHEEL, None, found.details)


@cache
def converted() -> bytes:
    """The wheel that a package becomes."""
    with scratch() as folder:
        package, libdir = lay(folder, next(iter(seeds.packages())))
        found = convert(package, out=folder / "dist", libdirs=[libdir], downloads=OFFLINE)
        assert isinstance(found, Converted)
        return found.wheel.read_bytes()


def provenance_of(wheel: bytes) -> bytes:
    """The provenance in a wheel."""
    return next(each.content for each in from_zip(wheel) if each.path.endswith("/conda2wheel.json"))


@cache
def _source() -> bytes:
    with scratch() as folder:
        return lay(folder, next(iter(seeds.packages())))[0].read_bytes()


def _run_verify(data: bytes) -> None:
    """A wheel whose provenance or members were changed, with the package that it was made of."""
    with scratch() as folder:
        wheel = lay_wheel(folder, data)
        package = folder / "sources" / f"{STEM}.tar.gz"
        package.parent.mkdir()
        package.write_bytes(_source())
        check_json(verify(wheel, [package], limits=LIMITS).json())


def _verify_seeds() -> Iterator[bytes]:
    yield textfiles.write(from_zip(converted()))


TARGETS = [
    Target(
        "convert",
        "convert: a package, a library's package in a libdir; others read the wheel",
        _run_convert,
        _packages,
        files(contents),
        size=192 << 10,
        minute=750,
    ),
    Target("inspect", "inspect: a package", _run_inspect, _packages, files(contents), size=192 << 10, minute=1_500),
    Target("audit", "audit: a wheel", _run_audit, _wheels, files(contents), size=192 << 10, minute=2_000),
    Target(
        "repair",
        "repair and inspect: a wheel; repaired twice",
        _run_repair,
        _wheels,
        files(contents),
        size=192 << 10,
        minute=1_500,
    ),
    Target("details", "what the pages show of a wheel", _run_details, _wheels, files(contents), size=192 << 10, minute=2_500),
    Target(
        "verify", "verify: a wheel and its package", _run_verify, _verify_seeds, files(contents), size=192 << 10, minute=1_500
    ),
]
