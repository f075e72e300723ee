"""What the tests of the stations "open" and "read" share: one package in every form, and what was opened as plain values."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from conda2wheel.conda.package import CondaPackage
from tests.helpers import conda, installed
from tests.helpers.systems import HAS_LINKS

SITE = "lib/python3.13/site-packages"
FILES: dict[str, conda.Content] = {
    f"{SITE}/demo/__init__.py": "x = 1\n",
    f"{SITE}/demo/data.bin": bytes(range(256)) * 40,
    f"{SITE}/demo/config.py": f"prefix = '{conda.PREFIX}/share'\n",
    "lib/compiled.dat": b"\0\1" + conda.PREFIX.encode() + b"/share/x\0after",
    "lib/libz.so.1.3": b"\0asm\1\0\0\0 a library",
    "lib/libz.so.1": conda.Link("libz.so.1.3"),
    "lib/libz.so": conda.Link("libz.so.1"),
    "share/demo-1/readme.txt": "read me\n",
    "share/demo": conda.Link("demo-1"),
}
FORMS = ("tar.bz2", "conda", "tar.gz", "folder", "prefix", "record", "file URL", "wrong suffix")


def skip_unpacked(kind: str) -> None:
    """Skip a test about the links of a package in a form that lies unpacked, where the system has no links."""
    if kind in ("folder", "prefix", "record") and not HAS_LINKS:
        pytest.skip("needs symbolic links")


def demo(archive: conda.ArchiveType = "tar.bz2") -> Path:
    """The package of `FILES`, by rattler-build."""
    return conda.build("demo", "1.0", FILES, string="py313h1234567_0", archive=archive)


def form(kind: str, folder: Path) -> str:
    """The demo package in one of `FORMS`, as a person would name it."""
    if kind == "conda":
        return str(demo("conda"))
    if kind == "tar.gz":
        return str(empack(folder / "demo-1.0-py313h1234567_0.tar.gz"))
    if kind == "folder":
        return str(conda.unpack(demo()))
    if kind in ("prefix", "record"):
        root = installed.prefix(folder / "env", [demo()], location=str(folder / "env"))
        return str(root if kind == "prefix" else root / "conda-meta" / "demo-1.0-py313h1234567_0.json")
    if kind == "file URL":
        return demo().as_uri()
    if kind == "wrong suffix":
        return str(shutil.copy(demo("conda"), folder / "demo.tar.bz2"))
    return str(demo())


def empack(path: Path) -> Path:
    """The demo package as a .tar.gz of its files and its conda-meta record, links as links."""
    prefix = installed.prefix(path.parent / "for-empack", [demo()], location=str(path.parent / "for-empack"))
    record = (prefix / "conda-meta" / "demo-1.0-py313h1234567_0.json").read_bytes()
    kept = {name: value for name, value in conda.members(demo()).items() if not name.startswith("info/")}
    members = [installed.entry("conda-meta/demo-1.0-py313h1234567_0.json", record)]
    for name, value in kept.items():
        if isinstance(value, conda.Link):
            members.append(installed.entry(name, kind=tarfile.SYMTYPE, link=value.target))
        else:
            members.append(installed.entry(name, value))
    return installed.raw_tar(path, members)


def contents(package: CondaPackage) -> dict[str, bytes]:
    """Every name that a file has, with the bytes; the prefix, whatever it is, as `@`, and without its padding."""
    found = {}
    for file in package.files:
        data = file.blob.read()
        if file.path in package.placeholders:
            data = data.replace(package.placeholders[file.path].prefix.encode(), b"@")
            data = re.sub(rb"\0+after", b"after", data)
        for name in (file.path, *file.aliases):
            assert name not in found, f"{name} is two files"
            found[name] = data
    return found


def aliases(package: CondaPackage) -> dict[str, tuple[str, ...]]:
    """The files that have several names."""
    return {file.path: tuple(sorted(file.aliases)) for file in package.files if file.aliases}


def tree(folder: Path) -> Mapping[str, bytes | str]:
    """Everything below a folder: contents of files, targets of links, the kind of anything else."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = "folder" if path.is_dir() else "special"
    return found


def tar_bytes(members: installed.Members) -> bytes:
    """An uncompressed tar exactly as told."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        installed._add(archive, members)
    return stream.getvalue()
