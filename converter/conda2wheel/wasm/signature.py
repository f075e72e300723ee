"""Read types, and write them as short text: `ij>d` is a function of an i32 and an i64 that returns an f64; `>` has neither.

Letters as in Emscripten's signatures (i, j, f, d), and V for v128, F for funcref, X for externref, E for exnref; every other type
is `?`. Encodings: core specification 3.0, 5.3 and 5.4.9, and the proposals that are not part of it. Each reader adds the
features that it meets to the set that it is given.
"""

from __future__ import annotations

from enum import StrEnum

from conda2wheel.wasm.encoding import Reader, WasmError


class Feature(StrEnum):
    """A WebAssembly proposal that is recognised by its encodings."""

    ATOMICS = "atomics"
    BULK_MEMORY = "bulk-memory"
    CUSTOM_DESCRIPTORS = "custom-descriptors"
    CUSTOM_PAGE_SIZES = "custom-page-sizes"
    EXNREF = "exnref"  # try_table, throw_ref
    EXTENDED_CONSTANTS = "extended-constants"
    GC = "gc"
    LEGACY_EXCEPTIONS = "legacy-exceptions"  # try, catch, delegate, rethrow, catch_all; and tags
    MEMORY64 = "memory64"
    MULTI_MEMORY = "multi-memory"
    MULTI_VALUE = "multi-value"
    MUTABLE_GLOBALS = "mutable-globals"
    REFERENCE_TYPES = "reference-types"
    RELAXED_SIMD = "relaxed-simd"
    SATURATING = "saturating-float-to-int"
    SHARED_EVERYTHING = "shared-everything-threads"
    SIGN_EXTENSION = "sign-extension"
    SIMD = "simd"
    STACK_SWITCHING = "stack-switching"
    STRINGREF = "stringref"
    TABLE64 = "table64"
    TAIL_CALLS = "tail-calls"
    TYPED_REFERENCES = "typed-references"
    WIDE_ARITHMETIC = "wide-arithmetic"


Found = set[Feature] | None  # None: the features are not asked for


class UnknownEncodingError(WasmError):
    """Something of a proposal that is not known here."""


UNKNOWN = "?"
_LETTERS = {0x7F: "i", 0x7E: "j", 0x7D: "f", 0x7C: "d", 0x7B: "V", 0x70: "F", 0x6F: "X", 0x69: "E"}
_CODES = {letter: code for code, letter in _LETTERS.items()}
_WORDS = {"i": "i32", "j": "i64", "f": "f32", "d": "f64", "V": "v128", "F": "funcref", "X": "externref", "E": "exnref"}
_NUMBERS = range(0x7C, 0x80)
_FUNCREF = 0x70
_OF_TYPE = {
    0x7B: Feature.SIMD,
    **dict.fromkeys((0x70, 0x6F), Feature.REFERENCE_TYPES),
    **dict.fromkeys((0x69, 0x74), Feature.EXNREF),
    **dict.fromkeys((0x6A, 0x6B, 0x6C, 0x6D, 0x6E, 0x71, 0x72, 0x73), Feature.GC),
    **dict.fromkeys((0x68, 0x75), Feature.STACK_SWITCHING),
    **dict.fromkeys((0x61, 0x62, 0x66, 0x67), Feature.STRINGREF),  # V8's numbers for strings and their views
}
_REF_HEAP = (0x63, 0x64)  # (ref null ht), (ref ht): a heap type follows
_SHARED, _EXACT = 0x65, 0x62  # before a heap type
FUNCTION_TYPE = 0x60
_STRUCT, _ARRAY, _CONTINUATION = 0x5F, 0x5E, 0x5D
_SUB, _SUB_FINAL, _RECURSIVE = 0x50, 0x4F, 0x4E
_DESCRIBES, _DESCRIPTOR = 0x4C, 0x4D
_PACKED = (0x78, 0x77)  # i8, i16
_END = 0x0B
_GLOBAL_GET, _I32_CONST, _I64_CONST, _F32_CONST, _F64_CONST, _REF_NULL, _REF_FUNC = 0x23, 0x41, 0x42, 0x43, 0x44, 0xD0, 0xD2
_EXTENDED_CONST = (0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E)  # i32 and i64 add, sub, mul
_SIMD, _V128_CONST = 0xFD, 12
_GC = 0xFB
_GC_IMMEDIATES = {0: 1, 1: 1, 6: 1, 7: 1, 8: 2, 26: 0, 27: 0, 28: 0}  # struct.new, array.new, conversions, ref.i31


def value_type(reader: Reader, found: Found = None) -> str:
    """The letter of one value type, `?` for one that has none."""
    code = reader.u8()
    if code in _NUMBERS:
        return _LETTERS[code]
    if code in _REF_HEAP:
        heap = heap_type(reader, found)
        if found is not None and heap in (Feature.REFERENCE_TYPES, Feature.TYPED_REFERENCES):
            found.add(Feature.TYPED_REFERENCES)
    elif found is not None and code in _OF_TYPE:
        found.add(_OF_TYPE[code])
    return _LETTERS.get(code, UNKNOWN)


def value_code(letter: str) -> int:
    """The byte of a value type. Raises `KeyError` for a letter that stands for none."""
    return _CODES[letter]


def element_type(reader: Reader, found: Found = None) -> str:
    """The letter of the type of a table's elements: funcref has always been one."""
    plain = reader.pos < reader.end and reader.data[reader.pos] == _FUNCREF
    return value_type(reader, None if plain else found)


def heap_type(reader: Reader, found: Found = None) -> Feature | None:
    """Read a heap type, and return the feature that it is of."""
    while reader.pos < reader.end and (prefix := reader.data[reader.pos]) in (_SHARED, _EXACT):
        reader.u8()
        reader.spend(1)
        if found is not None:
            found.add(Feature.SHARED_EVERYTHING if prefix == _SHARED else Feature.CUSTOM_DESCRIPTORS)
    index = reader.sleb()
    feature = Feature.TYPED_REFERENCES if index >= 0 else _OF_TYPE.get(index & 0x7F)
    if found is not None and feature is not None:
        found.add(feature)
    return feature


def read_recursive_type(reader: Reader, found: Found = None) -> list[str]:
    """Read one entry of the type section: a type, or a group of types. Returns the text of each, `?` for one that is no function.

    Raises:
        WasmError: it is truncated; `UnknownEncodingError`: a type of a proposal that is not known here.
    """
    if reader.pos < reader.end and reader.data[reader.pos] == _RECURSIVE:
        reader.u8()
        if found is not None:
            found.add(Feature.GC)
        return [_type(reader, found) for _ in range(reader.count(smallest=2))]
    return [_type(reader, found)]


def _type(reader: Reader, found: Found) -> str:
    code = reader.u8()
    features: set[Feature] = set()
    if code in (_SUB, _SUB_FINAL):
        features.add(Feature.GC)
        for _ in range(reader.count()):
            reader.uleb()
        code = reader.u8()
    while code in (_SHARED, _DESCRIBES, _DESCRIPTOR):
        reader.spend(1)
        features.add(Feature.SHARED_EVERYTHING if code == _SHARED else Feature.CUSTOM_DESCRIPTORS)
        if code != _SHARED:
            reader.uleb()
        code = reader.u8()
    text = UNKNOWN
    if code == FUNCTION_TYPE:
        parameters, results = ("".join([value_type(reader, found) for _ in range(reader.count())]) for _ in range(2))
        text = f"{parameters}>{results}"
        if len(results) > 1:
            features.add(Feature.MULTI_VALUE)
    elif code in (_STRUCT, _ARRAY):
        features.add(Feature.GC)
        for _ in range(reader.count(smallest=2) if code == _STRUCT else 1):
            if reader.pos < reader.end and reader.data[reader.pos] in _PACKED:
                reader.u8()
            else:
                value_type(reader, found)
            reader.u8()
    elif code == _CONTINUATION:
        features.add(Feature.STACK_SWITCHING)
        reader.sleb()
    else:
        raise UnknownEncodingError(f"type of unknown form {code:#04x} at byte {reader.pos - 1}")
    if found is not None:
        found |= features
    return text


def read_limits(reader: Reader, found: Found = None, of_table: bool = False) -> tuple[bool, bool, int, int | None]:
    """Read the limits of a memory or table: shared, with 64-bit addresses, lower and upper limit."""
    flags = reader.u8()
    minimum = reader.uleb(64)
    maximum = reader.uleb(64) if flags & 1 else None
    if flags & 8:
        reader.uleb()
    if found is not None:
        bits = {2: Feature.ATOMICS, 4: Feature.MEMORY64, 8: Feature.CUSTOM_PAGE_SIZES}
        if of_table:
            bits = {2: Feature.SHARED_EVERYTHING, 4: Feature.TABLE64}
        found |= {feature for bit, feature in bits.items() if flags & bit}
    return bool(flags & 2), bool(flags & 4), minimum, maximum


def skip_constant(reader: Reader, found: Found = None, imported: int | None = None) -> None:
    """Skip a constant expression (core specification 3.4.13).

    Of a global that is not among the first `imported` ones only the GC proposal lets an expression take the value.

    Raises:
        WasmError: it is truncated; `UnknownEncodingError`: one of a proposal that is not known here.
    """
    features: set[Feature] = set()
    while (code := reader.u8()) != _END:
        reader.spend(2)
        if code == _GLOBAL_GET:
            index = reader.uleb()
            if imported is not None and index >= imported:
                features.add(Feature.GC)
        elif code in (_I32_CONST, _I64_CONST):
            reader.sleb()
        elif code in (_F32_CONST, _F64_CONST):
            reader.take(4 if code == _F32_CONST else 8)
        elif code in _EXTENDED_CONST:
            features.add(Feature.EXTENDED_CONSTANTS)
        elif code == _REF_FUNC:
            features.add(Feature.REFERENCE_TYPES)
            reader.uleb()
        elif code == _REF_NULL:
            heap_type(reader, features)
        elif code == _SIMD and reader.uleb() == _V128_CONST:
            features.add(Feature.SIMD)
            reader.take(16)
        elif code == _GC and (immediates := _GC_IMMEDIATES.get(reader.uleb())) is not None:
            features.add(Feature.GC)
            for _ in range(immediates):
                reader.uleb()
        else:
            raise UnknownEncodingError(f"constant expression with opcode {code:#04x} at byte {reader.pos - 1}")
    if found is not None:
        found |= features


def describe(signature: str) -> str:
    """Format a type for messages.

    >>> describe("ij>d"), describe(">"), describe("i*")
    ('(i32, i64) -> f64', '() -> ()', 'mutable i32')
    """
    if ">" not in signature:
        return ("mutable " if signature.endswith("*") else "") + _WORDS.get(signature.rstrip("*"), signature)
    parameters, _, results = signature.partition(">")
    words = [", ".join(_WORDS.get(letter, letter) for letter in part) for part in (parameters, results)]
    return f"({words[0]}) -> {words[1] if len(results) == 1 else f'({words[1]})'}"
