"""A .bz2 that threads read gives what the standard library gives: the same bytes, then the same error."""

from __future__ import annotations

import bz2
import io
import random
from collections.abc import Callable, Iterator
from typing import IO

import pytest

from conda2wheel.conda import bzip2
from conda2wheel.files.threads import use_threads

DICE = random.Random(3)  # noqa: S311 - reproducible, not secret
NOISE = DICE.randbytes(110_000)
TEXT = b"".join(b"line %d of a text\n" % DICE.randrange(9999) for _ in range(4_000))
BODY = NOISE + b"\0" * 150_000 + TEXT + NOISE
SMALL_BLOCKS = bz2.compress(BODY, 1)
SOUND = {
    "blocks of 900 kB": bz2.compress(BODY * 5),
    "blocks of 100 kB": SMALL_BLOCKS,
    "one block": bz2.compress(TEXT),
    "nothing": bz2.compress(b""),
    "streams": b"".join(bz2.compress(BODY[start : start + 50_000]) for start in range(0, 440_000, 50_000)),
    "streams of several blocks": SMALL_BLOCKS + bz2.compress(TEXT, 9) + SMALL_BLOCKS,
    "a stream of nothing between": SMALL_BLOCKS + bz2.compress(b"") + SMALL_BLOCKS,
    "data after the end": SMALL_BLOCKS + b"garbage, and BZh",
    "zeros after the end": SMALL_BLOCKS + b"\0" * 600,
    "the mark of a block after the end": SMALL_BLOCKS + bzip2._BLOCK.to_bytes(6) * 2,
}


def _damaged() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "a header alone", b"BZh9"
    yield "another level", b"BZh1" + bz2.compress(BODY)[4:]
    yield "no level", b"BZh0" + SMALL_BLOCKS[4:]
    yield "the CRC of the stream", SMALL_BLOCKS[:-3] + bytes([SMALL_BLOCKS[-3] ^ 8]) + SMALL_BLOCKS[-2:]
    yield "a header after the end", SMALL_BLOCKS + b"BZh9"
    yield "a second stream cut", SMALL_BLOCKS + SMALL_BLOCKS[:-9]
    for twentieth in range(1, 20, 3):
        at = len(SMALL_BLOCKS) * twentieth // 20
        yield f"cut at {twentieth}/20", SMALL_BLOCKS[:at]
        yield (
            f"a bit at {twentieth}/20",
            SMALL_BLOCKS[:at] + bytes([SMALL_BLOCKS[at] ^ 1 << twentieth % 8]) + SMALL_BLOCKS[at + 1 :],
        )
        yield f"bytes lost at {twentieth}/20", SMALL_BLOCKS[:at] + SMALL_BLOCKS[at + 3 :]
        mark = bzip2._BLOCK.to_bytes(6)  # as if it had come by chance
        yield f"a mark at {twentieth}/20", SMALL_BLOCKS[:at] + mark + SMALL_BLOCKS[at + 6 :]
    for size in (1, 4, 5, 10, 11, 15):
        yield f"cut by {size}", SMALL_BLOCKS[:-size]


DAMAGED = dict(_damaged())


@pytest.fixture(autouse=True)
def _always_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(bzip2, "_SMALL", 0)
    use_threads(3)
    yield
    use_threads(None)


def everything(open_it: Callable[[IO[bytes]], IO[bytes]], data: bytes, size: int = 100_000) -> tuple[bytes, str]:
    """What can be read, and the error that ends it."""
    chunks = []
    stream = open_it(io.BytesIO(data))
    try:
        while chunk := stream.read(size):
            assert len(chunk) <= size
            chunks.append(chunk)
    except (OSError, EOFError) as error:
        return b"".join(chunks), f"{type(error).__name__}: {error}"
    finally:
        stream.close()
    return b"".join(chunks), ""


def plain(stream: IO[bytes]) -> IO[bytes]:
    return bz2.BZ2File(stream)


@pytest.mark.parametrize("what", SOUND)
def test_sound_files_give_the_same_bytes(what: str) -> None:
    for size in (1 << 20, 4321):
        assert everything(bzip2.open_bz2, SOUND[what], size) == everything(plain, SOUND[what], size)


def test_damaged_files_give_the_same_bytes_and_the_same_error() -> None:
    for what, data in DAMAGED.items():
        (found, error), (wanted, expected) = everything(bzip2.open_bz2, data), everything(plain, data)
        assert (what, error) == (what, expected)
        assert wanted.startswith(found) or found.startswith(wanted), (
            what
        )  # how much comes before the error is a matter of buffers


def test_sound_files_are_read_by_threads_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("left to the standard library")

    wanted = {what: everything(plain, data) for what, data in SOUND.items() if "after" not in what and "nothing" not in what}
    monkeypatch.setattr(bz2, "BZ2File", refuse)
    for what, contents in wanted.items():
        assert everything(bzip2.open_bz2, SOUND[what]) == contents


def test_a_block_of_repeated_bytes_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bzip2, "_FIRST", 1 << 16)
    monkeypatch.setattr(bzip2, "_READ", 1 << 15)
    data = bz2.compress(b"\0" * 9_000_000)
    pieces = [bzip2._decompress(block) for block in bzip2._blocks(io.BytesIO(data))]
    assert [len(piece.data) for piece in pieces] == [1 << 16] * len(pieces)
    assert max(len(part) for piece in pieces for part in bzip2._whole(piece)) == 1 << 16
    assert everything(bzip2.open_bz2, data) == (b"\0" * 9_000_000, "")


def test_a_file_that_is_closed_early_leaves_no_threads() -> None:
    stream = bzip2.open_bz2(io.BytesIO(SOUND["blocks of 100 kB"]))
    assert stream.read(10) == BODY[:10]
    stream.close()
    assert stream.closed
    assert all(not thread.is_alive() for thread in stream._pool._threads)  # type: ignore[attr-defined]


def test_one_thread_is_the_standard_library() -> None:
    use_threads(1)
    assert isinstance(bzip2.open_bz2(io.BytesIO(SMALL_BLOCKS)), bz2.BZ2File)
