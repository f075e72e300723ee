"""Names that several modules may define without being two things: vague linkage (Itanium C++ ABI 5.2), generated code.

What a header defines (templates, inline functions, their local statics, typeinfo) is in every module that uses it, and which
copy is taken does not matter, or was meant to be one. After linking nothing tells such a definition from another, but its name
does in most cases.
"""

from __future__ import annotations

import re

# _ZN[KVrO]..., and the special names of a type: vtable, VTT, typeinfo, its name, construction vtable, guard, reference temporary.
_SPECIAL = re.compile(r"_Z(?:T[VTISC]|GV|GR|Th|Tv|Tc)")
_STANDARD = re.compile(r"(?:N[KVrRO]*)?(?:St|S[absiod])|N[KVrRO]*(?:9__gnu_cxx|10__cxxabiv1)")
_ALLOCATION = re.compile(r"_Z(?:n[wa]|d[la])")
_GENERATED = ("__pyx_", "__Pyx_")  # Cython writes them into each of its modules
_LENGTH = re.compile(r"\d+")


def is_vague(name: str) -> bool:
    """Whether a symbol is one that many modules may well define alike: of the standard library, a template's, an inline
    function's local, typeinfo, or Cython's. Other names of C are not, nor is a class's vtable or a plain method.

    >>> [is_vague(name) for name in ("deflate", "_ZTVN3lib5ShapeE", "_ZN3lib5Shape4areaEv")]
    [False, False, False]
    >>> [is_vague(name) for name in ("_ZTIN3lib5ShapeE", "_ZNSt3__26vectorIiE9push_backEi", "_ZN3lib3BoxIiE3getEv", "_Znwm")]
    [True, True, True, True]
    """
    if not name.startswith("_Z"):
        return name.startswith(_GENERATED)
    if name.startswith(("_ZTI", "_ZTS", "_ZZ", "_ZGV", "_ZGR")) or _ALLOCATION.match(name):
        return True
    special = _SPECIAL.match(name)
    rest = name[special.end() :] if special else name[2:]
    return _STANDARD.match(rest) is not None or _is_template(rest)


def _is_template(rest: str) -> bool:
    """Whether the entity's own name, or a class that it is in, has template arguments."""
    nested = rest.startswith("N")
    place = len(rest) - len(rest[1:].lstrip("KVrRO")) if nested else 0
    while number := _LENGTH.match(rest, place):
        place = number.end() + int(number[0])
        if rest[place : place + 1] == "B":  # an ABI tag
            tag = _LENGTH.match(rest, place + 1)
            place = tag.end() + int(tag[0]) if tag else place
        if rest[place : place + 1] == "I":
            return True
        if not nested:
            break
    return False
