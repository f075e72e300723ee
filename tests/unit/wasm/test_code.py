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
