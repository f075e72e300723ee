"""A conda version range in PEP 440's words.

Ranges: conda's match specification (CEP 29), as py-rattler writes it: clauses joined by `,` (all hold) and `|` (any holds), the
first binding tighter, in parentheses where it must not. PEP 440 has no "any": where the alternatives together are one range, it
is said as that; where they are not, or a version has no PEP 440 form, the smallest range around them is.

Exact for all versions but local ones, which PEP 440 ignores, and pre-releases of an excluded upper bound (`<3`): these are left
out, as PEP 440 has it. conda's `<3` admits 3.0rc1, which nobody means. Alternatives are put together by their releases.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from packaging.ranges import VersionRange
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import Version

from conda2wheel.wheel.versions import pep440

MOST = 32  # alternatives, and nested parentheses: more is no requirement that a person wrote
_FIRST_PRERELEASE = re.compile(r"(?<=\d)\.?(?:a|alpha|dev)0?$")
_CLAUSE = re.compile(r"(==|!=|>=|<=|~=|>|<|=)?\s*((?:\d+!)?[^\s=<>!~]+)")
_TOKEN = re.compile(r"[(),|]|[^(),|]+")
_EVERYTHING = ">=0.dev0"


def converted(version: str) -> tuple[SpecifierSet, bool]:
    """The smallest specifier set that admits all that a conda version range does, and whether it admits nothing else.

    >>> [str(converted(text)[0]) for text in (">=2.2,<3", "1.2.*", "<2020.3.0a0", ">=1,<2|>=2,<3", "<2|>=3")]
    ['<3,>=2.2', '==1.2.*', '<2020.3', '<3,>=1', '!=2.*']
    >>> converted("1.0|2.0"), converted(">=1.0+cu118,<2")
    ((<SpecifierSet('<=2.0,>=1.0')>, False), (<SpecifierSet('<2,>=1.0')>, False))
    """
    try:
        alternatives = _either(_TOKEN.findall(version)) if version.count("(") <= MOST else []
    except (IndexError, ValueError):
        alternatives = []
    if not alternatives:
        return SpecifierSet(), False
    parts = [[_clause(text) for text in clauses] for clauses in alternatives]
    exact = all(same for clauses in parts for _, same in clauses)
    try:
        sets = [SpecifierSet(",".join(filter(None, (text for text, _ in clauses)))) for clauses in parts]
    except InvalidSpecifier:
        return SpecifierSet(), False
    if len(sets) == 1:
        return sets[0], exact
    hull, same = _around(sets)
    return hull, exact and same


def _either(tokens: list[str]) -> list[list[str]]:
    """Alternatives, each a list of clauses that all hold. Raises `ValueError` or `IndexError` for what is no range."""
    found = _all(tokens)
    while tokens and tokens[0] == "|":
        del tokens[0]
        found += _all(tokens)
        if len(found) > MOST:
            raise ValueError("too many alternatives")
    return found


def _all(tokens: list[str]) -> list[list[str]]:
    found = _one(tokens)
    while tokens and tokens[0] == ",":
        del tokens[0]
        more = _one(tokens)
        if len(found) * len(more) > MOST:
            raise ValueError("too many alternatives")
        found = [one + other for one in found for other in more]
    return found


def _one(tokens: list[str]) -> list[list[str]]:
    first = tokens.pop(0).strip()
    if first != "(":
        return [[first]]
    found = _either(tokens)
    if tokens.pop(0) != ")":
        raise ValueError("no end of parentheses")
    return found


def _clause(text: str) -> tuple[str, bool]:
    """A clause as specifiers, and whether they say the same; nothing where PEP 440 has none."""
    match = _CLAUSE.fullmatch(text)
    if match is None:
        return "", False
    operator, value = match[1] or "==", match[2]
    glob = value.endswith("*") or operator == "="
    value = value.rstrip("*").rstrip(".")
    if value == "":
        return "", True
    operator = "==" if operator == "=" else operator
    if operator == "<":
        value = _before_prereleases(value)
    normal = pep440(value)
    if normal is None:
        return "", False
    public, _, local = normal.partition("+")
    glob = glob and operator in ("==", "!=")
    if glob and public != (release := _release(Version(normal))):  # `==1.2rc1.*` is no specifier
        return (f"=={release}.*,>={public}" if operator == "==" else ""), False
    if local and operator not in ("==", "!="):  # PEP 440 orders no local versions: from the public one, or up to it
        return f"{'>=' if operator.startswith(('>', '~')) else '<='}{public}", False
    if operator == "~=" and "." not in _release(Version(normal)):  # conda's ~=1 holds the epoch alone
        return f">={public}", False
    if operator == ">":  # PEP 440's leaves out 1.0.post1 for >1.0, conda's does not
        return f">={normal},!={normal}", True
    return f"{operator}{normal}{'.*' if glob else ''}", True


def _before_prereleases(value: str) -> str:
    """`<5.0a0` is conda's "before any pre-release of 5.0", which `<5.0` already is in PEP 440."""
    plain = _FIRST_PRERELEASE.sub("", value)
    if plain == value:
        return value
    return plain[:-2] if plain.endswith(".0") and plain.count(".") > 1 else plain


def _around(alternatives: Sequence[SpecifierSet]) -> tuple[SpecifierSet, bool]:
    """The smallest range around alternatives that their clauses, and the bounds that follow from these, can say; and whether it
    is the alternatives themselves."""
    union = _range(alternatives[0])
    for each in alternatives[1:]:
        union |= _range(each)
    clauses = list(dict.fromkeys(chain.from_iterable(map(str, sorted(each, key=str)) for each in alternatives)))
    derived = chain.from_iterable(map(_bounds, map(Specifier, clauses)))
    kept = [text for text in dict.fromkeys([*clauses, *derived]) if union.is_subset(_range(SpecifierSet(text)))]
    for text in reversed(kept):  # a clause that the others imply says nothing; the derived ones are the first to go
        others = [each for each in kept if each != text]
        if _range(SpecifierSet(",".join(others))).is_subset(_range(SpecifierSet(text))):
            kept = others
    hull = SpecifierSet(",".join(kept))
    return hull, _range(hull).is_subset(union)


def _range(specifiers: SpecifierSet) -> VersionRange:
    """Of releases: without this policy, `<2` and `>=2` would leave a gap where 2's pre-releases are."""
    return SpecifierSet(str(specifiers) or _EVERYTHING, prereleases=False).to_range()


def _bounds(specifier: Specifier) -> list[str]:
    """The bounds that a range may have at the version of a clause."""
    version = Version(specifier.version.removesuffix(".*"))
    first, _, last = _release(version).rpartition(".")
    after = f"{first}.{int(last) + 1}" if first else f"{version.epoch}!{version.release[0] + 1}"
    return [f">={version}", f"<={version}", f"<{version}", f"<{Version(after)}", f"!={_release(version)}.*"]


def _release(version: Version) -> str:
    """A version without its suffixes."""
    return str(Version(f"{version.epoch}!{'.'.join(map(str, version.release))}"))
