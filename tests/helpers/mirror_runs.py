"""A small channel over HTTP and its mirror, for tests of one run after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conda2wheel.mirror.config import load
from conda2wheel.mirror.report.model import MirrorReport
from conda2wheel.mirror.run import RunOptions, run
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import InProcessExecutor
from tests.helpers import channel4x, sets
from tests.helpers.mirror_index import served as pages
from tests.helpers.served import Served, serve

DAY = 86400.0
FIRST_DAY = 1.9e9
REAL = ("numpy", "bzip2", "r-arrow")  # with side modules; refused by its contents; refused by its name
PURE = ("one", "two", "three")


class Mirror:
    """A channel over HTTP and its mirror; each `run` is a day later than the one before."""

    def __init__(self, folder: Path, channel: Served) -> None:
        self.folder, self.channel = folder, channel
        self.path = folder / "mirror.toml"
        self.configure()
        self.day = 0
        self.logged: list[str] = []

    def configure(self, more: str = "") -> None:
        text = f'[channel]\nurls = ["{self.channel.url}"]\n[output]\nstore = "public"\ngrace = "3d"\n{more}'
        self.path.write_text(text, encoding="utf-8")

    @property
    def store(self) -> Store:
        return open_store(str(self.folder / "public"))

    def run(self, **options: object) -> MirrorReport:
        self.day += 1
        self.channel.forget()
        now = FIRST_DAY + self.day * DAY
        given = {"executor": InProcessExecutor(), "log": self.logged.append, "now": lambda: now, **options}
        return run(load(self.path), RunOptions(**given))  # type: ignore[arg-type]

    def files(self, project: str) -> dict[str, object]:
        """The files of a project in the index: why each is yanked, or False, by name."""
        page = json.loads(pages(self.store)[f"simple/{project}/index.json"])
        return {file["filename"]: file["yanked"] for file in page["files"]}

    def add(self, *packages: Path) -> None:
        for path in self.channel.root.glob("*/repodata*"):  # rattler would use what it has cached for a file name
            path.unlink()
        sets.indexed(self.channel.root, packages)

    def remove(self, pattern: str) -> None:
        for path in self.channel.root.glob(f"*/{pattern}"):
            path.unlink()
        self.add()

    def index(self) -> dict[str, bytes]:
        """All pages and lock files of the index, by path; they contain no times of runs."""
        found = dict(pages(self.store))
        for path in (self.folder / "public").glob("pyodide-lock*"):  # a link, or a copy where there are none
            found[path.name] = path.read_bytes()
        return found

    def requested_packages(self) -> list[str]:
        """The package files that were requested from the channel since the last run began."""
        return self.channel.asked("*.tar.bz2") + self.channel.asked("*.conda")


@contextmanager
def small_mirror(folder: Path) -> Iterator[Mirror]:
    """Make a mirror in a folder, and serve its channel during the block."""
    whole = channel4x.shared_channel()
    root = folder / "channel"
    sets.indexed(root, [*(whole.file(each) for each in whole.builds if each.name in REAL), *map(sets.pure, PURE)])
    with serve(root, prefix="/forge") as channel:
        yield Mirror(folder, channel)
