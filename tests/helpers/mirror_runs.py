"""A small channel over HTTP, and its mirror, for tests of what becomes of it night after night."""

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
NIGHT = 1.9e9
REAL = ("numpy", "bzip2", "r-arrow")  # side modules; refused for what is in it; refused by its name
PURE = ("one", "two", "three")


class Mirror:
    """A channel over HTTP, and its mirror; each `run` is a night later."""

    def __init__(self, folder: Path, channel: Served) -> None:
        self.folder, self.channel = folder, channel
        self.path = folder / "mirror.toml"
        self.configure()
        self.nights = 0
        self.logged: list[str] = []

    def configure(self, more: str = "") -> None:
        text = f'[channel]\nurls = ["{self.channel.url}"]\n[output]\nstore = "public"\ngrace = "3d"\n{more}'
        self.path.write_text(text, encoding="utf-8")

    @property
    def store(self) -> Store:
        return open_store(str(self.folder / "public"))

    def run(self, **how: object) -> MirrorReport:
        self.nights += 1
        self.channel.forget()
        night = NIGHT + self.nights * DAY
        given = {"executor": InProcessExecutor(), "log": self.logged.append, "now": lambda: night, **how}
        return run(load(self.path), RunOptions(**given))  # type: ignore[arg-type]

    def files(self, project: str) -> dict[str, object]:
        """What the index has of a project, by file name: why it is yanked, or False."""
        page = json.loads(pages(self.store)[f"simple/{project}/index.json"])
        return {file["filename"]: file["yanked"] for file in page["files"]}

    def add(self, *packages: Path) -> None:
        for known in self.channel.root.glob("*/repodata*"):  # or rattler believes what it once read of a file name
            known.unlink()
        sets.indexed(self.channel.root, packages)

    def remove(self, pattern: str) -> None:
        for path in self.channel.root.glob(f"*/{pattern}"):
            path.unlink()
        self.add()

    def index(self) -> dict[str, bytes]:
        """All of it but the wheels, with what pages say of these: no clock is in it."""
        found = dict(pages(self.store))
        for name in self.store.links():
            if name.startswith("pyodide-lock"):
                found[name] = self.store.get(name) or b""
        return found

    def asked(self) -> list[str]:
        """The packages that the channel was asked for since the last run began."""
        return self.channel.asked("*.tar.bz2") + self.channel.asked("*.conda")


@contextmanager
def nights(folder: Path) -> Iterator[Mirror]:
    """A mirror in a folder, and its channel, which is served while the block runs."""
    whole = channel4x.shared_channel()
    root = folder / "channel"
    sets.indexed(root, [*(whole.file(each) for each in whole.builds if each.name in REAL), *map(sets.pure, PURE)])
    with serve(root, prefix="/forge") as channel:
        yield Mirror(folder, channel)
