"""Two types of one function: what happens when a call goes from the one to the other.

The main module's WebAssembly functions bind directly, and an import of another type is a LinkError when the module is loaded.
Other modules' functions and JavaScript's are called through JavaScript, which converts each value on its way (ToWebAssemblyValue
of the WebAssembly JavaScript interface): numbers to numbers, whatever is missing to 0 or NaN, what is too much is dropped. Only
i64 and numbers do not become each other, and v128 does not travel at all: that throws, and the interpreter ends. Measured with
every pair of kinds on 0.27.7, 0.29.5 and 314.0.7.
"""

from __future__ import annotations

from typing import Literal

ConvertOutcome = Literal["same", "converted", "throws"]
_UNTRAVELLED = "VE"  # v128, exnref


def split(signature: str) -> tuple[str, str]:
    """Parameters and results."""
    parameters, _, results = signature.partition(">")
    return parameters, results


def through_javascript(wanted: str, offered: str) -> ConvertOutcome:
    """What becomes of a call that is compiled for the type `wanted`, of a WebAssembly function of the type `offered`.

    >>> through_javascript("ij>d", "ij>d"), through_javascript("ii>i", "i>i"), through_javascript("i>i", "j>j")
    ('same', 'converted', 'throws')
    """
    if any(letter in _UNTRAVELLED for letter in wanted + offered):
        return "throws"
    if wanted == offered:
        return "same"
    given, expected = split(wanted)
    taken, returned = split(offered)
    for place, letter in enumerate(taken):
        if _clash(given[place : place + 1], letter):
            return "throws"
    return _results(expected, returned)


def to_javascript(wanted: str, signature: str) -> ConvertOutcome:
    """The same for a function in JavaScript, whose `signature` is Emscripten's record of it: its parameters can be anything,
    and what it returns must become what is wanted."""
    if any(letter in _UNTRAVELLED for letter in wanted):
        return "throws"
    if not signature or wanted == signature:
        return "same"
    return _results(split(wanted)[1], split(signature)[1])


def _results(expected: str, returned: str) -> ConvertOutcome:
    if len(expected) > 1 and len(expected) != len(returned):
        return "throws"
    if any(_clash(returned[place : place + 1], letter) for place, letter in enumerate(expected)):
        return "throws"
    return "converted"


def _clash(given: str, taken: str) -> bool:
    """Whether a value of one kind ("" is none: undefined) cannot become the other."""
    return (given == "j") != (taken == "j") and "X" not in (given, taken)


def legalised(signature: str) -> str:
    """The type of a function whose i64 were split in two i32 for a JavaScript without BigInt.

    >>> legalised("ij>j")
    'iii>i'
    """
    parameters, results = split(signature)
    return f"{parameters.replace('j', 'ii')}>{results.replace('j', 'i')}"
