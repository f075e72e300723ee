"""Someone else's wheel, made to run: the same link and the same audit as on `convert`'s road, and nothing else changed.

read        wheel.reader     every member, within bounds
tags        wheel.retag      which platform it was built for, and what it shall be called
link        link             NEEDED libraries found inside and in the libdirs, reached by one path
audit       gate             every symbol against the platform's newest Pyodide
amend       wheel.amend      changed modules, new libraries, WHEEL, licenses; everything else keeps its bytes
account     wheel.tell       where each member came from: conda2wheel.json, an SBOM
write       wheel.archive    whole or not at all; a wheel that needed nothing is copied byte for byte
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from packaging.tags import Tag

from conda2wheel.abi.audit.engine import Unit
from conda2wheel.abi.binaries import SHARED_OBJECT, Binary, read_binary
from conda2wheel.abi.platforms import Platform
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.commands.convert import size_warning
from conda2wheel.commands.gate import Gated, check_allow, gate
from conda2wheel.conda.origin import Source
from conda2wheel.errors import Conda2WheelError, Failed, Refused
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.reading import read_file
from conda2wheel.files.writing import write_file
from conda2wheel.link.libraries import LibraryIndex
from conda2wheel.link.link import Linked, link
from conda2wheel.options import Options
from conda2wheel.results import Repaired, Warned
from conda2wheel.wheel import editor as amend
from conda2wheel.wheel.members import change_of, vendored, vendored_licenses
from conda2wheel.wheel.provenance import Made, overridden, own_account
from conda2wheel.wheel.provenance_files import consulted, told
from conda2wheel.wheel.reader import Wheel, read_wheel
from conda2wheel.wheel.retag import ANY, Retagged, retag
from conda2wheel.wheel.writer import Member, build_wheel


def repair(
    wheel: str | Path,
    *,
    out: str | Path = "dist",
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    platform: str | Platform = "auto",
    compat_tags: bool = False,
    isolate: bool = True,
    provided: bool = True,
    allow: Iterable[str] = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
) -> Repaired:
    """Vendor into a wheel what its side modules NEED, correct its tag, and audit it.

    wheel: a wheel that any builder made. One that needs nothing (as pure Python never does) is copied byte for byte.
    out: the folder for the result; made if it is not there. The input itself is never overwritten.
    libdirs: where NEEDED libraries may be found, as for `LibraryIndex`; or an index to share between calls of one thread.
    platform: "auto" (by its tag, else by suffixes and binaries), a platform tag, a Pyodide version, or a `Platform`.
    compat_tags: add the platform's older aliases to the tag, for micropip before 0.11.1 on an index of your own.
    isolate, provided: as for `convert`.
    allow: refusal codes (one of `gate.ALLOWABLE`) that shall be warnings instead.
    downloads: as for `convert`, how libdirs that are URLs are had.

    Raises `Refused` or `Failed` as `convert` does. The same input and version of this library give the same bytes; the time
    of the members is SOURCE_DATE_EPOCH, where set, else that of the newest member.

    >>> repair("demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl", libdirs=["prefix/lib"]).filename  # doctest: +SKIP
    'demo-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl'
    """
    started = time.monotonic()
    limits = limits or Limits()
    options = Options.of(platform, compat_tags, isolate=isolate, provided=provided, allow=allow)
    index = libdirs if isinstance(libdirs, LibraryIndex) else LibraryIndex(libdirs, limits, downloads=downloads)
    return repair_wheel(read_wheel(Path(wheel), limits), index, options, Path(out), started)


def repair_wheel(opened: Wheel, index: LibraryIndex, options: Options, out: Path, started: float | None = None) -> Repaired:
    """What `repair` does with a wheel that was read. `started` is by the monotonic clock."""
    started = time.monotonic() if started is None else started
    modules = _modules(opened)
    if not modules and options.platform is None and all(tag.platform == ANY for tag in opened.tags):
        return _result(opened, out, options, None, Linked(), [], (), started)
    native = {path: binary for path, binary in modules.items() if not _is_data(path)}
    elsewhere = {path: binary for path, binary in modules.items() if path not in native}
    tagged = retag(opened, native, elsewhere, options.platform, options.compat_tags, "abi-conflict" in options.allow)
    linked = _link(opened, native, tagged, index, options)
    judged = _audit(opened, tagged, linked, options.allow)
    found = dict.fromkeys(warning for gated in judged for warning in gated.warnings)
    warnings = [*tagged.warnings, *_not_linked(elsewhere), *linked.warnings, *found]
    contents, notes = _amend(opened, tagged, linked, bool(modules))
    if contents:
        made = _made(opened, tagged, linked, options, judged, overridden(warnings))
        contents = told(made, opened.dist_info, contents, None, linked)
    return _result(opened, out, options, tagged, linked, [*warnings, *notes], contents, started)


def repair_each(
    wheels: Iterable[str | Path],
    *,
    out: str | Path = "dist",
    libdirs: Iterable[str | Path] = (),
    platform: str | Platform = "auto",
    compat_tags: bool = False,
    isolate: bool = True,
    provided: bool = True,
    allow: Iterable[str] = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
) -> Iterator[tuple[str, Repaired | Conda2WheelError]]:
    """Repair wheels in order, with the arguments of `repair`. Never raises for a wheel: yields each with its result or error.

    An unexpected exception becomes `Failed` (internal), with the exception as its cause.
    """
    index = LibraryIndex(libdirs, limits or Limits(), downloads=downloads)
    allowed = check_allow(allow)
    written: dict[str, str] = {}
    for wheel in map(str, wheels):
        try:
            result = repair(
                wheel,
                out=out,
                libdirs=index,
                platform=platform,
                compat_tags=compat_tags,
                isolate=isolate,
                provided=provided,
                allow=allowed,
                limits=limits,
            )
        except Conda2WheelError as error:
            yield wheel, error
        except Exception as bug:  # noqa: BLE001 - a bug of ours must not stop the other wheels; it is reported whole
            failed = Failed("internal", f"{wheel}: {type(bug).__name__}: {bug}", "this is a bug of conda2wheel; -v shows where")
            failed.__cause__ = bug
            yield wheel, failed
        else:
            if result.filename in written:
                why = f"the same file name as {written[result.filename]} gave; that wheel is replaced"
                result = replace(result, warnings=(*result.warnings, Warned("replaced-wheel", why, result.filename)))
            written[result.filename] = wheel
            yield wheel, result


def _modules(wheel: Wheel) -> dict[str, Binary]:
    """The side modules by path. Pyodide opens every file named `.so` when it loads a wheel, and gives up at the first that is
    no side module; so a wheel with one is refused."""
    found = {}
    for file in wheel.files:
        if not SHARED_OBJECT.search(file.name):
            continue
        binary = read_binary(file)
        if not binary.kind.is_loadable:
            what = f"{file.path} is no side module but {binary.kind}" + (f" ({binary.problem})" if binary.problem else "")
            if binary.kind.is_foreign:
                raise Refused("abi-conflict", f"{wheel.source}: {what}", "it was built for another system")
            raise Refused("fake-dylib", f"{wheel.source}: {what}", "link it with -sSIDE_MODULE")
        found[file.path] = binary
    return found


def _is_data(path: str) -> bool:
    """In NAME-VERSION.data: Pyodide's loader installs the data scheme from there, and no modules."""
    return path.partition("/")[0].endswith(".data")


def _not_linked(elsewhere: Mapping[str, Binary]) -> list[Warned]:
    return [
        Warned("not-linked", f"not in site-packages, so what it NEEDs ({', '.join(b.needed)}) was not looked for", path)
        for path, b in sorted(elsewhere.items())
        if b.needed
    ]


def _link(wheel: Wheel, native: Mapping[str, Binary], tagged: Retagged, index: LibraryIndex, options: Options) -> Linked:
    """Linked for its platform; where its tag names several, for each, which must not differ: one file cannot be two."""
    rows = [decision.platform for decision in tagged.decisions]
    texts = [(file.path, file.blob.read()) for file in wheel.files if file.path.endswith(".py")] if native else []
    linked = [
        link(
            wheel,
            row,
            native,
            {},
            index,
            wheel.distribution,
            isolate=options.isolate,
            provided=options.provided,
            texts=texts,
            allow=options.allow,
        )
        for row in rows
    ]
    if len(linked) > 1 and any(one.changes for one in linked):
        tags = ", ".join(row.tag for row in rows)
        raise Refused(
            "unknown-abi",
            f"{wheel.source}: tagged for {tags}, and what must change in it is not the same for each",
            f"give --platform, one of {tags}",
        )
    return linked[0]


def _audit(wheel: Wheel, tagged: Retagged, linked: Linked, allow: frozenset[str]) -> list[Gated]:
    """The one place where a wheel that would not run is refused: on any of the platforms that it is tagged for."""
    modules = {file.path: file for file in wheel.files if SHARED_OBJECT.search(file.name)}
    unit = Unit(
        name=tagged.filename,
        modules={path: file.blob.read() for path, file in {**modules, **linked.rewritten, **linked.libraries}.items()},
        distribution=wheel.distribution,
        abi3=tagged.interpreter.python_tag if tagged.interpreter.abi_tag == "abi3" else None,
    )
    return [gate(wheel.source, unit, decision.platform, allow) for decision in tagged.decisions]


def _amend(wheel: Wheel, tagged: Retagged, linked: Linked, native: bool) -> tuple[list[Member], list[Warned]]:
    """The members of the repaired wheel without RECORD; none if nothing is to be changed."""
    warnings: list[Warned] = []
    texts = vendored_licenses(linked, warnings)
    replaced: dict[str, amend.Change] = {path: (file.blob, change_of(linked, path)) for path, file in linked.rewritten.items()}
    replaced |= amend.described(wheel, tagged.tags, native, sorted(texts))
    added = [vendored(path, file, linked, linked.packages, warnings) for path, file in linked.libraries.items()]
    added += [Member(f"{wheel.dist_info}/licenses/{name}", blob, origin=origin) for name, (blob, origin) in texts.items()]
    problem = amend.record_problem(wheel)
    if problem:
        warnings.append(Warned("record-mended", f"{problem}; it is made new", f"{wheel.dist_info}/RECORD"))
    links = any(file.aliases for file in wheel.files)
    if not (replaced or added or problem or links or tagged.filename != wheel.path.name):
        return [], []
    return amend.members(wheel, _source(wheel), replaced, added), [*warnings, *amend.dropped(wheel)]


def _source(wheel: Wheel) -> Source:
    return Source(
        kind="wheel",
        name=wheel.metadata.get("Name") or wheel.name,
        version=wheel.version,
        filename=wheel.path.name,
        sha256=hashlib.sha256(read_file(wheel.path)).hexdigest(),
        license=_license(wheel),
    )


def _license(wheel: Wheel) -> str | None:
    return wheel.metadata.get("License-Expression") or wheel.metadata.get("License")


def _made(
    wheel: Wheel, tagged: Retagged, linked: Linked, options: Options, judged: list[Gated], overrides: tuple[Warned, ...]
) -> Made:
    return Made(
        command="repair",
        filename=tagged.filename,
        name=wheel.metadata.get("Name") or wheel.name,
        version=wheel.version,
        license=_license(wheel),
        platform=".".join(decision.platform.tag for decision in tagged.decisions),
        judged_by=tuple(gated.pyodide for gated in judged if gated.pyodide),
        evidence=tuple(text for decision in tagged.decisions for text in decision.evidence),
        options=options,
        input=_source(wheel),
        moment=options.moment(wheel.timestamp),
        consulted=consulted(linked),
        overrides=overrides,
        vendored=linked.vendored,
        provided=linked.provided,
        previous=own_account(wheel),
    )


def _result(
    wheel: Wheel,
    out: Path,
    options: Options,
    tagged: Retagged | None,
    linked: Linked,
    warnings: list[Warned],
    contents: Iterable[Member],
    started: float,
) -> Repaired:
    """Write the wheel, or copy it where it has no new `contents`."""
    contents = list(contents)
    filename = tagged.filename if tagged else wheel.path.name
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
    warnings += size_warning(target)
    tags: Iterable[Tag] = tagged.tags if tagged else wheel.tags
    return Repaired(
        source=wheel.source,
        wheel=target,
        filename=filename,
        sha256=sha256,
        platform=".".join(decision.platform.tag for decision in tagged.decisions) if tagged else ANY,
        name=wheel.metadata.get("Name") or wheel.name,
        version=wheel.version,
        tags=frozenset(map(str, tags)),
        requires=tuple(wheel.metadata.all("Requires-Dist")),
        vendored=linked.vendored,
        provided=linked.provided,
        warnings=tuple(dict.fromkeys(warnings)),
        evidence=tuple(text for decision in tagged.decisions for text in decision.evidence) if tagged else (),
        changed=bool(contents),
        seconds=time.monotonic() - started,
    )
