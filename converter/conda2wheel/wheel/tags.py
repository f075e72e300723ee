"""Python, ABI and platform tags: chosen for a conda package, and corrected for a wheel of another build tool.

Specifications: PyPA platform compatibility tags (PEP 425), PEP 783 for the platform. The suffix of an extension module decides,
since CPython's import system reads it (`.cpython-313-wasm32-emscripten.so`, `.abi3.so`), and not WHEEL: nearly every
emscripten-forge package has `cp313-cp313-unknown_wasm32` there. Other build tools tag a build for Emscripten by any of its
names (`pyemscripten_2025_0`, `pyodide_2025_0`, `emscripten_4_0_9`) or by none (`linux_wasm32`, `unknown`, `any`); PyPI accepts
the PEP 783 name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.tags import Tag

from conda2wheel.abi.choice import Claim, Decision, Modules, decide, require_one_python
from conda2wheel.abi.platforms import Platform, TagForm, compressed_tags, parse, platforms, release
from conda2wheel.abi.side_module import SideModule
from conda2wheel.abi.signals import choose
from conda2wheel.errors import Refused
from conda2wheel.files.pypa import parse_specifiers
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from conda2wheel.link.library import LibraryUser
    from conda2wheel.wheel.reader import Wheel

SITE_PACKAGES = "its site-packages"

_CPYTHON = re.compile(r"\.cpython-(\d)(\d{1,4})t?(-[^.]*)?\.so$")
_ABI3 = re.compile(r"\.abi3(-[^.]*)?\.so$")
_WHEEL_TAG = re.compile(r"(?m)^Tag:\s*([^\s-]+)-([^\s-]+)-(\S+)\s*$")
_EXACT_ABI = re.compile(r"cp(\d)(\d{1,4})t?")
_ABI_PIN = re.compile(r"python_abi\s+=*(3\.\d{1,4})(?!\d)|python\s+=*(3\.\d{1,4})(?:\.\*|\s|$)")
ANY = "any"
_LOWEST = re.compile(r">=\s*3\.(\d{1,4})(?!\d)")


class Interpreter(NamedTuple):
    """The Python and ABI tags.

    Attributes:
        exact: the only CPython that the wheel runs on ("3.13"); None for abi3 and for a wheel without extension modules.
        built_with: the CPython that it was built for, if that is known.
    """

    python_tag: str
    abi_tag: str
    exact: str | None
    built_with: str | None


PURE = ("py3", "none")


def is_extension(path: str, binary: SideModule) -> bool:
    """Whether a side module is a CPython extension module rather than a library: by its suffix, else by PyInit_."""
    return bool(_CPYTHON.search(path) or _ABI3.search(path) or binary.init_functions)


def interpreter(
    package: LibraryUser,
    native: Mapping[str, SideModule],
    folder_python: str | None,
    wheel_file: str | None,
    where: str = SITE_PACKAGES,
) -> Interpreter:
    """The Python and ABI tags of a package.

    Args:
        package: the package, whose depends are read.
        native: its side modules, by path in site-packages.
        folder_python: the CPython of its site-packages folder.
        wheel_file: the text of its WHEEL.
        where: what names `folder_python`, for messages.

    Raises:
        Refused: abi-conflict if suffix, folder and depends name different CPythons, unknown-abi if an extension module names
            none.
    """
    extensions = [path for path, binary in native.items() if is_extension(path, binary)]
    if not extensions:
        return Interpreter(*PURE, None, folder_python)
    exact = {f"{m[1]}.{m[2]}" for path in extensions if (m := _CPYTHON.search(path))}
    plain = [path for path in extensions if not _CPYTHON.search(path) and not _ABI3.search(path)]
    # The name of a bare .so has no ABI; then the abi3 tag in WHEEL is the only evidence (pymupdf's wheels).
    if plain and not exact and not _claims_abi3(wheel_file):
        seen = folder_python or _python_abi(package)
        if seen is None:
            raise Refused(
                "unknown-abi", f"{package.source}: {plain[0]} names no CPython, nor does {where}", "its build is incomplete"
            )
        exact = {seen}
    if len(exact) > 1:
        raise Refused(
            "abi-conflict", f"{package.source}: extension modules for CPython {' and '.join(sorted(exact))}", "split the package"
        )
    if exact:
        python = exact.pop()
        _agree(package, python, folder_python, where)
        tag = "cp" + python.replace(".", "")
        return Interpreter(tag, tag, python, python)
    lowest = _abi3_floor(package, wheel_file, folder_python)
    return Interpreter(lowest, "abi3", None, folder_python)


def _agree(package: LibraryUser, python: str, folder_python: str | None, where: str) -> None:
    for other, origin in ((folder_python, where), (_python_abi(package), "its depends")):
        if other is not None and other != python:
            raise Refused(
                "abi-conflict", f"{package.source}: extension modules for CPython {python}, {origin} for {other}", "rebuild it"
            )


def _python_abi(package: LibraryUser) -> str | None:
    for spec in package.depends:
        match = _ABI_PIN.match(spec)
        if match:
            return match[1] or match[2]
    return None


def _claims_abi3(wheel_file: str | None) -> list[str]:
    """The Python tags of the abi3 tags in WHEEL, such as cp313."""
    claims = _WHEEL_TAG.finditer(wheel_file or "")
    return [python for m in claims if m[2] == "abi3" for python in m[1].split(".") if re.fullmatch(r"cp3\d{1,4}", python)]


def _abi3_floor(package: LibraryUser, wheel_file: str | None, folder_python: str | None) -> str:
    """The Python tag of an abi3 wheel: that in WHEEL, else `python >=3.N` in depends, else the CPython that it was built for."""
    if tags := _claims_abi3(wheel_file):
        return min(tags, key=lambda tag: int(tag[3:]))
    for spec in package.depends:
        lowest = _LOWEST.search(spec) if spec.split(" ")[0] == "python" else None
        if lowest:
            return f"cp3{lowest[1]}"
    if folder_python:
        return "cp" + folder_python.replace(".", "")
    raise Refused(
        "unknown-abi", f"{package.source}: abi3 modules, and nothing says from which CPython on", "give the package a WHEEL file"
    )


def abi3_fits(package: LibraryUser, interp: Interpreter, platforms: Iterable[Platform]) -> None:
    """Raise `Refused` (abi-conflict) for an abi3 wheel that needs a newer CPython than one of the platforms has."""
    floor = re.fullmatch(r"cp3(\d+)", interp.python_tag)
    if interp.abi_tag != "abi3" or floor is None:
        return
    for platform in platforms:
        if platform.on_pypi and platform.python and int(floor[1]) > int(platform.python.split(".")[1]):
            raise Refused(
                "abi-conflict",
                f"{package.source}: abi3 from CPython 3.{floor[1]} on, but {platform.tag} has CPython {platform.python}",
                "take another --platform",
            )


def admits(requires_python: str | None, platform: Platform) -> bool:
    """Whether Requires-Python admits the CPython of a platform."""
    bounds = parse_specifiers(requires_python or "")
    return bounds is None or platform.cpython is None or bounds.contains(platform.cpython, prereleases=True)


def excluded_python(
    requires_python: str | None, interp: Interpreter | None, platforms: Sequence[Platform]
) -> tuple[ConversionWarning, ...]:
    """A warning if Requires-Python excludes the CPython of the wheel, so that no installer takes it.

    Args:
        requires_python: the field of METADATA.
        interp: the wheel's tags; None if only the platforms are known.
        platforms: the platforms of the wheel; none for a pure wheel, which is only for the CPython that it was built for.
    """
    bounds = parse_specifiers(requires_python or "")
    if bounds is None or not requires_python:
        return ()
    pythons = {row.cpython: f"CPython {row.cpython} of {row.tag}" for row in platforms if row.cpython}
    own = (interp.exact or (None if platforms else interp.built_with)) if interp else None
    excluded = [name for version, name in pythons.items() if not bounds.contains(version, prereleases=True)]
    if own and not excluded and (bounds & SpecifierSet(f"=={own}.*")).is_unsatisfiable():
        excluded = [f"CPython {own}, which it was built for"]
    if not excluded and bounds.is_unsatisfiable():
        excluded = ["every CPython"]
    if not excluded:
        return ()
    why = f"Requires-Python {requires_python} excludes {' and '.join(excluded)}: installers do not take the wheel there"
    return (ConversionWarning("requires-python", why, "METADATA"),)


def require_admitted(source: str, requires_python: str | None, platforms: Sequence[Platform]) -> None:
    """Raise `Refused` (abi-conflict) where Requires-Python excludes the CPython of one of several platforms.

    No installer takes the wheel there, so its tag would say what is not so.
    """
    for row in platforms if len(platforms) > 1 else ():
        if not admits(requires_python, row):
            raise Refused(
                "abi-conflict",
                f"{source}: its Requires-Python {requires_python} excludes CPython {row.cpython} of {row.tag}",
                f"leave {row.tag} out",
            )


def wheel_tags(interp: Interpreter, platforms: Sequence[Platform], form: TagForm | None) -> frozenset[Tag]:
    """The tags of the file name: the platforms' in that form; `any` without a platform."""
    names = compressed_tags(platforms, form) or ANY
    return frozenset(Tag(interp.python_tag, interp.abi_tag, name) for name in names.split("."))


def check_claims(interp: Interpreter, wheel_file: str | None) -> list[ConversionWarning]:
    """A warning if the tags in the package's WHEEL differ; those of the binaries are used."""
    claimed = {(m[1], m[2]) for m in _WHEEL_TAG.finditer(wheel_file or "")}
    chosen = (interp.python_tag, interp.abi_tag)
    pure_claims = {("py3", "none"), ("py2", "none"), ("py2.py3", "none")}
    if not claimed or chosen in claimed or (chosen == PURE and claimed & pure_claims):
        return []
    words = ", ".join(sorted("-".join(claim) for claim in claimed))
    return [ConversionWarning("wheel-tag", f"WHEEL says {words}; the files are {'-'.join(chosen)}", "WHEEL")]


class Retagged(NamedTuple):
    """The new file name and tags of a wheel. `decision` has one platform, or all that the wheel is tagged for."""

    filename: str
    tags: frozenset[Tag]
    interpreter: Interpreter
    decision: Decision
    warnings: tuple[ConversionWarning, ...]


def retag(
    wheel: Wheel,
    native: Mapping[str, SideModule],
    elsewhere: Mapping[str, SideModule],
    forced: Sequence[Platform] = (),
    form: TagForm | None = None,
    tolerant: bool = False,
) -> Retagged:
    """Choose the tags of a wheel of another build tool: its own if they are right, else those that the evidence gives.

    Args:
        wheel: the wheel.
        native: its side modules in site-packages.
        elsewhere: its side modules among the data.
        forced: the platforms that the caller names.
        form: which tags of the platforms the wheel gets; None leaves a tag that has those of PEP 783 as it is.
        tolerant: as in `decide`.

    Raises:
        Refused: unknown-abi if nothing names the platform, abi-conflict if tags, suffixes, binaries and `forced` contradict.
    """
    named = _named(wheel.tags)
    if not native and not elsewhere and not named and not forced:
        said = ", ".join(sorted({tag.platform for tag in wheel.tags}))
        raise Refused(
            "unknown-abi",
            f"{wheel.source}: tagged {said}, and it has no side module that would say otherwise",
            "give --platform if it is for Pyodide",
        )
    # Where neither suffix nor tag names a CPython, abi3 modules are for that of the oldest platform and newer ones.
    interp = _interpreter(wheel, native, forced[:1] or named)
    modules = [(path, binary.signals) for path, binary in sorted({**native, **elsewhere}.items())]
    decision = _decide(wheel, interp, modules, named, forced, tolerant)
    warnings = list(decision.warnings)
    abi3_fits(wheel, interp, decision.platforms)
    require_admitted(wheel.source, wheel.metadata.get("Requires-Python"), decision.platforms)
    warnings += excluded_python(wheel.metadata.get("Requires-Python"), interp, decision.platforms)
    head, python, abi, platform = _filename_parts(wheel.path.name)
    if _generic(wheel.tags, interp):
        python, abi = interp.python_tag, interp.abi_tag
    platform = _platform_part(platform, decision.platforms, form)
    filename = f"{head}-{python}-{abi}-{platform}.whl"
    if filename != wheel.path.name:
        before = wheel.path.name.removesuffix(".whl").removeprefix(f"{head}-")
        warnings.append(ConversionWarning("retagged", f"it was tagged {before}; it is {python}-{abi}-{platform}", filename))
    tags = frozenset(Tag(i, a, p) for i in python.split(".") for a in abi.split(".") for p in platform.split("."))
    return Retagged(filename, tags, interp, decision, tuple(warnings))


def _named(tags: Iterable[Tag]) -> list[Platform]:
    """The platforms that the tags name, oldest first; empty for `linux_wasm32` and similar tags."""
    rows = {row.name: row for tag in tags if (row := parse(tag.platform)) is not None}
    return sorted(rows.values(), key=lambda row: release(row.emscripten))


def _interpreter(wheel: Wheel, native: Mapping[str, SideModule], rows: Sequence[Platform]) -> Interpreter:
    """Python and ABI tags from suffixes and PyInit_ exports, else from the tag, else from the only CPython of its platform."""
    exact = {f"{m[1]}.{m[2]}" for tag in wheel.tags if (m := _EXACT_ABI.fullmatch(tag.abi))}
    implied = {row.python for row in rows if row.python} if len(rows) == 1 and not _suffixed(native) else set()
    pythons = exact or implied
    python = next(iter(pythons)) if len(pythons) == 1 else None
    claims = "\n".join(f"Tag: {tag}" for tag in wheel.tags)
    return interpreter(wheel, native, python, claims, "its tag")


def _suffixed(native: Mapping[str, SideModule]) -> bool:
    return any(re.search(r"\.cpython-\d+", path) for path in native)


def _decide(
    wheel: Wheel, interp: Interpreter, modules: Modules, named: Sequence[Platform], forced: Sequence[Platform], tolerant: bool
) -> Decision:
    """The platform of a wheel; all that its tags name, if nothing else names one."""
    python = interp.exact or interp.built_with
    is_exact = interp.exact is not None
    own = [(row, Claim("package", f"is tagged {_tags(wheel, row)}", frozenset({row.emscripten}))) for row in named]
    if forced:
        if is_exact:
            require_one_python(wheel.source, forced, python)
        told = [[claim for row, claim in own if row == platform] for platform in forced]
        pairs = zip(forced, told, strict=True)
        return _joint([decide(wheel.source, claims, python, modules, [row], is_exact, tolerant) for row, claims in pairs])
    if named:
        return _joint([decide(wheel.source, [claim], python, modules, (), is_exact, tolerant) for _, claim in own])
    fit = choose([row for row in platforms() if row.python and (python is None or row.python == python)], modules)
    why = f"is tagged {', '.join(sorted({tag.platform for tag in wheel.tags}))}, which names no Emscripten"
    claim = Claim("package", why, frozenset(row.emscripten for row in fit))
    decision = decide(wheel.source, [claim], python, modules, (), is_exact, tolerant)
    said = f"CPython {python} and the binaries" if python else "the binaries"
    note = f"its tag names no platform of Pyodide's; by {said} it is taken as {decision.tag}"
    return decision._replace(warnings=(ConversionWarning("platform-from-interpreter", note), *decision.warnings))


def _joint(decisions: Sequence[Decision]) -> Decision:
    """One decision of those for several platforms."""
    return Decision(
        tuple(row for each in decisions for row in each.platforms),
        tuple(dict.fromkeys(text for each in decisions for text in each.evidence)),
        tuple(dict.fromkeys(warning for each in decisions for warning in each.warnings)),
    )


def _tags(wheel: Wheel, row: Platform) -> str:
    return ", ".join(sorted({tag.platform for tag in wheel.tags if parse(tag.platform) == row}))


def _generic(tags: Iterable[Tag], interp: Interpreter) -> bool:
    """Whether the tags name more interpreters than the extension modules run on: any Python, or abi3 for an exact ABI."""
    if (interp.python_tag, interp.abi_tag) == PURE:
        return False
    return all((tag.abi == "none" and tag.interpreter.startswith("py")) or (tag.abi == "abi3" and interp.exact) for tag in tags)


def _filename_parts(filename: str) -> tuple[str, str, str, str]:
    """NAME-VERSION with the build tag, if there is one, and the three parts of the tag."""
    *head, python, abi, platform = filename.removesuffix(".whl").split("-")
    return "-".join(head), python, abi, platform


def _platform_part(before: str, rows: Sequence[Platform], form: TagForm | None) -> str:
    """The platform part of the tag.

    It is unchanged if it has the wanted tags alone, in any order; without a form or with both, if it has no tag of another
    platform beside them.
    """
    current = before.split(".")
    wanted = compressed_tags(rows, form)
    if form in ("pep783", "pyodide"):
        return before if set(wanted.split(".")) == set(current) else wanted
    right = all((row := parse(tag)) is not None and row in rows for tag in current)
    return before if right and set(wanted.split(".")) <= set(current) else wanted
