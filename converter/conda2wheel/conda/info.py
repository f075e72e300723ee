"""What a conda package says of itself: `info/` of conda-build and rattler-build, or `conda-meta/` where that is all.

Specifications: conda's package specification (info/index.json, about.json, paths.json, link.json, hash_input.json,
run_exports.json, licenses/, recipe/); CEP 13 for recipe.yaml. rattler-build writes neither info/files nor
info/has_prefix; old conda-build packages have only those, so they are the fallback for paths.json.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conda2wheel.outcome import Refused, Warned

from .archive import corrupt
from .files import Blob, PackageFile

MAX_TEXT = 16 << 20
RECIPE_FILES = {
    "recipe": ("recipe.yaml", "meta.yaml"),
    "rendered_recipe": ("rendered_recipe.yaml",),
    "variant_config": ("variant_config.yaml", "conda_build_config.yaml"),
}


@dataclass(frozen=True)
class Placeholder:
    """A file that had the build prefix in it: `text`, or as a NUL-terminated string in a `binary`."""

    mode: str
    prefix: str


@dataclass(frozen=True)
class CondaPackage:
    """A package as it came: its files (without info/ and conda-meta/), and everything that it says of itself.

    `index` has the keys of index.json, or those of the conda-meta record where there is no info/. Documents that are
    missing are empty.
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
    environment: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # package name -> versions beside it
    warnings: tuple[Warned, ...] = ()

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
        return tuple(str(spec) for spec in self.index.get("depends") or ())

    @property
    def subdir(self) -> str | None:
        """`emscripten-wasm32`, `noarch` ... Old packages say platform "linux", so only the subdir counts."""
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
        if not isinstance(value, (int, float)) or value <= 0:
            return None
        return value / 1000 if value > 1e11 else float(value)

    @property
    def stem(self) -> str:
        """NAME-VERSION-BUILD."""
        return f"{self.name}-{self.version}-{self.build}"


def read_info(source: str, files: tuple[PackageFile, ...]) -> CondaPackage:
    """Read what a package says of itself. Raises `Refused` (corrupt-archive) if it is no conda package or damaged."""
    by_name = {name: file for file in files for name in (file.path, *file.aliases)}
    contents = tuple(file for file in files if not file.path.startswith(("info/", "conda-meta/")))
    if "info/index.json" in by_name:
        return _from_info(source, by_name, contents)
    records = sorted(name for name in by_name if name.startswith("conda-meta/") and name.endswith(".json"))
    if len(records) == 1:
        record = _json(source, by_name[records[0]])
        return from_record(source, record, contents)
    if records:
        raise Refused(
            "several-distributions",
            f"{source}: a prefix with {len(records)} packages",
            "name one of its records, such as PREFIX/" + records[0],
        )
    raise corrupt(source, "not a conda package: neither info/index.json nor conda-meta/*.json")


def from_record(source: str, record: Mapping[str, Any], contents: tuple[PackageFile, ...]) -> CondaPackage:
    """A package known only by its conda-meta record (empack, an installed prefix)."""
    index = _require_identity(source, record)
    about = {key: record[key] for key in ("license", "license_family") if record.get(key)}
    return CondaPackage(
        source=source,
        files=contents,
        index=index,
        about=about,
        placeholders=_placeholders(record.get("paths_data") or {}),
        channel=_channel(record),
    )


def _from_info(source: str, names: Mapping[str, PackageFile], contents: tuple[PackageFile, ...]) -> CondaPackage:
    index = _require_identity(source, _json(source, names["info/index.json"]))
    warnings: list[Warned] = []

    def document(name: str) -> dict[str, Any]:
        return _json(source, names[f"info/{name}"]) if f"info/{name}" in names else {}

    recipes = {key: _first_yaml(names, candidates, warnings) for key, candidates in RECIPE_FILES.items()}
    paths = document("paths.json")
    if paths:
        contents = _checked(source, contents, paths, warnings)
        placeholders = _placeholders(paths)
    else:
        placeholders = _has_prefix(names)
    licenses = tuple(
        (name.removeprefix("info/licenses/"), file.blob)
        for name, file in sorted(names.items())
        if name.startswith("info/licenses/")
    )
    return CondaPackage(
        source=source,
        files=contents,
        index=index,
        about=document("about.json"),
        link=document("link.json"),
        hash_input=document("hash_input.json"),
        run_exports=document("run_exports.json"),
        licenses=licenses,
        placeholders=placeholders,
        channel=_channel(index),
        warnings=tuple(warnings),
        **recipes,
    )


def _require_identity(source: str, index: Mapping[str, Any]) -> Mapping[str, Any]:
    missing = [key for key in ("name", "version") if not isinstance(index.get(key), str) or not index[key]]
    if missing:
        raise corrupt(source, f"its record has no {' and no '.join(missing)}")
    return index


def _json(source: str, file: PackageFile) -> dict[str, Any]:
    if file.blob.size > MAX_TEXT:
        raise Refused("too-large", f"{source}: {file.path} has {file.blob.size} bytes", "that is no real package")
    try:
        value = json.loads(file.blob.read())
    except (ValueError, RecursionError) as error:
        raise corrupt(source, f"{file.path} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise corrupt(source, f"{file.path} is not a JSON object")
    return value


def _first_yaml(names: Mapping[str, PackageFile], candidates: tuple[str, ...], warnings: list[Warned]) -> dict[str, Any]:
    """A recipe is a help, not a need: one that cannot be read (a template, say) is a warning."""
    import yaml

    for candidate in candidates:
        file = names.get(f"info/recipe/{candidate}")
        if file is None or file.blob.size > MAX_TEXT:
            continue
        try:
            value = yaml.load(file.blob.read(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe loaders
        except (yaml.YAMLError, ValueError, RecursionError):
            warnings.append(Warned("unreadable-recipe", f"info/recipe/{candidate} is not YAML; it was not used", file.path))
            continue
        if isinstance(value, dict):
            return {str(key): item for key, item in value.items()}
    return {}


def _placeholders(paths: Mapping[str, Any]) -> dict[str, Placeholder]:
    found = {}
    for entry in paths.get("paths") or ():
        if isinstance(entry, dict) and entry.get("prefix_placeholder"):
            mode = str(entry.get("file_mode") or "text")
            found[str(entry.get("_path"))] = Placeholder(mode, str(entry["prefix_placeholder"]))
    return found


def _has_prefix(names: Mapping[str, PackageFile]) -> dict[str, Placeholder]:
    """conda-build's older info/has_prefix: `PLACEHOLDER MODE PATH` a line, quoted like a shell's; or the path alone."""
    file = names.get("info/has_prefix")
    if file is None:
        return {}
    found = {}
    for line in file.blob.read().decode("utf-8", "replace").splitlines():
        fields = shlex.split(line)
        if len(fields) == 3:
            found[fields[2]] = Placeholder(fields[1], fields[0])
        elif len(fields) == 1:
            found[fields[0]] = Placeholder("text", "/opt/anaconda1anaconda2anaconda3")  # conda's oldest placeholder
    return found


def _checked(
    source: str, contents: tuple[PackageFile, ...], paths: Mapping[str, Any], warnings: list[Warned]
) -> tuple[PackageFile, ...]:
    """Compare the contents with paths.json: what it lists must be there with that hash; what it does not list would not
    be installed by conda and stays out."""
    listed = {str(e["_path"]): e for e in paths.get("paths") or () if isinstance(e, dict) and "_path" in e}
    names = {name: file for file in contents for name in (file.path, *file.aliases)}
    for path, entry in listed.items():
        if entry.get("path_type") == "directory":
            continue
        file = names.get(path)
        if file is None:
            raise corrupt(source, f"{path} is listed in info/paths.json and not in the package")
        digest = entry.get("sha256")
        if digest and file.blob.sha256 != digest:
            raise corrupt(source, f"{path} has not the sha256 that info/paths.json gives it")
        size = entry.get("size_in_bytes")
        if entry.get("path_type") == "hardlink" and isinstance(size, int) and size != file.blob.size:
            raise corrupt(source, f"{path} has {file.blob.size} bytes, {size} by info/paths.json")
    kept = []
    for file in contents:
        if file.path in listed or any(alias in listed for alias in file.aliases):
            kept.append(file)
        else:
            warnings.append(Warned("unlisted-file", "not in info/paths.json, so conda would not install it; left out", file.path))
    return tuple(kept)


def _channel(record: Mapping[str, Any]) -> str | None:
    value = record.get("channel") or record.get("url")
    return str(value) if value else None
