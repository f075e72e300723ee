"""The bench measures what it says: on a tiny package, once, without a look at the times."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from rattler.package_streaming import extract

from conda2wheel.commands.convert import convert as command_convert
from conda2wheel.wasm.binary import Module
from tests.bench import (
    audit,
    command,
    convert,
    document,
    downloads,
    figures,
    goals,
    packages,
    page,
    processes,
    stages,
    tables,
    timing,
)
from tests.bench.distant import distant
from tests.bench.floor import Layout, contents, floor
from tests.helpers import packed, shapes, zig
from tests.helpers.conda import ArchiveType


def tiny(folder: Path, archive: ArchiveType) -> Path:
    """A package of a side module, some text and an empty file."""
    files = {
        f"{shapes.SITE}/demo/__init__.py": b"answer = 42\n" * 100,
        f"{shapes.SITE}/demo/empty.py": b"",
        f"{shapes.SITE}/demo/core{shapes.SUFFIX}": zig.side_module(
            "core", zig.extension("core", {"one": zig.integer("1")})
        ).read_bytes(),
        f"{shapes.SITE}/demo-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
    }
    index = {"name": "demo", "version": "1.0", "build": "py313h1_0", "build_number": 0, "subdir": "emscripten-wasm32"}
    described = {**index, "depends": list(shapes.ABI)}
    return packed.pack(folder, described, files, about={}, info={}, archive=archive)


@pytest.fixture(scope="module", params=packages.ARCHIVES)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("package"), request.param)


def test_the_floor_decompresses_and_packs_every_file(package: Path, tmp_path: Path) -> None:
    layout = Layout.of(package)
    extract(package, tmp_path)
    there = sorted(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert sorted(contents(layout, 2)) == there
    assert (layout.files, layout.size) == (len(there), sum(map(len, there)))
    assert 0 < floor(layout) < layout.size


@pytest.fixture(scope="module")
def measured(package: Path) -> dict[str, Any]:
    return {"size": "demo", **convert.one(package, rounds=1), "memory": {"peak": 90 << 20, "idle": 30 << 20}}


def test_every_stage_of_a_conversion_is_measured(measured: dict[str, Any]) -> None:
    assert list(measured["stages"]) == [*stages.STAGES, stages.REST]
    assert all(stage["wall"] > 0 for stage in measured["stages"].values())


def test_the_table_has_ours_the_floor_and_the_peers(measured: dict[str, Any]) -> None:
    shown = tables.convert_row(measured)
    first, *rest = shown.splitlines()
    assert first.split()[:2] == ["demo", f".{measured['archive']}"]
    assert first.endswith("90 MiB")
    assert {"cph extract", "py-rattler extract", "cph extract + zipfile"} <= {
        re.split(r"\s{2,}", line.strip())[0] for line in rest
    }
    assert set(measured["times"]) == {"convert", "floor", "cph extract", "py-rattler extract", "cph extract + zipfile"}


def test_a_process_of_its_own_tells_its_memory_and_makes_the_same_wheel(tmp_path: Path) -> None:
    package = tiny(tmp_path, "conda")
    one, four = (processes.convert_in_new_process(package, tmp_path / str(count), count) for count in (1, 4))
    assert one.sha256 == four.sha256
    assert 10 << 20 < one.memory < 1 << 30


@pytest.fixture(scope="module")
def whole(measured: dict[str, Any]) -> dict[str, Any]:
    """A document with several sizes, which are the one that was measured, and audits."""
    larger = deepcopy(measured) | {"size": "larger", "unpacked": measured["unpacked"] * 10}
    threads = {"package": "demo", "identical": True, "by_threads": {"1": {"wall": 0.2, "cpu": 0.1, "memory": 9, "sha256": ""}}}
    counts = [measured, deepcopy(measured) | {"size": "1000 files", "files": 1000}]
    converted = document.part(by_size=[measured, larger], by_count=counts, threads=[threads])
    converted["many"] = {"files": 20_000, "unpacked": 1_000_000_000, "wall": 20.0, "cpu": 30.0, "memory": 600 << 20}
    timed = {
        "times": {"audit": one(0.2), "show": one(0.4), "floor: unpack in memory": one(0.1)},
        "ratio": {"median": 0.5, "least": 0.5, "most": 0.5},
    }
    wheel = {
        "wheel": "demo-1.0-py3-none-any.whl",
        "modules": 1,
        "modules_size": 1_000_000,
        "memory": {"peak": 40 << 20, "idle": 1},
    }
    fails = {"times": {"audit": one(0.2), "floor: unpack in memory": one(0.1)}, "ratio": None}
    both = [{**wheel, "in_process": each, "command": each} for each in (timed, fails)]
    audited = document.part(wheels=both, repair={"repair": one(1.0)})
    downloads = {"conda2wheel": one(0.5), "floor": one(1.0)}
    rows = {"download one": {"times": downloads, "ratios": {"floor": {"median": 0.5, "least": 0.5, "most": 0.5}}}}
    parts = {"convert": converted, "audit": audited, "downloads": document.part(latency=0.03, rate=4e6, rows=rows)}
    made: dict[str, Any] = json.loads(json.dumps(document.document(parts, quick=True)))
    return made


def one(wall: float) -> dict[str, list[float]]:
    return {"wall": [wall], "cpu": [wall]}


def test_the_document_says_on_what_it_was_measured(whole: dict[str, Any]) -> None:
    assert (whole["kind"], whole["version"]) == ("conda2wheel-bench", 1)
    assert {"processor", "cores", "memory", "system", "python", "libraries"} <= set(whole["machine"])
    assert {"rapidgzip", "deflate", "py-rattler"} <= set(whole["machine"]["libraries"])


def test_parts_that_are_not_measured_again_stay(whole: dict[str, Any]) -> None:
    [small, larger] = whole["parts"]["convert"]["by_size"]
    again, other = {**small, "packed": 1}, {**small, "size": "other"}
    part = {"commit": "new", "by_size": [other, again], "by_count": [], "threads": []}
    merged = document.merged(whole, {**whole, "date": "later", "parts": {"convert": part}})
    assert merged["date"] == "later"
    assert merged["parts"]["audit"] == whole["parts"]["audit"]
    assert merged["parts"]["convert"]["commit"] == "new"
    assert merged["parts"]["convert"]["by_size"] == [again, larger, other]
    assert merged["parts"]["convert"]["by_count"] == whole["parts"]["convert"]["by_count"]
    with pytest.raises(ValueError, match="not a document of conda2wheel-bench 1, but None None"):
        document.merged({}, whole)


def test_plots_have_the_figures_and_the_units(whole: dict[str, Any]) -> None:
    found = {figure.name: figure for figure in figures.figures(whole)}
    assert list(found) == ["bench-size", "bench-ratio", "bench-memory", "bench-stages", "bench-count", "bench-audit"]
    size = found["bench-size"]
    assert isinstance(size, figures.Lines)
    assert (size.x_label, size.y_label) == ("unpacked size (MB)", "time (s)")
    [row, _] = whole["parts"]["convert"]["by_size"]
    assert size.series[0].x == (row["unpacked"] / 1e6, row["unpacked"] / 1e5)
    assert size.series[0].y == (row["times"]["convert"]["wall"][0],) * 2
    shares = found["bench-stages"]
    assert isinstance(shares, figures.Bars)
    for number in range(len(shares.rows)):
        assert sum(values[number] for _, _, values in shares.parts) == pytest.approx(100)
    assert [each["name"] for each in json.loads(json.dumps(figures.as_json(found.values())))] == list(found)


@pytest.mark.parametrize("background", ["#ffffff", "#1e2129"])  # Material's themes default and slate
def test_colours_are_seen_in_light_and_dark(background: str) -> None:
    for colour in figures.PALETTE:
        low, high = sorted((luminance(colour), luminance(background)))
        assert (high + 0.05) / (low + 0.05) >= 3, colour


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    channels = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_goals_are_met_or_not(whole: dict[str, Any]) -> None:
    found = {goal.words: goal for goal in goals.goals(whole)}
    [small, _] = whole["parts"]["convert"]["by_size"]
    name = f"demo `.{small['archive']}`"
    assert found[f"`convert` of {name}: at most 60 ms above the floor"].met == (small["above_floor"] <= 0.06)
    assert found["memory of 1 GB in 20,000 files: at most 512 MiB"] == goals.Goal(
        "memory of 1 GB in 20,000 files: at most 512 MiB", "600 MiB", met=False
    )
    assert found["wheels of demo with 1 threads: the same bytes"].met
    large = {**small, "unpacked": 45_000_000, "ratio": {"median": 1.6}, "memory": {"peak": 150 << 20}}
    again = goals.goals({"parts": {"convert": {"by_size": [large]}}})
    assert [(goal.measured, goal.met) for goal in again] == [("1.60", False), ("150 MiB", True)]


def test_the_page_gets_its_sections_and_keeps_what_is_written_by_hand(whole: dict[str, Any]) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    markers = re.findall(r"<!-- bench: ([\w-]+) -->", text)
    made = page.sections(whole)
    assert markers
    assert set(markers) <= set(made)
    filled = page.filled(text, whole)
    outside = re.compile(r"(<!-- bench: [\w-]+ -->).*?<!-- /bench -->", re.DOTALL)
    assert outside.sub(r"\1", filled) == outside.sub(r"\1", text)
    assert all(made[name] in filled for name in markers)
    assert page.filled(filled, {**whole, "parts": {}}) == filled


def test_plots_of_the_page_are_there() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(\.\./assets/(bench-\w+\.svg)\)", text))
    assert named == {path.name for path in page.ASSETS.glob("bench-*.svg")}


def test_rounds_alternate_and_end_with_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "gc", Mock())
    asked: list[str] = []
    found = timing.by_turns({"one": lambda: asked.append("one"), "two": lambda: asked.append("two")}, rounds=3)
    assert asked == ["one", "two", "two", "one", "one", "two"]
    assert [len(each.wall) for each in found.values()] == [3, 3]
    assert len(timing.by_turns({"one": lambda: None})["one"].wall) == timing.MOST_ROUNDS
    twice = timing.Times((2.0, 4.0, 9.0), (1.0, 1.0, 1.0))
    once = timing.Times((1.0, 2.0, 3.0), (1.0, 1.0, 1.0))
    assert str(timing.ratio(twice, once)) == "2.00 (2.00 to 3.00)"


def test_any_count_of_files_has_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "wheel_contents", lambda: (("a.py", b"answer = 42\n"), ("b.so", b"\0asm")))
    few, many = (packages.counted_files(count, 1000) for count in (1, 30))
    assert (len(few), len(many)) == (2, 31)
    assert len(b"".join(few.values())) == 1000
    assert b"".join(few.values()) == b"".join(many.values())


def test_copies_of_a_wheel_differ_and_their_modules_stay_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    module = b"\0asm\1\0\0\0"
    monkeypatch.setattr(packages, "wheel_contents", lambda: (("a.py", b"answer = 42\n"), ("b.so", module)))
    files = packages.together_files(100)
    assert len(set(files.values())) == len(files) > 4
    assert sum(map(len, files.values())) >= 100
    sections = [Module.parse(content).sections for path, content in files.items() if path.endswith(".so")]
    assert [len(each) for each in sections] == [0, *[1] * (len(sections) - 1)]


def test_downloads_come_from_a_server_of_its_own(tmp_path: Path) -> None:
    contents = {f"demo{number}.conda": bytes([number]) * 1000 for number in range(3)}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    with distant(tmp_path, 0.0, 1e9) as url:
        many, alone = downloads.works(url, contents)
        assert [len(each.wall) for works in (many, alone) for each in timing.by_turns(works, rounds=1).values()] == [1] * 5


def test_an_audit_is_measured_beside_show(tmp_path: Path) -> None:
    wheel = command_convert(tiny(tmp_path, "conda"), out=tmp_path).wheel
    times = audit.in_process(wheel, rounds=1)
    assert set(times) == {audit.OURS, audit.SHOW, audit.FLOOR}
    assert all(each.processor > 0 for each in times.values())


def test_what_is_neither_a_part_nor_a_file_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["convrt"], "usage") == 2
    expected = "scripts/bench: convrt: neither a part (convert, audit, downloads, mirror, serve, all) nor a file\n"
    assert capsys.readouterr().err == expected


@pytest.mark.long
def test_the_plots_are_drawn(whole: dict[str, Any], tmp_path: Path) -> None:
    page.draw(figures.figures(whole), tmp_path)
    assert (tmp_path / "bench-size.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "bench-size.svg").read_text(encoding="utf-8")
    assert "unpacked size (MB)" in drawn
    page.draw(figures.figures(whole), tmp_path / "again", ("svg",))
    assert (tmp_path / "again" / "bench-size.svg").read_text(encoding="utf-8") == drawn
