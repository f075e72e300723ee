"""Channels for sets: shared libraries, metapackages, renamed and pure packages, and requirements that do not agree."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rattler.index import index_fs

from tests.helpers import conda, shapes, zig

PYTHONS = {"313": (">=4,<5.0a0", "3.13"), "314": (">=5,<6.0a0", "3.14")}


def indexed(root: Path, packages: Iterable[Path]) -> str:
    """A channel with these packages; its address."""
    for subdir in ("noarch", conda.SUBDIR):
        (root / subdir).mkdir(parents=True, exist_ok=True)
    for package in packages:
        index = conda.members(package)["info/index.json"]
        subdir = "noarch" if isinstance(index, bytes) and b'"subdir": "noarch"' in index else conda.SUBDIR
        shutil.copy(package, root / subdir / package.name)
    asyncio.run(index_fs(root))
    return root.as_uri()


def native(
    name: str,
    version: str = "1.0",
    *,
    project: str | None = None,
    module: str | None = None,
    requires: Sequence[str] = (),
    depends: Sequence[str] = (),
    calls: str | None = None,
    needed: Sequence[str] = (),
    py: str = "313",
    number: int = 0,
) -> Path:
    """A package with one extension module, `MODULE._c`, whose one() is 1, or what C's `calls` of a NEEDED library gives."""
    project, module = project or name, module or (project or name).replace("-", "_")
    source = zig.extension(
        "_c",
        {"one": zig.integer(f"{calls}()" if calls else "1"), "fail": zig.error("raised in C")},
        declarations=f"extern int {calls}(void);" if calls else "",
    )
    built = zig.side_module("_c", source, python=py, needed=needed)
    abi, dotted = PYTHONS[py]
    lines = [f"Requires-Dist: {line}" for line in requires]
    files: dict[str, conda.Content] = {
        f"{module}/__init__.py": f"from {module}._c import one, fail\n__version__ = {version!r}\n",
        f"{module}/{built.name}": built,
        **shapes.dist_info(f"{project.replace('-', '_')}-{version}", *lines, tag=f"cp{py}-cp{py}-unknown_wasm32"),
    }
    site = f"lib/python{dotted}/site-packages"
    return conda.assemble(
        name,
        version,
        {f"{site}/{path}": content for path, content in files.items()},
        string=f"py{py}h1234567_{number}",
        number=number,
        depends=[f"emscripten-abi {abi}", f"python_abi {dotted}.* *_cp{py}", *depends],
        about={"license": "MIT", "summary": name},
    )


def pure(name: str, version: str = "1.0", *, project: str | None = None, requires: Sequence[str] = (), **options: Any) -> Path:
    """A noarch package of one Python module."""
    project = project or name
    lines = [f"Requires-Dist: {line}" for line in requires]
    files: dict[str, conda.Content] = {
        f"{project.replace('-', '_')}.py": f"__version__ = {version!r}\n",
        **shapes.dist_info(f"{project.replace('-', '_')}-{version}", *lines, tag="py3-none-any"),
    }
    placed = {f"site-packages/{path}": content for path, content in files.items()}
    options.setdefault("depends", ["python >=3.9"])
    return conda.assemble(name, version, placed, noarch="python", string="pyh1234567_0", about={"license": "MIT"}, **options)


def meta(name: str, depends: Sequence[str], version: str = "1.0") -> Path:
    """A package without files of its own."""
    return conda.assemble(name, version, {}, noarch="python", string="pyh1234567_0", depends=["python", *depends])


def shared(name: str, file: str, function: str, value: int, *, version: str = "1.0", py: str = "313") -> Path:
    """A package of one shared library: `FUNCTION()` counts its calls from `value` on."""
    source = f"static int calls;\nint {function}(void) {{ return {value} + calls++; }}\n"
    built = zig.shared_library(file, source, exports=[function])
    return conda.assemble(
        name,
        version,
        {f"lib/{file}": built},
        depends=[f"emscripten-abi {PYTHONS[py][0]}"],
        licenses={"COPYING": f"{name}'s license\n"},
        about={"license": "Zlib"},
    )


def packages(py: str = "313") -> list[Path]:
    """A channel's worth: what a set with every difficulty needs."""
    geos = ("libgeosy.so",)
    made = [
        shared("geosy", "libgeosy.so", "geosy_next", 100, py=py),
        shared("hiddenlib", "libquite_other.so", "other_next", 500, py=py),
        native(
            "shapes-one", depends=["geosy >=1,<2", "numeric"], requires=["numeric>=2"], calls="geosy_next", needed=geos, py=py
        ),
        native("shapes-two", depends=["geosy"], calls="geosy_next", needed=geos, py=py),
        native("numeric", "2.4.0", py=py),
        native("numeric", "2.2.5", py=py),
        native("picky", depends=["numeric"], requires=["numeric<2.3", 'colorless>=1; sys_platform == "win32"'], py=py),
        native("strict", depends=["numeric 2.4.*"], requires=["numeric"], py=py),
        native("matplotlib-base", "3.0", project="matplotlib", depends=["numeric", "sixish >=1"], requires=["sixish>=1"], py=py),
        meta("matplotlib", ["matplotlib-base ==3.0"], "3.0"),
        native("python-duckdb", project="duckdb", requires=["typing_extensions_like>=1; extra == 'all'"], py=py),
    ]
    return [*made]


def pure_packages() -> list[Path]:
    """The other channel: packages without binaries, as conda-forge has them."""
    return [pure("sixish", "1.16"), pure("wants-sixish", requires=["sixish>=1.10"], depends=["python >=3.9", "sixish >=1.10"])]
