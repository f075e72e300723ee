"""Repair and the libraries that something else brings: --find-links, --exclude, --add-needed."""

from __future__ import annotations

import functools
import http.server
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conda2wheel import Refused, Repaired, audit, repair, repair_each, verify
from conda2wheel.abi.side_module import SideModule
from conda2wheel.errors import Failed
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from tests.helpers import command, conda, judges, zig
from tests.helpers.foreign import Foreign, unvendored
from tests.unit.link.test_linker import modules

T313 = "pyemscripten_2025_0_wasm32"
TAG = f"cp313-cp313-{T313}"
SITE = "/lib/python3.13/site-packages"
COUNTS = {"bump": zig.integer("count_bump()"), "total": zig.integer("count_total")}
EXTERNS = "extern int count_bump(void); extern int count_total;"


def owner(folder: Path, isolate: bool = True) -> Repaired:
    """A repaired wheel `pkg` that carries libcount and libbase, in `folder`."""
    chain = zig.chain()
    conda.lay(folder / "native", {chain.count.name: chain.count, chain.ALIAS: chain.count, "libbase.so": chain.base})
    wheel = unvendored(chain, "313", T313).write(folder / "built")
    return repair(wheel, out=folder / "owner", libdirs=[folder / "native"], isolate=isolate)


def user(folder: Path, *, needed: str = zig.Chain.ALIAS, python: str = "313", tag: str = TAG, **options: object) -> Path:
    """The wheel `user`, whose module NEEDs libcount; where `needed` is empty it takes from it what it does not NEED."""
    needs = [needed] if needed else []
    side = zig.side_module("_u", zig.extension("_u", COUNTS, declarations=EXTERNS), needed=needs, python=python)
    files: dict[str, conda.Content] = {"user/__init__.py": "", f"user/{side.name}": side}
    return Foreign(tag, files, name="user", **options).write(folder)  # type: ignore[arg-type]


def requires(result: Repaired) -> list[str]:
    with zipfile.ZipFile(result.wheel) as archive:
        text = archive.read("user-1.0.dist-info/METADATA").decode().partition("\n\n")[0]
    return [line.partition(": ")[2] for line in text.splitlines() if line.startswith("Requires-Dist:")]


def side_in(wheel: Path, path: str) -> SideModule:
    with zipfile.ZipFile(wheel) as archive:
        return SideModule(PackageFile(path, BytesBlob(archive.read(path))))


MODULE = f"user/_u{zig.suffix('313')}"


def test_a_library_that_another_wheel_carries_is_taken_from_it(tmp_path: Path) -> None:
    """The other wheel gave the library a hash in its name, and its symbols new names."""
    other = owner(tmp_path)
    result = repair(user(tmp_path), out=tmp_path / "out", find_links=[tmp_path / "owner"])
    judges.judge(result.wheel)
    libcount = next(path for path in modules(other) if "/libcount-" in path)
    assert modules(result) == {MODULE: ((libcount.removeprefix("pkg.libs/"),), (f"{SITE}/pkg.libs", "$ORIGIN/../pkg.libs"))}
    assert (requires(result), result.requires, result.vendored) == (["pkg==1.0"], ("pkg==1.0",), ())
    assert {each.name for each in result.shared} == {path for path in modules(other) if path.startswith("pkg.libs/")}
    exported = set(side_in(other.wheel, libcount).exports)
    assert {entry.name for entry in side_in(result.wheel, MODULE).imports if entry.name.startswith("count_")} <= exported
    assert audit(result.wheel, find_links=[tmp_path / "owner"]).ok
    assert not audit(result.wheel).ok
    assert verify(result.wheel, [tmp_path / "user-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl", other.wheel]).identical
    assert repair(result.wheel, out=tmp_path / "again", find_links=[other.wheel]).wheel.read_bytes() == result.wheel.read_bytes()


@pytest.mark.parametrize(("other", "own"), [(False, True), (True, False), (False, False)])
def test_names_agree_whichever_wheel_is_isolated(other: bool, own: bool, tmp_path: Path) -> None:
    owner(tmp_path, isolate=other)
    result = repair(user(tmp_path), out=tmp_path / "out", find_links=[tmp_path / "owner"], isolate=own)
    assert audit(result.wheel, find_links=[tmp_path / "owner"]).findings == ()


def test_a_library_with_a_plain_name_keeps_the_authors_requirement(tmp_path: Path) -> None:
    chain = zig.chain(rpath_libraries=["$ORIGIN"])
    files: dict[str, conda.Content] = {
        "core/__init__.py": "",
        f"core/lib/{chain.ALIAS}": chain.count,
        "core/lib/libbase.so": chain.base,
    }
    for version in ("1.0", "1.5", "2.0"):
        Foreign(f"py3-none-{T313}", files, name="core", version=version).write(tmp_path / "links")
    lines = {
        "": ["core==2.0"],
        "Requires-Dist: Core <2 ; sys_platform == 'emscripten'": ["Core <2 ; sys_platform == 'emscripten'"],
        "Requires-Dist: core; sys_platform == 'linux'": ["core; sys_platform == 'linux'", "core==2.0"],
    }
    for number, (line, expected) in enumerate(lines.items()):
        wheel = user(tmp_path / str(number), metadata_version="2.4" + (f"\n{line}" if line else ""))
        result = repair(wheel, out=tmp_path / f"out{number}", find_links=[tmp_path / "links"])
        assert requires(result) == expected
        assert modules(result)[MODULE] == ((chain.ALIAS,), (f"{SITE}/core/lib", "$ORIGIN/../core/lib"))
    wheel = user(tmp_path / "no", metadata_version="2.4\nRequires-Dist: core >=3")
    with pytest.raises(Refused, match=r"which is not in the package, the wheels of .*links"):
        repair(wheel, out=tmp_path / "none", find_links=[tmp_path / "links"])


def test_of_several_wheels_the_required_one_then_libraries_alone_then_the_first(tmp_path: Path) -> None:
    chain = zig.chain(rpath_libraries=["$ORIGIN"])
    libraries = {f"l/{chain.ALIAS}": chain.count, "l/libbase.so": chain.base}
    for name, more in (("aa", {"aa.py": ""}), ("bb", {"bb.py": ""}), ("zz", {})):
        files: dict[str, conda.Content] = {**{f"{name}.{path}": file for path, file in libraries.items()}, **more}
        Foreign(f"py3-none-{T313}", files, name=name).write(tmp_path / "links")
    result = repair(user(tmp_path / "1"), out=tmp_path / "o1", find_links=[tmp_path / "links"])
    assert requires(result) == ["zz==1.0"]
    (warning,) = [each for each in result.warnings if each.code == "beside-ambiguous"]
    assert warning.message.startswith(f"libcount.so.1 is taken from zz-1.0-py3-none-{T313}.whl; aa-1.0-py3-none-")
    chosen = repair(
        user(tmp_path / "2", metadata_version="2.4\nRequires-Dist: bb"), out=tmp_path / "o2", find_links=[tmp_path / "links"]
    )
    assert (requires(chosen), [each.code for each in chosen.warnings]) == (["bb"], [])
    assert modules(chosen)[MODULE][1] == (f"{SITE}/bb.l", "$ORIGIN/../bb.l")


def test_a_loader_that_looks_into_no_other_wheel_gets_its_own_copy(tmp_path: Path) -> None:
    chain = zig.chain("312")
    conda.lay(tmp_path / "native", {chain.ALIAS: chain.count, "libbase.so": chain.base})
    built = unvendored(chain, "312", "pyodide_2024_0_wasm32").write(tmp_path / "built")
    repair(built, out=tmp_path / "owner", libdirs=[tmp_path / "native"])
    wheel = user(tmp_path, python="312", tag="cp312-cp312-pyodide_2024_0_wasm32")
    result = repair(wheel, out=tmp_path / "out", libdirs=[tmp_path / "native"], find_links=[tmp_path / "owner"])
    assert (len(result.vendored), requires(result)) == (2, [])
    assert "beside-unreachable" in {each.code for each in result.warnings}


def test_a_wheel_that_the_same_call_wrote_is_found(tmp_path: Path) -> None:
    chain = zig.chain()
    conda.lay(tmp_path / "native", {chain.ALIAS: chain.count, "libbase.so": chain.base})
    built = [unvendored(chain, "313", T313).write(tmp_path / "built"), user(tmp_path)]
    (tmp_path / "out").mkdir()
    results = dict(repair_each(built, out=tmp_path / "out", libdirs=[tmp_path / "native"], find_links=[tmp_path / "out"]))
    last = results[str(built[1])]
    assert isinstance(last, Repaired)
    assert (last.requires, last.vendored) == (("pkg==1.0",), ())


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_page_of_links_and_the_url_of_a_wheel_will_do(tmp_path: Path) -> None:
    other = owner(tmp_path).wheel
    page = f'<a href="{other.name}">wheel</a> <a href="none-1.0-py3-none-any.whl">not read</a> <a href="..">up</a>'
    conda.lay(tmp_path / "owner", {"simple/index.html": page.replace('href="', 'href="../'), "page.json": "{}"})
    local = repair(user(tmp_path), out=tmp_path / "local", find_links=[other])
    rows = f'{{"files": [{{"url": "{other.name}", "hashes": {{}}}}]}}'
    (tmp_path / "owner" / "page.json").write_text(rows)
    with served(tmp_path / "owner") as url:
        for number, place in enumerate((f"{url}/{other.name}", f"{url}/simple/", f"{url}/page.json", f"{url}/")):
            result = repair(user(tmp_path), out=tmp_path / str(number), find_links=[place])
            assert result.sha256 == local.sha256, place
        with pytest.raises(Failed, match=r"404|not found"):
            repair(user(tmp_path), out=tmp_path / "none", find_links=[f"{url}/none/"])


def test_an_excluded_library_stays_out_and_is_compared_where_it_was_found(tmp_path: Path) -> None:
    chain = zig.chain()
    conda.lay(tmp_path / "native", {chain.ALIAS: chain.count, "libbase.so": chain.base})
    wheel = user(tmp_path, needed="libcount.so.1")
    result = repair(wheel, out=tmp_path / "out", libdirs=[tmp_path / "native"], exclude=["libcount*"])
    assert (result.changed, result.vendored, [each.code for each in result.warnings]) == (False, (), ["excluded-library"])
    assert "compared" not in result.warnings[0].message
    more = repair(wheel, out=tmp_path / "more", libdirs=[tmp_path / "native"], exclude=["libcount*", "libgone*"])
    assert [each.code for each in more.warnings] == ["excluded-library", "exclude-unused"]
    unseen = repair(wheel, out=tmp_path / "unseen", exclude=["libcount.so.?"])
    assert unseen.warnings[0].message.endswith("what is taken from it was not compared with it, since it was found nowhere")
    conda.lay(tmp_path / "wrong", {chain.ALIAS: chain.base})
    strange = repair(wheel, out=tmp_path / "strange", libdirs=[tmp_path / "wrong"], exclude=["*"], allow=["unresolved-symbol"])
    assert "allowed" in {each.code for each in strange.warnings}
    with pytest.raises(Refused, match="count_total"):
        repair(wheel, out=tmp_path / "strange", libdirs=[tmp_path / "wrong"], exclude=["*"])
    with pytest.raises(Refused, match="NEEDs libcount"):
        repair(wheel, out=tmp_path / "no", exclude=["libbase*"])


def test_what_is_excluded_keeps_its_runtime_path_beside_what_is_vendored(tmp_path: Path) -> None:
    side = zig.side_module(
        "_u",
        zig.extension("_u", COUNTS, declarations=EXTERNS),
        needed=["libother.so", zig.Chain.ALIAS],
        rpath=["$ORIGIN/../other/lib"],
    )
    chain = zig.chain()
    conda.lay(tmp_path / "native", {chain.ALIAS: chain.count, "libbase.so": chain.base})
    wheel = Foreign(TAG, {f"user/{side.name}": side}, name="user").write(tmp_path)
    result = repair(wheel, out=tmp_path / "out", libdirs=[tmp_path / "native"], exclude=["libother.so"])
    needed, runtime_path = modules(result)[MODULE]
    assert (needed[0], needed[1][:9]) == ("libother.so", "libcount-")
    assert runtime_path == (f"{SITE}/user.libs", "$ORIGIN/../user.libs", "$ORIGIN/../other/lib")
    assert verify(result.wheel, [wheel, tmp_path / "native"]).identical


def test_an_entry_that_the_linker_was_not_given_is_added(tmp_path: Path) -> None:
    """Two libraries define what the module takes, so that which one it means is for the caller to say."""
    chain = zig.chain()
    twin = zig.shared_library(
        "libtwin.so", "int count_total; int count_bump(void) { return 7; }", exports=["count_total", "count_bump"]
    )
    conda.lay(tmp_path / "native", {chain.ALIAS: chain.count, "libbase.so": chain.base, "libtwin.so": twin})
    wheel = user(tmp_path, needed="")
    with pytest.raises(Refused, match="count_total"):
        repair(wheel, out=tmp_path / "out", libdirs=[tmp_path / "native"])
    for given in ("libtwin.so", "_u*:libtwin.so", "user/_u*.so:libtwin.so"):
        result = repair(wheel, out=tmp_path / "out", libdirs=[tmp_path / "native"], add_needed=[given, "other*:libz.so"])
        assert [each.name[:18] for each in result.vendored] == ["user.libs/libtwin-"]
        assert [each.code for each in result.warnings] == ["add-needed-unused", "missing-license"]
    assert verify(result.wheel, [wheel, tmp_path / "native"]).identical
    with pytest.raises(Refused, match=r"NEEDs libnone\.so"):
        repair(wheel, out=tmp_path / "out", libdirs=[tmp_path / "native"], add_needed=["libtwin.so", "libnone.so"])


def test_a_library_that_provides_nothing_to_its_user_stays_where_it_is_asked_for(tmp_path: Path) -> None:
    """Its constructor, or what code finds with dlsym, may be what it is for."""
    lone = zig.shared_library("liblone.so", "int lone(void) { return 1; }", exports=["lone"])
    conda.lay(tmp_path / "native", {"liblone.so": lone})
    side = zig.side_module("_u", zig.extension("_u", {"answer": zig.integer("42")}))
    wheel = Foreign(TAG, {f"user/{side.name}": side}, name="user").write(tmp_path)
    result = repair(wheel, out=tmp_path / "out", libdirs=[tmp_path / "native"], add_needed=["liblone.so"])
    assert [each.needed_by for each in result.vendored] == [(f"user/{side.name}",)]
    judges.judge(result.wheel)


def test_the_command_line_has_the_options(tmp_path: Path) -> None:
    other = owner(tmp_path).wheel
    wheel = user(tmp_path)
    done = command.run("repair", wheel, "-o", tmp_path / "out", "--find-links", other, "--exclude", "libx*", "--json")
    assert (done.returncode, '"pkg==1.0"' in done.stdout) == (0, True), done.stderr
    needing = unvendored(zig.chain(), "313", "pyemscripten_2025_0_wasm32").write(tmp_path)
    both = ["repair", wheel, needing, "-o", tmp_path / "both", "--find-links", other, "--libdir", tmp_path / "native"]
    for verbose in ([], ["-v"]):
        used = command.run(*both, "--exclude", "libbase*", "--exclude", "libtypo*", *verbose)
        assert (used.returncode, used.stderr.count("exclude-unused"), "--exclude libtypo*" in used.stderr) == (0, 1, True)
    for arguments, why in {
        ("--find-links", "/no/such"): "no such file or folder",
        ("--add-needed", "_u*:"): "no file name of a library",
    }.items():
        done = command.run("repair", wheel, "-o", tmp_path / "out", *arguments)
        assert (done.returncode, why in " ".join(done.stderr.split())) == (2, True), done.stderr
