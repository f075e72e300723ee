"""What emscripten-forge-4x has: each package by its facts, rendered as the channel's repodata would have it.

Facts: tests/data/channel_4x.json (what the recipes say), channel_4x_python.txt and channel_4x_others.toml (what is in the
packages, and what must become of them).
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).parents[1] / "data"
NEWEST = datetime(2026, 8, 1, tzinfo=UTC)
ABI = "emscripten-abi >=4,<5.0a0"
Noarch = Literal["python", "generic"]
_SPEC = re.compile(r"([\w.-]+)\s*(.*)")
_PIN = re.compile(r"\$\{\{\s*pin_\w+\(['\"]([\w.-]+)['\"](?:,\s*(?:exact=True|upper_bound=['\"][x.]+['\"]))*\)\s*\}\}")
_HASH_ONLY = ("cffi", "fonttools", "python-xxhash")  # Python's version is in no build string of theirs (facts: section 9.6)


@dataclass(frozen=True)
class Shape:
    """A row of channel_4x_python.txt. `pypi` is None where PyPI has no such project."""

    pypi: str | None
    metadata: str
    files: tuple[str, ...]
    verdict: str
    requires: tuple[str, ...]

    @property
    def compiled(self) -> tuple[str, ...]:
        """The extension modules among the files."""
        return tuple(item for item in self.files if not item.endswith(("/", ".py")))


@dataclass(frozen=True)
class Output:
    """One build of one package."""

    name: str
    version: str
    number: int
    kind: str  # python, R, xeus, python-core; else a kind of channel_4x_others.toml
    noarch: Noarch | None
    run: tuple[str, ...]
    about: Mapping[str, str] = field(hash=False)
    age: int = 0  # how many builds of this name are newer
    current: str = ""  # the version of the newest build

    @property
    def shape(self) -> Shape | None:
        """What is in it, if it is a Python package."""
        return shapes().get(self.name)

    @property
    def subdir(self) -> str:
        """polars-runtime-32 says `noarch: python` and lies in emscripten-wasm32 all the same: it has machine code."""
        native = self.noarch is None or (self.shape is not None and bool(self.shape.compiled))
        return "emscripten-wasm32" if native else "noarch"

    @property
    def build(self) -> str:
        """The build string."""
        digest = hashlib.sha256(f"{self.name} {self.version} {self.number}".encode()).hexdigest()[:7]
        if self.name == "python_abi":
            return f"{self.number}_cp313"
        if self.name == "python":
            return f"h{digest}_{self.number}_cp313"
        prefix = ""
        if self.noarch == "python":
            prefix = "py"
        elif self.kind == "python" and self.name not in _HASH_ONLY:
            prefix = "np23py313" if self.uses_numpy else "py313"
        elif self.kind == "R":
            prefix = "r45"
        return f"{prefix}h{digest}_{self.number}"

    @property
    def uses_numpy(self) -> bool:
        """Whether it was built against numpy's C API."""
        return self.shape is not None and bool(self.shape.compiled) and any(_SPEC.fullmatch(s)[1] == "numpy" for s in self.run)  # type: ignore[index]

    @property
    def timestamp(self) -> int:
        """Milliseconds; builds of one name are 11 days apart, none older than the flags that make a build one for 2025_0."""
        day = 86400
        return int(NEWEST.timestamp() - min(self.age * 11, 240) * day + int(self.build.encode().hex()[-6:], 16) % day) * 1000

    @property
    def expected(self) -> str:
        """The refusal that it must end in, "ok" for what becomes a wheel."""
        if self.shape is not None:
            return self.shape.verdict
        verdict: str = others()["verdict"].get(self.name) or others()["verdicts"][self.kind]
        return verdict

    def record(self, builds: Mapping[str, Output]) -> dict[str, Any]:
        """Its index.json; `builds` are the newest builds by name, for exact pins."""
        found: dict[str, Any] = {
            "arch": None if self.subdir == "noarch" else "wasm32",
            "build": self.build,
            "build_number": self.number,
            "depends": list(dict.fromkeys(self._depends(builds))),
            "license": self.about.get("license", ""),
            "name": self.name,
            "platform": None if self.subdir == "noarch" else "emscripten",
            "subdir": self.subdir,
            "timestamp": self.timestamp,
            "version": self.version,
        }
        if self.noarch:
            found["noarch"] = self.noarch
        return {key: value for key, value in found.items() if value not in (None, "")}

    def _depends(self, builds: Mapping[str, Output]) -> Iterator[str]:
        for spec in self.run:
            if f"'{self.name}'" not in spec:  # lz4-c pins itself
                yield self._rendered(spec, builds)
        if self.noarch == "python" and "python" not in self.run:
            yield "python >=3.10"
        if self.uses_numpy:
            yield "numpy >=2.2,<3"
        for name, row in others()["exported"].items():
            if any(fnmatchcase(self.name, pattern) for pattern in row["to"]) and self.name != name and name in builds:
                yield row["spec"].format(build=builds[name].build)
        if self.subdir != "noarch" and self.name != "python_abi":
            yield ABI
        if self.kind == "python" and not self.noarch:
            yield "python_abi 3.13.* *_cp313"

    def _rendered(self, spec: str, builds: Mapping[str, Output]) -> str:
        """A run requirement of a recipe as rattler-build renders it: `=23.0.0` becomes `23.0.0.*`, an exact pin has the build."""
        pin = _PIN.fullmatch(spec)
        if pin is not None:
            other = builds[pin[1]]
            if "exact" not in spec:
                return f"{other.name} >={other.version}"
            beside = replace(other, version=self.version, number=self.number if other.version == self.current else 0)
            same = other if self.age == 0 else beside
            return f"{other.name} =={same.version} {same.build}"
        match = _SPEC.fullmatch(spec.replace("${{ version | version_to_buildstring}}", "313"))
        assert match is not None, spec
        name, version = match[1].lower(), match[2].replace(" *", "\0").replace(" ", "").replace("\0", " *")
        exact = re.fullmatch(r"=(\d[\w.]*)", version)
        if exact:
            version = f"{self.version if exact[1] == self.current else exact[1]}.*"
        return f"{name} {version}".strip()


@cache
def others() -> dict[str, Any]:
    """channel_4x_others.toml."""
    return tomllib.loads((DATA / "channel_4x_others.toml").read_text(encoding="utf-8"))


@cache
def shapes() -> dict[str, Shape]:
    """channel_4x_python.txt, by conda name."""
    found = {}
    for line in (DATA / "channel_4x_python.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, pypi, metadata, files, verdict, *rest = (cell.strip() for cell in line.split("|", 5))
            requires = tuple(filter(None, rest[0].split(" & "))) if rest else ()
            found[name] = Shape(
                None if pypi == "-" else pypi, metadata, tuple(files.split()) if files != "-" else (), verdict, requires
            )
    return found


@cache
def outputs() -> tuple[Output, ...]:
    """The newest build of every package, the marker emscripten-abi among them. Of numpy's two outputs the one against openblas
    goes to another channel; two outputs of one name and version are one."""
    facts = json.loads((DATA / "channel_4x.json").read_text(encoding="utf-8"))["outputs"]
    found: dict[tuple[str, str], Output] = {}
    for row in [*facts, {"name": "emscripten-abi", "version": "4.0.9", "build_number": 0, "class": "other", "noarch": "generic"}]:
        output = _output(row)
        found[output.name, output.version] = output
    return tuple(found.values())


def _output(row: Mapping[str, Any]) -> Output:
    name, version = row["name"], row["version"]
    if "${{" in version:
        version = others()["versions"].get(name, others()["versions"]["default"])
    version = version.replace("-", "_")
    about = {key: row[key] for key in ("license", "summary", "homepage", "repository", "documentation") if key in row}
    return Output(
        name, version, row["build_number"], _kind(row), row.get("noarch"), tuple(row.get("run", ())), about, current=version
    )


def _kind(row: Mapping[str, Any]) -> str:
    if row["class"] != "other":
        return "python" if row["name"] in shapes() else str(row["class"])
    for kind, names in others()["kinds"].items():
        if row["name"] in names:
            return str(kind)
    return "shared" if row["name"] in others()["shared"] else "static"
