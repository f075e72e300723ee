"""What a bundle is asked for: match specs, package files, folders of them, `requirements.txt` and `environment.yml`.

A requirement of pip's (a line of `requirements.txt`, or of `pip:` in `environment.yml`) names a project of PyPI: the package of a
channel that is this project is taken, else PyPI's own wheel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from conda2wheel.bundle.packages import INTERPRETER
from conda2wheel.bundle.requirements import BundleMember, conda_clauses
from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.repodata import channel_url, query
from conda2wheel.conda.classify import refuse_unless_python
from conda2wheel.conda.formats import PACKAGE_SUFFIXES, format_named
from conda2wheel.conda.match_spec import spec_name
from conda2wheel.conda.names import conda_names, is_marker
from conda2wheel.conda.open import open_local
from conda2wheel.conda.package import CondaPackage
from conda2wheel.conda.parsing import InvalidSpecError, channel_record, package_record
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.documents import DocumentError, parse_yaml
from conda2wheel.files.packagefile import FileBlob, Limits
from conda2wheel.files.pypa import applies, parse_requirement
from conda2wheel.files.reading import not_found, read_file, unreadable
from conda2wheel.net.urls import is_url
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from rattler import RepoDataRecord

MAX_FILE = 1 << 20  # bytes of a requirements file
MAX_FILES = 100  # requirements files that include each other
YAML_SUFFIXES = (".yml", ".yaml")
TOOLS = ("pip", "python")  # what an environment.yml lists for an environment, and no set of wheels has
_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_PER_REQUIREMENT = re.compile(r"\s+--?[a-z].*$")  # --hash, --config-settings ...
_NOT_A_PROJECT = re.compile(r"^(\.|/|~|[a-z+]+:|[A-Za-z]:\\)|\.(whl|zip|tar\.gz)$")
_WITH_VALUE = ("-r", "--requirement", "-c", "--constraint", "-e", "--editable")


@dataclass(frozen=True)
class ProjectRequirement:
    """A requirement of pip's, and where it stands, such as `requirements.txt:3`."""

    requirement: Requirement
    where: str


@dataclass(frozen=True)
class BundleSources:
    """What is asked for.

    Attributes:
        specs: match specs.
        packages: records of packages on disk, which come before those of channels.
        requirements: requirements of pip's, whose markers are not evaluated yet.
        constraints: limits of `-c` files.
        channels: those that an environment.yml names.
        warnings: what in the files does not count.
    """

    specs: tuple[str, ...] = ()
    packages: tuple[RepoDataRecord, ...] = ()
    requirements: tuple[ProjectRequirement, ...] = ()
    constraints: tuple[ProjectRequirement, ...] = ()
    channels: tuple[str, ...] = ()
    warnings: tuple[ConversionWarning, ...] = ()

    def __add__(self, other: BundleSources) -> BundleSources:
        """Return both together."""
        return BundleSources(
            (*self.specs, *other.specs),
            (*self.packages, *other.packages),
            (*self.requirements, *other.requirements),
            (*self.constraints, *other.constraints),
            (*self.channels, *other.channels),
            (*self.warnings, *other.warnings),
        )

    def on(self, environment: Mapping[str, str]) -> BundleSources:
        """Return those of its requirements and constraints whose markers hold."""
        return replace(
            self,
            requirements=tuple(each for each in self.requirements if applies(each.requirement, environment)),
            constraints=tuple(each for each in self.constraints if applies(each.requirement, environment)),
        )

    @property
    def roots(self) -> list[BundleMember]:
        """The requirements as those of a distribution for each place, so that METADATA's limits are compared with them, too."""
        limits = {canonicalize_name(each.requirement.name): each for each in self.constraints}
        lines: dict[str, list[str]] = {}
        for each in self.requirements:
            lines.setdefault(each.where, []).append(str(each.requirement))
            if (limit := limits.get(canonicalize_name(each.requirement.name))) is not None:
                lines.setdefault(limit.where, []).append(str(limit.requirement))
        return [BundleMember(where, "0", tuple(found)) for where, found in lines.items()]

    @property
    def projects(self) -> frozenset[str]:
        """The normalised names of the projects that are required."""
        return frozenset(str(canonicalize_name(each.requirement.name)) for each in self.requirements)


def read_sources(sources: Iterable[str], limits: Limits) -> BundleSources:
    """Read what is asked for.

    Args:
        sources: match specs, package files, folders of package files, requirements files (`.txt`) and environment files (`.yml`).
        limits: bounds on the packages.

    Raises:
        Failed: not-found, unreadable, usage (what cannot be in a bundle).
        Refused: a package file is damaged.
    """
    found = BundleSources()
    for source in sources:
        path = Path(source)
        if os.path.isdir(path) and (is_path(source) or has_files(source, PACKAGE_SUFFIXES)):
            found += _folder(path, limits)
        elif is_path(source) and not os.path.lexists(path):
            raise not_found(source, "file or folder")
        elif format_named(source) is not None and not is_url(source) and "::" not in source:
            found += _package(path, limits)
        elif source.endswith(".txt"):
            found += _requirements_file(path)
        elif source.endswith(YAML_SUFFIXES):
            found += _environment_file(path)
        elif source.endswith(".whl"):
            raise Failed(
                "usage", f"{source}: is a wheel already", "`conda2wheel lock` takes wheels; bundle makes them of packages"
            )
        elif is_url(source) and "::" not in source:
            raise Failed("usage", f"{source}: bundle takes packages at addresses from channels alone", "write CHANNEL::NAME")
        else:
            found += BundleSources(specs=(source,))
    return found


def is_path(source: str) -> bool:
    """Whether a text is a path and no match spec. A folder `numpy` that happens to be there does not hide the package.

    >>> is_path("./dist"), is_path("x.whl"), is_path("numpy"), is_path("forge/label/dev::numpy"), is_path("numpy[url=a/b]")
    (True, True, False, False, False)
    """
    name = source.partition("[")[0]  # a match spec may have addresses in brackets
    if is_url(source) or "::" in source:
        return False
    return name.startswith(".") or "/" in name or os.sep in name or name.endswith((".whl", *PACKAGE_SUFFIXES))


def has_files(folder: str | Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a folder has files with one of these suffixes. Raises `Failed` (unreadable)."""
    return any(name.endswith(suffixes) for name in _listed(folder))


def _listed(folder: str | Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise unreadable(folder, error) from None


def _folder(path: Path, limits: Limits) -> BundleSources:
    """The packages in a folder: each that may have a wheel is wanted, libraries are there for their users."""
    files = [path / name for name in _listed(path) if name.endswith(PACKAGE_SUFFIXES)]
    if not files:
        raise Failed(
            "not-found", f"{path}: has no conda packages ({', '.join(PACKAGE_SUFFIXES)})", "name the folder that has them"
        )
    records: list[RepoDataRecord] = []
    wanted: dict[str, None] = {}
    skipped: list[Refused] = []
    for file in files:
        try:
            package = open_local(str(file), limits)
            records.append(_record(file, package))
        except Refused as error:
            skipped.append(error)
        else:
            wanted |= {} if _accompanies(package) else {package.name.lower(): None}
    if not records:
        raise skipped[0]
    notes = tuple(ConversionWarning("package-skipped", f"is not used: {each.message}") for each in skipped)
    return BundleSources(specs=tuple(wanted), packages=tuple(records), warnings=notes)


def _accompanies(package: CondaPackage) -> bool:
    """Whether a package of a folder is there for others: an interpreter, a marker, a library."""
    if package.name in (*INTERPRETER, *TOOLS) or is_marker(package.name):
        return True
    try:
        refuse_unless_python(package)
    except Refused as error:
        return error.code != "metapackage"
    return False


def _package(path: Path, limits: Limits) -> BundleSources:
    record = _record(path, open_local(str(path), limits))
    spec = f"{record.name.normalized} =={record.version} {record.build}"
    return BundleSources(specs=(spec,), packages=(record,))


def _record(path: Path, package: CondaPackage) -> RepoDataRecord:
    """A package file as a channel would list it."""
    index: Mapping[str, Any] = package.index
    subdir = "noarch" if index.get("noarch") else package.subdir or "emscripten-wasm32"
    number = index.get("build_number")
    more: dict[str, Any] = {
        "noarch": index.get("noarch") if index.get("noarch") in ("python", "generic") else None,
        "depends": list(package.depends),
        "constrains": [each for each in index.get("constrains") or () if isinstance(each, str)],
    }
    file = path.absolute()
    size = file.stat().st_size
    try:
        record = package_record(
            package.name,
            package.version,
            package.build,
            number if isinstance(number, int) else 0,
            subdir,
            sha256=bytes.fromhex(package.sha256 or FileBlob(file, size).sha256),
            size=size,
            **more,
        )
        # A name as channels have it: rattler knows neither empack's .tar.gz nor a file that was renamed.
        filename = f"{package.name}-{package.version}-{package.build}.conda"
        return channel_record(record, filename, file.as_uri(), file.parent.as_uri())
    except InvalidSpecError as error:
        raise Refused("corrupt-archive", f"{path}: no solver can read its index.json: {error}", "take another build") from None


@dataclass
class _Reader:
    """Reads requirements files that include each other."""

    requirements: list[ProjectRequirement] = field(default_factory=list)
    constraints: list[ProjectRequirement] = field(default_factory=list)
    warnings: list[ConversionWarning] = field(default_factory=list)
    seen: set[tuple[Path, bool]] = field(default_factory=set)

    def file(self, path: Path, constrains: bool = False) -> None:
        key = (path.absolute(), constrains)
        if key in self.seen:
            return
        self.seen.add(key)
        if len(self.seen) > MAX_FILES:
            raise Failed("usage", f"{path}: more than {MAX_FILES} requirements files", "include fewer")
        if not path.is_file():
            raise not_found(path)
        data = read_file(path, MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise Failed("usage", f"{path}: has more than {MAX_FILE} bytes", "split it")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Failed("unreadable", f"{path}: is not UTF-8", "save it as UTF-8") from None
        for number, line in _lines(text):
            self.line(line, f"{path.name}:{number}", path.parent, constrains)

    def line(self, line: str, where: str, folder: Path, constrains: bool = False) -> None:
        """Read one line, without comments and continued lines."""
        line = _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), line)
        option, value = _option(line)
        if option in ("-r", "--requirement"):
            self.file(folder / value, constrains)
        elif option in ("-c", "--constraint"):
            self.file(folder / value, True)
        elif option in ("-e", "--editable") or _NOT_A_PROJECT.search(line):
            raise Failed(
                "usage", f"{where}: {line!r} is no project of an index", "a bundle is made of packages; leave the line out"
            )
        elif option:
            self.warnings.append(ConversionWarning("requirements-option", f"{where}: {line} is for pip and does not count"))
        else:
            self.requirement(_PER_REQUIREMENT.sub("", line), where, constrains)

    def requirement(self, text: str, where: str, constrains: bool) -> None:
        parsed = parse_requirement(text)
        if parsed is None:
            raise Failed(
                "usage", f"{where}: {text!r} is no requirement", "write it as pip takes it: NAME[EXTRA]>=VERSION; MARKER"
            )
        if parsed.url is not None:
            raise Failed("usage", f"{where}: {parsed.name} is at an address", "name it with a version, or give its package file")
        (self.constraints if constrains else self.requirements).append(ProjectRequirement(parsed, where))

    def sources(self) -> BundleSources:
        return BundleSources(
            requirements=tuple(self.requirements), constraints=tuple(self.constraints), warnings=tuple(self.warnings)
        )


def _option(line: str) -> tuple[str, str]:
    """The option of a line and its value; empty for a requirement.

    >>> _option("-r other.txt"), _option("--constraint=c.txt"), _option("-rother.txt"), _option("numpy")
    (('-r', 'other.txt'), ('--constraint', 'c.txt'), ('-r', 'other.txt'), ('', ''))
    """
    if not line.startswith("-"):
        return "", ""
    if not line.startswith("--") and line[:2] in _WITH_VALUE:
        return line[:2], line[2:].strip().strip("\"'")
    name, _, value = line.partition("=") if "=" in line.split(maxsplit=1)[0] else line.partition(" ")
    return name, value.strip().strip("\"'")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a requirements file that say something, with their numbers; those that end in a backslash go on."""
    waiting: list[str] = []
    first = 1
    for number, line in enumerate(text.splitlines(), 1):
        first = first if waiting else number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            waiting.append(line[:-1])
            continue
        whole = _COMMENT.sub("", "".join([*waiting, line])).strip()
        waiting = []
        if whole:
            yield first, whole
    if rest := _COMMENT.sub("", "".join(waiting)).strip():
        yield first, rest


def _requirements_file(path: Path) -> BundleSources:
    reader = _Reader()
    reader.file(path)
    return reader.sources()


def _environment_file(path: Path) -> BundleSources:
    """Read an environment.yml of conda's: its dependencies, its `pip:` section and its channels."""
    if not path.is_file():
        raise not_found(path)
    try:
        document = parse_yaml(FileBlob(path, path.stat().st_size))
    except DocumentError as error:
        raise Failed("unreadable", f"{path}: {error}", "write it as conda takes it") from None
    dependencies = document.get("dependencies") if isinstance(document, dict) else None
    if not isinstance(dependencies, list):
        raise Failed("usage", f"{path}: has no list `dependencies`", "write it as conda takes it")
    reader = _Reader()
    specs = []
    for each in dependencies:
        if isinstance(each, dict) and isinstance(each.get("pip"), list):
            for number, line in enumerate(each["pip"], 1):
                for _, text in _lines(str(line)):
                    reader.line(text, f"{path.name}: pip {number}", path.parent)
        elif not isinstance(each, str):
            raise Failed("usage", f"{path}: {str(each)[:80]!r} in `dependencies` is no match spec", "write NAME or NAME=VERSION")
        elif spec_name(each) not in TOOLS:
            specs.append(each)
    channels = document.get("channels") or ()
    named = [str(each) for each in channels if str(each) not in ("nodefaults", "defaults")] if isinstance(channels, list) else []
    return replace(reader.sources(), specs=tuple(specs), channels=tuple(named))


def conda_specs(
    sources: BundleSources, channels: Sequence[str], downloads: Downloads, shipped: Iterable[str] = ()
) -> tuple[dict[str, str], frozenset[str]]:
    """Find the packages of the channels for requirements of pip's.

    Args:
        sources: requirements whose markers hold.
        channels: names, URLs or folders.
        downloads: how the channels are read.
        shipped: the projects that Pyodide has, which need no package of a channel.

    Returns:
        A match spec for each project that a channel or a package file has, and the projects that none has.
    """
    wanted: dict[str, SpecifierSet] = {}
    for each in (*sources.requirements, *sources.constraints):
        project = str(canonicalize_name(each.requirement.name))
        if project in sources.projects:
            wanted[project] = wanted.get(project, SpecifierSet()) & each.requirement.specifier
    names = {project: conda_names(project) for project in wanted}
    asked = [name for found in names.values() for name in found]
    known = {record.name.normalized for record in sources.packages}
    if asked:
        for records in query([channel_url(each) for each in channels], asked, downloads):
            known |= {record.name.normalized for record in records}
    specs, missing = {}, set()
    for project, specifier in wanted.items():
        conda = next((name for name in names[project] if name in known), None)
        if conda is not None:
            specs[project] = f"{conda} {conda_clauses(specifier)}".strip()
        elif project not in shipped:
            missing.add(project)
    return specs, frozenset(missing)


def solver_limits(sources: BundleSources) -> dict[str, str]:
    """The limits of `-c` files on projects that are not required by name, as match specs with their reasons."""
    return {
        f"{name} {conda_clauses(each.requirement.specifier)}": f"{each.where} has {each.requirement}"
        for each in sources.constraints
        if str(each.requirement.specifier) and canonicalize_name(each.requirement.name) not in sources.projects
        for name in conda_names(str(canonicalize_name(each.requirement.name)))
    }
