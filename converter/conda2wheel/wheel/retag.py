"""The tags of a wheel that somebody else built: kept where they are right, corrected on evidence where they are not.

A build for Emscripten may be tagged by any of its names (`pyemscripten_2025_0`, `pyodide_2025_0`, `emscripten_4_0_9`) or,
cross-compiled by a tool that does not know it, by none (`linux_wasm32`, `unknown`, `any`). The PEP 783 name is the one that
PyPI takes. File suffixes say for which CPython an extension module is, whatever the tag says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.tags import Tag

from conda2wheel.abi.choice import Claim, Decision, Modules, decide
from conda2wheel.abi.platforms import Platform, parse, platforms, release
from conda2wheel.abi.side_module import SideModule
from conda2wheel.abi.signals import choose
from conda2wheel.errors import Refused
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.reader import Wheel
from conda2wheel.wheel.tags import PURE, Interpreter, abi3_fits, interpreter

_EXACT_ABI = re.compile(r"cp(\d)(\d+)t?")
ANY = "any"


@dataclass(frozen=True)
class Retagged:
    """What a wheel shall be called. `decisions` has one platform, or all that the wheel is tagged for."""

    filename: str
    tags: frozenset[Tag]
    interpreter: Interpreter
    decisions: tuple[Decision, ...]
    warnings: tuple[ConversionWarning, ...]


def retag(
    wheel: Wheel,
    native: Mapping[str, SideModule],
    elsewhere: Mapping[str, SideModule],
    forced: Platform | None = None,
    compat: bool = False,
    tolerant: bool = False,
) -> Retagged:
    """The tags of a wheel with the side modules `native` in site-packages, and `elsewhere` among its data.

    `forced` is the platform that the caller names; `compat` adds the platform's older aliases; `tolerant` as for `decide`.
    Raises `Refused`: `unknown-abi` where nothing says which platform it was built for, `abi-conflict` where tag, suffixes,
    binaries and `forced` contradict each other.
    """
    named = _named(wheel.tags)
    if not native and not elsewhere and not named and forced is None:
        said = ", ".join(sorted({tag.platform for tag in wheel.tags}))
        raise Refused(
            "unknown-abi",
            f"{wheel.source}: tagged {said}, and it has no side module that would say otherwise",
            "give --platform if it is for Pyodide",
        )
    interp = _interpreter(wheel, native, [forced] if forced else named)
    modules = [(path, binary.signals) for path, binary in sorted({**native, **elsewhere}.items())]
    decisions, warnings = _decide(wheel, interp, modules, named, forced, tolerant)
    for decision in decisions:
        abi3_fits(wheel, interp, decision.platform)
    head, python, abi, platform = _parts(wheel.path.name)
    if _generic(wheel.tags, interp):
        python, abi = interp.python_tag, interp.abi_tag
    platform = _platform_part(platform, [decision.platform for decision in decisions], compat)
    filename = f"{head}-{python}-{abi}-{platform}.whl"
    if filename != wheel.path.name:
        before = wheel.path.name.removesuffix(".whl").removeprefix(f"{head}-")
        warnings.append(ConversionWarning("retagged", f"it was tagged {before}; it is {python}-{abi}-{platform}", filename))
    tags = frozenset(Tag(i, a, p) for i in python.split(".") for a in abi.split(".") for p in platform.split("."))
    return Retagged(filename, tags, interp, decisions, tuple(warnings))


def _named(tags: Iterable[Tag]) -> list[Platform]:
    """The platforms that the tags name, oldest first; none for `linux_wasm32` and the like."""
    rows = {row.name: row for tag in tags if (row := parse(tag.platform)) is not None}
    return sorted(rows.values(), key=lambda row: release(row.emscripten))


def _interpreter(wheel: Wheel, native: Mapping[str, SideModule], rows: Sequence[Platform]) -> Interpreter:
    """From suffixes and PyInit_ exports; where they say nothing from the tag, or from the one CPython of its platform."""
    exact = {f"{m[1]}.{m[2]}" for tag in wheel.tags if (m := _EXACT_ABI.fullmatch(tag.abi))}
    implied = {row.python for row in rows if row.python} if len(rows) == 1 and not _suffixed(native) else set()
    pythons = exact or implied
    python = next(iter(pythons)) if len(pythons) == 1 else None
    claims = "\n".join(f"Tag: {tag}" for tag in wheel.tags)
    return interpreter(wheel, native, python, claims, "its tag")


def _suffixed(native: Mapping[str, SideModule]) -> bool:
    return any(re.search(r"\.cpython-\d+", path) for path in native)


def _decide(
    wheel: Wheel, interp: Interpreter, modules: Modules, named: Sequence[Platform], forced: Platform | None, tolerant: bool
) -> tuple[tuple[Decision, ...], list[ConversionWarning]]:
    python = interp.exact or interp.built_with
    is_exact = interp.exact is not None
    if forced is not None:
        decisions = [decide(wheel.source, [], python, modules, forced, is_exact, tolerant)]
    elif named:
        claims = [Claim("package", f"is tagged {_tags(wheel, row)}", frozenset({row.emscripten})) for row in named]
        decisions = [decide(wheel.source, [claim], python, modules, None, is_exact, tolerant) for claim in claims]
    else:
        fit = choose([row for row in platforms() if row.python and (python is None or row.python == python)], modules)
        why = f"is tagged {', '.join(sorted({tag.platform for tag in wheel.tags}))}, which names no Emscripten"
        claim = Claim("package", why, frozenset(row.emscripten for row in fit))
        decisions = [decide(wheel.source, [claim], python, modules, None, is_exact, tolerant)]
        said = f"CPython {python} and the binaries" if python else "the binaries"
        note = f"its tag names no platform of Pyodide's; by {said} it is taken as {decisions[0].platform.tag}"
        return tuple(decisions), [ConversionWarning("platform-from-interpreter", note), *decisions[0].warnings]
    return tuple(decisions), list(dict.fromkeys(warning for decision in decisions for warning in decision.warnings))


def _tags(wheel: Wheel, row: Platform) -> str:
    return ", ".join(sorted({tag.platform for tag in wheel.tags if parse(tag.platform) == row}))


def _generic(tags: Iterable[Tag], interp: Interpreter) -> bool:
    """Whether the tags promise more interpreters than the extension modules run on: any Python, or an abi3 that is none."""
    if (interp.python_tag, interp.abi_tag) == PURE:
        return False
    return all((tag.abi == "none" and tag.interpreter.startswith("py")) or (tag.abi == "abi3" and interp.exact) for tag in tags)


def _parts(filename: str) -> tuple[str, str, str, str]:
    """NAME-VERSION with the build tag, if there is one, which is its builder's own; and the three parts of the tag."""
    *head, python, abi, platform = filename.removesuffix(".whl").split("-")
    return "-".join(head), python, abi, platform


def _platform_part(before: str, rows: Sequence[Platform], compat: bool) -> str:
    """A compressed set that has the right tag and no other platform's stays as it is."""
    current = before.split(".")
    wanted = [tag for row in rows for tag in ((row.tag, *row.alias_tags) if compat else (row.tag,))]
    right = all((row := parse(tag)) is not None and row in rows for tag in current)
    return before if right and set(wanted) <= set(current) else ".".join(wanted)
