"""After any accident the next run leads to the same bytes, and a reader of the index meanwhile never sees a partial one."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conda2wheel.errors import Failed
from conda2wheel.mirror.report.model import MirrorReport
from tests.helpers import channel4x, killed, sets
from tests.helpers.mirror_index import Reader, continuous_reader, served_folder
from tests.helpers.mirror_runs import Mirror, small_mirror
from tests.helpers.mounts import tmpfs
from tests.helpers.served import serve

RUN = [sys.executable, "-m", "conda2wheel", "mirror", "run", "--workers", "2"]
KILLS = 200
KILLS_A_NIGHT = 8
ROOM = 2  # MiB of a file system that is too small for what is written to it


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr("conda2wheel.net.download.BACKOFF", 0.0)
    with small_mirror(tmp_path) as made:
        yield made


class Undisturbed(Mirror):
    """A mirror of the same channel with a download cache of its own, so that it does not spare the other mirror the network."""

    def run(self, **how: object) -> MirrorReport:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CONDA2WHEEL_CACHE", str(self.folder / "cache"))
            return super().run(**how)


@pytest.fixture
def undisturbed(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"), mirror.channel)


@contextmanager
def continuous_reads(mirror: Mirror) -> Iterator[Reader]:
    """Read the index and everything that it links to, continuously."""
    place = Path(mirror.store.url)
    with served_folder(place) as address, continuous_reader(address) as reader:
        yield reader


def change_channel(mirror: Mirror) -> None:
    """Change the channel: four new packages, one rebuilt, one gone; some have real side modules."""
    whole = channel4x.shared_channel()
    more = [whole.file(each) for each in whole.builds if each.name in ("pandas", "regex")]
    mirror.add(*more, sets.pure("four"), sets.pure("five"), sets.pure("two", "1.0", requires=["one"]))
    mirror.remove("three-*")


def attempt(mirror: Mirror) -> str:
    """Run once; the code, problem or reasons for attention, or an empty string."""
    try:
        report = mirror.run()
    except Failed as failed:
        return failed.code
    return report.problem or "; ".join(report.attention)


def test_a_network_that_is_cut_in_the_middle(mirror: Mirror, undisturbed: Mirror) -> None:
    for each in (mirror, undisturbed):
        each.run()
    before = mirror.index()
    change_channel(mirror)
    undisturbed.run()
    with continuous_reads(mirror) as reader:
        mirror.channel.fault("*.tar.bz2", cut=0.5, times=4)
        mirror.channel.fault("*/pandas-*", cut=0.0)
        assert "1 failed" in attempt(mirror)
        mirror.channel.fault("*", status=503)
        assert "repodata" in attempt(mirror)
        assert before.keys() - mirror.index().keys() == set()
        reader.whole_round()
        mirror.channel.heal()
        mirror.run()
        reader.whole_round()
    assert mirror.index() == undisturbed.index()


@pytest.mark.parametrize("what", ["store", *(pytest.param(each, marks=pytest.mark.long) for each in ("cache", "state"))])
def test_a_disk_that_is_full(what: str, mirror: Mirror, undisturbed: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed.run()
    with tmpfs(mirror.folder / "small", "size=64m") as folder:
        if what == "cache":
            monkeypatch.setenv("CONDA2WHEEL_CACHE", str(folder / "cache"))
        if what == "state":
            mirror.configure(f'[state]\npath = "{folder / "mirror.sqlite"}"\n')
        if what == "store":
            (mirror.folder / "public").symlink_to(folder / "store")
            (folder / "store").mkdir()
        mirror.run()
        change_channel(mirror)
        undisturbed.run()
        ballast, problems = folder / "ballast", 0
        with continuous_reads(mirror) as reader:
            for room in (0, 16384, 65536, 163840):
                free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
                with ballast.open("wb") as file:
                    file.write(b"x" * max(0, free - room))
                problems += bool(attempt(mirror))
                reader.whole_round()
                ballast.unlink()
            mirror.run()
            reader.whole_round()
        assert mirror.index() == undisturbed.index()
    assert problems > 0


def test_a_store_that_becomes_read_only(mirror: Mirror, undisturbed: Mirror) -> None:
    with tmpfs(mirror.folder / "public", "size=64m") as folder:
        for each in (mirror, undisturbed):
            each.run()
        before = mirror.index()
        change_channel(mirror)
        undisturbed.run()
        with continuous_reads(mirror):
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            assert "Read-only" in attempt(mirror)
            assert mirror.index() == before
            subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
            mirror.run()
        assert mirror.index() == undisturbed.index()


def test_a_clock_that_goes_back_years(mirror: Mirror, undisturbed: Mirror) -> None:
    for each in (mirror, undisturbed):
        each.run()
    change_channel(mirror)
    undisturbed.run()
    mirror.channel.fault("*/pandas-*", status=503)
    with continuous_reads(mirror):
        mirror.run()
        mirror.channel.heal()
        mirror.run(now=lambda: 1.0e9)
        assert mirror.index() == undisturbed.index()
        assert mirror.run(now=lambda: 0.9e9).run is not None
    assert mirror.index() == undisturbed.index()


@pytest.mark.parametrize("times", [2, pytest.param(6, marks=pytest.mark.long)])
def test_a_state_that_was_written_over_anywhere(mirror: Mirror, undisturbed: Mirror, times: int) -> None:
    dice = random.Random(11)  # noqa: S311 - reproducible, not secret
    for each in (mirror, undisturbed):
        each.run()
    state = mirror.folder / "mirror.sqlite"
    with continuous_reads(mirror):
        for number in range(times):
            mirror.add(sets.pure(f"more-{number}"))
            data = bytearray(state.read_bytes())
            start = dice.randrange(len(data))
            data[start : start + 4096] = dice.randbytes(min(4096, len(data) - start))
            state.write_bytes(data[: dice.choice([len(data), len(data), start])])
            mirror.run()
            undisturbed.run()
            assert mirror.index() == undisturbed.index()


def whole_run(mirror: Mirror, *options: str, **environ: str) -> int:
    """A run that ends; how many steps its first process took."""
    command = killed.command(0, "*", *RUN[2:], mirror.path, *options)
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1])


@pytest.mark.long
def test_runs_that_are_killed_at_200_random_moments(mirror: Mirror, undisturbed: Mirror) -> None:
    dice = random.Random(5)  # noqa: S311 - reproducible, not secret
    whole = channel4x.shared_channel(2600)
    news = [whole.file(each) for each in whole.builds if each.kind == "python"]
    undisturbed.run()
    kills, whole_runs, days = 0, 0, 0
    steps = whole_run(mirror)
    assert mirror.index() == undisturbed.index()
    with continuous_reads(mirror) as reader:
        while kills < KILLS:
            mirror.add(*dice.sample(news, 5))
            for _ in range(KILLS_A_NIGHT):
                command = killed.command(dice.randint(1, steps), "*", *RUN[2:], mirror.path)
                done = subprocess.run(command, capture_output=True, check=False)
                kills += done.returncode == -signal.SIGKILL
                whole_runs += done.returncode == 0
            steps = whole_run(mirror)
            undisturbed.run()
            days += 1
            reader.whole_round()
            assert mirror.index() == undisturbed.index()
    print(f"{kills} kills, {whole_runs} runs that ended before theirs, {days} days; {reader.rounds} rounds of a reader,")
    print(f"{reader.requests} requests; {resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime:.0f} s of processor time")
    assert reader.errors == []


@pytest.mark.long
def test_a_whole_channel_whose_first_run_is_killed_again_and_again(tmp_path: Path) -> None:
    """2,600 packages: a first run that is killed at different points, while a reader reads the index of the first 200."""
    dice = random.Random(7)  # noqa: S311 - reproducible, not secret
    whole = channel4x.shared_channel(2600)
    with serve(whole.root, prefix="/forge") as channel:
        mirrors = {}
        for name in ("undisturbed", "killed"):
            (tmp_path / name).mkdir()
            mirrors[name] = Mirror(tmp_path / name, channel)
            mirrors[name].configure("[select]\nversions = 0\nbuilds = 0\n")
        caches = {name: str(tmp_path / name / "cache") for name in mirrors}
        steps = whole_run(mirrors["undisturbed"], CONDA2WHEEL_CACHE=caches["undisturbed"])
        whole_run(mirrors["killed"], "--limit", "200", CONDA2WHEEL_CACHE=caches["killed"])
        kills, ended = 0, False
        with continuous_reads(mirrors["killed"]) as reader:
            while not ended:
                number = dice.randint(1, steps // 10) if kills < 40 else 0
                command = killed.command(number, "*", *RUN[2:], mirrors["killed"].path)
                environ = {**os.environ, "CONDA2WHEEL_CACHE": caches["killed"]}
                done = subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False)
                kills += done.returncode == -signal.SIGKILL
                ended = done.returncode == 0
            reader.whole_round()
        assert mirrors["killed"].index() == mirrors["undisturbed"].index()
    print(f"{kills} kills; {reader.rounds} rounds of a reader, {reader.requests} requests")
    assert (reader.errors, kills > 5) == ([], True)
