"""Write types as short text: `ij>d` is a function of an i32 and an i64 that returns an f64; `>` takes and returns nothing.

Letters as in Emscripten's signatures (i, j, f, d), and V for v128, F for funcref, X for externref, E for exnref. Type
encodings: core specification 5.3 and the exception handling proposal.
"""

from __future__ import annotations

from conda2wheel.wasm.encoding import Reader, WasmError

FUNCTION_TYPE = 0x60
UNKNOWN = "?"
_LETTERS = {0x7F: "i", 0x7E: "j", 0x7D: "f", 0x7C: "d", 0x7B: "V", 0x70: "F", 0x6F: "X", 0x69: "E"}
_CODES = {letter: code for code, letter in _LETTERS.items()}
_WORDS = {"i": "i32", "j": "i64", "f": "f32", "d": "f64", "V": "v128", "F": "funcref", "X": "externref", "E": "exnref"}
_REF_HEAP = (0x63, 0x64)  # (ref null ht), (ref ht): a heap type follows
_END = 0x0B
_GLOBAL_GET, _I32_CONST, _I64_CONST, _F32_CONST, _F64_CONST, _REF_NULL, _REF_FUNC = 0x23, 0x41, 0x42, 0x43, 0x44, 0xD0, 0xD2
_EXTENDED_CONST = (0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E)  # i32 and i64 add, sub, mul
_SIMD, _V128_CONST = 0xFD, 12


def value_type(reader: Reader) -> str:
    """The letter of one value type, `?` for one that has none."""
    code = reader.u8()
    if code in _REF_HEAP:
        reader.sleb()
    return _LETTERS.get(code, UNKNOWN)


def value_code(letter: str) -> int:
    """The byte of a value type. Raises `KeyError` for a letter that stands for none."""
    return _CODES[letter]


def skip_constant(reader: Reader) -> None:
    """Skip a constant expression (core specification 3.4.13). Raises `WasmError` for one of another proposal."""
    while (code := reader.u8()) != _END:
        if code in (_GLOBAL_GET, _REF_FUNC):
            reader.uleb()
        elif code in (_I32_CONST, _I64_CONST, _REF_NULL):
            reader.sleb()
        elif code in (_F32_CONST, _F64_CONST):
            reader.take(4 if code == _F32_CONST else 8)
        elif code == _SIMD and reader.uleb() == _V128_CONST:
            reader.take(16)
        elif code not in _EXTENDED_CONST:
            raise WasmError(f"constant expression with opcode {code:#04x} at byte {reader.pos - 1}")


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
