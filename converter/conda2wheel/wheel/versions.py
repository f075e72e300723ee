"""Conda versions and version ranges as PEP 440 versions and specifiers.

Ranges follow conda's match specification (CEP 29) as py-rattler writes it: clauses joined by `,` (all must hold) and `|` (any may
hold), where `,` binds tighter, in parentheses where needed. PEP 440 has no "any": alternatives that form one range together are
written as that range; otherwise, and for a version without a PEP 440 form, the smallest range that contains them is written.

The conversion is exact except for local versions, which PEP 440 ignores, and for pre-releases of an excluded upper bound: conda's
`<3` admits 3.0rc1, PEP 440's does not. Alternatives are joined by their final releases.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from packaging.ranges import VersionRange
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import Version

from conda2wheel.files.pypa import is_bounded, parse_pep440

# `2023c` is the release 2023 with a letter in conda, and the release candidate 2023rc0 in PEP 440.
_LETTER_RELEASE = re.compile(r"[^+]*\d[._]?[a-z](\+.*)?")
MAX_CLAUSES = 64  # of all alternatives together; their hull takes time in the square of them
MAX_ALTERNATIVES = 32  # also the maximum of nested parentheses; real requirements have a few
_FIRST_PRERELEASE = re.compile(r"(?<=\d)\.?(?:a|alpha|dev)0?$")
_CLAUSE = re.compile(r"(==|!=|>=|<=|~=|>|<|=)?\s*((?:\d+!)?[^\s=<>!~]+)")
_TOKEN = re.compile(r"[(),|]|[^(),|]+")
_EVERYTHING = ">=0.dev0"


def pep440(conda_version: str) -> str | None:
    """The canonical PEP 440 form of a conda version; None if it has none or would have another meaning.

    >>> pep440("1.0.2.post1"), pep440("2.0.0.0a1"), pep440("2023c"), pep440("9e")
    ('1.0.2.post1', '2.0.0.0a1', None, None)
    """
    text = conda_version.strip().lower()
    if _LETTER_RELEASE.fullmatch(text):
        return None
    version = parse_pep440(text)
    return None if version is None else str(version)


def specifiers_of(version: str) -> tuple[SpecifierSet, bool]:
    """The smallest specifier set that admits all that a conda version range does, and whether it admits nothing else.

    >>> [str(specifiers_of(text)[0]) for text in (">=2.2,<3", "1.2.*", "<2020.3.0a0", ">=1,<2|>=2,<3", "<2|>=3")]
    ['<3,>=2.2', '==1.2.*', '<2020.3', '<3,>=1', '!=2.*']
    >>> specifiers_of("1.0|2.0"), specifiers_of(">=1.0+cu118,<2"), specifiers_of("==1.0+a|==2.0")[0]
    ((<SpecifierSet('<=2.0,>=1.0')>, False), (<SpecifierSet('<2,>=1.0')>, False), <SpecifierSet('<=2.0,>=1.0')>)
    """
    bounded = is_bounded(version) and version.count("(") <= MAX_ALTERNATIVES
    try:
        alternatives = _either(_TOKEN.findall(version)) if bounded else []
    except (IndexError, ValueError):
        alternatives = []
    if not alternatives or (len(alternatives) > 1 and sum(map(len, alternatives)) > MAX_CLAUSES):
        return SpecifierSet(), False
    parts = [[_clause(text) for text in clauses] for clauses in alternatives]
    exact = all(same for clauses in parts for _, same in clauses)
    try:
        sets = [SpecifierSet(",".join(filter(None, (text for text, _ in clauses)))) for clauses in parts]
    except InvalidSpecifier:
        return SpecifierSet(), False
    if len(sets) == 1:
        return sets[0], exact
    hull, same = _hull(sets)
    return hull, exact and same


def _either(tokens: list[str]) -> list[list[str]]:
    """Parse alternatives, each a list of clauses that must all hold. Raises `ValueError` or `IndexError` for wrong syntax."""
    found = _all(tokens)
    while tokens and tokens[0] == "|":
        del tokens[0]
        found += _all(tokens)
        if len(found) > MAX_ALTERNATIVES:
            raise ValueError("too many alternatives")
    return found


def _all(tokens: list[str]) -> list[list[str]]:
    found = _one(tokens)
    while tokens and tokens[0] == ",":
        del tokens[0]
        more = _one(tokens)
        if len(found) * len(more) > MAX_ALTERNATIVES:
            raise ValueError("too many alternatives")
        found = [one + other for one in found for other in more]
    return found


def _one(tokens: list[str]) -> list[list[str]]:
    first = tokens.pop(0).strip()
    if first != "(":
        return [[first]]
    found = _either(tokens)
    if tokens.pop(0) != ")":
        raise ValueError("unbalanced parentheses")
    return found


def _clause(text: str) -> tuple[str, bool]:
    """A clause as specifiers, and whether they are equivalent; empty where PEP 440 has none."""
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
    if local and operator not in ("==", "!="):  # PEP 440 does not order local versions: the bound is the public version
        return f"{'>=' if operator.startswith(('>', '~')) else '<='}{public}", False
    if operator == "~=" and "." not in _release(Version(normal)):  # conda's ~=1 fixes only the epoch
        return f">={public}", False
    if operator == ">":  # PEP 440's >1.0 excludes 1.0.post1, conda's does not
        return f">={normal},!={normal}", True
    return f"{operator}{normal}{'.*' if glob else ''}", True


def _before_prereleases(value: str) -> str:
    """The version X of `<X.0a0`, conda's "before any pre-release of X.0", which is what `<X.0` means in PEP 440."""
    plain = _FIRST_PRERELEASE.sub("", value)
    if plain == value:
        return value
    return plain[:-2] if plain.endswith(".0") and plain.count(".") > 1 else plain


def _hull(alternatives: Sequence[SpecifierSet]) -> tuple[SpecifierSet, bool]:
    """The smallest range that contains the alternatives and can be written with their clauses and the bounds derived from them.

    Returns:
        The range, and whether it admits exactly what the alternatives admit.
    """
    union = _range(alternatives[0])
    for each in alternatives[1:]:
        union |= _range(each)
    clauses = list(dict.fromkeys(chain.from_iterable(map(str, sorted(each, key=str)) for each in alternatives)))
    derived = chain.from_iterable(map(_bounds, map(Specifier, clauses)))
    kept = [text for text in dict.fromkeys([*clauses, *derived]) if union.is_subset(_range(SpecifierSet(text)))]
    for text in reversed(kept):  # remove clauses that the others imply, derived ones first
        others = [each for each in kept if each != text]
        if _range(SpecifierSet(",".join(others))).is_subset(_range(SpecifierSet(text))):
            kept = others
    hull = SpecifierSet(",".join(kept))
    return hull, _range(hull).is_subset(union)


def _range(specifiers: SpecifierSet) -> VersionRange:
    """The range without pre-releases; with them, `<2` and `>=2` would leave a gap at the pre-releases of 2."""
    return SpecifierSet(str(specifiers) or _EVERYTHING, prereleases=False).to_range()


def _bounds(specifier: Specifier) -> list[str]:
    """All bounds that a range can have at the version of a clause."""
    version = Version(Version(specifier.version.removesuffix(".*")).public)  # PEP 440 does not order local versions
    first, _, last = _release(version).rpartition(".")
    following = f"{first}.{int(last) + 1}" if first else f"{version.epoch}!{version.release[0] + 1}"
    return [f">={version}", f"<={version}", f"<{version}", f"<{Version(following)}", f"!={_release(version)}.*"]


def _release(version: Version) -> str:
    """The version without pre-release, post-release and local parts."""
    return str(Version(f"{version.epoch}!{'.'.join(map(str, version.release))}"))
