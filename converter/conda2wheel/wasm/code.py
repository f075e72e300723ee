"""Scan the code section of a module for the WebAssembly proposals that its instructions belong to.

Every instruction is decoded, because only the decoder knows which byte is an opcode. One regular expression matches whole runs of
instructions, for speed; it stops at opcodes of a feature that was not seen yet, and at the few whose length needs arithmetic.

Encodings: core specification 5.4 (release 3.0, which has SIMD, tail calls and exceptions with exnref), 5.4.5 and the
threads proposal for 0xFE, and for the older exceptions the proposal's `legacy` chapter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from conda2wheel.wasm.binary import Module
from conda2wheel.wasm.encoding import Reader, WasmError
from conda2wheel.wasm.signature import value_type


class Feature(StrEnum):
    """A proposal that is recognised by its opcodes."""

    SIMD = "simd"
    ATOMICS = "atomics"
    EXNREF = "exnref"  # try_table, throw_ref
    LEGACY_EXCEPTIONS = "legacy-exceptions"  # try, catch, delegate, rethrow, catch_all
    TAIL_CALLS = "tail-calls"


@dataclass(frozen=True)
class CodeFeatures:
    """The features found, and the offset of the first unknown instruction (-1: none), after which its function is not read."""

    features: frozenset[Feature]
    unknown: int = -1


CODE = 10
_LEB = rb"[\x80-\xff]*+[\x00-\x7f]"
_MEMARG = rb"(?:[\x00-\x3f]|[\x40-\x7f]" + _LEB + rb")" + _LEB  # bit 6 of the alignment: a memory's index follows
_BLOCK = rb"[\x63\x64]?+" + _LEB  # a type's index, a value type, or a reference to a heap type
_SIMD = (
    rb"\xfd(?:[\x00-\x0b\x5c\x5d]"
    + _MEMARG  # loads and stores
    + rb"|[\x0c\x0d][\x00-\xff]{16}"  # v128.const, i8x16.shuffle
    + rb"|[\x15-\x22][\x00-\xff]"  # lanes
    + rb"|[\x54-\x5b]"
    + _MEMARG
    + rb"[\x00-\xff]"  # loads and stores of a lane
    + rb"|[\x0e-\x14\x23-\x53\x5e-\x7f]|[\x80-\xff]++[\x01-\x7f])"
)
_PLAIN = (  # by frequency
    rb"[\x20-\x26\x41\x42\x10\x0c\x0d\x3f\x40\xd0\xd2]"
    + _LEB  # variables, constants, call, br, br_if, memory.size and grow
    + rb"|[\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xc4\xd1]++"  # without immediates
    + rb"|[\x28-\x3e]"
    + _MEMARG  # loads and stores
    + rb"|[\x02-\x04]"
    + _BLOCK  # block, loop, if
    + rb"|\x11"
    + _LEB
    + _LEB  # call_indirect
    + rb"|\x44[\x00-\xff]{8}|\x43[\x00-\xff]{4}"  # f64.const, f32.const
    + rb"|\xfc(?:[\x00-\x07]|[\x09\x0b\x0d\x0f\x10\x11]"
    + _LEB
    + rb"|[\x08\x0a\x0c\x0e]"
    + _LEB
    + _LEB
    + rb")"
    + rb"|\x1c\x01[\x00-\xff]"  # select with a type
)
_OF = {
    Feature.SIMD: _SIMD,
    Feature.ATOMICS: rb"\xfe(?:\x03[\x00-\xff]|[\x00-\x02\x10-\x4e]" + _MEMARG + rb")",
    Feature.LEGACY_EXCEPTIONS: rb"\x06" + _BLOCK + rb"|[\x07\x09\x18]" + _LEB + rb"|\x19",
    Feature.TAIL_CALLS: rb"\x12" + _LEB + rb"|\x13" + _LEB + _LEB,
    Feature.EXNREF: rb"\x0a",
}
_THROW = rb"|\x08" + _LEB  # of both kinds of exceptions
_FIRST = {
    opcode: feature
    for feature, opcodes in {
        Feature.SIMD: b"\xfd",
        Feature.ATOMICS: b"\xfe",
        Feature.EXNREF: b"\x0a\x1f",
        Feature.LEGACY_EXCEPTIONS: b"\x06\x07\x09\x18\x19",
        Feature.TAIL_CALLS: b"\x12\x13",
    }.items()
    for opcode in opcodes
}
# What an instruction of a feature looks like, for those whose opcodes are rare among other bytes: a function without such bytes
# has none, one with them is read. Alignments, lanes and result types are bounded as validation bounds them. An exnref comes from
# a try_table in the end; one without clauses catches nothing, and no compiler makes it.
_ALIGNED = rb"(?:[\x00-\x04]|[\x40-\x44]" + _LEB + rb")" + _LEB
_CLAUSE = rb"(?:[\x00\x01]" + _LEB + _LEB + rb"|[\x02\x03]" + _LEB + rb")"
_RESULT = rb"(?:[\x40\x69-\x74\x7b-\x7f]|[\x63\x64]" + _LEB + rb"|[\x80-\xff]*+[\x00-\x3f])"
_MARKS = {
    Feature.SIMD: re.compile(
        rb"\xfd(?:[\x00-\x0b\x5c\x5d]" + _ALIGNED + rb"|\x0c|\x0d[\x00-\x1f]{16}|[\x15-\x22][\x00-\x0f]"
        rb"|[\x54-\x5b]" + _ALIGNED + rb"[\x00-\x0f]|[\x0e-\x14\x23-\x53\x5e-\x7f]|[\x80-\xff]++[\x01\x02])",
        re.DOTALL,
    ),
    Feature.EXNREF: re.compile(
        rb"\x1f" + _RESULT + rb"(?:\x01" + _CLAUSE + rb"|[\x02-\xff]" + _CLAUSE + _CLAUSE + rb")", re.DOTALL
    ),
}
_BR_TABLE, _SELECT, _TRY_TABLE = 0x0E, 0x1C, 0x1F


@cache
def _run(seen: frozenset[Feature]) -> re.Pattern[bytes]:
    """Compile a pattern for a run of instructions of these features and of none other."""
    return re.compile(rb"(?:" + b"|".join([_PLAIN + _THROW, *(_OF[f] for f in _OF if f in seen)]) + rb")*+", re.DOTALL)


def scan(module: Module, wanted: frozenset[Feature] = frozenset(Feature)) -> CodeFeatures:
    """Find the features of a module's code among those `wanted`.

    For few features, functions without a byte that could begin such an instruction are skipped.

    Raises:
        WasmError: a function is truncated.
    """
    seen: set[Feature] = set()
    run = _run(frozenset())
    unknown = -1
    data = module.data
    marks = [_MARKS[feature] for feature in wanted] if wanted <= _MARKS.keys() else []
    for start, end in _bodies(module):
        if marks and not any(mark.search(data, start, end) for mark in marks):
            continue
        pos = start
        while (pos := _after(run, data, pos, end)) < end:
            feature = _FIRST.get(data[pos])
            if feature is not None and feature not in seen:
                seen.add(feature)
                run = _run(frozenset(seen))
                if _after(run, data, pos, end) > pos:
                    continue
            after = _after_vector(data, pos, end)
            if after is None:
                unknown = pos if unknown < 0 else unknown
                break
            pos = after
    return CodeFeatures(wanted & seen, unknown)


def _after(run: re.Pattern[bytes], data: bytes, pos: int, end: int) -> int:
    found = run.match(data, pos, end)
    return pos if found is None else found.end()


def _after_vector(data: bytes, pos: int, end: int) -> int | None:
    """Return the end of an instruction with a vector; None for an unknown instruction."""
    reader = Reader(data, pos, end)
    code = reader.u8()
    if code == _BR_TABLE:
        for _ in range(reader.count() + 1):
            reader.uleb()
        return reader.pos
    if code == _SELECT:
        for _ in range(reader.count()):
            value_type(reader)
        return reader.pos
    if code == _TRY_TABLE:
        if data[reader.pos] in (0x63, 0x64):
            reader.u8()
        reader.sleb()
        for _ in range(reader.count(2)):
            for _ in range(2 if reader.u8() < 2 else 1):
                reader.uleb()
        return reader.pos
    return None


def _bodies(module: Module) -> Iterator[tuple[int, int]]:
    """Yield the offsets where the instructions of each function start and end."""
    for section in module.sections:
        if section.id != CODE:
            continue
        reader = Reader(module.data, section.payload, section.end)
        for _ in range(reader.count()):
            size = reader.uleb()
            start = reader.pos
            if size > reader.end - start:
                raise WasmError(f"the function at byte {start} is cut")
            for _ in range(reader.count(2)):
                reader.uleb()
                value_type(reader)
            yield reader.pos, start + size
            reader.pos = start + size
