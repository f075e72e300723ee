"""What fuzzing begins with: small packages, wheels and modules, built here and by the helpers of the other tests."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from conda2wheel.wasm.binary import HEADER
from conda2wheel.wasm.encoding import WasmError, encode_uleb
from tests.fuzz.mutate import sections
from tests.fuzz.textfiles import TextFile, write
from tests.helpers import conda, handmade

PACKAGES = (".conda", ".tar.bz2", ".tar.gz")
SITE = "lib/python3.13/site-packages"
SUFFIX = ".cpython-313-wasm32-emscripten.so"
INDEX = {
    "name": "demo",
    "version": "1.0",
    "build": "py313h1_0",
    "build_number": 0,
    "subdir": "emscripten-wasm32",
    "depends": ["python", "python_abi 3.13.* *_cp313", "emscripten-abi >=4.0.9,<4.0.10", "numpy >=2,<3", "libz"],
    "constrains": [],
    "license": "MIT",
    "timestamp": 1750000000000,
}
ABOUT = {"home": "https://demo.example.org", "license": "MIT", "summary": "A demo", "description": "Text."}
METADATA = b"""Metadata-Version: 2.1
Name: demo
Version: 1.0
Summary: A demo
Home-page: https://demo.example.org
Author-email: A. Author <a@example.org>
License: MIT
Classifier: Programming Language :: Python :: 3
Project-URL: Source, https://demo.example.org/source
Requires-Python: >=3.11
Requires-Dist: numpy<3,>=2
Requires-Dist: pytest>=7; extra == "test"
Provides-Extra: test
Description-Content-Type: text/markdown

# demo

Name: no field
"""
ENTRY_POINTS = b"[console_scripts]\ndemo = demo.cli:main\n\n[demo.plugins]\nx = demo:x [extra]\n"
RECORD = b"demo/__init__.py,sha256=AAAA,3\ndemo/_x.py,,\n../../../bin/demo,sha256=BBBB,10\ndemo-1.0.dist-info/RECORD,,\n"
RENDERED = b"""recipe:
  package: {name: demo, version: "1.0"}
  build:
    python:
      entry_points: ["demo = demo.cli:main"]
  about: &a {license: MIT, homepage: https://demo.example.org}
build_configuration:
  target_platform: emscripten-wasm32
  variant: {c_compiler: emscripten, c_compiler_version: 4.0.9}
finalized_dependencies:
  build:
    specs: [{source: emscripten_emscripten-wasm32 4.0.9.*}]
    resolved: [{name: emscripten_emscripten-wasm32, version: 4.0.9, build: h_0, channel: x}]
  host:
    specs: [{source: libz}]
    resolved: [{name: libz, version: 1.3, build: h_0, run_exports: {weak: ["libz >=1.3,<2"]}, license: *a}]
"""
LINK = {"noarch": {"type": "python", "entry_points": ["demo = demo.cli:main"]}, "package_metadata_version": 1}
RECIPE_YAML = b"package:\n  name: demo\n  version: '1.0'\nbuild:\n  number: 0\nrequirements:\n  run: [python, numpy >=2]\n"


@cache
def extension() -> bytes:
    """An extension module that NEEDs a library and has every subsection of dylink.0."""
    return handmade.module(
        [
            ("env", "z_call", "ii>i"),
            ("GOT.func", "z_call", "i*"),
            ("GOT.mem", "z_data", "i*"),
            ("env", "PyModule_Create2", "ii>i"),
        ],
        {"PyInit__x": ">i", "PyInit_extra": ">i"},
        needed=["libz.so"],
        rpath=["/lib"],
        weak=[("env", "PyModule_Create2")],
        strings=["demo", "/usr/share"],
        export_flags=[(("PyInit__x",), 4)],
    )


@cache
def library() -> bytes:
    """The library."""
    return handmade.module([("env", "malloc", "i>i")], {"z_call": "ii>i", "z_data": "i"}, strings=["1.3"])


def legacy() -> bytes:
    """A side module of Emscripten before 2.0.31."""
    body = b"\x10\x00\x00\x00" + handmade.vector([b"\x07libz.so"])
    return HEADER + handmade.custom("dylink", body) + handmade.section(1, handmade.vector([b"\x60\0\0"]))


def skeleton(data: bytes, most: int = 24 << 10) -> bytes:
    """A module without what is large: code, data and custom sections but dylink.0. What is read of symbols stays."""
    kept = b""
    for number, body in sections(data):
        name = body[1 : 1 + body[0]] if number == 0 and body else b""
        if number in (1, 2, 3, 6, 7, 13) or name == b"dylink.0":
            kept += bytes([number]) + encode_uleb(len(body)) + body
    return data[:8] + kept if len(kept) < most else data[:8]


def package(*, more: Mapping[str, bytes] | None = None, **index: Any) -> list[TextFile]:
    """A package whose paths.json follows from its files (`with_paths`)."""
    site = {
        "demo/__init__.py": b"from demo import _x\n",
        f"demo/_x{SUFFIX}": extension(),
        "demo/cli.py": b"prefix = '/opt/placehold/share'\n",
        "demo-1.0.dist-info/METADATA": METADATA,
        "demo-1.0.dist-info/RECORD": RECORD,
        "demo-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp313-cp313-emscripten_4_0_9_wasm32\n",
        "demo-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
        "demo-1.0.dist-info/top_level.txt": b"demo\n",
    }
    return [
        TextFile("info/index.json", json.dumps({**INDEX, **index}).encode()),
        TextFile("info/about.json", json.dumps(ABOUT).encode()),
        TextFile("info/link.json", json.dumps(LINK).encode()),
        TextFile("info/hash_input.json", b'{"c_compiler": "emscripten"}'),
        TextFile("info/recipe/rendered_recipe.yaml", RENDERED),
        TextFile("info/recipe/variant_config.yaml", b"c_compiler: emscripten\nc_compiler_version: 4.0.9\n"),
        TextFile("info/licenses/LICENSE", b"MIT\n"),
        *(TextFile(f"{SITE}/{path}", content) for path, content in site.items()),
        TextFile("lib/libz.so.1.3", library()),
        TextFile("lib/libz.so", b"", "libz.so.1.3"),
        TextFile("bin/demo", b"#!/opt/placehold/bin/python\n"),
        TextFile("share/demo/data", b"\0/opt/placehold/x\0"),
        *(TextFile(path, content) for path, content in (more or {}).items()),
    ]


def egg() -> list[TextFile]:
    """A noarch package with an egg-info."""
    return [
        TextFile(
            "info/index.json", json.dumps({**INDEX, "noarch": "python", "subdir": "noarch", "depends": ["python >=3.9"]}).encode()
        ),
        TextFile("info/link.json", json.dumps(LINK).encode()),
        TextFile("info/files", b"site-packages/demo.py\nsite-packages/demo.egg-info/PKG-INFO\n"),
        TextFile("info/has_prefix", b'/opt/placehold text "site-packages/demo.py"\nsite-packages/demo.py\n'),
        TextFile("site-packages/demo.py", b"x = '/opt/placehold'\n"),
        TextFile("site-packages/demo.egg-info/PKG-INFO", METADATA),
        TextFile("site-packages/demo.egg-info/requires.txt", b"numpy\n\n[test:python_version<'3.12']\npytest>=7\n"),
        TextFile("site-packages/demo.egg-info/installed-files.txt", b"../demo.py\nPKG-INFO\n"),
    ]


def bare() -> list[TextFile]:
    """A package without metadata of its own."""
    return [
        TextFile("info/index.json", json.dumps(INDEX).encode()),
        TextFile("info/about.json", json.dumps(ABOUT).encode()),
        TextFile(f"{SITE}/demo/__init__.py", b"import demo._x\n"),
        TextFile(f"{SITE}/demo/_x{SUFFIX}", extension()),
        TextFile("lib/libz.so", library()),
    ]


def packages() -> Iterator[bytes]:
    """Packages as text."""
    for files in (package(), egg(), bare()):
        yield write(files)
    for path in given(PACKAGES):
        yield write(small(path))


def given(suffixes: tuple[str, ...]) -> list[Path]:
    """Real packages in the folder that `./scripts/fuzz --seeds FOLDER` names."""
    folder = os.environ.get("CONDA2WHEEL_FUZZ_SEEDS")
    return sorted(path for path in Path(folder).rglob("*") if path.name.endswith(suffixes)) if folder else []


def small(path: Path, most: int = 48 << 10) -> list[TextFile]:
    """A real package with its metadata and, while they fit, its smallest files; side modules without their code."""
    found = []
    room = most
    rows = [(name, value) for name, value in conda.members(path).items() if "/test" not in name]
    for name, value in sorted(rows, key=lambda row: (not row[0].startswith("info/"), ".dist-info" not in row[0], _size(row[1]))):
        if name in ("info/paths.json", "info/files", "info/has_prefix"):
            continue
        if isinstance(value, conda.Link):
            each = TextFile(name, b"", value.target)
        else:
            try:
                each = TextFile(name, skeleton(value) if value.startswith(b"\0asm") else value)
            except WasmError:
                continue
        if len(each.content) + 100 < room:
            room -= len(each.content) + 100
            found.append(each)
    return found


def _size(value: bytes | conda.Link) -> int:
    return len(value) if isinstance(value, bytes) else 0


def with_paths(files: Iterable[TextFile]) -> list[TextFile]:
    """The files with a paths.json that lists them, unless they bring one; placeholders are found as conda-build finds them."""
    found = list({each.path: each for each in files}.values())
    if any(each.path in ("info/paths.json", "info/files") for each in found):
        return found
    rows = []
    for each in found:
        if each.path.startswith(("info/", "libdir/")):
            continue
        row: dict[str, Any] = {"_path": each.path, "path_type": "hardlink" if each.target is None else "softlink"}
        if each.target is None:
            row |= {"sha256": hashlib.sha256(each.content).hexdigest(), "size_in_bytes": len(each.content)}
            if b"/opt/placehold" in each.content:
                mode = "binary" if b"\0" in each.content else "text"
                row |= {"prefix_placeholder": "/opt/placehold", "file_mode": mode}
        rows.append(row)
    return [*found, TextFile("info/paths.json", json.dumps({"paths": rows, "paths_version": 1}).encode())]


@cache
def package_parts() -> dict[str, bytes]:
    """The two tars of a package."""
    described = with_paths(package())
    members = {each.path: conda.Link(each.target) if each.target else each.content for each in described}
    info = {path: content for path, content in members.items() if path.startswith("info/")}
    return {"info": conda.tar(info), "pkg": conda.tar({path: value for path, value in members.items() if path not in info})}


@cache
def package_files() -> bytes:
    """The tar of a package."""
    return conda.tar({each.path: conda.Link(each.target) if each.target else each.content for each in with_paths(package())})


def wheel() -> list[TextFile]:
    """A wheel that Pyodide's tools would have built; its RECORD follows (`as_wheel`)."""
    info = "demo-1.0.dist-info"
    return [
        TextFile("demo/__init__.py", b"from demo import _x\n"),
        TextFile(f"demo/_x{SUFFIX}", extension()),
        TextFile("demo.libs/libz.so", library()),
        TextFile(f"{info}/METADATA", METADATA),
        TextFile(f"{info}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp313-cp313-pyemscripten_2025_0_wasm32\n"),
        TextFile(f"{info}/entry_points.txt", ENTRY_POINTS),
        TextFile(f"{info}/licenses/LICENSE", b"MIT\n"),
    ]


def as_wheel(files: Iterable[TextFile]) -> bytes:
    """A zip of the files, with a RECORD unless they bring one."""
    found = {each.path: each for each in files}
    record = "demo-1.0.dist-info/RECORD"
    if record not in found:
        rows = "".join(f"{path},sha256={_digest(each.content)},{len(each.content)}\n" for path, each in found.items())
        found[record] = TextFile(record, (rows + f"{record},,\n").encode("utf-8", "surrogateescape"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, each in found.items():
            entry = zipfile.ZipInfo(path.encode("utf-8", "replace").decode().replace("\0", "") or "x")
            entry.external_attr = (0o100644 if each.target is None else 0o120777) << 16
            content = each.content if each.target is None else each.target.encode("utf-8", "surrogateescape")
            archive.writestr(entry, content)
    return stream.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@cache
def wheel_bytes() -> bytes:
    """The wheel as a file."""
    return as_wheel(wheel())
