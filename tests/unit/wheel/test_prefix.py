"""No path of the build machine reaches a wheel: the prefix becomes Pyodide's, and binaries keep their length."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.conda.package import Placeholder
from conda2wheel.wheel.prefix import interpreter_of, relocate
from tests.helpers import conda, shapes, zig
from tests.helpers.conda import Content
from tests.helpers.shapes import MODULE, PREFIX, SITE, SUFFIX, dist_info, made, package, placeheld

OLD = b"/home/b/_h_env_placehold_placehold_placehold"
TEXT, BINARY = Placeholder("text", OLD.decode()), Placeholder("binary", OLD.decode())


def test_every_kind_of_file_is_relocated(tmp_path: Path) -> None:
    path = zig.text(f"{PREFIX}/share/demo")
    module = zig.side_module("_demo", zig.extension("_demo", {"where": path, "root": zig.text(PREFIX)})).read_bytes()
    table = b"\0head\0" + PREFIX.encode() + b"/share\0tail\0"
    info = dist_info("demo-1.0", f"Summary: Lies at {PREFIX}/share", more={"build.txt": f"{PREFIX}/x\n"})
    files: dict[str, Content] = {
        **MODULE,
        **info,
        "demo/__config__.py": f"a = '{PREFIX}/share/demo'\nb = '{PREFIX}'\nc = '{PREFIX}/lib:{PREFIX}/bin'\n",
        "demo/table.bin": table,
        f"demo/_demo{SUFFIX}": module,
    }
    outside: dict[str, Content] = {"bin/tool": f"#!{PREFIX}/bin/python\nx = '{PREFIX}/lib'\n", "share/demo/path": PREFIX}
    text = [f"{SITE}/{name}" for name in ("demo/__config__.py", "demo-1.0.dist-info/METADATA", "demo-1.0.dist-info/build.txt")]
    binary = [f"{SITE}/demo/table.bin", f"{SITE}/demo/_demo{SUFFIX}"]
    modes = {**dict.fromkeys([*text, *outside], "text"), **dict.fromkeys(binary, "binary")}
    wheel = made(placeheld(package(files, outside=outside), modes), tmp_path)
    assert wheel.members["demo/__config__.py"] == b"a = '/share/demo'\nb = '/'\nc = '/lib:/bin'\n"
    assert wheel.members["demo/table.bin"] == b"\0head\0/share".ljust(len(table) - len(b"\0tail\0"), b"\0") + b"\0tail\0"
    assert wheel.members["demo-1.0.data/scripts/tool"] == b"#!python\nx = '/lib'\n"
    assert wheel.members["demo-1.0.data/data/share/demo/path"] == b"/"
    assert wheel.metadata["Summary"] == "Lies at /share"
    assert wheel.read("build.txt") == b"/x\n"
    after = wheel.members[f"demo/_demo{SUFFIX}"]
    assert len(after) == len(module)
    assert b"/share/demo\0" in after
    assert wheel.told("prefix-in-binary") == set(binary)


def test_rattler_builds_own_placeholders_are_found(tmp_path: Path) -> None:
    table = b"\0" + conda.PREFIX.encode() + b"/share\0"
    files: dict[str, Content] = {**MODULE, **dist_info("demo-1.0"), "demo/a.py": f"a = '{conda.PREFIX}'\n", "demo/b.bin": table}
    wheel = made(conda.build("demo", "1.0", shapes.in_site(files), depends=shapes.ABI[1:]), tmp_path)
    assert wheel.members["demo/a.py"] == b"a = '/'\n"
    assert wheel.members["demo/b.bin"].startswith(b"\0/share\0\0")
    assert wheel.told("prefix-in-binary") == {f"{SITE}/demo/b.bin"}


@pytest.mark.parametrize("own", [True, False])
def test_a_library_that_travels_is_relocated_too(own: bool, tmp_path: Path) -> None:
    source = f'const char *where(void) {{ return "{PREFIX}/share/units.xml"; }}\n'
    units: dict[str, Content] = {"lib/libunits.so": zig.shared_library("libunits.so", source, exports=["where"])}
    declarations = "extern const char *where(void);"
    user = zig.extension("_demo", {"where": "PyUnicode_FromString(where())"}, declarations=declarations)
    module = zig.side_module("_demo", user, needed=["libunits.so"])
    files: dict[str, Content] = {**MODULE, **dist_info("demo-1.0"), f"demo/_demo{SUFFIX}": module}
    source_package = package(files, outside=units if own else {})
    library = conda.assemble("units", "2.0", units, depends=shapes.ABI[:1])
    modes = {"lib/libunits.so": "binary"}
    libdirs = [] if own else [placeheld(library, modes)]
    wheel = made(placeheld(source_package, modes) if own else source_package, tmp_path, libdirs=libdirs)
    (vendored,) = (name for name in wheel.contents if name.startswith("demo.libs/"))
    assert b"/share/units.xml\0" in wheel.members[vendored]
    assert wheel.told("prefix-in-binary") == {"lib/libunits.so"}


def test_a_prefix_that_cannot_be_shortened_is_left_and_told(tmp_path: Path) -> None:
    pickled: dict[str, Content] = {"demo/state.pickle": b"\0\x8c\xf9" + PREFIX.encode() + b"\x94\x8c\x01a\x94."}
    path = f"{SITE}/demo/state.pickle"
    spoiled = placeheld(package({**MODULE, **dist_info("demo-1.0", tag="py3-none-any"), **pickled}), {path: "binary"})
    with pytest.raises(AssertionError, match=r"still in \['demo/state.pickle'\]"):
        made(spoiled, tmp_path)
    assert [(w.code, w.file) for w in convert(spoiled, out=tmp_path).warnings] == [("prefix-left", path)]


@pytest.mark.parametrize(
    ("before", "after", "done", "left"),
    [
        (OLD + b"/lib\0", b"/lib" + bytes(len(OLD) + 1), 1, 0),
        (b"x\0" + OLD + b"\0y", b"x\0/" + bytes(len(OLD)) + b"y", 1, 0),
        (b"-L" + OLD + b"/lib:" + OLD + b"/b\0z", b"-L/lib:/b" + bytes(2 * len(OLD) + 1) + b"z", 2, 0),
        (OLD + b"/never ends", None, 0, 1),
        (OLD + b"/stored\x08length\0", None, 0, 1),
        (OLD + b"/" + b"x" * 9000 + b"\0", None, 0, 1),
        (OLD + b"\x01\0" + OLD + b"/a\0", OLD + b"\x01\0/a" + bytes(len(OLD) + 1), 1, 1),
        (b"nothing\0", None, 0, 0),
    ],
)
def test_strings_in_binaries_keep_their_place(before: bytes, after: bytes | None, done: int, left: int) -> None:
    assert relocate(before, BINARY) == (after or before, done, left)
    assert len(after or before) == len(before)


def test_text_needs_no_padding() -> None:
    assert relocate(b"p=" + OLD + b"\nq=" + OLD + b"/x", TEXT) == (b"p=/\nq=/x", 2, 0)


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("#!/usr/bin/env python3.13", "python3.13"),
        ("#! /usr/bin/python -u", "python"),
        ("#!/usr/bin/env -S PYTHONPATH=x pypy3 -u", "pypy3"),
        ("#!/opt/python3/bin/perl", "perl"),
        ("#!/opt/node/bin/ipython", "ipython"),
        ("#!/usr/bin/env node", "node"),
        ("#!/bin/sh\n'''exec' \"/a/b/python3\" \"$0\" \"$@\"\n' '''", "python3"),
        ("#!", None),
        ("import sys", None),
        ("", None),
    ],
)
def test_the_interpreter_of_a_script_is_its_program_not_its_folder(line: str, program: str | None) -> None:
    assert interpreter_of(line.encode()) == program
    assert interpreter_of(f"{line}\nprint('python')\n".encode()) == program


@pytest.mark.parametrize("prefix", ["", "\0", "\0/opt", "/opt\0"])
@pytest.mark.parametrize("mode", ["text", "binary"])
def test_a_placeholder_that_is_no_path_is_in_no_file(prefix: str, mode: str) -> None:
    data = b"\0/opt\0/opt\0"
    assert relocate(data, Placeholder(mode, prefix)) == (data, 0, 0)
