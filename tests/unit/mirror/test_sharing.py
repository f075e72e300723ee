"""[share]: libraries of a channel in wheels of their own, which the wheels of several projects require."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import pytest
from packaging.version import Version

from conda2wheel.commands.audit import audit
from conda2wheel.commands.library_wheel import POST_DIGITS, library_version
from conda2wheel.commands.shared_packages import SharedFiles
from conda2wheel.conda.package import CondaPackage
from conda2wheel.mirror import operations
from conda2wheel.mirror.config import ShareConfig, load
from conda2wheel.mirror.plan.sharing import share
from conda2wheel.mirror.report.model import MirrorReport
from conda2wheel.mirror.state.model import ItemKey, ItemResult, MirrorWheel
from conda2wheel.mirror.work.executors import InProcessExecutor, OnStart
from conda2wheel.mirror.work.worker import ConversionJob
from conda2wheel.results import TakenLibrary
from tests.helpers import conda, killed, sets, zig
from tests.helpers.handmade import module
from tests.helpers.mirror_index import served as pages
from tests.helpers.mirror_runs import Mirror
from tests.helpers.served import serve
from tests.unit.link.test_linker import python

SHARE = '[share]\nlibraries = "auto"\nprefix = "forge-"\n'
BASE = {"base": ">"}
ABOVE = {"above": ">"}


def lib(
    name: str, exports: dict[str, str], *imports: tuple[str, str, str], needed: tuple[str, ...] = (), version: str = "1.0"
) -> Path:
    """A package of one library, lib/libNAME.so."""
    files: conda.Files = {f"lib/lib{name}.so": module(imports, exports, needed=needed)}
    return conda.assemble(
        name,
        version,
        files,
        depends=["emscripten-abi >=4,<5.0a0"],
        licenses={"COPYING": f"{name}'s license\n"},
        about={"license": "MIT"},
    )


def user(name: str, *symbols: str, needed: tuple[str, ...], depends: tuple[str, ...] = ()) -> Path:
    """A package of one extension module, NAME/_m, that calls functions of libraries."""
    extension = module([("env", symbol, ">") for symbol in symbols], {"PyInit__m": ">i"}, needed=needed)
    return python({f"{name}/_m{zig.suffix('313')}": extension}, name=name, depends=depends)


def base(version: str = "1.0", **more: str) -> Path:
    return lib("base", {**BASE, **more}, version=version)


def above(version: str = "2.0") -> Path:
    return lib("above", ABOVE, ("env", "base", ">"), needed=("libbase.so",), version=version)


def low(name: str) -> Path:
    return user(name, "base", needed=("libbase.so",))


def high(name: str) -> Path:
    return user(name, "above", needed=("libabove.so",))


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    root = tmp_path / "channel"
    sets.indexed(root, [base(), above(), low("one")])
    with serve(root, prefix="/forge") as channel:
        made = Mirror(tmp_path, channel)
        made.configure(SHARE)
        yield made


def requires(mirror: Mirror) -> dict[str, tuple[str, ...]]:
    """The requirements of every wheel that is not yanked, by project; and every one of them is in the index."""
    found: dict[str, tuple[str, ...]] = {}
    files = index(mirror)
    for (project, _), (yanked, lines) in files.items():
        if not yanked:
            found[project] = lines
        assert all(tuple(line.split("==")) in files for line in lines), "a library wheel is missing in the index"
        assert yanked or all(not files[project, version][0] for project, version in (line.split("==") for line in lines))
    return found


def index(mirror: Mirror) -> dict[tuple[str, str], tuple[object, tuple[str, ...]]]:
    """By project and version: why it is yanked, and its requirements as its METADATA in the store has them."""
    found: dict[tuple[str, str], tuple[object, tuple[str, ...]]] = {}
    for path, page in pages(mirror.store).items():
        if path.endswith("/index.json") and path.count("/") == 2:
            for file in json.loads(page)["files"]:
                data = mirror.store.get(file["url"].removeprefix("../../").partition("#")[0] + ".metadata") or b""
                lines = [line.partition(b": ")[2].decode() for line in data.splitlines() if line.startswith(b"Requires-Dist")]
                found[path.split("/")[1], file["filename"].split("-")[1]] = (file["yanked"], tuple(lines))
    return found


def worked(report: MirrorReport) -> list[str]:
    return sorted(item.package.name for item in report.items if item.worked and item.status == "done")


def modules(mirror: Mirror, project: str) -> dict[str, bytes]:
    """The side modules of the wheels of a project that are not yanked."""
    page = json.loads(pages(mirror.store)[f"simple/{project}/index.json"])
    found: dict[str, bytes] = {}
    for file in page["files"]:
        if not file["yanked"]:
            with zipfile.ZipFile(BytesIO(mirror.store.get(file["url"].removeprefix("../../")) or b"")) as archive:
                found |= {name: archive.read(name) for name in archive.namelist() if name.endswith(".so")}
    return found


def test_a_second_project_makes_a_library_wheel_and_the_first_follows(mirror: Mirror) -> None:
    first = mirror.run()
    assert requires(mirror) == {"one": ()}
    assert worked(first) == ["one"]
    assert any(name.startswith("one.libs/libbase-") for name in modules(mirror, "one"))
    mirror.add(low("two"))
    second = mirror.run()
    assert worked(second) == ["one", "two"]
    found = requires(mirror)
    (line,) = set(found["one"] + found["two"])
    assert line.startswith("forge-base==1.0.post")
    assert found["forge-base"] == ()
    assert [name.split("/")[0] for name in modules(mirror, "forge-base")] == ["forge_base.libs"]
    assert not any("libbase" in name for name in (*modules(mirror, "one"), *modules(mirror, "two")))
    before = mirror.index()
    third = mirror.run()
    assert worked(third) == []
    assert mirror.index() == before


@pytest.mark.long
def test_one_run_over_everything_gives_the_same_index(mirror: Mirror, tmp_path: Path) -> None:
    mirror.run()
    mirror.add(high("two"))
    mirror.run()
    mirror.add(high("three"), low("four"))
    mirror.run()
    (tmp_path / "other").mkdir()
    other = Mirror(tmp_path / "other", mirror.channel)
    other.configure(SHARE)
    other.run()
    assert requires(other) == requires(mirror)
    live = {key for key, (yanked, _) in index(mirror).items() if not yanked}
    assert live == set(index(other))


def test_library_wheels_require_each_other(mirror: Mirror) -> None:
    mirror.add(high("two"), high("three"))
    report = mirror.run()
    found = requires(mirror)
    (base_line,) = found["one"]
    listed = [(f"{each['project']}=={each['version']}", each["package"], each["users"]) for each in report.json()["libraries"]]
    assert listed == [
        (base_line, "emscripten-wasm32/base-1.0-h1234567_0", 3),
        (found["two"][0], "emscripten-wasm32/above-2.0-h1234567_0", 2),
    ]
    assert report.counts["wheels"] == len(found)
    (above_line,) = found["two"]
    assert (above_line.partition("==")[0], found["two"], found["forge-above"]) == ("forge-above", found["three"], (base_line,))
    lock = json.loads(mirror.store.get("pyodide-lock-pyemscripten_2025_0.json") or b"")["packages"]
    assert {name: row["depends"] for name, row in lock.items()} == {
        "forge-base": [],
        "forge-above": ["forge-base"],
        "one": ["forge-base"],
        "two": ["forge-above"],
        "three": ["forge-above"],
    }


def test_named_libraries_are_shared_by_one_user_and_what_they_need_too(mirror: Mirror) -> None:
    mirror.configure('[share]\nlibraries = ["above", "unknown"]\nprefix = "forge-"\n')
    mirror.remove("one-*")
    mirror.add(high("two"))
    mirror.run()
    assert sorted(requires(mirror)) == ["forge-above", "forge-base", "two"]


def test_a_newer_build_moves_all_users_and_the_old_library_wheel_is_yanked_then_removed(mirror: Mirror) -> None:
    mirror.add(low("two"), high("three"), high("four"))
    mirror.run()
    old = requires(mirror)
    mirror.add(base("1.1", more=">"))
    assert worked(mirror.run()) == ["four", "one", "three", "two"]
    new = requires(mirror)
    lines = {line for found in new.values() for line in found if line.startswith("forge-base")}
    assert lines == set(new["one"])
    assert Version(old["one"][0].partition("==")[2]) < Version(new["one"][0].partition("==")[2])
    versions = {key: yanked for key, (yanked, _) in index(mirror).items() if key[0] == "forge-base"}
    assert versions == {
        tuple(old["one"][0].split("==")): "no wheel requires it",
        tuple(new["one"][0].split("==")): False,
    }
    for _ in range(4):
        mirror.run()
    assert {key for key in index(mirror) if key[0] == "forge-base"} == {tuple(new["one"][0].split("=="))}
    operations.collect_garbage(load(mirror.path))
    requires(mirror)


@pytest.mark.long
def test_a_user_that_vanished_keeps_its_library_wheel_until_both_are_removed(mirror: Mirror) -> None:
    mirror.configure('[share]\nlibraries = ["base"]\nprefix = "forge-"\n')
    mirror.add(sets.pure("pure"))
    mirror.run()
    mirror.remove("one-*")
    mirror.run()
    found = index(mirror)
    assert {project: bool(yanked) for (project, _), (yanked, _) in found.items()} == {
        "one": True,
        "forge-base": True,
        "pure": False,
    }
    for _ in range(4):
        mirror.run()
        assert {project for project, _ in index(mirror)} in ({"one", "forge-base", "pure"}, {"pure"})
    assert {project for project, _ in index(mirror)} == {"pure"}


@pytest.mark.long
def test_a_library_that_one_project_needs_is_private_again(mirror: Mirror) -> None:
    mirror.add(low("two"))
    mirror.run()
    mirror.remove("two-*")
    mirror.run()
    files = index(mirror)
    assert {project: lines for (project, _), (yanked, lines) in files.items() if not yanked} == {"one": ()}
    assert all(tuple(line.split("==")) in files for _, lines in files.values() for line in lines)


def test_wheels_whose_library_wheel_is_lost_leave_the_index_until_it_is_made_again(mirror: Mirror) -> None:
    mirror.add(low("two"))
    mirror.run()
    whole = mirror.index()
    (line,) = requires(mirror)["one"]
    page = json.loads(pages(mirror.store)["simple/forge-base/index.json"])
    mirror.store.delete([page["files"][0]["url"].removeprefix("../../")])
    result = operations.republish(load(mirror.path))
    assert {entry.wheel.project for entry in result.missing} == {"forge-base", "one", "two"}
    assert index(mirror) == {}
    assert worked(mirror.run()) == ["one", "two"]
    assert mirror.index() == whole
    assert requires(mirror)["one"] == (line,)


def test_a_library_that_takes_symbols_from_its_users_stays_in_them(mirror: Mirror) -> None:
    """It does not NEED the library that defines what it takes; its users NEED both."""
    mirror.add(lib("odd", {"odd": ">"}, ("env", "base", ">")))
    mirror.add(*(user(name, "odd", "base", needed=("libodd.so", "libbase.so")) for name in ("two", "three")))
    report = mirror.run()
    assert not any(line.startswith("forge-odd") for lines in requires(mirror).values() for line in lines)
    assert any("libodd-" in name for name in modules(mirror, "two"))
    told = {message for item in report.items if item.result for code, message in item.result.warnings if code == "not-shared"}
    assert len(told) == 1
    assert "odd" in told.pop()


def test_symbols_that_two_library_wheels_define_are_taken_from_the_nearest(mirror: Mirror) -> None:
    mirror.add(
        lib("left", {"left": ">", "both": ">"}),
        lib("right", {"right": ">", "both": ">"}),
        user("lefts", "left", "both", needed=("libleft.so",)),
        user("rights", "right", "both", needed=("libright.so",)),
        user("leftright", "left", "right", "both", needed=("libleft.so", "libright.so")),
        user("rightleft", "left", "right", "both", needed=("libright.so", "libleft.so")),
    )
    assert mirror.run().exit_status == 0
    found = requires(mirror)
    assert found["leftright"] == found["rightleft"] == (*found["lefts"], *found["rights"])
    folder = mirror.folder / "wheels"
    folder.mkdir()
    for info in mirror.store.list("blobs"):
        if info.path.endswith(".whl"):
            (folder / info.path.rpartition("/")[2]).write_bytes(mirror.store.get(info.path) or b"")
    for name in ("lefts", "rights", "leftright", "rightleft"):
        assert audit(next(folder.glob(f"{name}-*")), find_links=[folder]).ok


def test_a_library_wheel_has_the_unwinding_bridge_of_its_libraries(mirror: Mirror) -> None:
    mirror.add(lib("jump", {"jump": ">"}, ("env", "invoke_v", "i>"), ("env", "emscripten_longjmp", "ii>")))
    mirror.add(*(user(name, "jump", needed=("libjump.so",)) for name in ("two", "three")))
    report = mirror.run()
    assert report.exit_status == 0, [(item.label, item.result and item.result.message) for item in report.items]
    assert requires(mirror)["two"] == requires(mirror)["three"] != ()
    stems = [name.rpartition("/")[2].rpartition("-")[0] for name in modules(mirror, "forge-jump")]
    assert sorted(stems) == ["libjump", "unwinding_bridge"]
    assert [name.rpartition("/")[0] for name in modules(mirror, "two")] == ["two"]


def result(project: str, *taken: TakenLibrary, platform: str = "pyemscripten_2025_0_wasm32") -> ItemResult:
    wheel = MirrorWheel(project, "1.0", f"{project}-1.0-py3-none-any.whl", "0" * 64, 1, "0" * 64, platform)
    return ItemResult(ItemKey(project, "1", "base", "auto"), "done", wheel=wheel, taken=taken)


def shared(*results: ItemResult, libraries: tuple[str, ...] | Literal["auto"] = "auto") -> dict[str, dict[str, SharedFiles]]:
    """What is shared, by project."""
    found = share(ShareConfig(libraries, "forge-"), [each.key for each in results], {each.key: each for each in results}, [])
    return {new.package: dict(found.sharing[new].libraries) for new in found.keys.values()}


def test_auto_counts_projects_on_one_platform_and_takes_in_what_is_needed() -> None:
    top, base = TakenLibrary("top", "libtop", ("base",)), TakenLibrary("base", "libbase")
    both = {"top": SharedFiles(("libtop",)), "base": SharedFiles(("libbase",))}
    assert shared(result("one", top, base), result("two", top, base)) == {"one": both, "two": both}
    assert shared(result("one", top, base), result("one", top, base)) == {}
    assert shared(result("one", base), result("two", base, platform="pyemscripten_2026_0_wasm32")) == {}
    assert shared(result("one", base), result("two", base, platform="pyemscripten_2024_0_wasm32")) == {}
    named = shared(result("one", top, base), result("two", base), libraries=("top", "other"))
    assert named == {"one": both, "two": {"base": both["base"]}}


def test_packages_that_need_each_other_are_not_shared() -> None:
    ring = (TakenLibrary("left", "libleft", ("right",)), TakenLibrary("right", "libright", ("left",)))
    base = TakenLibrary("base", "libbase")
    only = {"base": SharedFiles(("libbase",))}
    assert shared(result("one", *ring, base), result("two", *ring, base)) == {"one": only, "two": only}


def test_the_files_of_all_users_are_shared_and_names_that_one_looks_up_are_kept() -> None:
    one = result("one", TakenLibrary("hdf5", "libhdf5"))
    two = result("two", TakenLibrary("hdf5", "libhdf5", by_name=True), TakenLibrary("hdf5", "libhdf5_hl"))
    files = {"hdf5": SharedFiles(("libhdf5", "libhdf5_hl"), ("libhdf5",))}
    assert shared(one, two) == {"one": files, "two": files}


@pytest.mark.parametrize(
    ("version", "build", "wanted"),
    [
        ("1.2", 3, "1.2.post30000000007"),
        ("1.2rc1", 0, "1.2rc1.post7"),
        ("9e", 1, "9.post10000000007"),
        ("1.1.1w", 0, "1.1.1.post7"),
        ("2024a", 0, "2024.post7"),
        ("latest", 0, "0.post7"),
        ("1!2.0.post3", 12345, "1!2.0.post99990000000007"),
    ],
)
def test_the_version_of_a_library_wheel(version: str, build: int, wanted: str) -> None:
    package = CondaPackage("x", (), {"name": "x", "version": version, "build_number": build})
    assert library_version(package, 5 * 10**POST_DIGITS + 7) == wanted


@dataclass
class Stopping(InProcessExecutor):
    """Stops the run after some items."""

    after: int = 1

    def run(self, jobs: Iterable[ConversionJob], on_start: OnStart = lambda _: None) -> Generator[ItemResult]:
        for result in super().run(jobs, on_start):
            yield result
            self.after -= 1
            if not self.after:
                self.stop.set()


def test_an_interrupted_run_leaves_an_index_in_which_nothing_is_missing(mirror: Mirror) -> None:
    mirror.run()
    mirror.add(high("two"), high("three"))
    for after in (1, 2, 1):  # by itself; with the first that shares; another that shares
        assert "stopped by a signal" in (mirror.run(executor=Stopping(after=after)).problem or "")
        operations.republish(load(mirror.path))
        requires(mirror)
    mirror.run()
    assert sorted(requires(mirror)) == ["forge-above", "forge-base", "one", "three", "two"]


@pytest.mark.long
def test_a_run_that_is_killed_at_any_step_is_finished_by_the_next(mirror: Mirror) -> None:
    mirror.run()
    mirror.add(high("two"), high("three"))
    command = ["mirror", "run", str(mirror.path), "--workers", "1"]
    for number in (2, 5, 9, 14, 20):
        subprocess.run(
            killed.command(number, "*item*", "conda2wheel", *command), env=dict(os.environ), capture_output=True, check=False
        )
        requires(mirror)
    mirror.run()
    assert sorted(requires(mirror)) == ["forge-above", "forge-base", "one", "three", "two"]
