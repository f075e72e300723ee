"""Every target holds for what fuzzing begins with and for changes of it; with --long, for a minute of atheris each."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conda2wheel.errors import Failed, Refused
from tests.fuzz import textfiles
from tests.fuzz.campaign import Campaign, table
from tests.fuzz.model import FindingError, Target, signature
from tests.fuzz.mutate import plain
from tests.fuzz.targets import TARGETS
from tests.helpers.rooms import REPOSITORY

CHANGED = 4  # inputs of each target in the default run


def changes(target: Target, count: int) -> Iterator[bytes]:
    """Inputs that the target's own mutator makes of its seeds: the same ones each time."""
    dice = random.Random(target.name)  # noqa: S311 - repeatable, not secret

    def change(data: bytes) -> bytes:
        found = bytearray(data or b"\0")
        found[dice.randrange(len(found))] = dice.choice((0, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        return bytes(found)

    seeds = list(target.seeds())
    for _ in range(count):
        data = dice.choice(seeds)
        for _ in range(dice.choice((1, 1, 2, 3))):
            data = target.mutate(data, dice, change)[: target.size] or b"\0"
        yield data


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_begins_with_holds(name: str) -> None:
    target = TARGETS[name]
    read = 0
    for data in target.seeds():
        try:
            target.run(data)
            read += 1
        except (Refused, Failed, *target.allowed):
            continue
    assert read, "no seed is read to its end"
    for data in changes(target, CHANGED):
        target.check(data)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux" or sys.version_info >= (3, 14), reason="atheris has no wheel for it")
@pytest.mark.parametrize("name", TARGETS)
def test_a_minute_of_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    runs = TARGETS[name].minute
    command = [str(REPOSITORY / "scripts" / "fuzz"), "--runs", str(runs), "--work", str(tmp_path), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Campaign(TARGETS[name], tmp_path).inputs() >= runs


def test_a_finding_is_any_exception_that_is_no_verdict() -> None:
    def refuse(_: bytes) -> None:
        raise Refused("corrupt-archive", "x")

    def bug(_: bytes) -> None:
        raise Failed("internal", "x")

    def fall(_: bytes) -> None:
        raise KeyError("x")

    def seeds() -> list[bytes]:
        return [b"x"]

    Target("x", "x", refuse, seeds, plain).check(b"")
    Target("x", "x", fall, seeds, plain, allowed=(KeyError,)).check(b"")
    with pytest.raises(FindingError, match="internal"):
        Target("x", "x", bug, seeds, plain).check(b"")
    with pytest.raises(KeyError) as caught:
        Target("x", "x", fall, seeds, plain).check(b"")
    assert signature(caught.value).startswith("KeyError in ")


def test_files_as_text_are_what_was_written() -> None:
    files = [textfiles.TextFile("a/é", b"\n-- no\nx"), textfiles.TextFile("b", b"", "a/é"), textfiles.TextFile("", b"")]
    assert textfiles.read(textfiles.write(files)) == files
    assert textfiles.read(b"x") == []


def test_the_table_has_every_target(tmp_path: Path) -> None:
    campaign = Campaign(TARGETS["dylink"], tmp_path)
    campaign.folder.mkdir()
    (campaign.folder / "count").write_bytes((1234).to_bytes(8, "little") + (120_000).to_bytes(8, "little"))
    lines = table(tmp_path, TARGETS.values()).splitlines()
    assert len(lines) == 2 + len(TARGETS)
    assert any("`dylink`" in line and "| 1,234 | 120 s | 0 |" in line for line in lines)
