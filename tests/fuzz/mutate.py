"""Changes that keep an input's structure: of JSON, of lines, of files, of the sections of a module, of the headers of a tar.

A mutator takes the input, a source of randomness, and `change`, which changes plain bytes (libFuzzer's own mutations).
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from conda2wheel.wasm.encoding import Reader, WasmError, encode_uleb
from tests.fuzz.textfiles import TextFile, read, write

Change = Callable[[bytes], bytes]
Mutator = Callable[[bytes, random.Random, Change], bytes]

# Texts that have made some reader of some package manager do the wrong thing.
HOSTILE: tuple[str, ...] = (
    "", " ", "\0", "\n", "\r", "\t", "\x0b", "\x0c", "\x1b[2J", "\x1b]8;;x\x07", "\x7f", "\x85", "\u2028", "\u2029", "\u202e",
    "\ufeff", "\ud800", "\udcff", "\U0001f40d", "é", "..", "../x", "/", "/x", "./x", "a//b", "C:\\x", "~", "-", "--x", "%2e%2e/",
    "a" * 5000, "a/" * 2000, "(" * 400, "[" * 400, "<!--", "{{ x }}", "${x}", "*", "**/", "?", "#", ";", ",", "|", "&", "==",
    ">=1,<2|>3", "1" * 400, "1!1.0", "1.0+a.b", "1..0", "==1.0+a|==2.0", "1.0.*", "nan", "inf", "-0", "1e999", "0x10", "null",
    "true", "yes", "UNKNOWN", "Name: x", "Requires-Dist: x", "[console_scripts]", "a = b:c", ".dist-info", ".data/platlib/x",
    ".libs", "python_abi", "__unix", "https://u:p@h/t/tk-1/x", "file:///etc/passwd", "http://[::1", "a.so", "a.so.1.2",
    "PyInit_x", "invoke_vi", "__cxa_throw",
)  # fmt: skip
_RAW = (
    "NaN",
    "-Infinity",
    "1e999",
    "9" * 4301,
    "9" * 400,
    "[" * 3000 + "]" * 3000,
    '{"a":' * 900 + "1" + "}" * 900,
    '"\\ud800"',
    "1.5",
)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**18,
    1.5,
    [],
    {},
    [[]],
    [None],
    {"": None},
    [{}],
    "x",
    ["x", "y"],
)
_MARK = "\u0001raw\u0001"


def either(*mutators: Mutator) -> Mutator:
    """One of several."""
    return lambda data, dice, change: dice.choice(mutators)(data, dice, change)


def plain(data: bytes, dice: random.Random, change: Change) -> bytes:
    """libFuzzer's own."""
    return change(data)


def tokens(data: bytes, dice: random.Random, change: Change) -> bytes:
    """A hostile text, or a slice of the input many times, somewhere in it."""
    at = dice.randrange(len(data) + 1)
    if data and dice.random() < 0.3:
        start = dice.randrange(len(data))
        piece = data[start : start + dice.choice((1, 2, 4, 16, 64))] * dice.choice((2, 10, 100, 1000))
    else:
        piece = dice.choice(HOSTILE).encode("utf-8", "surrogatepass" if dice.random() < 0.5 else "replace")
    return data[:at] + piece + data[at + dice.choice((0, 0, 1, len(piece))) :]


def lines(data: bytes, dice: random.Random, change: Change) -> bytes:
    """Lines twice, away, in another order, or one of them changed."""
    parts = data.split(b"\n")
    at, other = dice.randrange(len(parts)), dice.randrange(len(parts))
    match dice.randrange(5):
        case 0:
            parts.insert(other, parts[at])
        case 1:
            del parts[at]
        case 2:
            parts[at], parts[other] = parts[other], parts[at]
        case 3:
            parts[at] = tokens(parts[at], dice, change)
        case _:
            parts[at] = change(parts[at] or b"x")
    return b"\n".join(parts)


def json_document(data: bytes, dice: random.Random, change: Change) -> bytes:
    """A value of a JSON document replaced, removed, moved or repeated."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return tokens(data, dice, change)
    places = list(_places(document))
    raw = ""
    if not places:
        document = dice.choice(_VALUES)
    else:
        holder, key = dice.choice(places)
        match dice.randrange(8):
            case 0:
                del holder[key]
            case 1:
                holder[key] = dice.choice(_VALUES)
            case 2:
                raw = dice.choice(_RAW)
                holder[key] = _MARK
            case 3:
                holder[key] = dice.choice(places)[0]
            case 4 if isinstance(holder, list):
                holder[:] = holder * dice.choice((2, 30))
            case 4 | 5 if isinstance(holder, dict):
                holder[dice.choice(HOSTILE)] = holder.pop(key)
            case 6 if isinstance(holder[key], str):
                holder[key] = tokens(holder[key].encode("utf-8", "surrogatepass"), dice, change).decode(
                    "utf-8", "surrogateescape"
                )
            case _:
                holder[key] = dice.choice(HOSTILE)
    try:
        text = json.dumps(document)
    except (ValueError, RecursionError):  # it holds itself, or is too deep
        return tokens(data, dice, change)
    return text.replace(json.dumps(_MARK), raw or "0").encode()


def _places(value: Any) -> Any:
    stack = [value]
    while stack:
        holder = stack.pop()
        keys: Sequence[Any] = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            stack.append(holder[key])


def files(by_suffix: Callable[[str], Mutator]) -> Mutator:
    """One of the files of a `textfiles` text, or their list; `by_suffix` says how the contents of a path are changed."""

    def mutate(data: bytes, dice: random.Random, change: Change) -> bytes:
        found = read(data)
        if not found:
            return change(data)
        at = dice.randrange(len(found))
        path, content, target = found[at]
        match dice.randrange(12):
            case 0:
                del found[at]
            case 1:
                found.insert(dice.randrange(len(found) + 1), found[at])
            case 2:
                found[at] = TextFile(_changed(path, dice, change), content, target)
            case 3:
                found[at] = TextFile(
                    path, b"", dice.choice([dice.choice(HOSTILE), dice.choice(found).path, _changed(path, dice, change)])
                )
            case 4:
                found[at] = TextFile(dice.choice(found).path, content, target)
            case 5:
                folder, _, name = path.rpartition("/")
                found.append(TextFile(f"{folder}/{dice.choice(HOSTILE)}{name}", content, target))
            case _:
                found[at] = TextFile(path, by_suffix(path)(content, dice, change), target)
        return write(found)

    return mutate


def _changed(path: str, dice: random.Random, change: Change) -> str:
    return tokens(path.encode("utf-8", "surrogateescape"), dice, change).decode("utf-8", "surrogateescape")


def module(data: bytes, dice: random.Random, change: Change) -> bytes:
    """The sections of a WebAssembly module: one changed inside (its length follows), twice, away or in another order."""
    try:
        parts = sections(data)
    except WasmError:
        return change(data)
    if not parts:
        return change(data)
    at, other = dice.randrange(len(parts)), dice.randrange(len(parts))
    number, body = parts[at]
    match dice.randrange(10):
        case 0:
            del parts[at]
        case 1:
            parts.insert(other, parts[at])
        case 2:
            parts[at], parts[other] = parts[other], parts[at]
        case 3:
            parts[at] = (dice.randrange(14), body)
        case 4:
            parts += [parts[at]] * dice.choice((10, 1000))
        case 5 | 6:
            parts[at] = (number, _vector(body, dice))
        case 7:
            parts[at] = (number, tokens(body, dice, change))
        case _:
            parts[at] = (number, change(body or b"\0"))
    return data[:8] + b"".join(bytes([number]) + encode_uleb(len(body)) + body for number, body in parts)


def sections(data: bytes) -> list[tuple[int, bytes]]:
    """Number and contents of every section. Raises `WasmError`."""
    reader = Reader(data, 8)
    found = []
    while reader.pos < reader.end:
        number = reader.u8()
        found.append((number, reader.take(reader.uleb())))
    return found


def _vector(body: bytes, dice: random.Random) -> bytes:
    """Another length for a vector, or the elements once more with a length that fits."""
    try:
        reader = Reader(body)
        count = reader.uleb()
    except WasmError:
        return body
    times = dice.choice((2, 100))
    if dice.random() < 0.5:
        return encode_uleb(count * times) + body[reader.pos :] * times
    return encode_uleb(dice.choice((0, 1, count + 1, len(body), 2**32 - 1))) + body[reader.pos :]


def tar(data: bytes, dice: random.Random, change: Change) -> bytes:
    """A header of a tar with a field changed, its checksum right again; or members twice, away or cut."""
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    heads = [at for at, block in enumerate(blocks) if block[257:262] == b"ustar"]
    if not heads or dice.random() < 0.15:
        return change(data)
    at = dice.choice(heads)
    block = bytearray(blocks[at])
    match dice.randrange(8):
        case 0:
            start, size = dice.choice(((0, 100), (157, 100), (345, 155)))  # name, target of a link, prefix
            text = dice.choice(HOSTILE).encode("utf-8", "surrogatepass")[:size]
            block[start : start + size] = text.ljust(size, b"\0")
        case 1:
            block[156] = dice.choice(b"0123456789ABDKLMNSVXgxs\0")
        case 2:
            start, size = dice.choice(((124, 12), (136, 12), (100, 8), (108, 8)))
            block[start : start + size] = dice.choice(
                (
                    b"\x80" + b"\xff" * (size - 1),
                    b"\xff" * size,
                    b"7" * size,
                    b" " * size,
                    b"-1".ljust(size, b"\0"),
                    b"\x80".ljust(size, b"\0"),
                )
            )
        case 3:
            blocks[dice.randrange(len(blocks)) :] = []
        case 4:
            end = next((head for head in heads if head > at), len(blocks))
            blocks[at:at] = blocks[at:end]
        case 5:
            end = next((head for head in heads if head > at), len(blocks))
            blocks[at:end] = []
        case 6:
            key = dice.choice(
                (b"path", b"linkpath", b"size", b"GNU.sparse.map", b"GNU.sparse.size", b"mtime", b"hdrcharset", b"SCHILY.xattr.x")
            )
            value = dice.choice(HOSTILE).encode("utf-8", "surrogatepass") or b"1"
            record = b" " + key + b"=" + value + b"\n"
            length = len(record) + len(str(len(record) + 3))
            blocks[at:at] = _extended(b"%d" % length + record, dice.choice((b"x", b"g")))
        case _:
            changed = change(bytes(block))[:512]
            block[:] = changed.ljust(512, b"\0")
    if at < len(blocks) and blocks[at][257:262] == b"ustar":
        blocks[at] = _checked(block)
    return b"".join(blocks)


def _checked(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _extended(record: bytes, kind: bytes) -> list[bytes]:
    head = bytearray(512)
    head[0:5], head[124:135], head[156:157], head[257:265] = b"pax_x", b"%011o" % len(record), kind, b"ustar\00000"
    padded = record.ljust(-(-len(record) // 512) * 512, b"\0")
    return [_checked(head), *(padded[at : at + 512] for at in range(0, len(padded), 512))]


def zipped(inner: Callable[[str], Mutator]) -> Mutator:
    """A member of a zip changed, its sizes and checksum with it, renamed, twice or away; or the bytes of the zip."""

    def mutate(data: bytes, dice: random.Random, change: Change) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [(each, archive.read(each)) for each in archive.infolist()]
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, EOFError, OSError, LookupError):
            return change(data)
        if not members or dice.random() < 0.2:
            return change(data)
        at = dice.randrange(len(members))
        entry, content = members[at]
        match dice.randrange(8):
            case 0:
                del members[at]
            case 1:
                members.append(members[at])
            case 2:
                members[at] = (_named(entry, _changed(entry.filename, dice, change)), content)
            case 3:
                members[at] = (_linked(entry), dice.choice(HOSTILE).encode("utf-8", "surrogatepass"))
            case _:
                members[at] = (entry, inner(entry.filename)(content, dice, change))
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for each, value in members:
                try:
                    archive.writestr(each, value)
                except (UnicodeEncodeError, ValueError, RuntimeError, NotImplementedError):
                    continue
        return stream.getvalue()

    return mutate


def _named(entry: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    new = zipfile.ZipInfo(name.replace("\0", "") or "x", entry.date_time)
    new.external_attr, new.compress_type = entry.external_attr, entry.compress_type
    return new


def _linked(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    new = _named(entry, entry.filename)
    new.external_attr = 0o120777 << 16
    return new
