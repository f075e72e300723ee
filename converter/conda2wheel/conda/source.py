"""From what a person names (a file, a folder, a prefix, a URL) to an opened package."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from conda2wheel.outcome import Failed

from .archive import corrupt, open_archive
from .files import Limits
from .folder import open_folder, open_listed
from .info import CondaPackage, from_record, read_info

ENV_META = "empack_env_meta.json"
PACKAGE_SUFFIXES = (".conda", ".tar.bz2", ".tar.gz")
DEFAULT_LIMITS = Limits()
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://|^file:")


def is_url(source: str) -> bool:
    """Whether it is a URL rather than a path."""
    return bool(_URL.match(source))


def expand(source: str) -> list[str]:
    """A prefix with several packages as the list of its conda-meta records; anything else as itself."""
    if is_url(source):
        return [source]
    records = sorted((Path(source) / "conda-meta").glob("*.json")) if Path(source).is_dir() else []
    return [str(record) for record in records] if len(records) > 1 else [source]


def open_package(source: str | Path, limits: Limits = DEFAULT_LIMITS) -> CondaPackage:
    """Open and read the package that `source` names: a package file, an unpacked package, a prefix with one package, a
    record `PREFIX/conda-meta/NAME.json` of a prefix, or an https or file URL.

    Raises `Refused` for what it is, `Failed` for what the disk or the network does.
    """
    text = str(source)
    if is_url(text):
        return _open_url(text, limits)
    path = Path(text)
    if path.parent.name == "conda-meta" and path.suffix == ".json":
        return _open_record(path, text)
    if path.is_dir():
        package = read_info(text, open_folder(path, text, limits))
        return replace(package, environment=_environment(path, package))
    package = read_info(text, open_archive(path, text, limits))
    return replace(package, environment=_environment(path, package))


def _open_url(url: str, limits: Limits) -> CondaPackage:
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise Failed("not-found", f"{url}: a file URL names a file of this machine", "write file:///path")
        return open_package(Path(unquote(parts.path)), limits)
    from .fetch import download

    with tempfile.TemporaryDirectory(prefix="conda2wheel-") as folder:
        path = download(url, Path(folder), limits.download)
        package = read_info(url, open_archive(path, url, limits))
    channel = package.channel or url.rpartition("/")[0]
    return replace(package, channel=channel)


def _open_record(path: Path, text: str) -> CondaPackage:
    """One package of an installed prefix, by its record."""
    record = _load(path, text)
    files = record.get("files")
    root = path.parent.parent
    if not isinstance(files, list):
        raise corrupt(text, "the record does not list its files, so they cannot be told from its neighbours'")
    package = from_record(text, record, open_listed(root, [str(name) for name in files], text))
    neighbours: dict[str, list[str]] = {}
    for other in sorted(path.parent.glob("*.json")):
        entry = _load(other, str(other))
        neighbours.setdefault(str(entry.get("name")), []).append(str(entry.get("version")))
    return replace(
        package,
        environment={name: tuple(versions) for name, versions in neighbours.items()},
        # An installed file has the prefix in it where the package had its placeholder.
        placeholders={name: replace(value, prefix=str(root.resolve())) for name, value in package.placeholders.items()},
    )


def _environment(path: Path, package: CondaPackage) -> Mapping[str, tuple[str, ...]]:
    """The environment that lists this package: empack writes it beside the archives of one environment.

    Only a list that names this very package counts. Another package's file in the same folder is no evidence.
    """
    meta = path.parent / ENV_META
    if not meta.is_file():
        return {}
    packages = [entry for entry in _load(meta, str(meta)).get("packages") or () if isinstance(entry, dict)]
    identity = (package.name, package.version, package.build)
    listed = any(
        (e.get("name"), e.get("version"), e.get("build")) == identity
        and path.name in (e.get("filename", path.name), e.get("filename_stem", path.name))
        for e in packages
    )
    if not listed:
        return {}
    versions: dict[str, list[str]] = {}
    for entry in packages:
        versions.setdefault(str(entry.get("name")), []).append(str(entry.get("version")))
    return {name: tuple(found) for name, found in versions.items()}


def _load(path: Path, source: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Failed("not-found", f"{source}: no such file", "check the path") from None
    except OSError as error:
        raise Failed("unreadable", f"{source}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise corrupt(source, f"{path.name} is not JSON") from None
    if not isinstance(value, dict):
        raise corrupt(source, f"{path.name} is not a JSON object")
    return value
