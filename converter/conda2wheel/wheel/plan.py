"""The plan of a wheel: everything that is decided before anything is linked or written."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from packaging.tags import Tag
from packaging.version import Version

from conda2wheel.abi.choice import Decision, decide
from conda2wheel.abi.platforms import Platform, marker_environment, platforms
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule, side_modules
from conda2wheel.conda.abi_evidence import claims
from conda2wheel.conda.classify import refuse_unless_python
from conda2wheel.conda.names import NO_NAMES, Names, is_valid_name, pypi_name
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.link.common_wheel import file_part
from conda2wheel.options import Pins
from conda2wheel.recipes.model import Recipe
from conda2wheel.results import ConversionWarning
from conda2wheel.wasm.binary import file_kind
from conda2wheel.wheel.apply_recipe import Carried, with_license, with_own_data, with_requirements, without
from conda2wheel.wheel.dist_infos import Distribution
from conda2wheel.wheel.entry_points import SCRIPT_GROUPS, EntryPoints, read_entry_points
from conda2wheel.wheel.fix_metadata import egg_requires, generate, mend, with_extras
from conda2wheel.wheel.layout import Layout, Placed, plan_layout
from conda2wheel.wheel.metadata import Document
from conda2wheel.wheel.pins import compare
from conda2wheel.wheel.prefix import interpreter_of
from conda2wheel.wheel.requirements import from_depends
from conda2wheel.wheel.tags import Interpreter, abi3_fits, check_claims, interpreter, wheel_tags
from conda2wheel.wheel.versions import pep440


@dataclass(frozen=True)
class Plan:
    """What the wheel will be. `native` are its side modules by path below site-packages, `libraries` the package's own
    shared libraries outside of it; `decision` is None for a pure wheel."""

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

    @property
    def file_part(self) -> str:
        """The name as in file names: PEP 503, with underscores."""
        return file_part(self.name)

    @property
    def stem(self) -> str:
        """NAME-VERSION, as in file names and in those of dist-info and data."""
        return f"{self.file_part}-{self.version}"

    @property
    def filename(self) -> str:
        """NAME-VERSION-PYTHON-ABI-PLATFORM.whl; no build tag, which Pyodide's loader takes for a part of the version."""
        return wheel_filename(self.stem, self.tags)

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Its Python files by path."""
        return ((item.path, item.file.blob.read()) for item in self.placed if item.path.endswith(".py"))

    def requiring(self, line: str) -> Plan:
        """The same with one more requirement."""
        return replace(self, metadata=self.metadata.replaced("Requires-Dist", [*self.metadata.all("Requires-Dist"), line]))


def wheel_filename(stem: str, tags: Iterable[Tag]) -> str:
    """The file name of a wheel whose tags differ in their platforms only."""
    tags = tuple(tags)
    platforms = ".".join(sorted({tag.platform for tag in tags}, key=lambda p: (not p.startswith("pyemscripten"), p)))
    return f"{stem}-{tags[0].interpreter}-{tags[0].abi}-{platforms}.whl"


def plan_wheel(
    package: CondaPackage,
    forced: Platform | None = None,
    compat_tags: bool = False,
    allow: Collection[str] = (),
    pins: Pins = "metadata",
    recipe: Recipe | None = None,
    others: Iterable[Carried] = (),
    names: Names = NO_NAMES,
) -> Plan:
    """Decide what the wheel of `package` will be; `allow` are refusal codes that shall be warnings instead, `pins` whose bounds
    on requirements hold where METADATA and conda differ, `recipe` what it needs beyond the rules, `others` the files of other
    packages that come with it, `names` what is known of the names of dependencies beyond the rows.

    Raises `Refused` with the code that applies; reads no other package.
    """
    if recipe is not None and recipe.refuse is not None:
        raise Refused(recipe.refuse[0], f"{package.source}: {recipe.refuse[1]}", "its conversion recipe says so")
    package = without(package, recipe)
    refuse_unless_python(package)
    layout = with_own_data(plan_layout(package), package, recipe)
    warnings = [*package.warnings, *layout.warnings]
    if recipe is not None and recipe.patched:
        warnings.append(ConversionWarning("patched", f"not upstream's code: {recipe.patched}", "METADATA"))
    if recipe is not None and recipe.lacks:
        warnings.append(ConversionWarning("lacks", f"in Pyodide it lacks {recipe.lacks}", "METADATA"))
    placed, native, elsewhere = _native(package, layout, warnings)
    elsewhere |= {each.origin: SideModule(each.file) for each in others if each.is_module}
    wheel_file = layout.distribution.text("WHEEL") if layout.distribution else None
    interp = interpreter(package, native, layout.python, wheel_file)
    decision = None
    if native or elsewhere:
        modules = [(path, binary.signals) for path, binary in sorted({**native, **elsewhere}.items())]
        decision = decide(
            package.source,
            claims(package),
            interp.exact or interp.built_with,
            modules,
            forced,
            interp.exact is not None,
            "abi-conflict" in allow,
        )
        warnings += decision.warnings
        abi3_fits(package, interp, decision.platform)
    warnings += check_claims(interp, wheel_file)
    name, version = _identity(package, layout.distribution, recipe, warnings)
    entry_points = read_entry_points(package, layout.distribution, warnings)
    placed, dropped = _scripts(placed, entry_points, warnings)
    return Plan(
        package=package,
        name=name,
        version=version,
        interpreter=interp,
        decision=decision,
        tags=wheel_tags(interp, decision.platform if decision else None, compat_tags),
        placed=placed,
        native=native,
        libraries=side_modules(layout.libraries),
        distribution=layout.distribution,
        metadata=with_license(
            with_requirements(
                _metadata(package, layout.distribution, interp, decision, name, version, pins, names, warnings), recipe
            ),
            recipe,
        ),
        entry_points=entry_points,
        dropped=(*layout.dropped, *dropped),
        recipe=recipe,
        warnings=tuple(warnings),
    )


def _native(
    package: CondaPackage, layout: Layout, warnings: list[ConversionWarning]
) -> tuple[tuple[Placed, ...], dict[str, SideModule], dict[str, SideModule]]:
    """What stays in the wheel, its side modules in site-packages, and those elsewhere (data), which are not linked.

    Pyodide opens every file named `.so` when it loads a wheel, and gives up at the first that is no side module; so a
    package with one is refused, unless it is one for another system.
    """
    placed: list[Placed] = []
    native: dict[str, SideModule] = {}
    elsewhere: dict[str, SideModule] = {}
    strange: list[tuple[Placed, SideModule]] = []
    for item in layout.placed:
        if item.scheme == "scripts" or not SHARED_OBJECT.search(item.path):
            placed.append(item)
            continue
        binary = SideModule(item.file)
        if binary.kind.is_loadable:
            placed.append(item)
            if item.scheme == "site":
                native[item.path] = binary
            else:
                elsewhere[item.origin] = binary
                if binary.needed:
                    why = f"lies outside of site-packages, so what it NEEDs ({', '.join(binary.needed)}) was not looked for"
                    warnings.append(ConversionWarning("not-linked", why, item.origin))
        else:
            strange.append((item, binary))
    for item, binary in strange:
        what = f"{item.origin} is no side module but {binary.kind}" + (f" ({binary.problem})" if binary.problem else "")
        if binary.kind.is_wasm or native or package.subdir not in ("noarch", None):
            if binary.kind.is_foreign:
                raise Refused("abi-conflict", f"{package.source}: {what}", "it was built for another system")
            raise Refused("fake-dylib", f"{package.source}: {what}", "link it with -sSIDE_MODULE")
        warnings.append(
            ConversionWarning(
                "left-out", f"{binary.kind}: Pyodide could not open it and would give up the whole wheel", item.origin
            )
        )
    return tuple(placed), native, elsewhere


def _identity(
    package: CondaPackage, distribution: Distribution | None, recipe: Recipe | None, warnings: list[ConversionWarning]
) -> tuple[str, str]:
    """Name from the dist-info, else the map, else conda; version always from the conda index (dist-info versions lie). A recipe
    beats all of them."""
    own = (recipe.name if recipe else None) or (distribution.name if distribution else None)
    if own is None and distribution is not None and is_valid_name(distribution.folder_name):
        own = distribution.folder_name
    name = own or pypi_name(package.name)
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
    claimed = distribution.document.get("Version") if distribution else None
    if claimed and Version(pep440(claimed) or "0+none") != Version(version):
        warnings.append(
            ConversionWarning("version-mended", f"its metadata says {claimed}, the conda index {version}", "METADATA")
        )
    if "+" in version:
        warnings.append(ConversionWarning("local-version", f"PyPI takes no local versions such as {version}", "METADATA"))
    return name, version


def _metadata(
    package: CondaPackage,
    distribution: Distribution | None,
    interp: Interpreter,
    decision: Decision | None,
    name: str,
    version: str,
    pins: Pins,
    names: Names,
    warnings: list[ConversionWarning],
) -> Document:
    document = distribution.document if distribution else Document()
    requires: Iterable[str] | None = None
    knows_requires = distribution is not None and (distribution.kind == "dist-info" or bool(document.all("Requires-Dist")))
    if distribution is not None and not knows_requires and (text := distribution.text("requires.txt")) is not None:
        requires, knows_requires = egg_requires(text), True
    if not document.fields or not knows_requires:
        converted = from_depends(package.depends, names)
        requires = converted.requires
        warnings += converted.warnings
        if not document.fields:
            document = generate(package, _requires_python(interp, converted.requires_python))
            known = "" if "depends" in package.index else "; nothing says what it requires"
            warnings.append(
                ConversionWarning("no-metadata", f"the package has none; made from what conda knows of it{known}", "METADATA")
            )
        elif not converted.requires:
            requires = None
    elif "depends" in package.index:
        here = decision.platform if decision else platforms()[-1]
        python = interp.exact or interp.built_with or here.python or ""
        own = tuple(document.all("Requires-Dist") if requires is None else requires)
        compared = compare(own, package.depends, marker_environment(python, here.emscripten), pins, names)
        warnings += compared.warnings
        requires = compared.requires if compared.requires != own else requires
    return with_extras(mend(document, package, name, version, requires, warnings))


def _requires_python(interp: Interpreter, from_index: str | None) -> str | None:
    if interp.exact:
        return f"=={interp.exact}.*"
    if interp.abi_tag == "abi3":
        return f">=3.{interp.python_tag[3:]}"
    return from_index


def _scripts(
    placed: Iterable[Placed], entry_points: EntryPoints, warnings: list[ConversionWarning]
) -> tuple[tuple[Placed, ...], list[tuple[str, str]]]:
    """Leave out what installers make from entry points, and programs that no Python runs."""
    generated = {name for group in SCRIPT_GROUPS for name in entry_points.get(group, {})}
    kept, dropped = [], []
    for item in placed:
        if item.scheme == "scripts":
            stem = re.sub(r"(-script\.pyw?|\.exe(\.manifest)?)$", "", item.path)
            if stem in generated:
                dropped.append((item.origin, "installers make it from entry_points.txt"))
                continue
            data = item.file.blob.read()
            kind = file_kind(data)
            if kind.is_wasm or kind.is_foreign or interpreter_of(data) == "node":
                dropped.append((item.origin, "a program, which Pyodide cannot start"))
                warnings.append(ConversionWarning("left-out", "a program, which Pyodide cannot start", item.origin))
                continue
        kept.append(item)
    return tuple(kept), dropped
