"""All of emscripten-forge-4x: each of its packages becomes the right wheel, or is refused with the right word.

The packages have the real ones' names, requirements and shapes (tests/helpers/channel4x.py); what must become of each stands in
tests/data/channel_4x_python.txt and channel_4x_others.toml, which nothing in the converter knows.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conda2wheel import Refused, convert
from conda2wheel.files.packagefile import Limits
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.recipes.model import RecipeBook
from conda2wheel.results import Planned
from tests.helpers import channel4x
from tests.helpers.channel4x import Channel
from tests.helpers.channel4x_outputs import Output, shapes

Verdict = Planned | Refused


@pytest.fixture(scope="module")
def channel() -> Channel:
    return channel4x.shared_channel()


@pytest.fixture(scope="module")
def verdicts(channel: Channel, tmp_path_factory: pytest.TempPathFactory) -> dict[Output, Verdict]:
    """What `convert(..., dry_run=True)` says of each package, with all libraries of the channel at hand."""
    libraries = tmp_path_factory.mktemp("libraries")
    for build in channel.builds:
        if build.kind == "shared" or build.name == "proj":
            (libraries / channel.file(build).name).symlink_to(channel.file(build))
    index, book = LibraryIndex([libraries], Limits()), RecipeBook()
    found: dict[Output, Verdict] = {}
    for build in channel.builds:
        try:
            found[build] = convert(channel.file(build), dry_run=True, libdirs=index, recipes=book)
        except Refused as refusal:
            found[build] = refusal
    return found


def code(verdict: Verdict) -> str:
    return verdict.code if isinstance(verdict, Refused) else "ok"


def said(requirements: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Requirements, whatever the order of their specifiers and the spelling of their names."""
    found: set[tuple[str, ...]] = set()
    for each in map(Requirement, requirements):
        found.add((canonicalize_name(each.name), ",".join(sorted(each.extras)), str(each.specifier), str(each.marker)))
    return found


def test_every_package_is_converted_or_refused_with_the_right_word(verdicts: dict[Output, Verdict]) -> None:
    wrong = {
        str(build.name): (code(verdict), build.expected) for build, verdict in verdicts.items() if code(verdict) != build.expected
    }
    assert wrong == {}
    assert Counter(map(code, verdicts.values()))["ok"] == 191


def test_no_name_is_wrong(verdicts: dict[Output, Verdict]) -> None:
    made = {build.name: verdict for build, verdict in verdicts.items() if isinstance(verdict, Planned)}
    wrong = {
        name: each.name
        for name, each in made.items()
        if canonicalize_name(each.name) != canonicalize_name(shapes()[name].pypi or "")
    }
    assert wrong == {}
    assert {name: each.version for name, each in made.items() if name in ("kiwisolver", "numpy")} == {
        "kiwisolver": "1.5.0",
        "numpy": "2.5.2",
    }


def test_every_wheel_requires_what_it_should(verdicts: dict[Output, Verdict]) -> None:
    made = {build.name: verdict for build, verdict in verdicts.items() if isinstance(verdict, Planned)}
    wrong = {name: said(each.requires) ^ said(shapes()[name].requires) for name, each in made.items()}
    assert {name: difference for name, difference in wrong.items() if difference} == {}


def test_tags_and_libraries_follow_from_what_is_inside(verdicts: dict[Output, Verdict]) -> None:
    for build, verdict in verdicts.items():
        if isinstance(verdict, Refused) or build.shape is None:
            continue
        platforms = {tag.split("-", 2)[2] for tag in verdict.tags}
        ctypes = build.name in ("freetype-py", "rebound")  # the recipes bring a library
        assert platforms == ({"pyemscripten_2025_0_wasm32"} if build.shape.compiled or ctypes else {"any"}), build.name
        assert all(("abi3" in tag) == (build.shape.metadata == "abi3") for tag in verdict.tags), build.name
        needed = {library for item in build.shape.files for library in item.partition(":")[2].split(",") if library}
        travels = {each.name.partition("-")[0].rpartition("/")[2] for each in verdict.vendored}
        stems = {library.partition(".")[0] for library in needed - {"libz.so"}}  # Pyodide's main module has zlib
        assert stems <= travels, build.name
        assert "libz" not in travels


def test_the_channel_is_as_large_as_the_real_one_and_always_the_same(channel: Channel, tmp_path: Path) -> None:
    assert (len(channel.builds), len({build.name for build in channel.builds})) == (656, 654)
    chosen = channel4x.chosen(2600)
    assert (len(chosen), len(set(chosen)), chosen) == (2600, 2600, channel4x.chosen(2600))
    counts = Counter(build.name for build in chosen)
    python = [counts[name] for name in shapes()]
    assert sum(python) / len(python) > 1.5 * (2600 - sum(python)) / (654 - len(python))
    newest = {build.name: build for build in channel.builds}
    for name in ("scipy", "hdf5", "kiwisolver", "matplotlib", "polars-runtime-32"):
        channel4x._write(tmp_path, newest[name], newest)
        assert (tmp_path / channel.file(newest[name]).name).read_bytes() == channel.file(newest[name]).read_bytes()


def test_its_repodata_has_what_a_client_needs(channel: Channel) -> None:
    records: dict[str, Any] = {}
    for subdir in ("noarch", "emscripten-wasm32"):
        repodata = json.loads((channel.root / subdir / "repodata.json").read_text())
        records |= {**repodata["packages"], **repodata["packages.conda"]}
    assert len(records) == len(channel.builds)
    for build in channel.builds:
        file = channel.file(build)
        record = records[file.name]
        assert (record["size"], record["sha256"]) == (file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
        assert record["timestamp"] // 1000 == build.timestamp // 1000
        assert record["subdir"] == build.subdir
    depends = {record["name"]: record["depends"] for record in records.values()}
    assert depends["contourpy"] == ["numpy", "numpy >=2.2,<3", "emscripten-abi >=4,<5.0a0", "python_abi 3.13.* *_cp313"]
    assert depends["matplotlib"][1].startswith("matplotlib-base ==3.11.1 np23py313h")
    assert "arrow-cpp 23.0.0.*" in depends["pyarrow"]


def test_a_solver_finds_an_environment_for_nearly_all_and_says_why_not(channel: Channel) -> None:
    """What cannot be solved could not be in the real one with one build each: numba 0.67 wants numpy 2.4, river pandas 2."""
    from rattler import BuildString, GenericVirtualPackage, PackageName, Version, solve
    from rattler.exceptions import SolverError

    unix = GenericVirtualPackage(PackageName("__unix"), Version("0"), BuildString("0"))

    async def failures() -> set[str]:
        failed = set()
        for name in shapes():
            specs = [name, "python 3.13.*"]
            try:
                await solve(list(channel.urls), specs, platforms=["emscripten-wasm32", "noarch"], virtual_packages=[unix])
            except SolverError:
                failed.add(name)
        return failed

    assert asyncio.run(failures()) == {"numba", "pytensor-base", "river", "umap-learn"}
