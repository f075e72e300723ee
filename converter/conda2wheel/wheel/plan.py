"""Plan a wheel: every decision about its members, name, version, tags and metadata, before anything is linked or written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from packaging.tags import Tag
from packaging.version import Version

from conda2wheel.abi.choice import Decision, decide
from conda2wheel.abi.platforms import Platform, marker_environment, platforms, release
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule, side_modules
from conda2wheel.conda.abi_evidence import claims
from conda2wheel.conda.classify import is_for_r, refuse_unless_python
from conda2wheel.conda.names import is_valid_name, map_name, program_name, pypi_name
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.link.library import file_part
from conda2wheel.options import Options
from conda2wheel.recipes.model import Recipe
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.apply_recipe import AddedFile, with_license, with_recipe_data, with_requirements, without_excluded
from conda2wheel.wheel.contents import require_complete, require_pyodides
from conda2wheel.wheel.dist_infos import Distribution
from conda2wheel.wheel.entry_points import SCRIPT_GROUPS, EntryPoints, read_entry_points
from conda2wheel.wheel.layout import Layout, Placed, plan_layout
from conda2wheel.wheel.metadata import Document, corrected, egg_requirements, generated, with_provides_extra
from conda2wheel.wheel.prefix import interpreter_of
from conda2wheel.wheel.requirements import from_depends, reconcile
from conda2wheel.wheel.tags import (
    PURE,
    Interpreter,
    abi3_fits,
    check_claims,
    excluded_python,
    interpreter,
    require_admitted,
    wheel_tags,
)
from conda2wheel.wheel.versions import pep440

if TYPE_CHECKING:
    from conda2wheel.wheel.programs import ProgramPlan


class Plan(NamedTuple):
    """The plan of a wheel.

    Attributes:
        interpreter: the Python and ABI tags.
        decision: the platforms and the evidence for them; None for a pure wheel.
        placed: the files of the package that become members.
        native: the side modules in site-packages, by path below it.
        libraries: the package's own shared libraries outside of site-packages.
        dropped: (path, reason) of each file that is left out.
        programs: the programs that it has as commands; None without any.
    """

    package: CondaPackage
    name: str
    version: str
    interpreter: Interpreter
    decision: Decision | None
    tags: frozenset[Tag]
    placed: tuple[Placed, ...]
    native: Mapping[str, SideModule]
    libraries: Mapping[str, SideModule]
    distribution: Distribution | None
    metadata: Document
    entry_points: EntryPoints
    dropped: tuple[tuple[str, str], ...]
    warnings: tuple[ConversionWarning, ...]
    recipe: Recipe | None = None
    programs: ProgramPlan | None = None

    @property
    def file_part(self) -> str:
        """The name as file names have it: PEP 503, with underscores."""
        return file_part(self.name)

    @property
    def stem(self) -> str:
        """NAME-VERSION, as in the names of the wheel, its dist-info folder and its data folder."""
        return f"{self.file_part}-{self.version}"

    @property
    def filename(self) -> str:
        """NAME-VERSION-PYTHON-ABI-PLATFORM.whl, without a build tag, which Pyodide's loader takes for a part of the version."""
        return wheel_filename(self.stem, self.tags)

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Path and bytes of every Python file."""
        return ((item.path, item.file.blob.read()) for item in self.placed if item.path.endswith(".py"))

    def requiring(self, lines: Iterable[str]) -> Plan:
        """The plan with more Requires-Dist lines."""
        return self._replace(metadata=self.metadata.replaced("Requires-Dist", [*self.metadata.all("Requires-Dist"), *lines]))


def wheel_filename(stem: str, tags: Iterable[Tag]) -> str:
    """The file name of a wheel whose tags differ only in their platforms."""
    tags = tuple(tags)
    platforms = ".".join(sorted({tag.platform for tag in tags}, key=lambda p: (not p.startswith("pyemscripten_"), p)))
    return f"{stem}-{tags[0].interpreter}-{tags[0].abi}-{platforms}.whl"


def plan_wheel(package: CondaPackage, options: Options, added: Iterable[AddedFile] = ()) -> Plan:
    """Decide everything about the wheel of a package: members, name, version, tags, metadata, entry points.

    Args:
        package: the conda package. No other package is opened.
        options: the platform, tags, pins, recipe and names to use, and the refusal codes that become warnings.
        added: the files that the recipe takes from other packages.

    Raises:
        Refused: the package cannot become a wheel, with the code that says why.
    """
    recipe = options.recipe
    if recipe is not None and recipe.refuse is not None:
        raise Refused(recipe.refuse[0], f"{package.source}: {recipe.refuse[1]}", "its conversion recipe says so")
    whole, package = package, without_excluded(package, recipe)
    try:
        refuse_unless_python(package)
    except Refused as refusal:
        return _plan_of_programs(package, options, refusal)
    layout = with_recipe_data(plan_layout(package), package, recipe)
    contents_warnings = (*require_complete(whole, layout), *require_pyodides(package, layout.placed))
    modules = _side_modules(package, layout)
    data_modules = {**modules.data, **{each.origin: SideModule(each.file) for each in added if each.is_module}}
    wheel_file = layout.distribution.text("WHEEL") if layout.distribution else None
    interp = interpreter(package, modules.site, layout.python, wheel_file)
    decision = _decide(package, interp, {**modules.site, **data_modules}, options)
    name, version, identity_warnings = _identity(package, layout.distribution, recipe)
    entry_points, entry_point_warnings = read_entry_points(package, layout.distribution)
    placed, dropped, script_warnings = _without_scripts(modules.placed, entry_points)
    brought = _brought(package, options, name, version, entry_points)
    requirements = _requirements(package, layout.distribution, interp, decision, options)
    metadata, metadata_warnings = corrected(requirements.document, package, name, version, requirements.requires)
    metadata = with_license(with_requirements(with_provides_extra(metadata), recipe), recipe)
    if brought is not None:
        metadata, entry_points = _requiring(metadata, brought.requires_with_python), brought.entry_points(entry_points)
        own = {program.path for program in brought.programs}
        layout = layout._replace(dropped=tuple(each for each in layout.dropped if each[0] not in own))
    rows = decision.platforms if decision else ()
    require_admitted(package.source, metadata.get("Requires-Python"), rows)
    python_warnings = excluded_python(metadata.get("Requires-Python"), interp, rows)
    if python_warnings and options.pins == "conda":
        metadata = _with_condas_python(metadata, requirements.python, interp, rows)
        written = metadata.get("Requires-Python") or "none"
        python_warnings = tuple(replace(each, message=f"{each.message}; {written} was written") for each in python_warnings)
    return Plan(
        package=package,
        name=name,
        version=version,
        interpreter=interp,
        decision=decision,
        tags=wheel_tags(interp, decision.platforms if decision else (), options.tags),
        placed=placed,
        native=modules.site,
        libraries=side_modules(layout.libraries),
        distribution=layout.distribution,
        metadata=metadata,
        entry_points=entry_points,
        dropped=(*layout.dropped, *dropped),
        recipe=recipe,
        programs=brought,
        warnings=(
            *package.warnings,
            *_without_programs(layout.warnings, brought),
            *contents_warnings,
            *_recipe_warnings(recipe),
            *modules.warnings,
            *(decision.warnings if decision else ()),
            *check_claims(interp, wheel_file),
            *identity_warnings,
            *entry_point_warnings,
            *_without_programs(script_warnings, brought),
            *(brought.warnings if brought is not None else ()),
            *requirements.warnings,
            *metadata_warnings,
            *python_warnings,
        ),
    )


def _plan_of_programs(package: CondaPackage, options: Options, refusal: Refused) -> Plan:
    """Plan the wheel of a package that has nothing for Python but programs. Raises its refusal if there is none to start."""
    if refusal.code not in ("executable", "not-python", "static-library") or options.programs is False or is_for_r(package):
        raise refusal
    from conda2wheel.programs.find import find_programs
    from conda2wheel.wheel.programs import REQUIRES_PYTHON, plan_programs

    found = find_programs(package)
    if not found.programs:
        if refusal.code != "executable" or not found.problems:
            raise refusal
        shown = "; ".join(f"{path}: {why}" for path, why in found.problems[:3])
        raise Refused("executable", f"{refusal.message}, and no launcher can: {shown}", refusal.hint)
    recipe = options.recipe
    name, version, identity_warnings = _identity(package, None, recipe, of_programs=True)
    programs = plan_programs(package, found, name, version, {})
    metadata, metadata_warnings = corrected(generated(package, REQUIRES_PYTHON), package, name, version, ())
    metadata = with_license(with_requirements(_requiring(metadata, programs.requires), recipe), recipe)
    body = f"{programs.readme()}\n{metadata.body}".rstrip() + "\n"
    metadata = metadata._replace(body=body).replaced("Description-Content-Type", ["text/markdown"])
    interp = Interpreter(*PURE, None, None)
    return Plan(
        package=package,
        name=name,
        version=version,
        interpreter=interp,
        decision=None,
        tags=wheel_tags(interp, (), options.tags),
        placed=(),
        native={},
        libraries={},
        distribution=None,
        metadata=metadata,
        entry_points=programs.entry_points({}),
        dropped=programs.dropped,
        recipe=recipe,
        programs=programs,
        warnings=(
            *package.warnings,
            *_recipe_warnings(recipe),
            *identity_warnings,
            *programs.warnings,
            *metadata_warnings,
        ),
    )


def _brought(package: CondaPackage, options: Options, name: str, version: str, entry_points: EntryPoints) -> ProgramPlan | None:
    """The programs that a wheel with Python brings along; None unless it should and has some."""
    if not options.programs:
        return None
    from conda2wheel.programs.find import find_programs
    from conda2wheel.wheel.programs import plan_programs

    found = find_programs(package)
    return plan_programs(package, found, name, version, entry_points) if found.programs else None


def _requiring(metadata: Document, lines: Iterable[str]) -> Document:
    """The metadata with more requirements, and their extras."""
    return with_provides_extra(metadata.replaced("Requires-Dist", [*metadata.all("Requires-Dist"), *lines]))


def _without_programs(warnings: Iterable[ConversionWarning], brought: ProgramPlan | None) -> Iterator[ConversionWarning]:
    """The warnings, but for those about files that the programs bring along."""
    files = brought.files if brought is not None else {}
    return (each for each in warnings if each.code != "left-out" or each.file not in files)


def _recipe_warnings(recipe: Recipe | None) -> Iterator[ConversionWarning]:
    if recipe is not None and recipe.patched:
        yield ConversionWarning("patched", f"not upstream's code: {recipe.patched}", "METADATA")
    if recipe is not None and recipe.lacks:
        yield ConversionWarning("lacks", f"in Pyodide it lacks {recipe.lacks}", "METADATA")


class _SideModules(NamedTuple):
    """The files that stay in the wheel, and which of them are side modules.

    Side modules are listed by path in site-packages, and, among the data, by path in the package. Only those in site-packages are
    linked.
    """

    placed: tuple[Placed, ...]
    site: Mapping[str, SideModule]
    data: Mapping[str, SideModule]
    warnings: tuple[ConversionWarning, ...]


def _side_modules(package: CondaPackage, layout: Layout) -> _SideModules:
    """Read every file named `.so`, and remove those that are no side modules.

    Pyodide opens every such file when it loads a wheel, and gives up the wheel at the first that is no side module.

    Raises:
        Refused: abi-conflict or fake-dylib for such a file in a package for Emscripten. In a noarch package without side
            modules it is left out: it is a program for another system.
    """
    placed: list[Placed] = []
    site: dict[str, SideModule] = {}
    data: dict[str, SideModule] = {}
    unloadable: list[tuple[Placed, SideModule]] = []
    warnings: list[ConversionWarning] = []
    for item in layout.placed:
        if item.scheme == "scripts" or not SHARED_OBJECT.search(item.path):
            placed.append(item)
            continue
        binary = SideModule(item.file)
        if not binary.kind.is_loadable:
            unloadable.append((item, binary))
            continue
        placed.append(item)
        if item.scheme == "site":
            site[item.path] = binary
            continue
        data[item.origin] = binary
        if binary.needed:
            why = f"lies outside of site-packages, so what it NEEDs ({', '.join(binary.needed)}) was not looked for"
            warnings.append(ConversionWarning("not-linked", why, item.origin))
    for item, binary in unloadable:
        what = f"{item.origin} is no side module but {binary.kind}" + (f" ({binary.problem})" if binary.problem else "")
        if binary.kind.is_wasm or site or package.subdir not in ("noarch", None):
            if binary.kind.is_foreign:
                raise Refused("abi-conflict", f"{package.source}: {what}", "it was built for another system")
            raise Refused("fake-dylib", f"{package.source}: {what}", "link it with -sSIDE_MODULE")
        why = f"{binary.kind}: Pyodide cannot open it and would not load the wheel"
        warnings.append(ConversionWarning("left-out", why, item.origin))
    return _SideModules(tuple(placed), site, data, tuple(warnings))


def _decide(package: CondaPackage, interp: Interpreter, modules: Mapping[str, SideModule], options: Options) -> Decision | None:
    """The platform of the side modules; None if there are none. Raises `Refused` (abi-conflict, unknown-abi)."""
    if not modules:
        return None
    decision = decide(
        package.source,
        claims(package),
        interp.exact or interp.built_with,
        [(path, binary.signals) for path, binary in sorted(modules.items())],
        options.platforms,
        interp.exact is not None,
        "abi-conflict" in options.allow,
    )
    abi3_fits(package, interp, decision.platforms)
    return decision


def _identity(
    package: CondaPackage, distribution: Distribution | None, recipe: Recipe | None, *, of_programs: bool = False
) -> tuple[str, str, tuple[ConversionWarning, ...]]:
    """Name and version of the wheel.

    The name is that of the recipe, else of the dist-info, else of the name table, else conda's. The version is that of the
    recipe, else of the conda index, since the version in a dist-info may be wrong.

    Raises:
        Refused: bad-name, bad-version.
    """
    own = (recipe.name if recipe else None) or (distribution.name if distribution else None)
    if own is None and distribution is not None and is_valid_name(distribution.folder_name):
        own = distribution.folder_name
    name = own or (program_name(package.name) if of_programs else pypi_name(package.name))
    if name is None or not is_valid_name(name):
        why = "PyPI's project of that name is another one" if name is None else "that is no distribution name"
        raise Refused(
            "bad-name",
            f"{package.source}: no metadata, and {package.name}: {why}",
            "give it a dist-info, or a recipe with its name",
        )
    version = (recipe.version if recipe else None) or pep440(package.version)
    if version is None:
        raise Refused("bad-version", f"{package.source}: {package.version} has no PEP 440 form", "a recipe can give it a version")
    warnings = []
    if of_programs and own is None and map_name(package.name).source == "identity":
        why = (
            f"no table says whether PyPI's project {name} is this program; if it is another one, a recipe gives the wheel a name"
        )
        warnings.append(ConversionWarning("program-name", why, "METADATA"))
    claimed = distribution.document.get("Version") if distribution else None
    if claimed and Version(pep440(claimed) or "0+none") != Version(version):
        warnings.append(
            ConversionWarning("version-mended", f"its metadata says {claimed}, the conda index {version}", "METADATA")
        )
    if "+" in version:
        warnings.append(ConversionWarning("local-version", f"PyPI takes no local versions such as {version}", "METADATA"))
    return name, version, tuple(warnings)


class _Requirements(NamedTuple):
    """Upstream's or generated metadata, and the Requires-Dist lines to write into it; None: those that it has.

    `python` is what conda's depends say of Python, as specifiers.
    """

    document: Document
    requires: Iterable[str] | None
    warnings: tuple[ConversionWarning, ...] = ()
    python: str | None = None


def _requirements(
    package: CondaPackage, distribution: Distribution | None, interp: Interpreter, decision: Decision | None, options: Options
) -> _Requirements:
    """Requires-Dist from a dist-info, else from an egg-info's requires.txt, else from `depends`; compared with `depends`."""
    document = distribution.document if distribution else Document()
    requires: Sequence[str] | None = None
    states_requires = distribution is not None and (distribution.kind == "dist-info" or bool(document.all("Requires-Dist")))
    if distribution is not None and not states_requires and (text := distribution.text("requires.txt")) is not None:
        requires, states_requires = egg_requirements(text), True
    if not document.fields or not states_requires:
        conda = from_depends(package.depends, options.names)
        if document.fields:
            return _Requirements(document, conda.requires or None, conda.warnings, conda.requires_python)
        unknown = "" if "depends" in package.index else "; nothing says what it requires"
        warning = ConversionWarning(
            "no-metadata", f"the package has none, so it is made from conda's own metadata{unknown}", "METADATA"
        )
        generic = generated(package, _requires_python(interp, conda.requires_python, decision))
        return _Requirements(generic, conda.requires, (*conda.warnings, warning))
    if "depends" not in package.index:
        return _Requirements(document, requires)
    platform = decision.platforms[0] if decision else platforms()[-1]
    python = interp.exact or interp.built_with or platform.python or ""
    upstream = tuple(document.all("Requires-Dist") if requires is None else requires)
    environment = marker_environment(python, platform.emscripten)
    merged = reconcile(upstream, package.depends, environment, options.pins, options.names)
    lines = merged.requires if merged.requires != upstream else requires
    return _Requirements(document, lines, merged.warnings, merged.requires_python)


def _requires_python(interp: Interpreter, from_index: str | None, decision: Decision | None) -> str | None:
    """Requires-Python for metadata that are made from conda's."""
    if interp.exact:
        return f"=={interp.exact}.*"
    if interp.abi_tag == "abi3":
        return f">=3.{interp.python_tag[3:]}"
    pythons = [row.python for row in decision.platforms if row.python] if decision else []
    if len(pythons) > 1:  # conda's limit is that of the folder that it was built into
        return f">={min(pythons, key=release)}"
    return from_index


def _with_condas_python(
    document: Document, from_index: str | None, interp: Interpreter, platforms: Sequence[Platform]
) -> Document:
    """The metadata with a Requires-Python that admits the wheel's CPython: conda's, else its extension modules', else none."""
    exact = f"=={interp.exact}.*" if interp.exact else None
    fitting = (each for each in (from_index, exact) if each and not excluded_python(each, interp, platforms))
    found = next(fitting, None)
    return document.replaced("Requires-Python", [found] if found else [])


def _without_scripts(
    placed: Iterable[Placed], entry_points: EntryPoints
) -> tuple[tuple[Placed, ...], list[tuple[str, str]], list[ConversionWarning]]:
    """Leave out the scripts that installers generate from entry points, and programs that Python does not run.

    Returns:
        The files that stay, (path, reason) of those left out, and warnings.
    """
    generated_names = {name for group in SCRIPT_GROUPS for name in entry_points.get(group, {})}
    kept: list[Placed] = []
    dropped: list[tuple[str, str]] = []
    warnings: list[ConversionWarning] = []
    for item in placed:
        if item.scheme == "scripts":
            stem = re.sub(r"(-script\.pyw?|\.exe(\.manifest)?)$", "", item.path)
            if stem in generated_names:
                dropped.append((item.origin, "installers make it from entry_points.txt"))
                continue
            data = item.file.blob.read()
            kind = SideModule(item.file).kind
            if kind.is_wasm or kind.is_foreign or interpreter_of(data) == "node":
                dropped.append((item.origin, "a program, which Pyodide cannot start"))
                warnings.append(ConversionWarning("left-out", "a program, which Pyodide cannot start", item.origin))
                continue
        kept.append(item)
    return tuple(kept), dropped, warnings
