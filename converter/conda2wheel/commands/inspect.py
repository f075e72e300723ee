"""`inspect`: the contents of a package, a wheel or a side module, as one value with its JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.open import open_package
from conda2wheel.conda.open import DEFAULT_LIMITS
from conda2wheel.errors import Refused, unexpected_as_failed
from conda2wheel.files.packagefile import BytesBlob, EntryCount, Limits, PackageFile
from conda2wheel.files.reading import read_file
from conda2wheel.net.urls import is_url, redacted
from conda2wheel.wasm.binary import MAGIC, Kind
from conda2wheel.wasm.dylink import Dylink

if TYPE_CHECKING:
    from conda2wheel.conda.package import CondaPackage
    from conda2wheel.results import WheelProgram
    from conda2wheel.wheel.layout import Placed

GOT = ("GOT.mem", "GOT.func")


@dataclass(frozen=True)
class ModuleReport:
    """A file with the name of a shared object.

    `functions`, `got_entries` and `exports` are numbers of entries; sizes are bytes; `unwinding` is "js", "wasm", "js and wasm"
    or "none".
    """

    path: str
    kind: str
    size: int
    needed: tuple[str, ...]
    runtime_path: tuple[str, ...]
    init_functions: tuple[str, ...]
    functions: int
    got_entries: int
    weak: tuple[str, ...]
    tags: tuple[str, ...]
    exports: int
    memory_size: int | None
    table_size: int | None
    unwinding: str
    throws: bool
    shared_memory: bool
    memory64: bool
    problem: str


@dataclass(frozen=True)
class Inspection:
    """The contents of one input.

    Attributes:
        source: the path or URL.
        kind: package, wheel or module.
        facts: label and value pairs, in reading order.
        modules: the files with names of shared objects.
        files: of a package, the files that do not go to site-packages, with the place where they go; of a wheel that conda2wheel
            wrote, the members that it changed, with the change.
        account: the provenance of a wheel that conda2wheel wrote.
    """

    source: str
    kind: str
    facts: tuple[tuple[str, Any], ...]
    modules: tuple[ModuleReport, ...]
    files: tuple[tuple[str, str], ...] = ()
    account: Mapping[str, Any] | None = None

    def json(self) -> dict[str, Any]:
        """Return one entry of `results`."""
        return {
            "source": self.source,
            "kind": self.kind,
            **{label: list(value) if isinstance(value, tuple) else value for label, value in self.facts},
            "modules": [asdict(module) for module in self.modules],
            "files": [{"file": path, "fate": fate} for path, fate in self.files],
            **({"account": self.account} if self.account is not None else {}),
        }


def inspect(path: str | Path, limits: Limits = DEFAULT_LIMITS, downloads: Downloads = DOWNLOADS) -> Inspection:
    """Read a conda package (file, folder, URL), a wheel or a side module. Nothing is written.

    Raises:
        Refused: the input is damaged or hostile.
        Failed: not-found, network, unreadable.
    """
    source = str(path)
    with unexpected_as_failed(redacted(source) if is_url(source) else source):
        if not is_url(source) and os.path.isfile(source):
            if source.endswith(".whl"):
                return _wheel(Path(source), limits)
            if read_file(Path(source), len(MAGIC)) == MAGIC or SHARED_OBJECT.search(source):
                return _module(Path(source), limits)
        return _package(source, limits, downloads)


def _module(path: Path, limits: Limits) -> Inspection:
    entries = EntryCount(str(path), limits.entries)
    report = report_module(path.name, SideModule(PackageFile(path.name, BytesBlob(read_file(path)), entries=entries)))
    return Inspection(str(path), "module", (("file_kind", report.kind),), (report,))


def _wheel(path: Path, limits: Limits) -> Inspection:
    from conda2wheel.wheel.programs import programs_of
    from conda2wheel.wheel.provenance import read_provenance, summarize
    from conda2wheel.wheel.reader import read_wheel

    wheel = read_wheel(path, limits)
    account = read_provenance(wheel)
    facts: tuple[tuple[str, Any], ...] = (
        ("name", wheel.metadata.get("Name") or wheel.name),
        ("version", wheel.version),
        ("tags", tuple(sorted(map(str, wheel.tags)))),
        ("requires_python", wheel.metadata.get("Requires-Python")),
        ("requires", tuple(wheel.metadata.all("Requires-Dist"))),
        ("license", wheel.metadata.get("License-Expression") or wheel.metadata.get("License")),
        ("members", len(wheel.files)),
        ("size", sum(file.blob.size for file in wheel.files)),
        ("programs", _programs(programs_of(wheel))),
        ("sboms", tuple(file.path for file in wheel.files if file.path.startswith(f"{wheel.dist_info}/sboms/"))),
    )
    if account is None:
        return Inspection(str(path), "wheel", facts, _modules(wheel.files))
    provenance, changed = summarize(account)
    return Inspection(str(path), "wheel", (*facts, *provenance), _modules(wheel.files), changed, account)


def _package(source: str, limits: Limits, downloads: Downloads) -> Inspection:
    from conda2wheel.commands.pipeline import Context, prepare_package, read_package
    from conda2wheel.options import Options

    package = open_package(source, limits, downloads)
    opened = read_package(package, Options(), Context.of(limits=limits, downloads=downloads))
    facts: list[tuple[str, Any]] = [
        ("name", package.name),
        ("version", package.version),
        ("build", package.build),
        ("subdir", package.subdir),
        ("channel", package.channel),
        ("depends", package.depends),
        ("license", package.index.get("license")),
        ("members", len(package.files)),
        ("size", sum(file.blob.size for file in package.files)),
    ]
    try:
        plan = prepare_package(opened).plan
    except Refused as refusal:
        files, distribution = _layout(opened.package)
        facts += distribution
        facts += [("refused", refusal.code), ("why", refusal.message), ("hint", refusal.hint)]
    else:
        files = _outside_site_packages(plan.dropped, plan.placed)
        facts += [
            ("distribution", plan.distribution.folder if plan.distribution else None),
            ("wheel", plan.filename),
            ("programs", _programs(plan.programs.results() if plan.programs else ())),
            ("evidence", plan.decision.evidence if plan.decision else ()),
            ("requires", tuple(plan.metadata.all("Requires-Dist"))),
            ("warnings", tuple(f"{w.code}: {w.message}" for w in plan.warnings)),
        ]
    return Inspection(source, "package", tuple(facts), _modules(package.files), files)


def _programs(programs: Iterable[WheelProgram]) -> tuple[str, ...]:
    return tuple(f"{program.name} ({program.kind})" for program in programs)


def _layout(package: CondaPackage) -> tuple[tuple[tuple[str, str], ...], list[tuple[str, Any]]]:
    """Return the layout of a package that `convert` refuses; nothing if the layout is the reason of the refusal."""
    from conda2wheel.conda.classify import refuse_unless_python
    from conda2wheel.wheel.layout import plan_layout

    try:
        refuse_unless_python(package)
        layout = plan_layout(package)
    except Refused:
        return (), []
    folder = layout.distribution.folder if layout.distribution else None
    return _outside_site_packages(layout.dropped, layout.placed), [("distribution", folder)]


def _outside_site_packages(dropped: Iterable[tuple[str, str]], placed: Iterable[Placed]) -> tuple[tuple[str, str], ...]:
    """Return the files that do not go to site-packages, with the place where they go or the reason why they are dropped."""
    data = ((item.origin, f".data/{item.scheme}") for item in placed if item.scheme != "site")
    return tuple(sorted((*dropped, *data)))


def _modules(files: Iterable[PackageFile]) -> tuple[ModuleReport, ...]:
    return tuple(report_module(file.path, SideModule(file)) for file in files if SHARED_OBJECT.search(file.name))


def report_module(path: str, side: SideModule) -> ModuleReport:
    """Describe the sections of one module."""
    imports = side.module.imports if side.module else ()
    dylink = side.dylink
    memory = dylink.mem_info if dylink else None
    signals = side.signals
    unwinding = [word for word, seen in (("js", signals.js_unwinding), ("wasm", signals.wasm_unwinding)) if seen]
    return ModuleReport(
        path=path,
        kind=str(side.kind),
        size=side.file.blob.size,
        needed=side.needed,
        runtime_path=side.runtime_path,
        init_functions=side.init_functions,
        functions=sum(entry.kind == Kind.FUNC for entry in imports),
        got_entries=sum(entry.module in GOT for entry in imports),
        weak=tuple(info.field for info in dylink.imports if info.weak) if isinstance(dylink, Dylink) else (),
        tags=tuple(entry.field for entry in imports if entry.kind == Kind.TAG),
        exports=len(side.module.exports) if side.module else 0,
        memory_size=memory.memory_size if memory else None,
        table_size=memory.table_size if memory else None,
        unwinding=" and ".join(unwinding) or "none",
        throws=signals.throws,
        shared_memory=signals.shared_memory,
        memory64=signals.memory64,
        problem=side.problem,
    )
