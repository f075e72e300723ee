"""Packages in the odd shapes that emscripten-forge's have, and their conversion with every judge asked."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.errors import Refused
from conda2wheel.results import Converted
from tests.helpers import conda, judges, zig
from tests.helpers.conda import Content

SITE = "lib/python3.13/site-packages"
SUFFIX = zig.suffix("313")
ABI = ("emscripten-abi >=4.0.9,<4.0.10", "python_abi 3.13.* *_cp313")
MODULE = {"demo/__init__.py": "answer = 42\n"}
MARK = b"placehold"  # in every placeholder of conda's
PREFIX = "/home/runner/_h_env_" + "placehold_" * 23  # what a build prefix looks like


@dataclass(frozen=True)
class Made:
    """A wheel that was made and judged: the result of its conversion, and its members."""

    result: Converted
    members: dict[str, bytes]
    modes: dict[str, int]

    @property
    def info(self) -> str:
        """Its dist-info folder."""
        return "-".join(self.result.filename.split("-")[:2]) + ".dist-info"

    @property
    def contents(self) -> set[str]:
        """Members outside of dist-info."""
        return {name for name in self.members if not name.startswith(f"{self.info}/")}

    @property
    def described(self) -> set[str]:
        """Members of dist-info, relative to it, but what tells of the wheel itself, which every one has."""
        found = {name.removeprefix(f"{self.info}/") for name in self.members if name.startswith(f"{self.info}/")}
        assert {"conda2wheel.json", "sboms/conda2wheel.cdx.json"} <= found
        return found - {"conda2wheel.json", "sboms/conda2wheel.cdx.json"}

    @property
    def metadata(self) -> Message:
        """METADATA, as an e-mail parser reads it."""
        return BytesParser().parsebytes(self.read("METADATA"))

    @property
    def codes(self) -> set[str]:
        """The codes of all warnings."""
        return {warning.code for warning in self.result.warnings}

    def read(self, name: str) -> bytes:
        """A file of dist-info."""
        return self.members[f"{self.info}/{name}"]

    def fields(self, name: str) -> list[str]:
        """All values of a field of METADATA."""
        return [str(value) for value in self.metadata.get_all(name, [])]

    def told(self, code: str) -> set[str | None]:
        """The files that warnings with this code are about."""
        return {warning.file for warning in self.result.warnings if warning.code == code}


def made(package: Path, out: Path, *, ignore: Collection[str] = (), **options: Any) -> Made:
    """Convert a package, ask every judge, and look inside."""
    result = convert(package, out=out, **options)
    assert result.wheel is not None
    judges.judge(result.wheel, ignore=ignore)
    with zipfile.ZipFile(result.wheel) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    left = [name for name, content in members.items() if MARK in content]
    assert not left, f"the build prefix is still in {left}"
    return Made(result, members, modes)


def refused(package: Path, out: Path, code: str, match: str | None = None, **options: Any) -> Refused:
    """A package must be refused with this code, and leave nothing behind."""
    with pytest.raises(Refused, match=match) as caught:
        convert(package, out=out, **options)
    assert caught.value.code == code
    assert not out.exists() or not list(out.iterdir())
    return caught.value


def in_site(files: dict[str, Content], site: str = SITE) -> dict[str, Content]:
    """The same files in site-packages."""
    return {f"{site}/{name}": content for name, content in files.items()}


def core(name: str, version: str, *lines: str, body: str = "") -> str:
    """METADATA."""
    return "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, "", body])


def dist_info(
    folder: str,
    *lines: str,
    metadata: str | bytes | None = None,
    body: str = "",
    tag: str = "cp313-cp313-unknown_wasm32",
    more: dict[str, Content] | None = None,
) -> dict[str, Content]:
    """A dist-info folder as it lies in a package, with what an installer left there; `folder` is `NAME-VERSION`."""
    name, _, version = folder.rpartition("-")
    files: dict[str, Content] = {
        "METADATA": core(name, version, *lines, body=body) if metadata is None else metadata,
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: setuptools\nRoot-Is-Purelib: false\nTag: {tag}\n",
        "INSTALLER": "conda\n",
        "REQUESTED": "",
        "direct_url.json": '{"url": "file:///home/runner/work", "dir_info": {}}',
        "RECORD": f"{folder}.dist-info/INSTALLER,sha256=AAAA,4\n../../../bin/gone,sha256=BBBB,10\ngone.py,,\n",
        "top_level.txt": "demo\n",
        **(more or {}),
    }
    return {f"{folder}.dist-info/{key}": content for key, content in files.items()}


def package(
    files: dict[str, Content],
    *,
    name: str = "demo",
    version: str = "1.0",
    depends: Sequence[str] = ("python", *ABI),
    outside: dict[str, Content] | None = None,
    **options: Any,
) -> Path:
    """A package with these files in site-packages, and others outside."""
    site = "site-packages" if options.get("noarch") == "python" else SITE
    return conda.assemble(name, version, {**in_site(files, site), **(outside or {})}, depends=depends, **options)


def placeheld(package: Path, modes: dict[str, str]) -> Path:
    """The same package, whose paths.json says `text` or `binary` of the files that have `PREFIX` in them."""

    def change(paths: dict[str, Any]) -> dict[str, Any]:
        rows = {row["_path"]: row for row in paths["paths"]}
        for path, mode in modes.items():
            rows[path] |= {"file_mode": mode, "prefix_placeholder": PREFIX}
        return paths

    return conda.edit(package, "info/paths.json", change)


@cache
def extension(name: str = "_demo") -> bytes:
    """An extension module that exports PyInit_<name>."""
    return zig.side_module(name, zig.extension(name, {"one": zig.integer("1")})).read_bytes()


@cache
def library(number: int = 7, needed: tuple[str, ...] = ()) -> bytes:
    """A shared library without PyInit_."""
    source = f"int number(void) {{ return {number}; }}\n"
    return zig.shared_library("libnumber.so", source, exports=["number"], needed=needed).read_bytes()
