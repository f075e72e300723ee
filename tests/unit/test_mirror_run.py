"""A mirror's nights: what its channel does, what becomes of the index, and how much work that was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conda2wheel.mirror.config import load
from conda2wheel.mirror.execute import Here
from conda2wheel.mirror.report import Report
from conda2wheel.mirror.run import How, run
from conda2wheel.mirror.storage import Store, open_store
from tests.build import channel4x, sets
from tests.build.mirrored import served as pages
from tests.build.served import Served, serve

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
        self.said: list[str] = []

    def configure(self, more: str = "") -> None:
        text = f'[channel]\nurls = ["{self.channel.url}"]\n[output]\nstore = "public"\ngrace = "3d"\n{more}'
        self.path.write_text(text, encoding="utf-8")

    @property
    def store(self) -> Store:
        return open_store(str(self.folder / "public"))

    def run(self, **how: object) -> Report:
        self.nights += 1
        self.channel.forget()
        night = NIGHT + self.nights * DAY
        given = {"executor": Here(), "tell": self.said.append, "now": lambda: night, **how}
        return run(load(self.path), How(**given))  # type: ignore[arg-type]

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


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    whole = channel4x.shared_channel()
    root = tmp_path / "channel"
    sets.indexed(root, [*(whole.file(each) for each in whole.builds if each.name in REAL), *map(sets.pure, PURE)])
    with serve(root, prefix="/forge") as channel:
        yield Mirror(tmp_path, channel)


def is_list(path: str) -> bool:
    return "repodata" in path or "shard" in path or path.endswith(".msgpack.zst")


def test_the_first_night_brings_everything_and_the_second_asks_for_nothing_but_the_list(mirror: Mirror) -> None:
    first = mirror.run()
    assert first.exit_status == 0, first.look
    assert (first.counts["done"], first.counts["refused"], first.counts["pending"]) == (4, 2, 0)
    assert sorted(first.refused) == ["not-python", "static-library"]
    assert len(mirror.channel.asked("*/numpy-*")) == 1
    assert mirror.files("one") == {"one-1.0-py3-none-any.whl": False}
    assert json.loads(mirror.store.get("report/report.json") or b"")["generation"] == first.generation
    assert "numpy" in (mirror.store.get("pyodide-lock-pyemscripten_2025_0.json") or b"").decode()

    generations = mirror.store.folders("generations")
    second = mirror.run()
    assert second.run is not None
    assert (second.run.worked, second.generation, second.exit_status) == (0, first.generation, 0)
    assert [path for path in mirror.channel.asked() if not is_list(path)] == []
    assert mirror.store.folders("generations") == generations


def test_one_changed_package_among_many_is_one_conversion(mirror: Mirror) -> None:
    mirror.run()
    before = dict(pages(mirror.store))
    mirror.add(sets.pure("two", "1.0", requires=["one"]))
    report = mirror.run()
    assert report.run is not None
    assert (report.run.worked, [each.name for each in report.changes["changed"]]) == (1, ["two"])
    assert [path for path in mirror.channel.asked() if not is_list(path)] == mirror.channel.asked("*/two-1.0-*")
    after = pages(mirror.store)
    assert {path for path in before if before[path] != after[path]} == {"simple/two/index.html", "simple/two/index.json"}
