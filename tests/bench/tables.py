"""Tables of the figures, for a terminal."""

from __future__ import annotations

from typing import Any

from tests.bench.timing import Times

MIB = 1 << 20


def convert_head() -> str:
    """The head of the table of conversions."""
    names = f"{'':28} {'MB':>6} {'files':>6} {'convert':>8} {'cpu':>8} {'floor':>8} {'cpu':>8} {'ratio':>6}"
    head = f"{names}  {'(spread)':14} {'above':>8} {'peak':>9}"
    return f"{head}\n{'-' * len(head)}"


def convert_row(row: dict[str, Any]) -> str:
    """Times, ratio to the floor and memory of one package; beneath, the peers and the stages."""
    times = {name: Times.of(value) for name, value in row["times"].items()}
    ours, floor, each = times.pop("convert"), times.pop("floor"), row["ratio"]
    name = f"{row['size']} .{row['archive']}"
    spread = f"({each['least']:.2f} to {each['most']:.2f})"
    peak = f"{row['memory']['peak'] / MIB:5.0f} MiB" if "memory" in row else ""
    taken = " ".join(f"{seconds(each):>8}" for each in (ours.median, ours.processor, floor.median, floor.processor))
    lines = [
        f"{name:28} {row['unpacked'] / 1e6:6.1f} {row['files']:6} {taken} "
        f"{each['median']:5.2f}x  {spread:14} {seconds(row['above_floor']):>8} {peak:>9}"
    ]
    lines += [f"    {peer:40} {seconds(value.median):>9} {seconds(value.processor):>8}" for peer, value in times.items()]
    if "floor_parts" in row:
        parts = ", ".join(f"{part} {seconds(value)}" for part, value in row["floor_parts"].items())
        lines.append(f"    floor, one thread: {parts}")
    for stage, value in row.get("stages", {}).items():
        lines.append(f"    {stage:40} {seconds(value['wall']):>9} {seconds(value['cpu']):>8}")
    return "\n".join(lines)


def many_row(row: dict[str, Any]) -> str:
    """The package of many files, for a terminal."""
    taken = f"{seconds(row['wall'])}, {seconds(row['cpu'])} of all cores"
    return f"{row['unpacked'] / 1e9:g} GB in {row['files']:,} files: {taken}, peak {row['memory'] / MIB:.0f} MiB"


def threads_table(rows: list[dict[str, Any]]) -> str:
    """Times by the number of threads, and whether the wheels are the same."""
    lines = []
    for row in rows:
        lines.append(f"{row['package']}: {'identical wheels' if row['identical'] else 'DIFFERENT WHEELS'}")
        for count, each in row["by_threads"].items():
            taken = f"{seconds(each['wall']):>9} {seconds(each['cpu']):>8}"
            lines.append(f"    {count} threads{'':31} {taken} {each['memory'] / MIB:7.0f} MiB")
    return "\n".join(lines)


def seconds(value: float) -> str:
    """With a unit that suits."""
    return f"{value:.2f} s" if abs(value) >= 1 else f"{value * 1000:.0f} ms" if abs(value) >= 0.01 else f"{value * 1000:.1f} ms"
