"""Signals of what a file is: no side module at all, an old one, one with another memory."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

from conda2wheel.wasm.binary import Module, encode_name, encode_uleb
from tests.helpers import zig
from tests.helpers.cache import cached, only
from tests.helpers.signals import BUILT, Shelf, answer, legacy, module

ARCHIVE = (
    b"!<arch>\n" + b"/".ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"644".ljust(8) + b"4".ljust(10) + b"`\n" + bytes(4)
)
ELF = b"\x7fELF\x02\x01\x01" + bytes(89)


def put(shelf: Shelf) -> None:
    """All of them."""
    _memory(shelf)
    _form(shelf)
    _beside(shelf)


def _memory(shelf: Shelf) -> None:
    plain = answer("42")
    threads = module("threads", plain, flags=("-pthread",), ldflags=("--shared-memory", "--max-memory=4294967296"))
    shelf.one("threads", threads, "load", "shared-memory")
    wide = module("wide_memory", plain, flags=("--target=wasm64-unknown-emscripten",), ldflags=("-mwasm64",))
    shelf.one("wide_memory", wide, "load", "memory64")
    shelf.one("memory_most", module("memory_most", plain, ldflags=("--max-memory=16777216",)), "load", "memory-limits")
    shelf.one("memory_same", module("memory_same", plain, ldflags=("--max-memory=4294967296",)), "right")
    shelf.one("memory_least", module("memory_least", plain, ldflags=("--initial-memory=1073741824",)), "load", "memory-limits")


def _form(shelf: Shelf) -> None:
    ((name, old),) = module("old_section", answer("42")).items()
    shelf.one("old_section", {name: legacy(old)}, "right load load", "legacy-dylink")
    ((name, whole),) = module("no_section", answer("42")).items()
    sections = Module.parse(whole).sections
    shelf.one("no_section", {name: whole[:8] + whole[sections[0].end :]}, "load", "fake-dylib")
    ((name, whole),) = module("late_section", answer("42")).items()
    custom = encode_name("first")
    shelf.one("late_section", {name: whole[:8] + b"\0" + encode_uleb(len(custom)) + custom + whole[8:]}, "load", "fake-dylib")
    shelf.one("object_file", {f"object_file{BUILT}": object_file()}, "load", "fake-dylib")
    shelf.one("archive", {f"archive{BUILT}": ARCHIVE}, "load", "fake-dylib")
    shelf.one("linux", {f"linux{BUILT}": ELF}, "load", "fake-dylib")
    ((name, whole),) = module("cut_off", answer("42")).items()
    shelf.one("cut_off", {name: whole[:-20]}, "load", "damaged-module")


def _beside(shelf: Shelf) -> None:
    """A bad file that nobody needs, beside a good module."""
    for kind, data, came in (
        ("archive", ARCHIVE, "right load load"),
        ("linux", ELF, "right load load"),
        ("object", object_file(), "load"),
        ("script", b"INPUT(-lfoo)\n", "load"),
    ):
        name = f"beside_{kind}"
        shelf.one(name, {f"lib{name}.so": data, **module(name, answer("42"))}, came, "fake-dylib")
    ((other, data),) = module("other_python", answer("42")).items()
    shelf.one("other_python", {other.replace("313", "309"): data}, "load", "wrong-python")


def object_file() -> bytes:
    """What `emcc -shared` wrote before Emscripten 6, named .so: an object file."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as work:
            (Path(work) / "x.c").write_text("int in_an_object(void) { return 1; }\n")
            command = [sys.executable, "-m", "ziglang", *zig.COMPILE, "-c", "x.c", "-o", str(folder / "x.o")]
            subprocess.run(command, cwd=work, check=True, capture_output=True)

    return only(cached("zig-object", (zig.COMPILE, importlib.metadata.version("ziglang")), make)).read_bytes()
