"""Open the conda package at a path or URL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.conda.open import DEFAULT_LIMITS, open_local, read_archive
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Failed
from conda2wheel.files.packagefile import FileBlob, Limits, OnFile
from conda2wheel.net.remote_file import require_sha256
from conda2wheel.net.urls import file_path, fragment_sha256, is_url, redacted, secret_url, source_of


def open_package(
    source: str | Path, limits: Limits = DEFAULT_LIMITS, downloads: Downloads = DOWNLOADS, on_file: OnFile | None = None
) -> CondaPackage:
    """Open and read the package at a path or URL.

    Args:
        source: A path as for `open_local`, or an https or file URL. The package of a URL with `#sha256=HEX` is taken from the
            cache if it is there.
        limits: Bounds on what the package may unpack to.
        downloads: How packages are downloaded.
        on_file: Called with each regular file of an archive while the next ones are read.

    Raises:
        Refused: The package is damaged, unsafe, too large or no conda package.
        Failed: The file is missing or unreadable, or the download failed.
    """
    text = source_of(str(source))
    return _open_url(text, limits, downloads, on_file) if is_url(text) else open_local(text, limits, on_file)


def _open_url(url: str, limits: Limits, downloads: Downloads, on_file: OnFile | None) -> CondaPackage:
    try:
        parts = urlsplit(secret_url(url))
    except ValueError:
        raise Failed("not-found", f"{redacted(url)}: not a URL", "check the address") from None
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise Failed("not-found", f"{url}: a file URL names a file of this machine", "write file:///path")
        path = file_path(url)
        if (expected := fragment_sha256(url)) is not None and path.is_file():
            require_sha256(url, FileBlob(path, path.stat().st_size).sha256, expected)
        return open_local(str(path), limits, on_file)
    shown = redacted(url)
    with downloads.package(url, fragment_sha256(url), limits.download) as path:
        filename = unquote(urlsplit(shown).path).rpartition("/")[2] or path.name
        package = read_archive(path, filename, shown, limits, on_file)
    channel = package.channel or urlsplit(shown)._replace(query="", fragment="").geturl().rpartition("/")[0]
    return replace(package, channel=channel)
