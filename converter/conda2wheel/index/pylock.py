"""`pylock.toml` (PEP 751) for wheels: what uv, pip and Cloudflare's pywrangler install.

`requires-python` of the whole file is not written, and the environment names the CPython: uv 0.13 compares `requires-python` with
the interpreter that it runs on, also where `--python-version` and `--python-platform` name another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from packaging.markers import Marker
from packaging.pylock import Package, PackageWheel, Pylock
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from conda2wheel._version import __version__
from conda2wheel.files.pypa import parse_specifiers
from conda2wheel.index.pyodide_lock import LockEntry
from conda2wheel.pyodide.lock import LockedPackage, Runtime

NAME = "pylock.toml"


def pylock_data(
    entries: Iterable[LockEntry],
    runtime: Runtime,
    base: str | None = None,
    shipped: Iterable[LockedPackage] = (),
    own: str | None = None,
) -> bytes:
    """Return the lock file of wheels that one Pyodide takes.

    Args:
        entries: the wheels, one of each project. Their URLs are absolute, or relative to the lock file.
        runtime: the Pyodide.
        base: the URL at which the folder of the wheels will be served; None keeps the URLs of the entries.
        shipped: packages of Pyodide's own that the wheels require. Those that are no wheels are left out.
        own: the URL of the folder that has Pyodide's own packages.
    """
    packages = [_package(entry, base) for entry in entries]
    packages += [_shipped(each, own) for each in shipped if own is not None and is_lockable(each)]
    lock = Pylock(
        lock_version=Version("1.0"),
        environments=[Marker(f"sys_platform == 'emscripten' and python_version == '{runtime.python_version}'")],
        created_by=f"conda2wheel {__version__}",
        packages=sorted(packages, key=lambda each: each.name),
    )
    lock.validate()
    return _toml(lock.to_dict()).encode()


def is_lockable(package: LockedPackage) -> bool:
    """Whether a package of Pyodide's own is a wheel of its project, as in all since 0.26; older ones have archives, too."""
    try:
        return parse_wheel_filename(package.file_name)[0] == package.name
    except InvalidWheelFilename:
        return False


def _package(entry: LockEntry, base: str | None) -> Package:
    url = entry.url if base is None else f"{base.rstrip('/')}/{entry.filename}"
    absolute, relative = (url, None) if "://" in url else (None, url)
    wheel = PackageWheel(name=entry.filename, url=absolute, path=relative, size=entry.size, hashes={"sha256": entry.sha256})
    requires = parse_specifiers(entry.requires_python or "")
    return Package(
        name=parse_wheel_filename(entry.filename)[0],
        version=parse_wheel_filename(entry.filename)[1],
        requires_python=requires if requires is not None and str(requires) else None,
        wheels=[wheel],
    )


def _shipped(package: LockedPackage, own: str | None) -> Package:
    name, version, _, _ = parse_wheel_filename(package.file_name)
    url = f"{(own or '').rstrip('/')}/{package.file_name}"
    return Package(
        name=name,
        version=version,
        wheels=[PackageWheel(name=package.file_name, url=url, hashes={"sha256": package.sha256})],
    )


def _toml(document: Mapping[str, Any]) -> str:
    """Write a lock file as TOML: keys, then a table for each package."""
    lines = [f"{key} = {_value(value)}" for key, value in document.items() if key != "packages"]
    for package in document["packages"]:
        lines += ["", "[[packages]]", *(f"{key} = {_value(value)}" for key, value in package.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_value(each)}' for key, each in value.items())} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for DEL, which JSON does not escape
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
