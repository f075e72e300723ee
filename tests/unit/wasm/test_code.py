"""The scan of instructions: features are seen where they are, and nowhere else."""

from __future__ import annotations

import random

import pytest

from conda2wheel.wasm.binary import Module, encode_uleb
from conda2wheel.wasm.code import NEWER, CodeFeatures, scan
from conda2wheel.wasm.encoding import WasmError
from conda2wheel.wasm.signature import Feature
from tests.helpers.handmade import section, vector
from tests.helpers.signals import module, signals

OLD = {Feature.BULK_MEMORY, Feature.SATURATING, Feature.SIGN_EXTENSION, Feature.REFERENCE_TYPES}  # compilers' defaults


def compiled(name: str) -> Module:
    """The module of a signal."""
    (signal,) = (signal for signal in signals() if signal.name == name)
    ((_, files),) = signal.wheels.items()
    return Module.parse(next(iter(files.values())))


def code(*bodies: bytes) -> Module:
    """A module with these function bodies, each without its size."""
    types = section(1, vector([b"\x60\0\0"]))
    functions = section(3, vector([b"\0"] * len(bodies)))
    return Module.parse(
        b"\0asm\1\0\0\0" + types + functions + section(10, vector([encode_uleb(len(body)) + body for body in bodies]))
    )


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("plain", set()),
        ("wasm_exceptions", {Feature.LEGACY_EXCEPTIONS}),
        ("wasm_longjmp", {Feature.LEGACY_EXCEPTIONS}),
        ("exnref", {Feature.EXNREF}),
        ("js_exceptions", set()),
        ("js_longjmp", set()),
        ("only_throws", set()),
        ("simd_inside", {Feature.SIMD}),
    ],
)
def test_what_a_compiler_made_is_seen(name: str, features: set[Feature]) -> None:
    found = scan(compiled(name))
    assert (set(found.features) - OLD, found.unknown) == (features, -1)
    assert scan(compiled(name), NEWER).features == features & NEWER


def test_atomics_and_tail_calls_are_seen() -> None:
    body = "static int x; __atomic_fetch_add(&x, 1, __ATOMIC_SEQ_CST); return PyLong_FromLong(x);"
    threads = ("-pthread", "-matomics", "-mbulk-memory")
    ((_, data),) = module("atomics", body, flags=threads, ldflags=("--shared-memory", "--max-memory=4294967296")).items()
    assert Feature.ATOMICS in scan(Module.parse(data)).features
    tail = "__attribute__((musttail)) return PyLong_FromLong_(args);"
    declared = "extern PyObject *PyLong_FromLong_(PyObject *); static PyObject *go_(PyObject *args) { %s }"
    ((_, data),) = module("tail_call", "return go_(args);", declared % tail, flags=("-mtail-call",)).items()
    assert Feature.TAIL_CALLS in scan(Module.parse(data)).features


def test_immediates_that_look_like_opcodes_are_not_taken_for_any() -> None:
    constants = b"\x41\xfd\x0c\x1a" + b"\x42\xfd\x9f\x06\x1a" + b"\x44" + b"\xfd\x1f\x06\x07\x08\xfe\x12\x13" + b"\x1a"
    found = scan(code(b"\0" + constants + b"\x0b"))
    assert (found.features, found.unknown) == (frozenset(), -1)
    assert scan(code(b"\0" + constants + b"\x0b"), NEWER).features == frozenset()


def test_one_body_with_the_feature_is_enough() -> None:
    simd = b"\0" + b"\xfd\x0c" + bytes(16) + b"\x1a\x0b"
    assert scan(code(b"\0\x0b", simd, b"\0\x0b"), NEWER).features == {Feature.SIMD}
    caught = b"\0" + b"\x1f\x40\x01\x02\x00\x0b" + b"\x0b"  # try_table with one catch_all
    assert scan(code(caught), NEWER).features == scan(code(caught)).features == {Feature.EXNREF}


def test_an_unknown_instruction_ends_its_function_and_no_other() -> None:
    found = scan(code(b"\0\xf9\xfd\x0b", b"\0\x06\x40\x0b\x0b"))
    assert found.features == {Feature.LEGACY_EXCEPTIONS}
    assert found.unknown > 0


@pytest.mark.parametrize("body", [b"\x01", b"\x01\x80", b"\x05\x01\x7f"])
def test_a_function_that_is_cut_is_an_error(body: bytes) -> None:
    with pytest.raises(WasmError):
        scan(code(body))


def test_noise_never_hangs_or_falls_over() -> None:
    dice = random.Random(7)  # noqa: S311 - noise, no secret
    for _ in range(300):
        body = b"\0" + dice.randbytes(dice.randrange(200)) + b"\x0b"
        try:
            full, rare = scan(code(body)), scan(code(body), NEWER)
        except WasmError:
            continue
        assert rare.features <= full.features | NEWER


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000, 70_000])
def test_a_br_table_of_any_length_is_skipped(count: int) -> None:
    table = b"\0\x0e" + encode_uleb(count) + b"\x81\0" * count + b"\0"
    assert scan(code(table + b"\xc0\x0b")) == CodeFeatures(frozenset({Feature.SIGN_EXTENSION}))


@pytest.mark.parametrize("byte", [b"\xd2", b"\x80", b"\x12", b"\xfd", b"\xff"])
def test_a_long_run_of_one_byte_is_read_once(byte: bytes) -> None:
    """Of a number without an end no more than ten bytes are looked at: a search would begin again at each of 2 million."""
    found = scan(code(b"\0\x12" + byte * 2_000_000 + b"\x0b"), NEWER)
    assert found.features <= {Feature.TAIL_CALLS}


# Instructions whose bytes look like others', and those of the newer features as they must be in a valid function.
_CONFUSING = (
    *(
        b"\x20\x12",
        b"\x20\x13",
        b"\x21\x13\x0b",
        b"\x41\x12\x0b",
        b"\x41\x12\x41\x00\x0b",
        b"\x41\x1f\x02\x7f\x01\x01\x1a",
        b"\x1a",
    ),
    *(
        b"\x44" + b"\xfd\x0c\xfb\x14\xd2\x01\x14\xd4",
        b"\x43\x25\x01\xd4\xfd",
        b"\x42\xfd\x9f\x01",
        b"\x28\x02\xfd\x0c",
        b"\x10\xd2\x01",
    ),
    *(b"\x0e\x03\x12\x00\x0b\x13", b"\x0e\x50" + b"\x12\x0b\xfb\x16" * 27, b"\x0e\x46" + b"\x13\x00\x0b" * 23 + b"\x12\x00"),
    *(b"\xfc\x03", b"\xfc\x0a\x00\x00", b"\xd2\x12", b"\x25\x13", b"\x02\x12", b"\x1c\x01\x7f", b"\x01"),
)
_NEW = {
    Feature.SIMD: (b"\xfd\x0c" + b"\x12\x00\x0b\xfb" * 4, b"\xfd\x00\x04\x12", b"\xfd\x0f"),
    Feature.EXNREF: (b"\x1f\x40\x01\x02\x00", b"\x1f\x7f\x02\x00\x00\x00\x03\x01"),
    Feature.TAIL_CALLS: (b"\x12\x85\x01\x0b", b"\x13\x12\x00\x0b"),
    Feature.TYPED_REFERENCES: (b"\xd2\x85\x01\x14\x00", b"\x25\x00\xd4", b"\xd2\xff\x12\xd5\x00"),
    Feature.GC: (b"\xfb\x1c", b"\xfb\x17\x05"),
    Feature.RELAXED_SIMD: (b"\xfd\x80\x02",),
    Feature.WIDE_ARITHMETIC: (b"\xfc\x13", b"\xfc\x16"),
    Feature.STRINGREF: (b"\xfb\x80\x01",),
}


@pytest.mark.parametrize("features", [(), *((feature,) for feature in _NEW), tuple(_NEW)], ids=str)
def test_the_quick_scan_finds_what_the_whole_one_finds(features: tuple[Feature, ...]) -> None:
    """Streams of instructions with the bytes of others inside, with one of the newer ones at any place, or with none."""
    dice = random.Random(len(features))  # noqa: S311 - noise, no secret
    for _ in range(60):
        bodies = [[dice.choice(_CONFUSING) for _ in range(dice.randrange(80))] for _ in range(dice.randrange(1, 5))]
        for feature in features:
            stream = dice.choice(bodies)
            # After an instruction of no engine the rest of a function is not read.
            at = len(stream) if feature is Feature.STRINGREF else dice.randrange(len(stream) + 1)
            stream.insert(at, dice.choice(_NEW[feature]))
        module = code(*(b"\0" + b"".join(stream) + b"\x0b" for stream in bodies))
        assert scan(module, NEWER).features == scan(module).features & NEWER == set(features)


def test_a_tail_call_through_another_table_is_found() -> None:
    body = b"\0\x41\x00\x13\x00\x01\x0b"  # return_call_indirect of the second table
    two = section(4, vector([b"\x70\0\1"] * 2))
    single = code(body)
    module = Module.parse(single.data[:8] + two + single.data[8:])
    assert scan(module, NEWER).features == {Feature.TAIL_CALLS}
