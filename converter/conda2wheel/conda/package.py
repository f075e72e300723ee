"""Read the metadata of a conda package: `info/` of conda-build and rattler-build, or else its `conda-meta/` record.

Specifications: conda's package specification (info/index.json, about.json, paths.json, link.json, hash_input.json,
run_exports.json, licenses/, recipe/); CEP 13 for recipe.yaml. rattler-build writes neither info/files nor
info/has_prefix; old conda-build packages have only those, so they are the fallback for paths.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from conda2wheel.conda.archive import NO_PACKAGE
from conda2wheel.conda.paths_json import Placeholder, has_prefix, path_rows, placeholders, select_listed
from conda2wheel.errors import Refused
from conda2wheel.files.documents import DocumentError, json_object, parse_yaml
from conda2wheel.files.links import LostLink, PackageFiles
from conda2wheel.files.packagefile import Blob, PackageFile
from conda2wheel.files.reading import corrupt
from conda2wheel.net.urls import redacted
from conda2wheel.results import ConversionWarning

__all__ = ["CondaPackage", "Placeholder", "from_record", "read_info", "several_packages"]

MAX_TEXT = 64 << 20  # bytes of a list of files
MAX_IDENTITY = 2000  # characters of a name or a version
MAX_PREFIXES = 4 << 20  # bytes of info/has_prefix
LATEST = 253402300800.0  # the year 10000, in seconds
RECIPE_FILES = {
    "recipe": ("recipe.yaml", "meta.yaml"),
    "rendered_recipe": ("rendered_recipe.yaml",),
    "variant_config": ("variant_config.yaml", "conda_build_config.yaml"),
}


Opened = Literal["archive", "folder"]


@dataclass(frozen=True)
class CondaPackage:
    """A conda package: its files (without info/ and conda-meta/) and its metadata; missing documents are empty.

    Attributes:
        source: What messages call it.
        files: Its files.
        lost: Its links that lead to nothing in it.
        index: info/index.json, or the conda-meta record of a package without info/.
        filename: The archive's file name. For an unpacked package, the one in its record (conda-meta/ or
            info/repodata_record.json), or None.
        sha256: The archive's sha256, from the same place.
        opened: Whether an archive or a folder was opened.
        environment: The versions of the packages in the environment that lists this one, by package name.
        warnings: What could not be read or was left out.
    """

    source: str
    files: tuple[PackageFile, ...]
    index: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)
    link: Mapping[str, Any] = field(default_factory=dict)
    hash_input: Mapping[str, Any] = field(default_factory=dict)
    run_exports: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    rendered_recipe: Mapping[str, Any] = field(default_factory=dict)
    variant_config: Mapping[str, Any] = field(default_factory=dict)
    licenses: tuple[tuple[str, Blob], ...] = ()
    placeholders: Mapping[str, Placeholder] = field(default_factory=dict)
    channel: str | None = None
    filename: str | None = None
    sha256: str | None = None
    opened: Opened = "folder"
    environment: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[ConversionWarning, ...] = ()
    lost: tuple[LostLink, ...] = ()

    @property
    def name(self) -> str:
        """The conda name."""
        return str(self.index["name"])

    @property
    def version(self) -> str:
        """The conda version."""
        return str(self.index["version"])

    @property
    def build(self) -> str:
        """The build string."""
        return str(self.index.get("build", ""))

    @property
    def depends(self) -> tuple[str, ...]:
        """Match specs, as written."""
        value = self.index.get("depends")
        return tuple(str(spec) for spec in value) if isinstance(value, list) else ()

    @property
    def subdir(self) -> str | None:
        """`emscripten-wasm32`, `noarch` ... Old packages have platform "linux", so the platform is not used."""
        value = self.index.get("subdir")
        return None if value is None else str(value)

    @property
    def noarch(self) -> str | None:
        """`python`, `generic`, or None."""
        value = self.index.get("noarch")
        return None if value is None else str(value)

    @property
    def timestamp(self) -> float | None:
        """When it was built, in seconds since 1970; index.json has milliseconds."""
        value = self.index.get("timestamp")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < LATEST * 1000:
            return None
        return value / 1000 if value > 1e11 else float(value)

    @property
    def stem(self) -> str:
        """NAME-VERSION-BUILD."""
        return f"{self.name}-{self.version}-{self.build}"


def read_info(source: str, found: PackageFiles) -> CondaPackage:
    """Read a package's metadata from its files. Raises `Refused` (corrupt-archive) if it is damaged or no conda package."""
    by_name = {name: file for file in found.files for name in (file.path, *file.aliases)}
    if found.unterminated and not by_name.keys() & {"info/paths.json", "info/files"}:
        raise corrupt(source, "the archive ends early")
    contents = found._replace(files=tuple(file for file in found.files if not file.path.startswith(("info/", "conda-meta/"))))
    if "info/index.json" in by_name:
        return _from_info(source, by_name, contents)
    records = sorted(name for name in by_name if name.startswith("conda-meta/") and name.endswith(".json"))
    if len(records) == 1:
        record = json_object(source, records[0], by_name[records[0]].blob)
        return from_record(source, record, contents)
    if records:
        raise several_packages(source, records)
    raise corrupt(source, "not a conda package: neither info/index.json nor conda-meta/*.json", NO_PACKAGE)


def several_packages(source: str, records: list[str]) -> Refused:
    """Return the refusal for a prefix given as one package; `records` are the paths of its conda-meta records."""
    return Refused(
        "several-distributions",
        f"{source}: a prefix with {len(records)} packages",
        "name one of its records, such as PREFIX/" + records[0],
    )


def from_record(source: str, record: Mapping[str, Any], contents: PackageFiles) -> CondaPackage:
    """Make a package from its conda-meta record alone (empack, an installed prefix)."""
    index = _require_identity(source, record)
    data = record.get("paths_data")
    about = {key: record[key] for key in ("license", "license_family") if record.get(key)}
    return CondaPackage(
        source=source,
        files=contents.files,
        lost=contents.lost,
        index=index,
        about=about,
        warnings=_lost_warnings(contents.lost),
        placeholders=placeholders(path_rows(source, data, "paths_data")) if isinstance(data, dict) and data.get("paths") else {},
        channel=_channel(record),
        filename=_text_of(record, "fn"),
        sha256=_text_of(record, "sha256"),
    )


def _from_info(source: str, names: Mapping[str, PackageFile], contents: PackageFiles) -> CondaPackage:
    index = _require_identity(source, json_object(source, "info/index.json", names["info/index.json"].blob))

    def document(name: str) -> dict[str, Any]:
        path = f"info/{name}"
        return json_object(source, path, names[path].blob) if path in names else {}

    cached = document("repodata_record.json")  # conda's package cache writes it next to an unpacked archive
    recipes = {key: _first_yaml(names, candidates) for key, candidates in RECIPE_FILES.items()}
    files, found, left_out = _listed(source, names, contents)
    licenses = tuple(
        (name.removeprefix("info/licenses/"), file.blob)
        for name, file in sorted(names.items())
        if name.startswith("info/licenses/")
    )
    return CondaPackage(
        source=source,
        files=files,
        lost=contents.lost,
        index=index,
        about=document("about.json"),
        link=document("link.json"),
        hash_input=document("hash_input.json"),
        run_exports=document("run_exports.json"),
        licenses=licenses,
        placeholders=found,
        channel=_channel(index) or _channel(cached),
        filename=_text_of(cached, "fn"),
        sha256=_text_of(cached, "sha256"),
        recipe=recipes["recipe"][0],
        rendered_recipe=recipes["rendered_recipe"][0],
        variant_config=recipes["variant_config"][0],
        warnings=(*(each for _, warnings in recipes.values() for each in warnings), *left_out, *_lost_warnings(contents.lost)),
    )


def _lost_warnings(lost: Iterable[LostLink]) -> tuple[ConversionWarning, ...]:
    return tuple(ConversionWarning("link-left-out", f"{link}; left out", link.path) for link in lost)


def _require_identity(source: str, index: Mapping[str, Any]) -> Mapping[str, Any]:
    missing = [key for key in ("name", "version") if not isinstance(index.get(key), str) or not index[key]]
    if missing:
        raise corrupt(source, f"its record has no {' and no '.join(missing)}")
    for key in ("name", "version"):  # both become parts of paths and lines
        if "/" in index[key] or not index[key].isprintable() or len(index[key]) > MAX_IDENTITY:
            raise corrupt(source, f"its record has {index[key][:80]!r} as its {key}")
    return index


def _first_yaml(
    names: Mapping[str, PackageFile], candidates: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[ConversionWarning, ...]]:
    """Return the first candidate that is a YAML mapping, and a warning for each that cannot be read (a template, say)."""
    warnings = []
    for candidate in candidates:
        file = names.get(f"info/recipe/{candidate}")
        if file is None:
            continue
        try:
            value = parse_yaml(file.blob)
        except DocumentError as error:
            warnings.append(
                ConversionWarning("unreadable-recipe", f"info/recipe/{candidate} {error}; it was not used", file.path)
            )
            continue
        if isinstance(value, dict):
            return {str(key): item for key, item in value.items()}, tuple(warnings)
    return {}, tuple(warnings)


_Listed = tuple[tuple[PackageFile, ...], dict[str, Placeholder], tuple[ConversionWarning, ...]]


def _listed(source: str, names: Mapping[str, PackageFile], contents: PackageFiles) -> _Listed:
    """Return the files that the package lists (all if it has no list), the placeholders by path, and warnings."""
    files, warnings = contents.files, tuple[ConversionWarning, ...]()
    if "info/paths.json" in names:
        listed = path_rows(source, json_object(source, "info/paths.json", names["info/paths.json"].blob), "info/paths.json")
        files, warnings = select_listed(source, contents, listed, "info/paths.json")
        return files, placeholders(listed), warnings
    if "info/files" in names:
        paths = [line.strip() for line in _text(source, names["info/files"], MAX_TEXT).splitlines()]
        plain = {path: {"path_type": "softlink"} for path in paths if path}  # it does not mark links to folders
        files, warnings = select_listed(source, contents, plain, "info/files")
    found = has_prefix(source, _text(source, names["info/has_prefix"], MAX_PREFIXES)) if "info/has_prefix" in names else {}
    return files, found, warnings


def _text(source: str, file: PackageFile, most: int) -> str:
    if file.blob.size > most:
        raise Refused("too-large", f"{source}: {file.path} has {file.blob.size} bytes", "a real package has no list of that size")
    return file.blob.read().decode("utf-8", "replace")


def _text_of(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    return value if isinstance(value, str) and value else None


def _channel(record: Mapping[str, Any]) -> str | None:
    value = record.get("channel") or record.get("url")
    return redacted(str(value)) if value else None  # the record of an installed package may have a token
