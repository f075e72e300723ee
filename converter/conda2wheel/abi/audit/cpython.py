"""What a module takes from CPython beyond the public interface: private functions, and what abi3 does not admit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from conda2wheel.abi.audit.findings import Finding, Severity, listed
from conda2wheel.abi.audit.resolve import PYTHON
from conda2wheel.abi.audit.unit import InstalledModule

Version = tuple[int, int]
LIMITED_API = "limited_api.txt"  # made by scripts/update-abi


def interface(module: InstalledModule, abi3: str | None) -> Iterator[Finding]:
    """Findings about the names of CPython that a module imports; `abi3` is the version that its wheel claims (`cp312`).

    A module that is named `.abi3.so` claims to be one, whatever its wheel says; the version is then not known.
    """
    names = tuple(dict.fromkeys(wanted.name for wanted in module.side.imports if PYTHON.fullmatch(wanted.name)))
    claims = abi3 is not None or ".abi3" in module.name
    if claims and module.side.is_extension:
        yield from _abi3(module, names, _version(abi3))
    else:
        private = tuple(name for name in names if name.startswith("_Py") and name not in _limited())
        if private:
            why = f"takes private functions of CPython, which change without notice: {listed(private)}"
            yield Finding("private-api", Severity.NOTE, module.path, why, symbols=private)


def _abi3(module: InstalledModule, names: tuple[str, ...], version: Version | None) -> Iterator[Finding]:
    limited = _limited()
    outside = tuple(name for name in names if name not in limited)
    newer = tuple(name for name in names if version is not None and name in limited and limited[name] > version)
    if outside:
        why = f"is abi3 and takes what is not in the limited API of any version: {listed(outside)}"
        yield Finding("not-abi3", Severity.SUSPICIOUS, module.path, why, symbols=outside)
    if newer and version is not None:
        why = f"is abi3 for CPython {version[0]}.{version[1]} and takes what came later: {listed(newer)}"
        yield Finding("not-abi3", Severity.SUSPICIOUS, module.path, why, symbols=newer)


def _version(abi3: str | None) -> Version | None:
    """`cp312` as (3, 12); None where nothing is claimed."""
    match = re.fullmatch(r"cp(\d)(\d+)", abi3 or "")
    return (int(match[1]), int(match[2])) if match else None


@cache
def _limited() -> dict[str, Version]:
    """The names of the stable ABI (PEP 384) and when each came into it: `data/limited_api.txt`, a line a version."""
    text = files("conda2wheel.abi").joinpath("data", LIMITED_API).read_text(encoding="utf-8")
    found = {}
    for line in text.splitlines():
        version, *names = line.split()
        if version != "#":
            major, minor = version.split(".")
            found.update(dict.fromkeys(names, (int(major), int(minor))))
    return found
