"""What is in each package of emscripten-forge-4x: the shapes that its class has in reality (facts of 577 real packages)."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.utils import canonicalize_name

from tests.helpers import shapes, zig
from tests.helpers.channel4x_binaries import extension, library, plain
from tests.helpers.channel4x_outputs import Output, Shape, others
from tests.helpers.conda import Link

SITE = "lib/python3.13/site-packages"
SCRIPTS = {"fonttools": ("fonttools", "fontTools.__main__:main"), "pytest": ("pytest", "pytest:console_main")}
PATCHED = {
    "freetype-py": "/lib/libfreetype.so",
    "rebound": "/lib/librebound.so",
}  # opened by ctypes, where emscripten-forge has it
Files = dict[str, bytes | Link]


def content(output: Output) -> Files:
    """The files of a package but for info/."""
    if output.shape is not None:
        return python(output, output.shape)
    makers = {"shared": shared, "program": program, "headers": headers, "data": data, "R": r_package, "xeus": kernel}
    if output.kind in ("meta", "python-core"):
        return dict(interpreter(output)) if output.kind == "python-core" else {}
    files = makers.get(output.kind, static)(output)
    for path in others()["more"].get(output.name, ()):
        files[path] = f"{output.name} {output.version} {path}\n".encode()
    return files


def python(output: Output, shape: Shape) -> Files:
    """A package of Python code, in site-packages; with what an installer left there, and what a build left beside it."""
    site = "site-packages" if output.noarch == "python" else SITE
    inside: Files = {}
    for item in shape.files:
        inside |= _code(output, shape, item)
    if shape.metadata in ("dist", "0.0.0", "abi3"):
        inside |= _dist_info(output, shape)
    elif shape.metadata == "egg":
        inside |= _egg_info(output, shape)
    if output.name.startswith("passagemath-") and not output.noarch:  # these recipes do not skip the compilation of .pyc
        inside |= {_compiled(path): b"\xf3\r\r\n" + bytes(12) for path in list(inside) if path.endswith(".py")}
    files: Files = {f"{site}/{path}": value for path, value in inside.items()}
    if output.name in SCRIPTS and not output.noarch:
        script, target = SCRIPTS[output.name]
        module, _, function = target.partition(":")
        files[f"bin/{script}"] = f"#!/usr/bin/env python\nfrom {module} import {function}\n{function}()\n".encode()
    if output.name == "numpy":
        files[f"{site}/numpy/_core/include/numpy/ndarraytypes.h"] = b"typedef int npy_intp;\n"
    return files


def _code(output: Output, shape: Shape, item: str) -> Files:
    build = f"{output.name} {output.version} {output.build}"
    if item.endswith(".py"):
        return {item: f"build = {build!r}\n".encode()}
    if item.endswith("/"):
        library = PATCHED.get(output.name)
        opened = f"import ctypes\n\n\ndef opened():\n    return ctypes.CDLL({library!r})\n" if library else ""
        return {**_packages(item.rstrip("/"), build), f"{item}code.py": f"{opened}answer = 42\n".encode()}
    path, _, libraries = item.partition(":")
    throws, path = path.endswith("!"), path.rstrip("!")
    folder, _, name = path.rpartition("/")
    found = _packages(folder, build) if folder else {}
    if path.endswith(".so"):
        return {**found, path: plain(f"{name.partition('.')[0]}_version", build)}
    suffix = ".abi3.so" if shape.metadata == "abi3" else zig.suffix("313")
    if name == "__init__":  # a package that is an extension module itself: CPython looks for PyInit_<package>
        found.pop(f"{folder}/__init__.py")
        name = folder.rpartition("/")[2]
    needed = tuple(libraries.split(",")) if libraries else ()
    return {**found, f"{path}{suffix}": extension(name, build, needed, throws=throws)}


def _packages(folder: str, build: str) -> Files:
    """`__init__.py` of a package and those around it; none in namespace packages, which many distributions share."""
    parts = folder.split("/")
    places = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    shared = ("sage", "ruamel", "google") if parts[0] in ("sage", "ruamel", "google") else ()
    text = f"build = {build!r}\n".encode()
    return {f"{place}/__init__.py": text for place in places if place not in shared and not place.startswith("sage/libs")}


def _dist_info(output: Output, shape: Shape) -> Files:
    """dist-info as it is in real packages: a platform that no installer knows, a stale RECORD, the builder's path."""
    assert shape.pypi is not None
    version = "0.0.0" if shape.metadata == "0.0.0" else output.version
    extras = sorted({line.rpartition('extra == "')[2].rstrip('"') for line in shape.requires if 'extra == "' in line})
    lines = [
        f"Summary: {_summary(output)}",
        f"License-Expression: {output.about.get('license', 'MIT')}",
        "Requires-Python: >=3.10",
        *(f"Provides-Extra: {extra}" for extra in extras),
        *(f"Requires-Dist: {line}" for line in shape.requires),
    ]
    tag = "py3-none-any"
    if shape.compiled:
        tag = "cp310-abi3-emscripten_4_0_9_wasm32" if shape.metadata == "abi3" else "cp313-cp313-unknown_wasm32"
    tops = sorted({item.partition("/")[0].partition(":")[0].removesuffix(".py").rstrip("!") for item in shape.files})
    more: dict[str, bytes | str] = {
        "top_level.txt": "".join(f"{top}\n" for top in tops),
        "licenses/LICENSE": f"The license of {shape.pypi}.\n",
    }
    if output.name in SCRIPTS:
        script, target = SCRIPTS[output.name]
        more["entry_points.txt"] = f"[console_scripts]\n{script} = {target}\n"
    folder = f"{canonicalize_name(shape.pypi).replace('-', '_')}-{version}"
    made = shapes.dist_info(
        folder,
        metadata=shapes.core(shape.pypi, version, *lines, body=f"# {shape.pypi}\n\nWhat it is for.\n"),
        tag=tag,
        more=dict(more),
    )
    return {path: value if isinstance(value, bytes) else str(value).encode() for path, value in made.items()}


def _egg_info(output: Output, shape: Shape) -> Files:
    """egg-info as `setup.py install` leaves it."""
    folder = f"{shape.pypi}-{output.version}-py3.13.egg-info"
    core = f"Metadata-Version: 1.2\nName: {shape.pypi}\nVersion: {output.version}\nSummary: {_summary(output)}\n"
    return {
        f"{folder}/PKG-INFO": core.encode(),
        f"{folder}/requires.txt": "".join(f"{line}\n" for line in shape.requires).encode(),
        f"{folder}/SOURCES.txt": b"setup.py\n",
        f"{folder}/top_level.txt": f"{shape.pypi}\n".encode(),
    }


def _summary(output: Output) -> str:
    """In one line, as METADATA has it; the recipes' have several."""
    return " ".join(output.about.get("summary", "").split())


def _compiled(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-313.pyc".lstrip("/")


def shared(output: Output) -> Files:
    """Shared libraries with their links, beside headers, build files and, often, the static ones."""
    build = f"{output.name} {output.version} {output.build}"
    files = static(output) if output.name in ("zlib", "openssl") else headers(output)
    for file, links, _, _ in others()["shared"][output.name]:
        folder, _, name = f"lib/{file}".rpartition("/")
        files[f"{folder}/{name}"] = library(output.name, file, build)
        files |= {f"{folder}/{link}": Link(name) for link in links}
    return files


def static(output: Output) -> Files:
    """A static library, its headers, and what finds them."""
    stem = output.name.removeprefix("lib")
    files = headers(output)
    files[f"lib/lib{stem}.a"] = b"!<arch>\n" + f"{output.name} {output.version} {output.build}".encode().ljust(64)
    if output.name == "cliquer":  # `emcc -shared` without SIDE_MODULE: a relocatable object that is named .so
        files["lib/libcliquer.so"] = b"\0asm\1\0\0\0\0\x09\x07linking\x02"
    return files


def headers(output: Output) -> Files:
    """Headers, a pkg-config file and one of CMake's."""
    name, version = output.name, output.version
    return {
        f"include/{name}/{name}.h": f'#define VERSION "{version}"\n'.encode(),
        f"lib/pkgconfig/{name}.pc": f"Name: {name}\nVersion: {version}\n".encode(),
        f"lib/cmake/{name}/{name}Config.cmake": f"set({name}_VERSION {version})\n".encode(),
    }


def program(output: Output) -> Files:
    """A command line program: the JavaScript that Emscripten wrote, and its wasm."""
    name = output.name.partition("-")[0]
    return {
        f"bin/{name}.js": f"// {output.version} {output.build}\nvar Module = {{}};\n".encode(),
        f"bin/{name}.wasm": b"\0asm\1\0\0\0",
        f"share/{output.name}/README": output.about.get("summary", "").encode(),
    }


def data(output: Output) -> Files:
    """Data alone."""
    return {f"share/{output.name}/{output.version}.dat": f"{output.name} {output.build}".encode()}


def r_package(output: Output) -> Files:
    """An R package, most with a side module of its own."""
    name = output.name.partition("-")[2]
    home = f"lib/R/library/{name}"
    files: Files = {
        f"{home}/DESCRIPTION": f"Package: {name}\nVersion: {output.version}\n".encode(),
        f"{home}/R/{name}.rdb": output.build.encode(),
        f"{home}/libs/{name}.so": plain(f"R_init_{name.replace('.', '_')}", f"{output.name} {output.version} {output.build}"),
    }
    return {**files, **shared(output)} if output.name in others()["shared"] else files


def kernel(output: Output) -> Files:
    """A Jupyter kernel: a main module of its own."""
    if output.name == "xeus-lite":
        return static(output)
    name = output.name.replace("-", "_")
    return {
        f"bin/{name}.js": b"var Module = {};\n",
        f"bin/{name}.wasm": b"\0asm\1\0\0\0",
        f"share/jupyter/kernels/{name}/kernel.json": b'{"display_name": "kernel", "language": "x"}',
    }


def interpreter(output: Output) -> Iterator[tuple[str, bytes]]:
    """Python and what joins it to JavaScript."""
    if output.name in ("python", "libpython"):
        yield "lib/python3.13/os.py", b"name = 'posix'\n"
        yield "lib/python3.13/site-packages/README.txt", b"third-party packages\n"
        yield "lib/libpython3.13.a", b"!<arch>\n"
        yield "bin/python3.13.js", b"var Module = {};\n"
        yield "bin/python3.13.wasm", b"\0asm\1\0\0\0"
    elif output.name.startswith("pyjs"):
        yield "lib_js/pyjs/pyjs_runtime_browser.js", b"var Module = {};\n"
        yield f"{SITE}/pyjs/__init__.py", b"js = None\n"
