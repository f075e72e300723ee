"""Packages in the shape of robostack's ROS packages run: code in lib/pythonX.Y, a chain of libraries from other packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import convert
from conda2wheel.pyodide import check_wheels
from tests.helpers import conda, zig

pytestmark = pytest.mark.runtime

PYTHON = "lib/python3.11"
LINKS = 13  # libraries of the shortest chain among the real ones
RUNS = [
    pytest.param("0.24.1", "3.1.45"),
    pytest.param("0.25.1", "3.1.46", marks=pytest.mark.long),
]


def chain(number: int) -> list[Path]:
    """Libraries of which each NEEDs the one before, and adds one."""
    made: list[Path] = []
    for link in range(number):
        below = f"extern int link{link - 1}(int a);\n" if made else ""
        value = f"link{link - 1}(a) + 1" if made else "a + 1"
        source = f"{below}int link{link}(int a) {{ return {value}; }}"
        made.append(zig.shared_library(f"liblink{link}.so", source, exports=[f"link{link}"], needed=made[-1:]))
    return made


def packages(emscripten: str) -> tuple[Path, list[Path]]:
    """`ros-humble-zed`, and the packages of its libraries; its message library lies in the package itself."""
    libraries = chain(LINKS)
    top = f"link{LINKS - 1}"
    message = zig.shared_library(
        "libzed__py.so",
        f"extern int {top}(int); int message(int a) {{ return {top}(a); }}",
        exports=["message"],
        needed=libraries[-1:],
    )
    code = zig.extension("_zed", {"answer": zig.integer("message(42) - 13")}, declarations="extern int message(int);")
    module = zig.side_module("_zed", code, python="311", needed=[message])
    files: dict[str, conda.Content] = {
        f"{PYTHON}/zed/__init__.py": "from zed._zed import answer\nassert answer() == 42\n",
        f"{PYTHON}/zed/lib/libzed__py.so": message,
        f"{PYTHON}/zed/{module.name}": module,
        f"{PYTHON}/zed/msg/_point.py": "x = 1\n",
        f"{PYTHON}/zed-3.3.8-py3.11.egg-info/PKG-INFO": "Metadata-Version: 2.1\nName: zed\nVersion: 3.3.8\n",
        "share/zed/package.xml": "<package/>\n",
    }
    abi = (f"emscripten-abi {emscripten}.*", "python_abi 3.11.* *_cp311")
    package = conda.assemble("ros-humble-zed", "3.3.8", files, depends=["python", *abi], string="py311h1234567_4")
    shelf = [conda.assemble(f"ros-{path.stem}", "1.0", {f"lib/{path.name}": path}, depends=abi[:1]) for path in libraries]
    return package, shelf


@pytest.mark.parametrize(("pyodide", "emscripten"), RUNS)
def test_a_package_beside_site_packages_runs_with_its_chain_of_libraries(pyodide: str, emscripten: str, tmp_path: Path) -> None:
    package, shelf = packages(emscripten)
    made = convert(package, out=tmp_path, libdirs=shelf)
    assert (made.name, len(made.vendored)) == ("zed", LINKS)
    (checked,) = check_wheels([made.wheel], pyodide=pyodide)
    assert checked.ok, checked.install_errors
    assert [module.name for module in checked.modules] == ["zed"]
