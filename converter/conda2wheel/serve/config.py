"""The configuration of the service: the mirror's TOML file with a table [serve], or what holds without a file.

Without one the service has the channel emscripten-forge-4x, and its store and state in a folder of the user's data directory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from conda2wheel.channels.search import DEFAULT_CHANNELS
from conda2wheel.files.toml import Problem, check_table, parse_duration, parse_size, suggestion
from conda2wheel.mirror.config import MirrorConfig, from_document, read_config
from conda2wheel.net.folders import data_base
from conda2wheel.net.urls import is_url
from conda2wheel.serve.tokens import SCOPES, Scope

SECTION = "serve"
LogForm = Literal["json", "text"]
LOG_FORMS: tuple[LogForm, ...] = get_args(LogForm)
KEYS: dict[str, type] = {
    "host": str,
    "port": int,
    "url": str,
    "proxies": list,
    "on_demand": bool,
    "wait": str,
    "refresh": str,
    "stop": str,
    "log": str,
    "tokens": str,
    "open": list,
    "rate": str,
    "jobs": int,
    "upload": str,
    "upload_wait": str,
    "uploads": int,
}
_DURATIONS = ("wait", "refresh", "stop", "upload_wait")
VERSIONS = 3  # of each package, without a configuration: as in the template of mirror.toml


@dataclass(frozen=True)
class ServeConfig:
    """The table [serve], and the mirror's configuration.

    Attributes:
        url: the address under which clients reach the service, without a slash at the end; "" for that of each request.
        proxies: addresses of proxies in front, whose X-Forwarded-For and X-Forwarded-Proto are believed.
        on_demand: whether what is not in the index is converted when it is asked for.
        wait: the seconds that a request waits for a conversion.
        refresh: the seconds after which the channels are read again.
        stop: the seconds that running conversions and requests have to end when the service ends.
        log: the form of log lines.
        tokens: the folder of tokens; None: `tokens` beside the state.
        open: what needs no token.
        rate: how often a client may add a job, such as "60/minute"; "" for no limit.
        jobs: the number of jobs that a client may have waiting or running.
        upload: the number of bytes that an upload may have.
        upload_wait: the seconds that an upload may take.
        uploads: the number of uploads that may be received at a time.
    """

    mirror: MirrorConfig
    host: str = "127.0.0.1"
    port: int = 8000
    url: str = ""
    proxies: tuple[str, ...] = ("127.0.0.1",)
    on_demand: bool = True
    wait: float = 60.0
    refresh: float = 600.0
    stop: float = 10.0
    log: LogForm = "json"
    tokens: Path | None = None
    open: tuple[Scope, ...] = ("read", "convert")
    rate: str = "60/minute"
    jobs: int = 20
    upload: int = 1 << 30
    upload_wait: float = 900.0
    uploads: int = 32

    @property
    def token_folder(self) -> Path:
        """The folder of tokens."""
        return self.mirror.state.parent / "tokens" if self.tokens is None else self.tokens


def load(path: Path) -> ServeConfig:
    """Read a configuration. Raises `Failed` as `mirror.config.load` does."""
    mirror, document = read_config(path, _mistakes)
    table = dict(document.get(SECTION, {}))
    for key in _DURATIONS:
        if key in table:
            table[key] = parse_duration(table[key])
    if "proxies" in table:
        table["proxies"] = tuple(table["proxies"])
    if "open" in table:
        table["open"] = tuple(table["open"])
    if "url" in table:
        table["url"] = table["url"].rstrip("/")
    if "tokens" in table:
        table["tokens"] = path.absolute().parent / Path(table["tokens"]).expanduser()
    if "upload" in table:
        table["upload"] = parse_size(table["upload"])
    return ServeConfig(mirror, **table)


def default() -> ServeConfig:
    """The configuration without a file."""
    folder = data_folder()
    tables = {
        "channel": {"urls": list(DEFAULT_CHANNELS)},
        "select": {"versions": VERSIONS},
        "output": {"store": str(folder / "store"), "pages": True},
        "state": {"path": str(folder / "state.sqlite")},
    }
    return ServeConfig(from_document(folder / "serve.toml", tables))


def with_store(config: ServeConfig, store: str) -> ServeConfig:
    """The configuration with another store. A state belongs to its store, so that another store has another state."""
    store = store if is_url(store) else str(Path(store).expanduser().absolute())
    mirror = config.mirror
    if store == mirror.output.store:
        return config
    name = f"{mirror.state.stem}-{hashlib.sha256(store.encode()).hexdigest()[:8]}{mirror.state.suffix}"
    return replace(config, mirror=replace(mirror, output=replace(mirror.output, store=store), state=mirror.state.with_name(name)))


def data_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return `$CONDA2WHEEL_DATA`, else `conda2wheel` in the user's folder for data.

    That is `$XDG_DATA_HOME`, else `~/.local/share`, on macOS `~/Library/Application Support`, on Windows `%LOCALAPPDATA%`.
    """
    environ = os.environ if environ is None else environ
    if named := environ.get("CONDA2WHEEL_DATA"):
        return Path(named).absolute()
    return data_base(environ) / "conda2wheel"


def _mistakes(document: Mapping[str, Any]) -> Iterator[Problem]:
    table = document.get(SECTION, {})
    mistakes = list(check_table((SECTION,), table, f"[{SECTION}]", KEYS))
    yield from mistakes
    reported = {tuple(each.keys) for each in mistakes}
    for key, value in table.items() if isinstance(table, dict) else ():
        if (SECTION, key) not in reported:
            yield from (Problem((SECTION, key), why) for why in _values(key, value))


def _values(key: str, value: Any) -> Iterator[str]:
    if key == "port" and not 0 <= value <= 65535:
        yield f"port is {value}; it is 0 to 65535"
    if key == "url" and not _is_origin(value):
        yield f"url is {value!r}; it is http:// or https://, a host, and perhaps a path"
    if key == "log" and value not in LOG_FORMS:
        yield f"log is {value!r}; {suggestion(value, LOG_FORMS)}"
    if key in ("jobs", "uploads") and value < 1:
        yield f"{key} is {value}; it is at least 1"
    if key == "open":
        yield from (f"open has {each!r}; {suggestion(each, SCOPES)}" for each in value if each not in SCOPES)
    parse = parse_duration if key in _DURATIONS else {"upload": parse_size, "rate": _parse_rate}.get(key)
    if parse is not None:
        try:
            parse(value)
        except ValueError as error:
            yield str(error)


def _parse_rate(text: str) -> None:
    from limits import parse  # here, since `serve token` needs no such library

    try:
        if text:
            parse(text)
    except ValueError:
        raise ValueError(f"rate is {text!r}; write 60/minute, 1000/day, or nothing for no limit") from None


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
