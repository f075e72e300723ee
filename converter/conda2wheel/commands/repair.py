"""`repair`: a wheel of another builder gets the libraries that it NEEDs, the right tag and the audit of `convert`.

read        wheel.reader       every member, within bounds; .data/platlib and .data/purelib go to the root
tags        wheel.tags         the platform that it was built for, and its tags
link        link               NEEDED libraries from the wheel and the libdirs, each reached by one path
audit       commands.verdict   every import against the symbols of the platform's newest Pyodide
edit        wheel.editor       changed modules, new libraries, WHEEL, licenses; all other members keep their bytes
provenance  wheel.provenance   conda2wheel.json and an SBOM
write       wheel.writer       whole or not at all; a wheel that needs no change is copied byte for byte
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypedDict

from packaging.tags import Tag

from conda2wheel.abi.audit.findings import listed
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.choice import Decision, PlatformChoice
from conda2wheel.abi.loaders import loader
from conda2wheel.abi.micropip import untaken
from conda2wheel.abi.platforms import TagForm
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule, side_modules
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.commands.pipeline import size_warnings
from conda2wheel.commands.verdict import Verdict, judge
from conda2wheel.commands.wheels_beside import BesideOne, WheelsBeside
from conda2wheel.conda.origin import MemberSource
from conda2wheel.errors import Conda2WheelError, Failed, Refused, require_several, unexpected_as_failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.reading import read_file, wheels_at
from conda2wheel.files.writing import write_file
from conda2wheel.link.library import otherwise_named
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.link.linked import Linked
from conda2wheel.link.linker import LinkOptions, link
from conda2wheel.link.resolution import WheelModules
from conda2wheel.options import Options
from conda2wheel.results import ConversionWarning, Repaired, explained
from conda2wheel.wheel import editor
from conda2wheel.wheel.members import consulted_sources, link_changes, vendored_licenses, vendored_members, with_provenance
from conda2wheel.wheel.provenance import Provenance, allowed_warnings, read_provenance
from conda2wheel.wheel.reader import Wheel, read_wheel, with_moved
from conda2wheel.wheel.tags import ANY, PURE, Interpreter, Retagged, retag
from conda2wheel.wheel.writer import Member, build_wheel, order


def repair(  # noqa: PLR0913 - a public function
    wheel: str | Path,
    *,
    out: str | Path = "dist",
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    platform: PlatformChoice = "auto",
    tags: TagForm | None = None,
    compat_tags: bool | None = None,
    isolate: bool = True,
    provided: bool = True,
    bridge: bool = True,
    allow: Iterable[str] = (),
    strict: bool = False,
    exclude: Iterable[str] = (),
    add_needed: Iterable[str] = (),
    find_links: Iterable[str | Path] = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
) -> Repaired:
    """Vendor into a wheel what its side modules NEED, correct its tag, and audit it.

    The same input, options and version of conda2wheel give the same bytes. The members of the wheel have the time of the newest
    member, or SOURCE_DATE_EPOCH where it is set.

    Args:
        wheel: a wheel of any build tool. A wheel that needs no change, such as one of pure Python, is copied byte for byte.
        out: the folder for the result; made if it does not exist. The input is never overwritten.
        libdirs: where NEEDED libraries are looked up, as for `convert`; or a `LibraryIndex` to share between calls of one thread.
        platform: "auto" (its tag, else suffixes and binaries), a platform tag, a Pyodide version, a `Platform`, or several of
            these, as for `convert`.
        tags: which names of the platform the tag has: "pep783", "both", or "pyodide". None: "pep783", and a tag that has that
            name beside others of the platform stays as it is.
        compat_tags: True is `tags` "both".
        isolate: as for `convert`.
        provided: as for `convert`.
        bridge: as for `convert`.
        allow: refusal codes that become warnings (`ALLOWABLE`).
        strict: as for `convert`.
        exclude: patterns of file names: NEEDED libraries that stay out of the wheel, because something else brings them.
        add_needed: NEEDED entries to add, as `LIBRARY` to every module, or as `MODULE:LIBRARY`, where MODULE is a pattern of
            paths or file names in the wheel.
        find_links: wheels, folders of wheels, and URLs of wheels or of pages with links to wheels, that are installed beside the
            result: their libraries are not vendored, and the result requires the wheels.
        limits: bounds on members, sizes and ratios of archives.
        downloads: as for `convert`; libdirs may be URLs.

    Raises:
        Refused: as `convert`.
        Failed: as `convert`, and usage if the result would overwrite the input.

    >>> repair("demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl", libdirs=["prefix/lib"]).filename  # doctest: +SKIP
    'demo-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl'
    """
    flags = _Flags(isolate=isolate, provided=provided, bridge=bridge, strict=strict, programs=False)
    options = _options(Options.of(platform, allow, tags, compat_tags, **flags), exclude, add_needed)
    bounds = limits or Limits()
    libraries = libdirs if isinstance(libdirs, LibraryIndex) else LibraryIndex(libdirs, bounds, downloads=downloads)
    beside = WheelsBeside(find_links, bounds, downloads)
    with unexpected_as_failed(str(wheel)):
        result = repair_wheel(read_wheel(Path(wheel), bounds), libraries, options, Path(out), beside)
    return replace(result, warnings=(*result.warnings, *untaken(platform, result.filename)))


class _Flags(TypedDict):
    """The flags of `repair` that are options of a wheel."""

    isolate: bool
    provided: bool
    bridge: bool
    strict: bool
    programs: bool


def _options(options: Options, exclude: Iterable[str], add_needed: Iterable[str]) -> Options:
    """Options with those of `repair` alone. Raises `Failed` (usage)."""
    for name, values in (("exclude", exclude), ("add_needed", add_needed)):
        require_several(name, values)
    return replace(options, exclude=tuple(exclude), add_needed=tuple(add_needed))


@dataclass(frozen=True)
class _Changes:
    """The changes to a wheel.

    They are its new tags and linked modules, with the verdict and warnings; further Requires-Dist lines; and the wheels `beside`
    it that it takes libraries from.
    """

    tagged: Retagged
    linked: Linked
    verdict: Verdict
    warnings: tuple[ConversionWarning, ...]
    requires: tuple[str, ...] = ()
    beside: tuple[MemberSource, ...] = ()


def repair_wheel(
    wheel: Wheel, libraries: LibraryIndex, options: Options, out: Path, beside: WheelsBeside | None = None
) -> Repaired:
    """Repair a wheel that was read. Raises as `repair`."""
    started = time.monotonic()
    record = editor.record_problem(wheel)
    wheel = with_moved(wheel)
    modules = _modules(wheel)
    is_pure = not modules and not options.platforms and all(tag.platform == ANY for tag in wheel.tags)
    if is_pure and not wheel.moved:
        written = _write(wheel, out, wheel.path.name, options, ())
        result = _result(wheel, written, None)
    else:
        changes = _unlinked(wheel) if is_pure else _changes(wheel, modules, libraries, options, beside)
        contents, notes = _edit(wheel, changes, bool(modules), record)
        changes = replace(changes, warnings=(*changes.warnings, *notes))
        if contents:
            provenance = _provenance(wheel, changes, options)
            contents = with_provenance(provenance, wheel.dist_info, contents, None, changes.linked)
        written = _write(wheel, out, changes.tagged.filename, options, contents)
        result = _result(wheel, written, changes)
    return replace(result, seconds=time.monotonic() - started)


def _unlinked(wheel: Wheel) -> _Changes:
    """The changes to a wheel of pure Python: none to its tags."""
    tagged = Retagged(wheel.path.name, wheel.tags, Interpreter(*PURE, None, None), Decision((), ()), ())
    return _Changes(tagged, Linked(), Verdict(), ())


def _moved(wheel: Wheel) -> list[ConversionWarning]:
    """The warning about files that are moved to the root."""
    if not wheel.moved:
        return []
    paths = sorted(wheel.moved)
    folder = wheel.moved[paths[0]].removesuffix(f"/{paths[0]}")
    why = f"{listed(paths)}: moved to the root, since Pyodide does not install {folder}"
    return [ConversionWarning("moved", why, wheel.moved[paths[0]])]


def _changes(
    wheel: Wheel, modules: Mapping[str, SideModule], libraries: LibraryIndex, options: Options, beside: WheelsBeside | None
) -> _Changes:
    native = {path: binary for path, binary in modules.items() if not _is_data(path)}
    elsewhere = {path: binary for path, binary in modules.items() if path not in native}
    tagged = retag(wheel, native, elsewhere, options.platforms, options.tags, "abi-conflict" in options.allow)
    others = BesideOne(wheel, beside) if beside else None
    asked, unasked = _asked(native, options.add_needed)
    notes = (*tagged.warnings, *_not_linked(elsewhere), *unasked)

    def noted() -> tuple[ConversionWarning, ...]:
        return (*notes, *(beside.notes if beside else ()), *(others.warnings if others else ()))

    with explained(lambda: (*noted(), *libraries.notes)):
        linked = _link(wheel, native, tagged, libraries, options, asked, others)
    with explained(lambda: (*noted(), *linked.warnings)):
        verdict = _judge(wheel, tagged, linked, options)
    requires = others.requirements(linked.library_wheels) if others else ()
    sources = others.sources(linked.library_wheels) if others else ()
    return _Changes(tagged, linked, verdict, (*noted(), *linked.warnings, *verdict.warnings), requires, sources)


def _asked(
    native: Mapping[str, SideModule], add_needed: Iterable[str]
) -> tuple[dict[str, tuple[str, ...]], list[ConversionWarning]]:
    """The NEEDED entries that the caller adds, by module, and a warning for each that is for no module of this wheel."""
    asked: dict[str, tuple[str, ...]] = {}
    warnings = []
    for each in add_needed:
        pattern, _, library = each.rpartition(":")
        fitting = [
            path
            for path in sorted(native)
            if (not pattern or fnmatchcase(path, pattern) or fnmatchcase(posixpath.basename(path), pattern))
            and posixpath.basename(path) != library
        ]
        for path in fitting:
            asked[path] = tuple(dict.fromkeys((*asked.get(path, ()), library)))
        if not fitting:
            warnings.append(ConversionWarning("add-needed-unused", f"--add-needed {each}: the wheel has no such module"))
    return asked, warnings


def repair_each(  # noqa: PLR0913 - a public function
    wheels: Iterable[str | Path],
    *,
    out: str | Path = "dist",
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    platform: PlatformChoice = "auto",
    tags: TagForm | None = None,
    compat_tags: bool | None = None,
    isolate: bool = True,
    provided: bool = True,
    bridge: bool = True,
    allow: Iterable[str] = (),
    strict: bool = False,
    exclude: Iterable[str] = (),
    add_needed: Iterable[str] = (),
    find_links: Iterable[str | Path] = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
) -> Iterator[tuple[str, Repaired | Conda2WheelError]]:
    """Repair several wheels in order, with the arguments of `repair`.

    Yields:
        Each wheel with its result or error. An unexpected exception becomes `Failed` (internal), with the exception as its cause.

    Raises:
        Failed: for wrong arguments (usage, not-found), never for a wheel.
    """
    require_several("wheels", wheels)
    flags = _Flags(isolate=isolate, provided=provided, bridge=bridge, strict=strict, programs=False)
    options = _options(Options.of(platform, allow, tags, compat_tags, **flags), exclude, add_needed)
    bounds = limits or Limits()
    libraries = libdirs if isinstance(libdirs, LibraryIndex) else LibraryIndex(libdirs, bounds, downloads=downloads)
    beside = WheelsBeside(find_links, bounds, downloads)
    written: dict[str, str] = {}
    for wheel, missing in [each for given in wheels for each in _given(given)]:
        try:
            with unexpected_as_failed(wheel):
                if missing is not None:
                    raise missing
                result = repair_wheel(read_wheel(Path(wheel), bounds), libraries, options, Path(out), beside)
        except Conda2WheelError as error:
            yield wheel, error
        else:
            result = replace(result, warnings=(*result.warnings, *untaken(platform, result.filename)))
            if result.filename in written:
                why = f"the same file name as the wheel of {written[result.filename]}, which it replaces"
                result = replace(result, warnings=(*result.warnings, ConversionWarning("replaced-wheel", why, result.filename)))
            written[result.filename] = wheel
            beside.note_written(result.wheel)
            yield wheel, result


def _given(source: str | Path) -> list[tuple[str, Conda2WheelError | None]]:
    """A wheel, or those of a folder; with the error of a folder that has none."""
    try:
        found = wheels_at(Path(source))
    except Conda2WheelError as error:
        return [(str(source), error)]
    return [(str(each), None) for each in found] if os.path.isdir(source) else [(str(source), None)]


def _modules(wheel: Wheel) -> dict[str, SideModule]:
    """Return the side modules by path.

    Raises:
        Refused: a shared object is no side module. Pyodide opens every `.so` file of a wheel, and stops at such a file.
    """
    found = {}
    for file in wheel.files:
        if not SHARED_OBJECT.search(file.name):
            continue
        binary = SideModule(file)
        if not binary.kind.is_loadable:
            what = f"{file.path} is no side module but {binary.kind}" + (f" ({binary.problem})" if binary.problem else "")
            if binary.kind.is_foreign:
                raise Refused("abi-conflict", f"{wheel.source}: {what}", "it is built for another system")
            raise Refused("fake-dylib", f"{wheel.source}: {what}", "link it with -sSIDE_MODULE")
        found[file.path] = binary
    return found


def _is_data(path: str) -> bool:
    """Whether a path is in NAME-VERSION.data, from where Pyodide's loader installs the data scheme and no modules."""
    return path.partition("/")[0].endswith(".data")


def _not_linked(elsewhere: Mapping[str, SideModule]) -> list[ConversionWarning]:
    return [
        ConversionWarning(
            "not-linked", f"not in site-packages, so the libraries that it NEEDs ({', '.join(b.needed)}) are not looked up", path
        )
        for path, b in sorted(elsewhere.items())
        if b.needed
    ]


def _link(
    wheel: Wheel,
    native: Mapping[str, SideModule],
    tagged: Retagged,
    index: LibraryIndex,
    options: Options,
    asked: Mapping[str, tuple[str, ...]],
    beside: BesideOne | None,
) -> Linked:
    """Link the wheel for its platforms."""
    texts = [(file.path, file.blob.read()) for file in wheel.files if file.path.endswith(".py")] if native else []
    link_options = LinkOptions(options.isolate, options.provided, options.allow, options.bridge)
    others = otherwise_named(wheel.files) if native else {}
    modules = WheelModules(
        wheel,
        tagged.decision.platforms,
        native,
        {},
        wheel.distribution,
        texts,
        others=others,
        excluded=options.exclude,
        asked=asked,
        beside=beside,
    )
    return link(modules, index, link_options)


def _judge(wheel: Wheel, tagged: Retagged, linked: Linked, options: Options) -> Verdict:
    """Return the verdict for the platforms in its tags. Raises `Refused` if the wheel does not load on one of them."""
    rewritten = {path: SideModule(file) for path, file in {**linked.rewritten, **linked.libraries}.items()}
    modules = {**side_modules(wheel.files), **rewritten}
    written_anew = rewritten or tagged.filename != wheel.path.name or _libs_too_late(wheel, tagged)
    places = {path: (0, f"{place:09}") for place, path in enumerate(wheel.order)}
    unit = AuditUnit(
        name=tagged.filename,
        modules={path: modules[path] for path in sorted(modules, key=order if written_anew else places.__getitem__)},
        distribution=wheel.distribution,
        abi3=tagged.interpreter.python_tag if tagged.interpreter.abi_tag == "abi3" else None,
        undecided=linked.undecided,
    )
    return judge(wheel.source, unit, tagged.decision.platforms, options, linked.installed, linked.unseen)


def _libs_too_late(wheel: Wheel, tagged: Retagged) -> bool:
    """Whether `<distribution>.libs` comes after other shared objects, which some Pyodide of its platforms minds."""
    pyodides = [version for row in tagged.decision.platforms for version, _ in row.pyodide]
    if all(loader(version).path_libs for version in pyodides):
        return False
    modules = [path for path in wheel.order if SHARED_OBJECT.search(path)]
    return modules != sorted(modules, key=lambda path: not path.startswith(f"{wheel.distribution}.libs/"))


def _edit(wheel: Wheel, made: _Changes, native: bool, problem: str) -> tuple[list[Member], list[ConversionWarning]]:
    """The members of the repaired wheel without RECORD; none if nothing is to be changed.

    `problem` is how RECORD differs from the members that the wheel had.
    """
    tagged, linked = made.tagged, made.linked
    texts, warnings = vendored_licenses(linked)
    replaced: dict[str, editor.Change] = {
        path: (file.blob, link_changes(linked, path)) for path, file in linked.rewritten.items()
    }
    replaced |= editor.described(wheel, tagged.tags, native, sorted(texts), made.requires)
    added, notes = vendored_members(linked, linked.packages)
    warnings += notes
    added += [Member(f"{wheel.dist_info}/licenses/{name}", blob, origin=origin) for name, (blob, origin) in texts.items()]
    if problem:
        warnings.append(ConversionWarning("record-mended", f"{problem}; it is written again", f"{wheel.dist_info}/RECORD"))
    links = wheel.lost or any(file.aliases for file in wheel.files)
    late = _libs_too_late(wheel, tagged)
    others = wheel.moved or wheel.other_infos
    if not (replaced or added or problem or links or late or others or tagged.filename != wheel.path.name):
        return [], []
    return editor.members(wheel, _source(wheel), replaced, added), [*warnings, *_moved(wheel), *editor.dropped(wheel)]


def _source(wheel: Wheel) -> MemberSource:
    return MemberSource(
        kind="wheel",
        name=wheel.metadata.get("Name") or wheel.name,
        version=wheel.version,
        filename=wheel.path.name,
        sha256=hashlib.sha256(read_file(wheel.path)).hexdigest(),
        license=_license(wheel),
    )


def _license(wheel: Wheel) -> str | None:
    return wheel.metadata.get("License-Expression") or wheel.metadata.get("License")


def _provenance(wheel: Wheel, changes: _Changes, options: Options) -> Provenance:
    tagged, linked = changes.tagged, changes.linked
    return Provenance(
        command="repair",
        filename=tagged.filename,
        name=wheel.metadata.get("Name") or wheel.name,
        version=wheel.version,
        license=_license(wheel),
        platform=tagged.decision.tag or ANY,
        judged_by=changes.verdict.pyodides,
        evidence=tagged.decision.evidence,
        options=options,
        input=_source(wheel),
        moment=options.moment(wheel.timestamp),
        consulted=(*consulted_sources(linked), *changes.beside),
        overrides=allowed_warnings(changes.warnings),
        unusable=changes.verdict.unusable,
        vendored=linked.vendored,
        provided=linked.provided,
        shared=linked.shared,
        requires=", ".join(linked.requirements) or None,
        previous=read_provenance(wheel),
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failed("unreadable", f"{path}: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Written:
    """The repaired wheel on disk; `changed` is False for a copy."""

    path: Path
    sha256: str
    changed: bool


def _write(wheel: Wheel, out: Path, filename: str, options: Options, contents: Sequence[Member]) -> _Written:
    """Write the wheel, or copy it if it has no new contents."""
    target = out / filename
    in_place = target.exists() and target.samefile(wheel.path)
    if contents and in_place:
        raise Failed("usage", f"{wheel.source}: the repaired wheel would replace it", "give another folder with -o")
    if contents:
        moment = options.moment(wheel.timestamp)
        sha256 = write_file(target, lambda: build_wheel(contents, wheel.dist_info, moment, options.level))
    else:
        data = read_file(wheel.path)
        sha256 = hashlib.sha256(data).hexdigest() if in_place else write_file(target, lambda: iter([data]))
    return _Written(target, sha256, bool(contents))


def _result(wheel: Wheel, written: _Written, changes: _Changes | None) -> Repaired:
    linked = changes.linked if changes else Linked()
    tags: Iterable[Tag] = changes.tagged.tags if changes else wheel.tags
    return Repaired(
        source=wheel.source,
        wheel=written.path,
        filename=written.path.name,
        sha256=written.sha256,
        platform=(changes.tagged.decision.tag or ANY) if changes else ANY,
        name=wheel.metadata.get("Name") or wheel.name,
        version=wheel.version,
        tags=frozenset(map(str, tags)),
        requires=(*wheel.metadata.all("Requires-Dist"), *(changes.requires if changes else ())),
        vendored=linked.vendored,
        provided=linked.provided,
        shared=linked.shared,
        unusable=changes.verdict.unusable if changes else (),
        warnings=tuple(dict.fromkeys((*(changes.warnings if changes else ()), *size_warnings(written.path)))),
        evidence=changes.tagged.decision.evidence if changes else (),
        changed=written.changed,
    )
