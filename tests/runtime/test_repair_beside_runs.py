"""Wheels whose libraries another wheel brings, in real Pyodides: one instance, found through the requirement."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import Refused, repair
from conda2wheel.pyodide import check_wheels
from tests.helpers import conda, real, zig
from tests.helpers.foreign import Foreign, unvendored

pytestmark = pytest.mark.runtime

COUNTS = {"bump": zig.integer("count_bump()"), "total": zig.integer("count_total")}
EXTERNS = "extern int count_bump(void); extern int count_total;"
TAGS = {"313": "pyemscripten_2025_0_wasm32", "314": "pyemscripten_2026_0_wasm32"}
SHARED = "import user._u as u, pkg._top as top; print([u.bump(), top.bump(), u.total(), top.bump(), u.bump(), top.total()])"
RUNS = [
    pytest.param("313", "0.29.5", id="0.29.5"),
    pytest.param("313", "0.28.3", id="0.28.3", marks=pytest.mark.long),
    pytest.param("314", "314.0.7", id="314.0.7", marks=pytest.mark.long),
]


def printed(wheel: Path, links: Path, pyodide: str, script: str) -> str:
    path = links / "script.py"
    path.write_text(script)
    (checked,) = check_wheels([wheel], pyodide=pyodide, find_links=[links], script=path)
    assert checked.ok, checked
    assert checked.script is not None
    return checked.script.stdout.strip()


def user(folder: Path, python: str) -> Path:
    side = zig.side_module("_u", zig.extension("_u", COUNTS, declarations=EXTERNS), needed=[zig.Chain.ALIAS], python=python)
    files: dict[str, conda.Content] = {"user/__init__.py": "", f"user/{side.name}": side}
    return Foreign(f"cp{python}-cp{python}-{TAGS[python]}", files, name="user").write(folder)


@pytest.mark.parametrize(("python", "pyodide"), RUNS)
def test_two_wheels_share_the_library_that_one_of_them_carries(python: str, pyodide: str, tmp_path: Path) -> None:
    chain = zig.chain(python)
    conda.lay(tmp_path / "native", {chain.ALIAS: chain.count, "libbase.so": chain.base})
    built = unvendored(chain, python, TAGS[python]).write(tmp_path / "built")
    repair(built, out=tmp_path / "links", libdirs=[tmp_path / "native"])
    result = repair(user(tmp_path, python), out=tmp_path / "out", find_links=[tmp_path / "links"])
    assert printed(result.wheel, tmp_path / "links", pyodide, SHARED) == "[1, 2, 2, 3, 4, 4]"


@pytest.mark.long
@pytest.mark.parametrize(("python", "pyodide"), RUNS)
def test_an_excluded_library_is_found_where_another_wheel_puts_it(python: str, pyodide: str, tmp_path: Path) -> None:
    chain = zig.chain(python)
    files: dict[str, conda.Content] = {"demo.py": "", chain.ALIAS: chain.count, "libbase.so": chain.base}
    Foreign(f"py3-none-{TAGS[python]}", files, name="demo").write(tmp_path / "links")
    conda.lay(tmp_path / "native", {chain.ALIAS: chain.count, "libbase.so": chain.base})
    wheel = user(tmp_path, python)
    result = repair(wheel, out=tmp_path / "out", libdirs=[tmp_path / "native"], exclude=["libcount*"])
    lines = "\nRequires-Dist: ".join(["2.4", "demo", "user"])
    requiring = Foreign(f"cp{python}-cp{python}-{TAGS[python]}", {}, name="all", metadata_version=lines)
    assert (result.changed, result.vendored) == (False, ())
    (tmp_path / "links" / wheel.name).write_bytes(result.wheel.read_bytes())
    both = requiring.write(tmp_path)
    assert printed(both, tmp_path / "links", pyodide, "import user._u as u; print(u.bump(), u.bump(), u.total())") == "1 2 2"


@pytest.mark.long
def test_a_missing_entry_is_added_and_the_module_runs(tmp_path: Path) -> None:
    """Of two libraries that define what it takes, the module gets the one that the caller names."""
    twin = "int count_total = 70; int count_bump(void) { return ++count_total; }"
    libraries = {
        name: zig.shared_library(name, source, exports=["count_total", "count_bump"])
        for name, source in {"libtwin.so": twin, "libother.so": twin.replace("70", "90")}.items()
    }
    conda.lay(tmp_path / "native", libraries)
    side = zig.side_module("_u", zig.extension("_u", COUNTS, declarations=EXTERNS))
    wheel = Foreign(f"cp313-cp313-{TAGS['313']}", {"user/__init__.py": "", f"user/{side.name}": side}, name="user").write(
        tmp_path
    )
    for name, expected in {"libtwin.so": "71 71", "libother.so": "91 91"}.items():
        result = repair(wheel, out=tmp_path / name, libdirs=[tmp_path / "native"], add_needed=[f"_u*:{name}"])
        assert printed(result.wheel, tmp_path, "0.29.5", "import user._u as u; print(u.bump(), u.total())") == expected


@pytest.mark.long
def test_a_library_of_a_real_wheel_of_pypi_is_called(tmp_path: Path) -> None:
    """awkward-cpp's kernels, in a folder of its package and under a plain name."""
    kernel = "awkward_index_rpad_and_clip_axis0_64"
    declarations = (
        "struct Error { const char *what, *where; long long identity, attempt; _Bool pass; };\n"
        f"extern struct Error {kernel}(long long *, long long, long long);\n"
        f"static long call(void) {{ long long o[4] = {{9, 9, 9, 9}}; {kernel}(o, 4, 2);"
        " return o[0] * 1000 + o[1] * 100 + (o[2] + 1) * 10 + o[3] + 1; }\n"
    )
    module = zig.extension("_u", {"go": zig.integer("call()")}, declarations=declarations)
    side = zig.side_module("_u", module, needed=["libawkward-cpu-kernels.so"])
    files: dict[str, conda.Content] = {"user/__init__.py": "", f"user/{side.name}": side}
    wheel = Foreign(f"cp313-cp313-{TAGS['313']}", files, name="user").write(tmp_path / "built")
    awkward = real.pypi_wheel("awkward-cpp")
    result = repair(wheel, out=tmp_path / "out", find_links=[awkward])
    assert [each.partition("==")[0] for each in result.requires] == ["awkward-cpp"]
    (tmp_path / awkward.name).write_bytes(awkward.read_bytes())
    assert printed(result.wheel, tmp_path, "0.29.5", "import user._u as u; print(u.go())") == "100"


@pytest.mark.long
def test_pyodides_own_scipy_leaves_its_openblas_out(tmp_path: Path) -> None:
    """Pyodide 0.27.7 loads openblas for it, globally, so that the wheel must not bring one."""
    (wheel,) = real.distribution("0.27.7").glob("scipy-*.whl")
    with pytest.raises(Refused, match=r"NEEDs libopenblas\.so"):
        repair(wheel, out=tmp_path)
    result = repair(wheel, out=tmp_path, exclude=["libopenblas*"])
    assert (result.vendored, {each.code for each in result.warnings} & {"excluded-library"}) == ((), {"excluded-library"})
