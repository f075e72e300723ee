"""Format text, sizes and times for a terminal, a page or XML; text of untrusted origin is escaped."""

from __future__ import annotations

import re
import unicodedata

SHOWN_HASH = 12  # characters of a shortened hash
LONG_URL = 60  # characters; longer ones are shortened
_HASH = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{40,128}(?![0-9A-Za-z])")
_URL = re.compile(r"\b([a-z][a-z0-9+]{1,9}://[^/\s\"'<>(),;]+/)([^\s\"'<>(),;]*)")
_NOT_SHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # they move the cursor, reverse the line or are not characters


def printable(text: str) -> str:
    r"""Escape controls, bidirectional marks and surrogates, so that a text is one line of visible characters.

    >>> printable("a\x1b[2Jb\nc\u202ed"), printable("Grüße 漢字")
    ('a\\x1b[2Jb\\x0ac\\u202ed', 'Grüße 漢字')
    """
    if text.isprintable():  # fast, and true for nearly all texts; it checks these categories
        return text
    return "".join(_escape(each) if unicodedata.category(each) in _NOT_SHOWN else each for each in text)


def printable_lines(text: str) -> str:
    r"""Escape as `printable`, but keep lines and tabs: for tracebacks and the output of programs.

    >>> printable_lines("one\n\ttwo\x1b[1m\r\n")
    'one\n\ttwo\\x1b[1m\\x0d\n'
    """
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shortened(text: str, urls: bool = True) -> str:
    """Cut hashes to their first characters and, if `urls`, long URLs to their host and file.

    >>> shortened("sha256 " + 64 * "a" + " of https://example.org/a/long/" + 40 * "x" + "/file.conda: no")
    'sha256 aaaaaaaaaaaa... of https://example.org/.../file.conda: no'
    """
    text = _HASH.sub(lambda match: f"{match[0][:SHOWN_HASH]}...", text)
    return _URL.sub(_short_url, text) if urls and "://" in text else text


def _short_url(match: re.Match[str]) -> str:
    host, path = match.groups()
    folder, slash, name = path.rpartition("/")
    return f"{host}.../{name}" if len(match[0]) > LONG_URL and slash and folder else match[0]


def format_size(size: float) -> str:
    """Format a number of bytes in powers of 1000.

    >>> format_size(0), format_size(999), format_size(1234), format_size(56_000_000), format_size(7.1e9)
    ('0 B', '999 B', '1.2 kB', '56 MB', '7.1 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 9.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_seconds(seconds: float) -> str:
    """Format a duration.

    >>> format_seconds(0.04), format_seconds(3.21), format_seconds(75), format_seconds(3725), format_seconds(200_000)
    ('0.04 s', '3.2 s', '1 min 15 s', '1 h 02 min', '55 h 33 min')
    """
    if seconds < 59.5:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
