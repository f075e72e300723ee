"""Beside auditwheel-emscripten on the same inputs: ours is right in each, theirs is what was measured.

What it does is pinned: a newer version that does better makes a test fail, and docs/peers.md wants to be mended then.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module, encode_name, encode_uleb
from tests.build import conda, peers, zig
from tests.build.foreign import Foreign

TAGS = {"313": "cp313-cp313-pyemscripten_2025_0_wasm32", "314": "cp314-cp314-pyemscripten_2026_0_wasm32"}
BEYOND = bytes([77]) + encode_uleb(5) + b"later"  # a subsection of dylink.0 that no version has yet
WEAK = (
    "extern int weak_one(int) __attribute__((weak)); extern int weak_two __attribute__((weak)), weak_three __attribute__((weak));"
)
WEAK_BODY = "(weak_one ? weak_one(1) : 0) + (&weak_two ? 1 : 0) + (&weak_three ? 1 : 0)"


def answering(name: str, expression: str, declarations: str = "", needed: Iterable[str] = ()) -> bytes:
    code = zig.extension(name, {"go": zig.integer(expression)}, declarations=declarations)
    return zig.side_module(name, code, needed=list(needed)).read_bytes()


def read(data: bytes) -> dylink.Dylink:
    section = dylink.read(Module.parse(data))
    assert isinstance(section, dylink.Dylink)
    return section


def wheel(folder: Path, modules: Mapping[str, bytes], more: Mapping[str, bytes] | None = None, python: str = "313") -> Path:
    files: dict[str, conda.Content] = {"pkg/__init__.py": "", **{f"pkg/{n}{zig.suffix(python)}": d for n, d in modules.items()}}
    return Foreign(TAGS[python], {**files, **(more or {})}).write(folder)


@pytest.fixture
def libs(tmp_path: Path) -> Path:
    """A folder with one library under three names, as `make install` leaves it."""
    count = zig.shared_library("libcount.so.1.2.3", "static int n; int count(void) { return ++n; }", exports=["count"])
    names = {"libcount.so.1": conda.Link("libcount.so.1.2.3"), "libcount.so": conda.Link("libcount.so.1")}
    conda.lay(tmp_path / "lib", {"libcount.so.1.2.3": count, **names})
    return tmp_path / "lib"


def by_us(source: Path, libs: Path, out: Path) -> Path:
    done = peers.ours("repair", source, "--libdir", libs, "-o", out / "ours")
    assert done.returncode == 0, done.stderr
    return next((out / "ours").iterdir())


def by_them(source: Path, libs: Path, out: Path) -> CompletedProcess[str]:
    (out / "theirs").mkdir(parents=True)
    return peers.theirs("repair", source, "--libdir", libs, "--output-dir", out / "theirs")


def repaired(source: Path, libs: Path, out: Path) -> tuple[Path, Path]:
    """The wheel as we and as they repair it."""
    ours = by_us(source, libs, out)
    other = by_them(source, libs, out)
    assert other.returncode == 0, other.stderr
    return ours, next((out / "theirs").iterdir())


def modules(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".so" in name}


def libraries(path: Path) -> dict[str, str]:
    """The vendored libraries by path, with their hash."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in modules(path).items() if "count" in Path(name).name}


def test_one_library_under_three_names_is_one_file_of_ours_and_three_of_theirs(libs: Path, tmp_path: Path) -> None:
    users = {
        f"_u{n}": answering(f"_u{n}", "count()", "extern int count(void);", [name])
        for n, name in enumerate(("libcount.so", "libcount.so.1", "libcount.so.1.2.3"))
    }
    ours, theirs = repaired(wheel(tmp_path, users), libs, tmp_path)
    assert len(libraries(ours)) == 1
    needed = {read(data).needed for name, data in modules(ours).items() if name.startswith("pkg/")}
    assert needed == {(Path(next(iter(libraries(ours)))).name,)}
    found = libraries(theirs)
    assert len(found) == 3  # three instances, with three counters
    assert len(set(found.values())) == 1


def test_weak_imports_stay_as_they_are_in_ours_and_theirs_falls_over_its_own_section(libs: Path, tmp_path: Path) -> None:
    data = answering("_weak", f"{WEAK_BODY} + count()", f"{WEAK} extern int count(void);", ["libcount.so.1"])
    before = read(data).imports
    assert len([entry for entry in before if entry.weak]) == 3
    # The loader of 0.28 and 0.29 forgets a module's weak imports if it has to load a library first: convert would refuse it.
    source = wheel(tmp_path, {"_weak": data}, python="314")
    ours = by_us(source, libs, tmp_path)
    after = read(modules(ours)[f"pkg/_weak{zig.suffix('314')}"]).imports
    assert [entry for entry in after if entry.weak] == [entry for entry in before if entry.weak]
    other = by_them(source, libs, tmp_path)
    assert other.returncode != 0  # it writes how many modules it imports from for how many names, and cannot read that itself
    assert "parse_dylink_section" in other.stderr.partition("Traceback")[2]


def test_a_subsection_that_nobody_knows_yet_is_carried_by_ours_and_dropped_by_theirs(libs: Path, tmp_path: Path) -> None:
    data = answering("_later", "count()", "extern int count(void);", ["libcount.so.1"])
    first = Module.parse(data).sections[0]
    body = encode_name("dylink.0") + data[first.start : first.end].partition(b"dylink.0")[2] + BEYOND
    made = data[:8] + b"\0" + encode_uleb(len(body)) + body + data[first.end :]
    ours, theirs = repaired(wheel(tmp_path, {"_later": made}), libs, tmp_path)
    place = f"pkg/_later{zig.suffix('313')}"
    assert BEYOND in modules(ours)[place]
    assert BEYOND not in modules(theirs)[place]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"\x7fELF\x02\x01\x01" + bytes(64), "abi-conflict"), (b"INPUT(libcount.so.1)\n", "fake-dylib"), (b"", "fake-dylib")],
    ids=["elf", "linker script", "empty"],
)
def test_a_file_that_is_no_module_is_one_line_of_ours_and_a_traceback_of_theirs(
    content: bytes, code: str, libs: Path, tmp_path: Path
) -> None:
    source = wheel(tmp_path, {"_x": answering("_x", "42")}, {"pkg/libodd.so": content})
    done = peers.ours("repair", source, "--libdir", libs, "-o", tmp_path / "out")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert f"error: {code}: " in done.stderr
    assert "pkg/libodd.so is no side module" in done.stderr
    assert not (tmp_path / "out").exists()
    other = by_them(source, libs, tmp_path)
    assert other.returncode != 0
    assert "Traceback" in other.stderr


def test_where_nothing_is_to_do_ours_is_a_copy_and_theirs_another_file(libs: Path, tmp_path: Path) -> None:
    source = wheel(tmp_path, {"_x": answering("_x", "42")})
    ours, theirs = repaired(source, libs, tmp_path)
    assert ours.read_bytes() == source.read_bytes()
    assert theirs.read_bytes() != source.read_bytes()
    changed = {name for name, data in modules(theirs).items() if data != modules(source)[name]}
    assert changed == {f"pkg/_x{zig.suffix('313')}"}  # a RUNTIME_PATH to a folder that there is not


def test_a_library_beside_its_user_is_found_by_ours_and_not_by_theirs(libs: Path, tmp_path: Path) -> None:
    data = answering("_beside", "count()", "extern int count(void);", ["libcount.so.1"])
    source = wheel(tmp_path, {"_beside": data}, {"pkg/libcount.so.1": (libs / "libcount.so.1").read_bytes()})
    (tmp_path / "none").mkdir()
    made = by_us(source, tmp_path / "none", tmp_path)
    assert read(modules(made)[f"pkg/_beside{zig.suffix('313')}"]).runtime_path
    other = by_them(source, tmp_path / "none", tmp_path)
    assert other.returncode != 0
    assert "Cannot find" in other.stderr + other.stdout
