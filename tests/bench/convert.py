"""`scripts/bench convert`: conversions beside the floor and other tools, by size, by count of files, by stage and by threads."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conda2wheel.files.packagefile import Limits
from tests.bench import document, packages, peers, processes, stages
from tests.bench.floor import Layout, floor, parts
from tests.bench.timing import by_turns, ratio
from tests.helpers.conda import ArchiveType

Report = Callable[[str], None]
OURS, FLOOR = "convert", "floor"
PEERS_TO = 64_000_000  # bytes: other tools write to disk what is larger, which says little and takes long
PARTS_TO = 200_000_000  # bytes: the floor's parts hold all of them at once
LIMITS = Limits(entries=packages.ENTRIES)
THREADS = (1, 2, 4)
STAGES_ROUNDS = 3


def silent(_: str) -> None:
    """The `report` that shows nothing."""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for wheels."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


def one(package: Path, *, rounds: int | None = None, with_peers: bool = True, with_parts: bool = True) -> dict[str, Any]:
    """Everything about one package: times beside the floor and peers, stages, memory, threads."""
    layout = Layout.of(package)
    with folder() as out:
        works: dict[str, Callable[[], object]] = {OURS: lambda: _convert(package, out), FLOOR: lambda: floor(layout)}
        if with_peers and layout.size <= PEERS_TO:
            works |= {name: _with(peer, package) for name, peer in peers.OPENING.items()}
        if layout.size <= PEERS_TO:
            _convert(package, out)  # what is imported and read once is not measured
            floor(layout)
        times = by_turns(works, rounds)
        each = ratio(times[OURS], times[FLOOR])
        measured: dict[str, Any] = {
            "package": package.name,
            "archive": "conda" if package.suffix == ".conda" else "tar.bz2",
            "packed": package.stat().st_size,
            "unpacked": layout.size,
            "files": layout.files,
            "wheel": _size(out),
            "times": {name: value.json() for name, value in times.items()},
            "ratio": {"median": each.median, "least": each.least, "most": each.most},
            "above_floor": times[OURS].median - times[FLOOR].median,
        }
        if with_parts:
            turns = min(STAGES_ROUNDS, len(times[OURS].wall))
            if layout.size <= PARTS_TO:
                measured["floor_parts"] = {name: value.processor for name, value in by_turns(parts(layout), turns).items()}
            measured["stages"] = stage_times(lambda: _convert(package, out), turns)
    return measured


def stage_times(work: Callable[[], object], rounds: int) -> dict[str, dict[str, float]]:
    """The medians of each stage, in seconds of the clock and of the processor."""
    clocks = [stages.stages(work) for _ in range(rounds)]
    names = [name for name in (*stages.STAGES, stages.REST) if any(name in clock.wall for clock in clocks)]
    return {
        name: {
            "wall": statistics.median(clock.wall.get(name, 0.0) for clock in clocks),
            "cpu": statistics.median(clock.cpu.get(name, 0.0) for clock in clocks),
        }
        for name in names
    }


def memory(package: Path) -> dict[str, int]:
    """The peak of a new process that converts, and of one that only imports, in bytes."""
    with folder() as out:
        return {"peak": processes.convert_in_new_process(package, out).memory, "idle": processes.fresh(processes.IDLE)[0]}


def threads(package: Path, counts: Iterable[int] = THREADS) -> dict[str, Any]:
    """Conversions in new processes with so many threads: times, peak memory, and the hashes of the wheels."""
    rows = {}
    for count in counts:
        with folder() as out:
            made = processes.convert_in_new_process(package, out, count)
        rows[str(count)] = {"wall": made.wall, "cpu": made.cpu, "memory": made.memory, "sha256": made.sha256}
    return {"package": package.name, "by_threads": rows, "identical": len({row["sha256"] for row in rows.values()}) == 1}


def bench(
    sizes: Iterable[packages.Size] = packages.SIZES,
    counts: Iterable[int] = packages.COUNTS,
    *,
    archives: Iterable[ArchiveType] = packages.ARCHIVES,
    rounds: int | None = None,
    with_many: bool = False,
    report: Report = silent,
) -> dict[str, Any]:
    """The part `convert` of the document: by size and archive, by count of files, threads of the size in the middle."""
    from tests.bench.tables import convert_head, convert_row, many_row

    archives, counts = tuple(archives), tuple(counts)
    report(convert_head())
    by_size, by_count, by_threads = [], [], []
    _import_everything()
    for size in sizes:
        for archive in archives:
            package = size.package(archive)
            row = {"size": size.name, **one(package, rounds=rounds), "memory": memory(package)}
            by_size.append(row)
            report(convert_row(row))
    for count in counts:
        package = packages.counted(count, "conda")
        row = {
            "size": f"{count} files",
            **one(package, rounds=rounds, with_peers=count == max(counts)),
            "memory": memory(package),
        }
        by_count.append(row)
        report(convert_row(row))
    for size in sizes:
        if size.wheel == "pymupdf":
            by_threads = [threads(size.package(archive)) for archive in archives]
    part = document.part(by_size=by_size, by_count=by_count, threads=by_threads)
    if with_many:
        part["many"] = many()
        report(many_row(part["many"]))
    return part


def many() -> dict[str, Any]:
    """A new process that converts 1 GB of many files: its memory and time."""
    package = packages.counted(packages.MANY, "conda", packages.MANY_SIZE)
    with folder() as out:
        made = processes.convert_in_new_process(package, out)
    return {
        "files": packages.MANY,
        "unpacked": packages.MANY_SIZE,
        "wall": made.wall,
        "cpu": made.cpu,
        "memory": made.memory,
    }


def _convert(package: Path, out: Path) -> int:
    """The size of the wheel."""
    from conda2wheel.commands.convert import convert

    return convert(package, out=out, limits=LIMITS).wheel.stat().st_size


def _import_everything() -> None:
    """What is imported and read once is not measured, nor by the largest packages, which are converted without a try."""
    with folder() as out:
        _convert(packages.SIZES[0].package("conda"), out)


def _size(out: Path) -> int:
    [wheel] = out.glob("*.whl")
    return wheel.stat().st_size


def _with(peer: Callable[[Path], None], package: Path) -> Callable[[], None]:
    return lambda: peer(package)
