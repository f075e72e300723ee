"""The ABI table: the platforms that a wheel can be tagged for, and the toolchains of emscripten-forge's channels.

The rows are in `platforms.toml`; this module has their types and look-ups. PEP 783 names the platforms
(`pyemscripten_YEAR_PATCH_wasm32`); an Emscripten without such a name is tagged `emscripten_X_Y_Z_wasm32`, which
Pyodide's own installers take and PyPI refuses.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, get_args

ARCH = "wasm32"
RUNTIME_PATH_SINCE = (4, 0, 5)  # emscripten 28051fb29f: libdylink.js reads subsection 5
LEGACY_DYLINK_UNTIL = (3, 1, 73)
_WHOLE = re.compile(r"\d+\.\d+\.\d+([a-z.-].*)?")

Unwinding = Literal["js", "wasm", "unknown"]
TagForm = Literal["pep783", "both", "pyodide"]
TAG_FORMS: tuple[TagForm, ...] = get_args(TagForm)


@dataclass(frozen=True)
class Platform:
    """One row: the Emscripten, CPython and loader for which a wheel with this tag is made.

    `python` is None if any CPython is possible.
    """

    name: str
    emscripten: str
    python: str | None
    cpython: str | None = None
    aliases: tuple[str, ...] = ()
    unwinding: Unwinding = "unknown"
    runtime_path: bool = True
    normalises_paths: bool = True
    legacy_dylink: bool = False
    libs_folder: bool = False
    prerelease: bool = False
    prefix: str = "/"
    site_packages: str = ""
    provides: tuple[str, ...] = ()  # libraries in the main module, such as "zlib 1.3.1"
    pyodide: tuple[tuple[str, str], ...] = ()  # (version, npm integrity), oldest first

    @property
    def tag(self) -> str:
        """The wheel's platform tag, such as `pyemscripten_2025_0_wasm32`."""
        return f"{self.name}_{ARCH}"

    @property
    def alias_tags(self) -> tuple[str, ...]:
        """Older tags of the same platform, such as `pyodide_2025_0_wasm32`."""
        return tuple(f"{alias}_{ARCH}" for alias in self.aliases)

    @property
    def all_tags(self) -> tuple[str, ...]:
        """The tag and the older tags."""
        return (self.tag, *self.alias_tags)

    def tags(self, form: TagForm | None = None) -> tuple[str, ...]:
        """The tags that a wheel gets: of PEP 783, those and the older ones, or the older ones alone, where there are any."""
        if form == "pyodide":
            return self.alias_tags or (self.tag,)
        return self.all_tags if form == "both" else (self.tag,)

    @property
    def on_pypi(self) -> bool:
        """Whether PyPI accepts the tag: it takes PEP 783 tags only."""
        return self.name.startswith("pyemscripten_")

    @property
    def python_tag(self) -> str | None:
        """`cp313` for CPython 3.13."""
        return None if self.python is None else "cp" + self.python.replace(".", "")


class Toolchain(NamedTuple):
    """The Emscripten with which channels of emscripten-forge were built, and when."""

    emscripten: str
    channels: tuple[str, ...]
    pythons: tuple[str, ...]
    unwinding: Unwinding
    since: date
    until: date | None = None


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("platforms.toml").read_text(encoding="utf-8"))


@cache
def platforms() -> tuple[Platform, ...]:
    """Every row of the table, oldest Emscripten first."""
    rows = []
    for row in _table()["platform"]:
        listed = {key: tuple(row[key]) for key in ("aliases", "provides")}
        values = {**row, **listed, "pyodide": tuple(row["pyodide"].items())}
        rows.append(Platform(**values))
    return tuple(rows)


@cache
def toolchains() -> tuple[Toolchain, ...]:
    """The toolchains of emscripten-forge's channels, oldest first."""
    return tuple(
        Toolchain(**{**row, "channels": tuple(row["channels"]), "pythons": tuple(row["pythons"])})
        for row in _table()["toolchain"]
    )


def release(version: str) -> tuple[int, ...]:
    """`3.1.45` as (3, 1, 45), to compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def known_emscriptens() -> tuple[str, ...]:
    """Every Emscripten that a platform or a channel has, in order."""
    return tuple(sorted({p.emscripten for p in platforms()} | {t.emscripten for t in toolchains()}, key=release))


def for_emscripten(version: str) -> Platform:
    """The platform of an exact Emscripten version: a row, or `emscripten_X_Y_Z` for one that no Pyodide has.

    For the latter the loader's abilities follow from the Emscripten version; there is no Pyodide to measure them with.
    """
    for row in platforms():
        if row.emscripten == version:
            return row
    unwinding: Unwinding = next((t.unwinding for t in toolchains() if t.emscripten == version), "unknown")
    return Platform(
        name="emscripten_" + "_".join(str(part) for part in release(version)),
        emscripten=version,
        python=None,
        unwinding=unwinding,
        runtime_path=release(version) >= RUNTIME_PATH_SINCE,
        normalises_paths=False,
        legacy_dylink=release(version) <= LEGACY_DYLINK_UNTIL,
        libs_folder=release(version) < RUNTIME_PATH_SINCE,
    )


def for_pyodide(version: str) -> Platform | None:
    """The platform of a Pyodide version: its own row, else that of the same release series (0.28.0 is as 0.28.3)."""
    for row in platforms():
        if any(version == known for known, _ in row.pyodide):
            return row
    series = _series(version)
    for row in platforms():
        if any(series == _series(known) for known, _ in row.pyodide):
            return row
    return None


def _series(version: str) -> tuple[int, ...]:
    parts = release(version)
    return parts[:1] if parts and parts[0] > 0 else parts[:2]


def whole_version(text: str) -> str | None:
    """The Pyodide version that a text names: itself, or the newest known one of a series. None if it is neither.

    >>> whole_version("0.29"), whole_version("314"), whole_version("0.29.3")
    ('0.29.5', '314.0.7', '0.29.3')
    """
    text = text.strip()
    if _WHOLE.fullmatch(text):
        return text
    if not re.fullmatch(r"\d{1,4}(\.\d{1,4})?", text):
        return None
    known = [version for row in platforms() for version, _ in row.pyodide if version.startswith(f"{text}.")]
    final = [version for version in known if re.fullmatch(r"[\d.]+", version)]
    found = final or known
    return found[-1] if found and (release(text)[0] or "." in text) else None


def integrity(pyodide: str) -> str | None:
    """Return npm's `sha512-...` of a Pyodide version, where the table has it."""
    return next((digest for row in platforms() for version, digest in row.pyodide if version == pyodide), None)


def parse(text: str) -> Platform | None:
    """The platform that `--platform` names: by a tag, with or without `_wasm32`, an alias, or a Pyodide version or series.

    >>> parse("pyodide_2025_0_wasm32").name
    'pyemscripten_2025_0'
    >>> parse("0.29.5").name
    'pyemscripten_2025_0'
    >>> parse("0.28").name
    'pyemscripten_2025_0'
    >>> parse("emscripten_3_1_73_wasm32").emscripten
    '3.1.73'
    """
    name = text.strip().removesuffix(f"_{ARCH}")
    for row in platforms():
        if name == row.name or name in row.aliases or name == "emscripten_" + row.emscripten.replace(".", "_"):
            return row
    if match := re.fullmatch(r"emscripten_(\d+)_(\d+)_(\d+)", name):
        return for_emscripten(".".join(match.groups()))
    version = whole_version(name)
    return None if version is None else for_pyodide(version)


def compressed_tags(rows: Iterable[Platform], form: TagForm | None = None) -> str:
    """The platform part of a wheel's file name: the tags of every platform in that form; those of PEP 783 first.

    >>> compressed_tags([for_emscripten("5.0.3"), for_emscripten("4.0.9")], "both")
    'pyemscripten_2025_0_wasm32.pyemscripten_2026_0_wasm32.pyodide_2025_0_wasm32'
    """
    tags = {tag for row in rows for tag in row.tags(form)}
    return ".".join(sorted(tags, key=lambda tag: (not tag.startswith("pyemscripten_"), tag)))


def unknown(text: str) -> tuple[str, str]:
    """The message and the hint about a text that `parse` does not know. The hint lists the platforms with their Pyodides."""
    known = "; ".join(f"{row.tag} ({', '.join(version for version, _ in row.pyodide)})" for row in platforms() if row.pyodide)
    return (
        f"{text!r} is neither auto, nor a platform tag, nor a known version of Pyodide (X.Y.Z) or series (X.Y)",
        f"known are {known}",
    )


def unknown_pyodide(text: str) -> tuple[str, str]:
    """The message and the hint about a text that names no Pyodide."""
    known = ", ".join(version for row in platforms() for version, _ in row.pyodide)
    return f"{text!r} is no version of Pyodide (X.Y.Z) and no series of the known ones (X.Y)", f"known are {known}"


def marker_environment(python: str, emscripten: str) -> dict[str, str]:
    """Return the values of all PEP 508 marker variables in a Pyodide with that CPython (`3.13.2`) and Emscripten.

    All variables have a value, so that none is taken from this machine.
    """
    return {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": "posix",
        "platform_machine": ARCH,
        "platform_python_implementation": "CPython",
        "platform_release": emscripten,
        "platform_system": "Emscripten",
        "platform_version": "#1",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "emscripten",
    }
