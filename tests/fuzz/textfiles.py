r"""Many small files as one text, so that a fuzzer can change names, contents, order and number of the files of a package.

A file begins with a line `-- PATH --`, a link with `-- PATH -> TARGET --`. The newline before such a line is no content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_HEAD = re.compile(rb"(?:\A|\n)-- ([^\n]*?)(?: -> ([^\n]*?))? --(?:\n|\Z)")


class TextFile(NamedTuple):
    """A file, or with `target` a link."""

    path: str
    content: bytes
    target: str | None = None


def read(data: bytes) -> list[TextFile]:
    r"""Read the files; bytes before the first one are ignored.

    >>> read(b"-- a --\nx\n\n-- b -> a --\n")
    [TextFile(path='a', content=b'x\n', target=None), TextFile(path='b', content=b'', target='a')]
    """
    heads = list(_HEAD.finditer(data))
    ends = [*(head.start() for head in heads[1:]), len(data)][: len(heads)]
    return [
        TextFile(
            _text(head[1]),
            data[head.end() : end] if head.end() <= end else b"",
            None if head[2] is None else _text(head[2]),
        )
        for head, end in zip(heads, ends, strict=True)
    ]


def write(files: Iterable[TextFile]) -> bytes:
    r"""Write files.

    >>> write([TextFile("a", b"x\n"), TextFile("b", b"", "a")])
    b'-- a --\nx\n\n-- b -> a --\n'
    """
    return b"\n".join(
        b"-- %b%b --\n%b"
        % (
            _bytes(each.path),
            b"" if each.target is None else b" -> " + _bytes(each.target),
            each.content,
        )
        for each in files
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that does not stand for a byte
        raw = text.encode("utf-8", "surrogatepass")
    return raw.replace(b"\n", b"")
