"""Wheels as other builders leave them before anybody vendored anything, and cibuildwheel itself."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers import conda
from tests.helpers.cache import cached
from tests.helpers.zig import Chain

CIBUILDWHEEL = "4.3.5"
MOMENT = (2025, 3, 4, 5, 6, 8)
SETUPTOOLS = "setuptools (80.9.0)"
MATURIN = "maturin (1.9.6)"


@dataclass(frozen=True)
class Foreign:
    """What a builder writes. `tag` is the tag of file name and WHEEL; `extra` are further dist-info files."""

    tag: str
    files: conda.Files
    name: str = "pkg"
    version: str = "1.0"
    build: str = ""
    generator: str = SETUPTOOLS
    metadata_version: str = "2.4"
    told: Sequence[str] = ()  # the tags in WHEEL, where they are others than the file name's
    purelib: bool = False
    record: str | None = ""  # another RECORD; None: no RECORD
    extra: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def filename(self) -> str:
        """The file name."""
        return "-".join(part for part in (self.name, self.version, self.build, self.tag) if part) + ".whl"

    def write(self, folder: Path) -> Path:
        """The wheel in `folder`, with folder members, group-writable modes and links as links, as zip tools leave them."""
        folder.mkdir(parents=True, exist_ok=True)
        info = f"{self.name}-{self.version}.dist-info"
        python, abi, platforms = self.tag.split("-")
        tags = self.told or [f"{p}-{a}-{q}" for p in python.split(".") for a in abi.split(".") for q in platforms.split(".")]
        lines = ["Wheel-Version: 1.0", f"Generator: {self.generator}", f"Root-Is-Purelib: {str(self.purelib).lower()}"]
        members: dict[str, bytes | conda.Link] = {path: conda._read(content) for path, content in self.files.items()}
        members[f"{info}/METADATA"] = (
            f"Metadata-Version: {self.metadata_version}\nName: {self.name}\nVersion: {self.version}\nSummary: a demo\n"
            "Description-Content-Type: text/plain\n"
            "License-File: LICENSE\n\nLicense-File: is told in the description, too\n"
        ).encode()
        members[f"{info}/WHEEL"] = "\n".join([*lines, *(f"Tag: {tag}" for tag in tags), "", ""]).encode()
        members[f"{info}/licenses/LICENSE"] = b"pkg's license\n"
        members |= {f"{info}/{name}": content for name, content in self.extra.items()}
        if self.record is not None:
            members[f"{info}/RECORD"] = (self.record or record(members, f"{info}/RECORD")).encode()
        path = folder / self.filename
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in sorted({member.rpartition("/")[0] + "/" for member in members if "/" in member}):
                archive.writestr(_entry(name, stat.S_IFDIR | 0o775), b"")
            for name, content in members.items():
                if isinstance(content, conda.Link):
                    archive.writestr(_entry(name, stat.S_IFLNK | 0o777), content.target)
                else:
                    archive.writestr(_entry(name, stat.S_IFREG | (0o775 if ".so" in name else 0o664)), content)
        return path


def unvendored(chain: Chain, python: str, platform: str) -> Foreign:
    """The extension modules of a chain, which NEED libraries that only the build machine has."""
    inits = dict.fromkeys(("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/deep/__init__.py"), "")
    return Foreign(f"cp{python}-cp{python}-{platform}", {**inits, **chain.package()})


def record(members: Mapping[str, bytes | conda.Link], own: str) -> str:
    """A right RECORD."""
    stream = io.StringIO()
    rows = [
        (name, "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode(), str(len(data)))
        for name, data in members.items()
        if isinstance(data, bytes) and not name.endswith((".jws", ".p7s"))
    ]
    csv.writer(stream, lineterminator="\n").writerows([*rows, (own, "", "")])
    return stream.getvalue()


def cibuildwheel() -> Path:
    """A folder to put on PYTHONPATH, with cibuildwheel and what it requires."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
        done = subprocess.run([*command, f"cibuildwheel=={CIBUILDWHEEL}"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip install cibuildwheel: {done.stderr.strip()[-2000:]}")

    return cached("cibuildwheel", (CIBUILDWHEEL, sys.version_info[:2]), make)


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, MOMENT)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = mode << 16
    return entry
