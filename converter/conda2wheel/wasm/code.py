"""Scan the code section of a module for the WebAssembly proposals that its instructions belong to.

Every instruction is decoded, because only the decoder knows which byte is an opcode. One regular expression matches whole runs of
instructions, for speed; it stops at opcodes of a feature that was not seen yet, and at the few whose length needs arithmetic.

Encodings: core specification 5.4 (release 3.0, which has SIMD, tail calls, typed references, GC and exceptions with exnref), the
threads proposal for 0xFE, and for the older exceptions the proposal's `legacy` chapter.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Set
from functools import cache
from typing import NamedTuple

from conda2wheel.wasm.binary import Kind, Module, Section, Spend
from conda2wheel.wasm.encoding import LEB, Reader, WasmError, damage
from conda2wheel.wasm.signature import Feature, value_type


class CodeFeatures(NamedTuple):
    """The features found, and the offset of the first unknown instruction (-1: none), after which its function is not read."""

    features: frozenset[Feature]
    unknown: int = -1


CODE, TABLE = 10, 4
_LEB = LEB
_INDEX = rb"[\x80-\xff]{0,9}+[\x00-\x3f]"  # a type's index among heap types and block types, which are signed
_MEMARG = rb"(?:[\x00-\x3f]|[\x40-\x7f]" + _LEB + rb")" + _LEB  # bit 6 of the alignment: a memory's index follows
_SIMD = (
    rb"\xfd(?:[\x00-\x0b\x5c\x5d]"
    + _MEMARG  # loads and stores
    + rb"|[\x0c\x0d][\x00-\xff]{16}"  # v128.const, i8x16.shuffle
    + rb"|[\x15-\x22][\x00-\xff]"  # lanes
    + rb"|[\x54-\x5b]"
    + _MEMARG
    + rb"[\x00-\xff]"  # loads and stores of a lane
    + rb"|[\x0e-\x14\x23-\x53\x5e-\x7f]|[\x80-\xff]\x01)"
)
_SHORT = 64  # entries of a br_table, beside the default, that the pattern of a run has
_PLAIN = (  # by frequency
    rb"[\x20-\x24\x41\x42\x10\x0c\x0d\x3f\x40]"
    + _LEB  # variables, constants, call, br, br_if, memory.size and grow
    + rb"|[\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xbf]++"  # without immediates
    + rb"|[\x28-\x3e]"
    + _MEMARG  # loads and stores
    + rb"|[\x02-\x04](?:[\x40\x7b-\x7f]|"
    + _INDEX
    + rb")"  # block, loop, if
    + rb"|\x11"
    + _LEB
    + rb"[\x80-\xff]{0,9}+\x00"  # call_indirect of the first table
    + rb"|\x44[\x00-\xff]{8}|\x43[\x00-\xff]{4}"  # f64.const, f32.const
    + rb"|\x1c\x01[\x7c-\x7f]"  # select with a type
    + rb"|\x08"
    + _LEB  # throw, of both kinds of exceptions
    + rb"|\x0e(?:"
    + b"|".join(rb"\x%02x(?:%s){%d}+" % (count, _LEB, count + 1) for count in range(_SHORT))
    + rb")"  # br_table
)
_OF = {
    Feature.SIGN_EXTENSION: rb"[\xc0-\xc4]",
    Feature.BULK_MEMORY: rb"\xfc(?:[\x09\x0b\x0d]" + _LEB + rb"|[\x08\x0a\x0c\x0e]" + _LEB + _LEB + rb")",
    Feature.SATURATING: rb"\xfc[\x00-\x07]",
    Feature.LEGACY_EXCEPTIONS: rb"\x06(?:[\x40\x69-\x7f]|" + _INDEX + rb")|[\x07\x09\x18]" + _LEB + rb"|\x19",
    Feature.REFERENCE_TYPES: rb"[\x25\x26\xd2]"
    + _LEB
    + rb"|\xd0[\x6f\x70]|\xd1|\xfc[\x0f-\x11]"
    + _LEB
    + rb"|\x11"
    + _LEB
    + _LEB
    + rb"|\x1c\x01[\x6f\x70]|[\x02-\x04][\x6f\x70]",
    Feature.SIMD: _SIMD + rb"|\x1c\x01\x7b",
    Feature.ATOMICS: rb"\xfe(?:\x03[\x00-\xff]|[\x00-\x02\x10-\x4e]" + _MEMARG + rb")",
    Feature.TAIL_CALLS: rb"\x12" + _LEB + rb"|\x13" + _LEB + _LEB,
    Feature.EXNREF: rb"\x0a|\xd0[\x69\x74]|[\x02-\x04][\x69\x74]",
    Feature.TYPED_REFERENCES: rb"[\x14\x15]"
    + _LEB
    + rb"|\xd4|[\xd5\xd6]"
    + _LEB
    + rb"|\xd0"
    + _INDEX
    + rb"|[\x02-\x04][\x63\x64]"
    + _LEB,
    Feature.GC: rb"\xfb(?:[\x00\x01\x06\x07\x0b-\x0e\x10\x14-\x17]"
    + _LEB
    + rb"|[\x02-\x05\x08-\x0a\x11-\x13]"
    + _LEB
    + _LEB
    + rb"|[\x18\x19][\x00-\xff]"
    + _LEB
    + _LEB
    + _LEB
    + rb"|[\x0f\x1a-\x1e])|\xd3|\xd0[\x6a-\x6e\x71-\x73]|[\x02-\x04][\x6a-\x6e\x71-\x73]",
    Feature.RELAXED_SIMD: rb"\xfd[\x80-\x93]\x02",
    Feature.WIDE_ARITHMETIC: rb"\xfc[\x13-\x16]",
}
# Features of no engine: the first such instruction is recognised, the rest of its function is not read.
_SIGHT = {Feature.STRINGREF: re.compile(rb"\xfb[\x80-\xb7]\x01"), Feature.STACK_SWITCHING: re.compile(rb"[\xe0-\xe6]")}
# What an instruction of a feature looks like, for those whose opcodes are rare among other bytes: where no byte looks so, there
# is none, and where one does, the function is decoded that far. Alignments, lanes, result types and tables are bounded as
# validation bounds them. An exnref comes from a try_table in the end; one without clauses catches nothing, and no compiler makes
# it. A tail call ends its block. References that are typed come from ref.func or a table, else from a type that the module
# declares, which is found there. So do vectors, which come from a load, a constant or a number.
_ALIGNED = rb"(?:[\x00-\x04]|[\x40-\x44]" + _LEB + rb")" + _LEB
_CLAUSE = rb"(?:[\x00\x01]" + _LEB + _LEB + rb"|[\x02\x03]" + _LEB + rb")"
_RESULT = rb"(?:[\x40\x69-\x74\x7b-\x7f]|[\x63\x64]" + _LEB + rb"|" + _INDEX + rb")"
_TABLE = rb"\x80{0,9}+\x00"  # the first one; most modules have no other
_AFTER_TAIL_CALL = rb"[\x00\x05\x0b]"
# By the first byte, which the `re` module then looks for as fast as memchr(3), what follows it. Where it is another instruction
# that begins there, a group has the first byte of the feature's.
_MARKS = {
    Feature.SIMD: {rb"\xfd": rb"[\x00-\x0a\x5c\x5d]" + _ALIGNED + rb"|\x0c|[\x0f-\x14]"},
    Feature.EXNREF: {rb"\x1f": _RESULT + rb"(?:\x01" + _CLAUSE + rb"|[\x02-\xff]" + _CLAUSE + _CLAUSE + rb")"},
    Feature.TAIL_CALLS: {rb"\x12": _LEB + _AFTER_TAIL_CALL, rb"\x13": _LEB + _TABLE + _AFTER_TAIL_CALL},
    Feature.TYPED_REFERENCES: {rb"\xd2": _LEB + rb"([\x14\x15\xd4-\xd6])", rb"\x25": _LEB + rb"([\xd4-\xd6])"},
    Feature.GC: {rb"\xfb": rb"[\x14-\x1e]"},  # those without a type that the module declares
    Feature.RELAXED_SIMD: {rb"\xfd": rb"[\x80-\x93]\x02"},
    Feature.WIDE_ARITHMETIC: {rb"\xfc": rb"[\x13-\x16]"},
    Feature.STRINGREF: {rb"\xfb": rb"[\x80-\xb7]\x01"},
}
NEWER = frozenset(_MARKS)  # the features of instructions that not every engine of a Pyodide has
_BR_TABLE, _SELECT, _TRY_TABLE = 0x0E, 0x1C, 0x1F
_RUNS: dict[frozenset[Feature], re.Pattern[bytes]] = {}
MOST_RUNS = 256  # patterns that are kept
COMPILED = 20_000  # the weight of a pattern that is compiled, beside that of a number that is read
# The variables of most functions: up to four groups of numbers.
_VARIABLES = re.compile(rb"\x00|" + b"|".join(rb"\x%02x(?:%s[\x7c-\x7f]){%d}" % (n, LEB, n) for n in range(1, 5)), re.DOTALL)
NEAR = 64  # bytes behind a candidate at which decoding may stop
UNUSUAL = 8  # the weight of an instruction that no pattern matches, and of a function


@cache
def _marks(wanted: frozenset[Feature], one_table: bool) -> tuple[re.Pattern[bytes], ...]:
    """Compile patterns of which every function with an instruction of these features has a match.

    What follows the first byte is looked ahead, so no match hides another one.
    """
    table = _TABLE if one_table else _LEB
    following: dict[bytes, list[bytes]] = {}
    for feature in sorted(wanted):
        for first, rest in _MARKS[feature].items():
            following.setdefault(first, []).append(rest.replace(_TABLE, table))
    return tuple(re.compile(first + rb"(?=" + b"|".join(rest) + rb")", re.DOTALL) for first, rest in following.items())


@cache
def _of(feature: Feature) -> re.Pattern[bytes]:
    return re.compile(_OF[feature], re.DOTALL)


def _run(seen: frozenset[Feature], spend: Spend) -> re.Pattern[bytes]:
    """Compile a pattern for a run of instructions of these features and of none other."""
    if seen not in _RUNS:
        spend(COMPILED)
        if len(_RUNS) >= MOST_RUNS:
            _RUNS.clear()
        alternatives = b"|".join([_PLAIN, *(_OF[f] for f in _OF if f in seen)])
        _RUNS[seen] = re.compile(rb"(?:" + alternatives + rb")*+", re.DOTALL)
    return _RUNS[seen]


def scan(module: Module, wanted: frozenset[Feature] = frozenset(Feature)) -> CodeFeatures:
    """Find the features of a module's code among those `wanted`.

    If these are all `NEWER`, a function is decoded as far as its last byte that could begin such an instruction, and not at all
    where there is none.

    Raises:
        WasmError: a function is truncated.
    """
    with damage():
        return _scan(module, wanted)


def _scan(module: Module, wanted: frozenset[Feature]) -> CodeFeatures:
    # Those that `run` has: what is not asked for needs no other pattern each time that it is found.
    seen = set(_OF) - NEWER if wanted <= NEWER else set()
    others: set[Feature] = set()  # of types, and of instructions that `run` never has
    run = _run(frozenset(seen), module.spend)
    unknown = -1
    data = module.data
    for section in module.sections:
        if section.id != CODE:
            continue
        candidates = _CodeCandidates(wanted, module, section)
        for start, end in _bodies(module, section, candidates, others):
            pos = start
            while (at := candidates.after(pos, end)) < end:
                # No instruction that `run` knows is longer than `NEAR`, but for br_table.
                pos = _after(run, data, pos, min(end, at + NEAR))
                if pos > at:
                    continue
                module.spend(UNUSUAL)
                feature = _feature_at(data, pos, end, seen)
                if feature is not None:
                    seen.add(feature)
                    run = _run(frozenset(seen), module.spend)
                    candidates.drop({feature}, pos)
                    continue
                following = _after_vector(Reader(data, pos, end, module.spend), others)
                if following is None:
                    others |= {each for each, sight in _SIGHT.items() if sight.match(data, pos, end)}
                    unknown = pos if unknown < 0 else unknown
                    break
                pos = following
                candidates.drop(others, pos)
    return CodeFeatures(wanted & (seen | others), unknown)


def _feature_at(data: bytes, pos: int, end: int, seen: set[Feature]) -> Feature | None:
    """Return the feature of an instruction, if it is one of those without arithmetic and was not seen before."""
    return next((each for each in _OF if each not in seen and _of(each).match(data, pos, end)), None)


def _after(run: re.Pattern[bytes], data: bytes, pos: int, end: int) -> int:
    found = run.match(data, pos, end)
    return pos if found is None else found.end()


def _after_vector(reader: Reader, found: set[Feature]) -> int | None:
    """Return the end of an instruction with a vector, and add the features that it needs; None for an unknown instruction."""
    code = reader.u8()
    if code == _BR_TABLE:
        reader.skip_numbers(reader.uleb() + 1)
        return reader.pos
    if code == _SELECT:
        for _ in range(reader.count()):
            value_type(reader, found)
        return reader.pos
    if code == _TRY_TABLE:
        found.add(Feature.EXNREF)
        if reader.pos < reader.end and reader.data[reader.pos] in (0x63, 0x64):
            reader.u8()
        reader.sleb()
        for _ in range(reader.count(2)):
            for _ in range(2 if reader.u8() < 2 else 1):
                reader.uleb()
        return reader.pos
    return None


def _bodies(module: Module, section: Section, candidates: _CodeCandidates, found: set[Feature]) -> Iterator[tuple[int, int]]:
    """Yield the offsets where the instructions of each function with a candidate start and end.

    The features of the types of every function's variables are added to `found`.
    """
    data = module.data
    reader = module.reader(section)
    left = reader.count(weight=UNUSUAL)
    variables = 0  # not spent yet
    pos, last = reader.pos, section.end
    while left:
        left -= 1
        # Most sizes have one or two bytes, and most functions at most one group of variables, which are numbers.
        if pos + 4 <= last and (size := data[pos]) < 0x80:
            start = pos + 1
        elif pos + 4 <= last and (second := data[pos + 1]) < 0x80:
            size, start = size & 0x7F | second << 7, pos + 2
        else:
            reader.pos = pos
            size = reader.uleb()
            start = reader.pos
        end = pos = start + size
        if end > last:
            raise WasmError(f"the function at byte {start} is cut")
        if size > 3 and data[start] == 0:
            start += 1
        elif size > 3 and data[start] == 1 and data[start + 1] < 0x80 and 0x7C <= data[start + 2] < 0x80:
            variables += 1
            start += 3
        elif (plain := _VARIABLES.match(data, start, end)) is not None:
            variables += data[start]
            start = plain.end()
        else:
            reader.pos = start
            for _ in range(reader.count(2)):
                reader.uleb()
                value_type(reader, found)
            start = reader.pos
        if candidates.at < end:
            yield start, end
    module.spend(variables)


def _tables(module: Module) -> int:
    """Count a module's tables, imported ones and its own."""
    own = sum(module.reader(section).uleb() for section in module.sections if section.id == TABLE)
    return own + sum(entry.kind is Kind.TABLE for entry in module.other_imports)


class _CodeCandidates:
    """The offsets in a code section, in order, where an instruction of the wanted features may begin.

    They are looked for in the whole section, not in one function after the other: most functions have none. If not all wanted
    features are `NEWER`, every offset is one.

    Attributes:
        at: the first one that was not passed.
    """

    def __init__(self, wanted: frozenset[Feature], module: Module, section: Section) -> None:
        self._every = not wanted <= NEWER
        self._wanted = wanted
        self._module = module
        self._end = section.end
        self.at = section.start
        self._found: Iterator[int] = iter(())
        if not self._every:
            self._one_table = _tables(module) <= 1
            self._look(section.start)

    def _look(self, pos: int) -> None:
        found = (pattern.finditer(self._module.data, pos, self._end) for pattern in _marks(self._wanted, self._one_table))
        self._found = heapq.merge(*((match.start(match.lastindex or 0) for match in each) for each in found))
        self.at = next(self._found, self._end)

    def after(self, pos: int, end: int) -> int:
        """The first candidate that is not before `pos`; the last byte before `end` if every one is a candidate."""
        if self._every:
            return max(pos, end - 1)
        while self.at < pos:
            self.at = next(self._found, self._end)
        return self.at

    def drop(self, features: Set[Feature], pos: int) -> None:
        """Look no longer for instructions of these features, from `pos` on."""
        if not self._wanted.isdisjoint(features) and not self._every:
            self._wanted -= features
            self._look(pos)
