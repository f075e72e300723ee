"""A file on a server, and what is known of it before it is downloaded: without what `download` imports."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from conda2wheel.errors import Refused

ProgressCallback = Callable[[str, int, int | None], None]  # (redacted URL, bytes so far, total bytes if known)


class RemoteFile(NamedTuple):
    """A file on a server: `url`, and the expected `sha256` in hexadecimal and `size` in bytes, if known."""

    url: str
    sha256: str | None = None
    size: int | None = None


def require_sha256(url: str, got: str, expected: str) -> None:
    """Raise `Refused` (corrupt-archive) if the hashes differ."""
    if got != expected.lower():
        raise Refused("corrupt-archive", f"{url}: has sha256 {got}, not {expected}", "download it again")
