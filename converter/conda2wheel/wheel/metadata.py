"""Core metadata as a document of fields: read it leniently, write it strictly.

Specification: PyPA core metadata 2.4. Written Title-Case and unfolded, because micropip reads METADATA line by line and
finds `Requires-Dist:` only so (`packaging`'s own writer loses every requirement there: measured), and with a body in
which no line can be taken for a field.
"""

from __future__ import annotations

import email.parser
import email.policy
import re
from collections.abc import Iterable
from dataclasses import dataclass

METADATA_VERSION = "2.4"

FIELDS = (
    "Metadata-Version", "Name", "Version", "Dynamic", "Platform", "Supported-Platform", "Summary", "Description",
    "Description-Content-Type", "Keywords", "Home-page", "Download-URL", "Author", "Author-email", "Maintainer",
    "Maintainer-email", "License", "License-Expression", "License-File", "Classifier", "Requires-Dist", "Requires-Python",
    "Requires-External", "Project-URL", "Provides-Extra", "Provides-Dist", "Obsoletes-Dist", "Requires", "Provides",
    "Obsoletes", "Import-Name", "Import-Namespace",
)  # fmt: skip
_SPELLING = {name.lower(): name for name in FIELDS}
SINGLE = frozenset(FIELDS) - {
    "Dynamic", "Platform", "Supported-Platform", "License-File", "Classifier", "Requires-Dist", "Requires-External",
    "Project-URL", "Provides-Extra", "Provides-Dist", "Obsoletes-Dist", "Requires", "Provides", "Obsoletes", "Import-Name",
    "Import-Namespace",
}  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # all that str.splitlines() breaks a line at, and worse
_LOOKS_LIKE_FIELD = re.compile(r"(?i)(" + "|".join(map(re.escape, FIELDS)) + r")\s*:")
WORD_JOINER = "\u2060"  # invisible, of no width, no white space: it moves a word from the start of its line and no pixel


@dataclass(frozen=True)
class Document:
    """Fields in their order, spelled as the specification does, and the description."""

    fields: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def get(self, name: str) -> str | None:
        """The first value of a field."""
        return next((value for key, value in self.fields if key == name), None)

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.fields if key == name]

    def without(self, *names: str) -> Document:
        """The same without some fields."""
        return Document(tuple(pair for pair in self.fields if pair[0] not in names), self.body)

    def replaced(self, name: str, values: Iterable[str]) -> Document:
        """The same with other values of a field, in the place of its first one, else at the end."""
        new = [(name, value) for value in values]
        out: list[tuple[str, str]] = []
        for pair in self.fields:
            if pair[0] == name:
                out += new
                new = []
            else:
                out.append(pair)
        return Document(tuple(out + new), self.body)

    def encode(self) -> bytes:
        """The file: one line a field, a blank line, the description."""
        lines = [f"{name}: {_one_line(value)}" for name, value in self.fields]
        text = "\n".join(lines) + "\n"
        if self.body.strip():
            text += "\n" + guard(self.body)
            if not text.endswith("\n"):
                text += "\n"
        return text.encode("utf-8", "replace")  # JSON may have brought half a surrogate pair


def parse(data: bytes) -> Document:
    """Read METADATA or PKG-INFO of any age: folded fields are unfolded, `UNKNOWN` values dropped, a Description field
    becomes the body, bytes that are not UTF-8 are taken as Latin-1."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    message = email.parser.HeaderParser(policy=email.policy.compat32).parsestr(text.lstrip("\r\n"))
    fields: list[tuple[str, str]] = []
    description = str(message.get_payload())
    for key, raw in message.items():
        name = _SPELLING.get(key.lower())
        value = str(raw)
        if name == "Description":
            description = description if description.strip() else _undent(value)
            continue
        value = _one_line(value)
        if name is None or not value or (value.upper() == "UNKNOWN" and name != "Name"):
            continue
        if name in SINGLE and any(name == known for known, _ in fields):
            continue
        fields.append((name, value))
    return Document(tuple(fields), "" if description.strip() == "UNKNOWN" else description)


def _one_line(value: str) -> str:
    return " ".join(part.strip() for part in _CONTROL.split(value) if part.strip())


def _undent(value: str) -> str:
    """A description folded into a field: continuation lines begin with 8 spaces, or 7 and a bar."""
    lines = value.splitlines()
    return "\n".join([lines[0]] + [re.sub(r"^( {7}\|| {8}|\t)", "", line) for line in lines[1:]]) if lines else ""


def guard(body: str) -> str:
    """The description with every line that a line-based reader would take for a field moved off its line's start."""
    lines = body.replace("\r\n", "\n").replace("\r", "\n").splitlines(keepends=True)
    return "".join(WORD_JOINER + line if _LOOKS_LIKE_FIELD.match(line) else line for line in lines)
