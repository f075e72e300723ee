"""Where Python packages and npm's come from: what the user set for pip, uv and npm, none of which needs to be installed.

Of each setting the first that there is: the environment (`UV_DEFAULT_INDEX`, `PIP_INDEX_URL` and the like), pip's configuration
files, uv's; for npm `npm_config_registry`, then the user's and the system's npmrc. Without one, the registries are those that the
package URL specification gives to the types pypi and npm, as packageurl-python has them.
"""

from __future__ import annotations

import base64
import configparser
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packageurl.validate import DEFINITIONS_BY_TYPE

from conda2wheel.net.folders import home_folder
from conda2wheel.net.urls import Address

SIMPLE = "/simple/"  # PEP 503: where an index of Python packages is below its host
_TRUE = {"1", "true", "yes", "on", "y", "t"}
_NAMED_INDEX = re.compile(r"[\w.-]+=(?=[a-z]+:)")  # uv: NAME=URL
_VARIABLE = re.compile(r"\$\{([^}?]+)\??\}")  # npmrc: ${NAME}
Settings = Mapping[str, str]  # by pip's names


@dataclass(frozen=True)
class PackageIndexes:
    """Where Python packages come from.

    Attributes:
        urls: simple indexes, the first of them before the others where they have the same file.
        find_links: folders and pages of files.
        certificates: a file of certificate authorities, if one is set.
    """

    urls: tuple[Address, ...]
    find_links: tuple[str, ...] = ()
    certificates: str | None = None


@dataclass(frozen=True)
class NpmRegistry:
    """Where npm's packages come from.

    Attributes:
        url: the registry, with a `/` at its end.
        default: whether nothing else was set.
        authorizations: the header by the start of the addresses, without scheme, that it is for.
        certificates: a file of certificate authorities, if one is set.
    """

    url: Address
    default: bool
    authorizations: tuple[tuple[str, str], ...] = ()
    certificates: str | None = None

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers for a request to this address."""
        bare = url.partition(":")[2]
        return next(({"Authorization": value} for start, value in self.authorizations if bare.startswith(start)), {})


def package_indexes(environ: Mapping[str, str] | None = None) -> PackageIndexes:
    """Read the settings of pip and uv. Files that cannot be read count as none."""
    environ = os.environ if environ is None else environ
    sources = [_of_uv_environment(environ), _of_pip_environment(environ), *_pip_files(environ), *_uv_files(environ)]

    def first(*names: str) -> str:
        return next((found for each in sources for name in names if (found := each.get(name, "").strip())), "")

    indexes = (
        [] if first("no-index").lower() in _TRUE else [first("index-url") or _default_index(), *first("extra-index-url").split()]
    )
    certificates = first("cert") or environ.get("SSL_CERT_FILE", "")
    return PackageIndexes(
        tuple(Address(_NAMED_INDEX.sub("", url)) for url in dict.fromkeys(indexes)),
        tuple(dict.fromkeys(first("find-links").split())),
        certificates if certificates and Path(certificates).is_file() else None,
    )


def _default_index() -> str:
    return str(DEFINITIONS_BY_TYPE["pypi"].default_repository_url).rstrip("/") + SIMPLE


def _of_uv_environment(environ: Mapping[str, str]) -> Settings:
    return {
        "index-url": environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL", ""),
        "extra-index-url": " ".join(filter(None, (environ.get("UV_INDEX"), environ.get("UV_EXTRA_INDEX_URL")))),
        "find-links": environ.get("UV_FIND_LINKS", "").replace(",", " "),
        "no-index": environ.get("UV_NO_INDEX", ""),
    }


def _of_pip_environment(environ: Mapping[str, str]) -> Settings:
    start = "PIP_"
    return {name[len(start) :].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith(start)}


def _pip_files(environ: Mapping[str, str]) -> Iterator[Settings]:
    """Yield the settings of pip's configuration files, those that win first."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return
    name = "pip.ini" if os.name == "nt" else "pip.conf"
    home, user, system = home_folder(environ), _user_folders(environ), _system_folders(environ)
    places = [Path(sys.prefix, name)]
    if named and Path(named).is_file():
        places.insert(0, Path(named))
    else:
        places += [
            *(folder / "pip" / name for folder in user),
            *((home / ("pip" if os.name == "nt" else ".pip") / name,) if home else ()),
        ]
    places += [folder / "pip" / name for folder in system]
    if os.name != "nt":
        places.append(Path("/etc") / name)
    for place in places:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(place.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeError, configparser.Error):
            continue
        yield {
            option.replace("_", "-"): value
            for section in ("global", "download")
            if parser.has_section(section)
            for option, value in parser.items(section)
        }


def _uv_files(environ: Mapping[str, str]) -> Iterator[Settings]:
    """Yield the settings of uv's configuration files, the user's first."""
    if environ.get("UV_NO_CONFIG", "").lower() in _TRUE:
        return
    named = environ.get("UV_CONFIG_FILE", "")
    folders = (*_user_folders(environ), *_system_folders(environ), Path("/etc"))
    for place in [Path(named)] if named else [folder / "uv" / "uv.toml" for folder in folders]:
        try:
            table = tomllib.loads(place.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            continue
        listed = [each for each in _list(table.get("index")) if isinstance(each, dict) and isinstance(each.get("url"), str)]
        default = [each["url"] for each in listed if each.get("default") is True]
        yield {
            "index-url": _text(default[:1] or table.get("index-url")),
            "extra-index-url": _text(
                [each["url"] for each in listed if each.get("default") is not True] + _list(table.get("extra-index-url"))
            ),
            "find-links": _text(table.get("find-links")),
            "no-index": _text(table.get("no-index")),
        }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    return " ".join(str(each) for each in _list(value))


def _user_folders(environ: Mapping[str, str]) -> Iterable[Path]:
    """Return the folders of the user's configuration files."""
    home = home_folder(environ)
    if os.name == "nt":
        return [Path(environ["APPDATA"])] if environ.get("APPDATA") else []
    found = [Path(environ["XDG_CONFIG_HOME"])] if environ.get("XDG_CONFIG_HOME", "").startswith("/") else []
    if home is not None:
        if sys.platform == "darwin":
            found.append(home / "Library" / "Application Support")
        found.append(home / ".config")
    return found


def _system_folders(environ: Mapping[str, str]) -> Iterable[Path]:
    """Return the folders of the system's configuration files."""
    if os.name == "nt":
        return [Path(environ["PROGRAMDATA"])] if environ.get("PROGRAMDATA") else []
    if sys.platform == "darwin":
        return [Path("/Library/Application Support")]
    return [Path(each) for each in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if each.startswith("/")]


def npm_registry(environ: Mapping[str, str] | None = None) -> NpmRegistry:
    """Read the settings of npm. Files that cannot be read count as none."""
    environ = os.environ if environ is None else environ
    start = "npm_config_"
    own = {name.lower()[len(start) :]: value for name, value in environ.items() if name.lower().startswith(start) and value}
    settings = {**_npmrc(_global_npmrc(own, environ), environ), **_npmrc(_user_npmrc(own, environ), environ), **own}
    default = str(DEFINITIONS_BY_TYPE["npm"].default_repository_url)
    url = settings.get("registry") or default
    certificates = settings.get("cafile") or environ.get("NODE_EXTRA_CA_CERTS") or environ.get("SSL_CERT_FILE", "")
    return NpmRegistry(
        Address(url.rstrip("/") + "/"),
        urlsplit(url).hostname == urlsplit(default).hostname,
        tuple(_authorizations(settings)),
        certificates if certificates and Path(certificates).is_file() else None,
    )


def _user_npmrc(own: Mapping[str, str], environ: Mapping[str, str]) -> Path | None:
    home = home_folder(environ)
    return Path(own["userconfig"]) if own.get("userconfig") else home / ".npmrc" if home else None


def _global_npmrc(own: Mapping[str, str], environ: Mapping[str, str]) -> Path | None:
    if own.get("globalconfig"):
        return Path(own["globalconfig"])
    prefix: Path | None
    if own.get("prefix"):
        prefix = Path(own["prefix"])
    elif os.name == "nt":
        prefix = Path(environ["APPDATA"], "npm") if environ.get("APPDATA") else None
    else:
        node = shutil.which("node", path=environ.get("PATH"))
        prefix = Path(node).parent.parent if node else None
    return prefix / "etc" / "npmrc" if prefix else None


def _npmrc(place: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Read an npmrc: `key = value` lines, `;` and `#` before comments, `${NAME}` for variables of the environment."""
    try:
        text = place.read_text(encoding="utf-8-sig") if place else ""
    except (OSError, UnicodeError):
        return {}
    found = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        if mark and not key.lstrip().startswith((";", "#")):
            value = value.strip().strip("\"'")
            found[key.strip()] = _VARIABLE.sub(lambda name: environ.get(name[1], ""), value)
    return found


def _authorizations(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield `//host/path/` and the header that it wants, the longest first."""
    for key in sorted(settings, key=len, reverse=True):
        start, mark, kind = key.rpartition(":")
        if not mark or not start.startswith("//"):
            continue
        if kind == "_authToken":
            yield start, f"Bearer {settings[key]}"
        elif kind == "_auth":
            yield start, f"Basic {settings[key]}"
        elif kind == "_password" and (user := settings.get(f"{start}:username")):
            password = base64.b64decode(settings[key]).decode("utf-8", "replace")
            yield start, "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
