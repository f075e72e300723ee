"""Decides which platform a package was built for: evidence names candidates, the binaries choose between them and veto.

The evidence, in this order: the platform that the caller names; the package's own claims, which must agree; an environment that
lists the package; the interpreter, where emscripten-forge's channels built it with one Emscripten only. The binaries choose
between candidates where they can, and contradict impossible ones. If no candidate is left, or several, the package is refused
(`unknown-abi`); the platform is never guessed. If the package's own claims name the platform, binaries that load there do not
contradict it: what of them does not run there is the audit's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from conda2wheel.abi.platforms import Platform, compressed_tags, for_emscripten, parse, platforms, release, toolchains, unknown
from conda2wheel.abi.signals import Signals, cannot_catch, choose, contradictions
from conda2wheel.errors import Failed, Refused
from conda2wheel.results import ALLOWED, ConversionWarning

Level = Literal["package", "timestamp", "environment"]
Modules = Sequence[tuple[str, Signals]]
PlatformChoice = str | Platform | Iterable[str | Platform]  # one platform or several, or "auto"


class Claim(NamedTuple):
    """One piece of evidence: where it is from, what it says, and the Emscripten versions that it admits."""

    level: Level
    text: str
    emscriptens: frozenset[str]


class Decision(NamedTuple):
    """The platforms, the evidence for them, and warnings about them.

    There is one platform, unless the caller or the tags of a wheel name several; then they are sorted, oldest first.
    """

    platforms: tuple[Platform, ...]
    evidence: tuple[str, ...]
    warnings: tuple[ConversionWarning, ...] = ()

    @property
    def tag(self) -> str:
        """The platform tag; of several platforms all, as in file names."""
        return compressed_tags(self.platforms)


def decide(
    source: str,
    claims: Sequence[Claim],
    python: str | None,
    modules: Modules,
    forced: Sequence[Platform] = (),
    exact: bool = True,
    tolerant: bool = False,
) -> Decision:
    """Decide the platform of a package with native modules.

    Args:
        source: the package, for messages.
        claims: the evidence.
        python: the CPython that it was built with, such as "3.13"; None if nothing names one.
        modules: its side modules (name, signals).
        forced: the platforms that the caller names, all of which it must be able to run on.
        exact: the modules run on that CPython only; false for abi3 and for libraries.
        tolerant: what the binaries contradict is a warning (`allowed`) instead of a refusal.

    Raises:
        Refused: unknown-abi if the evidence leads to no platform or to several, with the candidates in the hint; abi-conflict if
            two of the package's own claims, the interpreter or the binaries contradict each other.
    """
    if forced:
        if exact:
            require_one_python(source, forced, python)
        found: list[ConversionWarning] = []
        for platform in forced:
            found += _doubts(platform, modules)
            named = names_platform(claims, platform, python)
            found += _veto(source, platform, python if exact else None, modules, tolerant, named)
        return Decision(tuple(forced), ("--platform",), tuple(dict.fromkeys(found)))
    candidates, texts, weak = _claimed(source, claims)
    if weak:
        candidates, texts = _by_interpreter(candidates, texts, python)
    names = sorted(candidates or (), key=release)
    if python is not None and len(names) > 1:
        names = [name for name in names if python in _pythons(name)] or names
    fit = [for_emscripten(name) for name in names]
    if len(fit) > 1:
        left = choose(fit, modules)
        if not left:  # none of them, so the refusal is the same for each
            _veto(source, fit[-1], None, modules, tolerant, False)
        if len(left) == 1:
            texts = [*texts, "the binaries' unwinding"]
        fit = left
    if len(fit) != 1:
        raise _unknown(source, claims, python, fit)
    platform = fit[0]
    found = _veto(source, platform, python if exact else None, modules, tolerant, names_platform(claims, platform, python))
    warnings = [*_doubts(platform, modules), *found]
    if weak:
        warnings.append(
            ConversionWarning("platform-from-interpreter", f"no evidence but {' and '.join(texts)}: taken as {platform.tag}")
        )
    return Decision((platform,), tuple(texts), tuple(warnings))


def require_one_python(source: str, rows: Sequence[Platform], python: str | None) -> None:
    """Refuse several platforms with different CPythons for modules that run on one CPython only."""
    if len({row.python for row in rows if row.python}) > 1:
        has = ", ".join(f"{row.tag} has {row.python or 'none'}" for row in rows)
        raise Refused(
            "abi-conflict",
            f"{source}: extension modules for CPython {python} alone, but {has}",
            "only abi3 modules and libraries without extension modules run on several; give one --platform",
        )


def _doubts(platform: Platform, modules: Modules) -> list[ConversionWarning]:
    """Return warnings about a platform that no Pyodide has. Modules for any other are audited."""
    if platform.pyodide:
        return []
    why = "throws C++ exceptions and was built without any way to catch one: the first one ends the interpreter"
    found = [ConversionWarning("cannot-catch", why, name) for name in cannot_catch(modules)]
    others = [each for each in contradictions(modules, platform) if each.loads and each.code != "cannot-catch"]
    found += [ConversionWarning(each.code, each.why, each.module) for each in others]
    said = f"no Pyodide has Emscripten {platform.emscripten}: nothing is known to run {platform.tag}"
    return [*found, ConversionWarning("no-pyodide", said)]


def names_platform(claims: Sequence[Claim], platform: Platform, python: str | None = None) -> bool:
    """Whether the claims about the package, with the CPython that it was built with, admit this platform alone.

    They are its own claims and that of an environment that lists it; a date or the CPython alone name no platform.
    """
    own = [claim.emscriptens for claim in claims if claim.level == "package"]
    names: frozenset[str] | None = frozenset.intersection(*own) if own else None
    if names is None or names:  # its own claims do not contradict each other
        for claim in (each for each in claims if each.level == "environment"):
            names, _ = _narrow(names, [], claim)
    names = names or frozenset()
    if python is not None and len(names) > 1:
        names = frozenset(name for name in names if python in _pythons(name)) or names
    return names == {platform.emscripten}


def _claimed(source: str, claims: Sequence[Claim]) -> tuple[frozenset[str] | None, list[str], bool]:
    """The Emscriptens that the claims admit together, the texts of those that count, and whether a date is the only evidence.

    The package's own claims count first; an environment and then a date only choose among what those admit.
    """
    candidates, texts = _own(source, [c for c in claims if c.level == "package"])
    for claim in (c for c in claims if c.level == "environment"):
        candidates, texts = _narrow(candidates, texts, claim)
    weak = candidates is None
    for claim in (c for c in claims if c.level == "timestamp"):
        candidates, texts = _narrow(candidates, texts, claim)
    return candidates, texts, weak


def _own(source: str, claims: Sequence[Claim]) -> tuple[frozenset[str] | None, list[str]]:
    """The Emscriptens that all of the package's own claims admit together (None without any), and the claims' texts."""
    candidates: frozenset[str] | None = None
    texts: list[str] = []
    for claim in claims:
        if not claim.emscriptens:
            raise Refused(
                "unknown-abi",
                f"{source}: {claim.text}, and no Emscripten is known that fits",
                f"give --platform; known are {_tags(platforms())}",
            )
        both = claim.emscriptens if candidates is None else candidates & claim.emscriptens
        if not both:
            raise Refused(
                "abi-conflict",
                f"{source}: it {claim.text}, which contradicts that it {' and '.join(texts)}",
                "look at how it was built, or give --platform",
            )
        candidates = both
        texts.append(claim.text)
    return candidates, texts


def _narrow(candidates: frozenset[str] | None, texts: list[str], claim: Claim) -> tuple[frozenset[str], list[str]]:
    """The candidates that a weaker claim admits, too, with its text if it excludes one; all of them if it excludes all."""
    both = claim.emscriptens if candidates is None else candidates & claim.emscriptens
    if not both or both == candidates:
        return candidates or both, texts
    return both, [*texts, claim.text]


def _by_interpreter(candidates: frozenset[str] | None, texts: list[str], python: str | None) -> tuple[frozenset[str], list[str]]:
    """The Emscriptens with which the channels built this CPython; none for abi3, which does not name one."""
    if python is None:
        return frozenset(), texts
    built = frozenset(t.emscripten for t in toolchains() if python in t.pythons)
    both = built & candidates if candidates is not None else built
    if not both:  # the date fits no build of this CPython: it does not count
        texts = []
    return both or built, [*texts, f"CPython {python}"]


def _pythons(emscripten: str) -> set[str]:
    found = {python for t in toolchains() if t.emscripten == emscripten for python in t.pythons}
    row = for_emscripten(emscripten).python
    return found | ({row} if row else set())


def _veto(
    source: str, platform: Platform, python: str | None, modules: Modules, tolerant: bool, named: bool
) -> list[ConversionWarning]:
    """Refuse an impossible platform; with `tolerant`, return what contradicts it as warnings.

    Where the package's own evidence names the platform, a module that loads there is no contradiction.
    """
    # Only PEP 783 ties a platform to one CPython.
    if platform.on_pypi and python is not None and python != platform.python:
        raise Refused(
            "abi-conflict",
            f"{source}: built for CPython {python}, but {platform.tag} is CPython {platform.python}",
            "take the build for that CPython, or another --platform",
        )
    found = [each for each in contradictions(modules, platform) if not (named and each.loads)]
    if found and not tolerant:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Refused(
            "abi-conflict",
            f"{source}: {found[0].why}{more}",
            f"it was not built for {platform.tag}; take a build that was, or --allow abi-conflict",
        )
    return [ConversionWarning(ALLOWED, f"abi-conflict: {each.why}") for each in found]


def _tags(rows: Sequence[Platform]) -> str:
    return ", ".join(row.tag for row in rows)


def _unknown(source: str, claims: Sequence[Claim], python: str | None, fit: Sequence[Platform]) -> Refused:
    said = "; ".join(f"it {claim.text}" for claim in claims) or "the package has no evidence"
    built = f"CPython {python}" if python else "no version of CPython"
    if fit:
        hint = f"give --platform, one or several of {_tags(fit)}"
    else:
        hint = f"give --platform TAG or a Pyodide version; known are {_tags(platforms())}"
    return Refused("unknown-abi", f"{source}: which Emscripten built it? {said}; its binaries name {built}", hint)


def forced_platform(platform: str | Platform) -> Platform | None:
    """The platform that a caller names, None for "auto".

    Raises:
        Failed: usage, for a platform that is not known.
    """
    if isinstance(platform, Platform) or platform == "auto":
        return None if isinstance(platform, str) else platform
    found = parse(platform)
    if found is None:
        message, hint = unknown(platform)
        raise Failed("usage", f"platform: {message}", hint)
    return found


def forced_platforms(choice: PlatformChoice) -> tuple[Platform, ...]:
    """The platforms that a caller names, each once, oldest first; none for "auto".

    Each text is a platform tag, several as in a file name (`pyemscripten_2025_0_wasm32.pyemscripten_2026_0_wasm32`), or a Pyodide
    version.

    Raises:
        Failed: usage, for a platform that is not known, for "auto" beside others, and for no platform.
    """
    given = [choice] if isinstance(choice, str | Platform) else list(choice)
    if given == ["auto"]:
        return ()
    if not given or "auto" in given:
        raise Failed("usage", "platform: auto stands alone", "give auto, or one or several platforms")
    found = {row.name: row for each in given for row in _named(each)}
    return tuple(sorted(found.values(), key=lambda row: release(row.emscripten)))


def _named(platform: str | Platform) -> list[Platform]:
    tags = platform.split(".") if isinstance(platform, str) and "_" in platform else [platform]
    return [row for tag in tags if (row := forced_platform(tag)) is not None]
