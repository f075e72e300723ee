"""Conda packages for the tests: made by rattler-build itself, then changed, unpacked or spoiled as tests need them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import rattler_build as rattler
import yaml
import zstandard

from tests.helpers.cache import cached, digest, only
from tests.helpers.systems import HAS_LINKS

PREFIX = "@PREFIX@"  # in a file's content: becomes the prefix placeholder of 255 bytes
SUBDIR = "emscripten-wasm32"
WHEN = datetime(2025, 6, 1, tzinfo=UTC)
ArchiveType = Literal["tar.bz2", "conda"]


@dataclass(frozen=True)
class Link:
    """A symlink, by its target as it is written."""

    target: str


Content = bytes | str | Path | Link  # a path stands for the bytes of that file
Files = Mapping[str, Content]


def build(
    name: str,
    version: str,
    files: Files,
    *,
    depends: Sequence[str] = (),
    constrains: Sequence[str] = (),
    string: str | None = None,
    number: int = 0,
    noarch: Literal["python", "generic"] | None = None,
    entry_points: Sequence[str] = (),
    licenses: Files | None = None,
    about: Mapping[str, object] | None = None,
    run_exports: Sequence[str] = (),
    compiler: str | None = None,
    extra: Mapping[str, object] | None = None,
    archive: ArchiveType = "tar.bz2",
) -> Path:
    """A package that rattler-build made from a recipe, offline, with every file of info/ that a real one has.

    `PREFIX` in a content becomes a placeholder that paths.json lists, in text and in binary files. `noarch="python"` takes its
    files at lib/python3.X/site-packages, as an installation leaves them. `compiler` (such as "4.0.9") builds with an Emscripten
    compiler package of that version: emscripten-abi is then among depends, and finalized_dependencies and variant_config.yaml
    tell the version.
    `about` and `extra` are written as in a recipe (homepage, license, summary, description, documentation, repository).
    """
    recipe: dict[str, Any] = {
        "context": {"version": version},
        "package": {"name": name, "version": "${{ version }}"},
        "source": {"path": "../stage", "target_directory": "files"},
        "build": {"number": number, "script": _script(files)},
        "requirements": {"run": list(depends)},
        "about": dict(about or {}),
    }
    if string:
        recipe["build"]["string"] = string
    if noarch:
        recipe["build"]["noarch"] = noarch
    if entry_points:
        recipe["build"]["python"] = {"entry_points": list(entry_points)}
    if constrains:
        recipe["requirements"]["run_constraints"] = list(constrains)
    if run_exports:
        recipe["requirements"]["run_exports"] = list(run_exports)
    if compiler:
        recipe["requirements"]["build"] = ["${{ compiler('c') }}"]
    if licenses:
        recipe["about"]["license_file"] = list(licenses)
    if extra:
        recipe["extra"] = dict(extra)
    channel = _channel(compiler) if compiler else None

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            lay(work / "stage", files)
            lay(work / "recipe", licenses or {})
            package = _run(work, recipe, archive=archive, channel=channel, compiler=compiler)
            (folder / package.name).write_bytes(package.read_bytes())

    return only(cached("build", (recipe, _content(files), _content(licenses or {}), compiler, archive, Path(__file__)), make))


def assemble(
    name: str,
    version: str,
    files: Files,
    *,
    string: str = "h1234567_0",
    number: int = 0,
    depends: Sequence[str] = (),
    constrains: Sequence[str] = (),
    noarch: Literal["python", "generic"] | None = None,
    subdir: str = SUBDIR,
    licenses: Files | None = None,
    recipe: Files | None = None,
    about: Mapping[str, str] | None = None,
    when: datetime = WHEN,
    archive: ArchiveType = "tar.bz2",
) -> Path:
    """A package from files as they are, by rattler-build's assembler: no build, the same bytes each time, any build string.

    `recipe` gives the files of info/recipe (recipe.yaml, rendered_recipe.yaml, variant_config.yaml, meta.yaml); without it
    there is none. `about` may have homepage, license, license_family, summary and description. Placeholders are not looked
    for: see `build`.
    """
    kind = rattler.ArchiveType.TarBz2 if archive == "tar.bz2" else rattler.ArchiveType.Conda
    options: dict[str, Any] = {
        **(about or {}),
        "depends": depends,
        "constrains": constrains,
        "build_number": number,
        "noarch": noarch,
    }

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            for part, given in (("files", files), ("licenses", licenses or {}), ("recipe", recipe or {})):
                lay(work / part, given)
            made = rattler.assemble_package(
                name,
                version,
                "noarch" if noarch else subdir,
                string,
                work / "out",
                files_dir=work / "files",
                license_files=[work / "licenses" / item for item in licenses or {}],
                recipe_dir=work / "recipe" if recipe else None,
                timestamp=when,
                archive_type=kind,
                detect_prefix=False,
                **options,
            )
            (folder / made.path.name).write_bytes(made.path.read_bytes())

    parts = [_content(given) for given in (files, licenses or {}, recipe or {})]
    return only(cached("assemble", (name, version, string, subdir, options, *parts, when, archive, Path(__file__)), make))


def members(package: Path) -> dict[str, bytes | Link]:
    """Every member of a package, info/ first, by name."""
    found: dict[str, bytes | Link] = {}
    for tar in _tars(package).values():
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            for member in archive:
                if member.issym():
                    found[member.name] = Link(member.linkname)
                elif not member.isdir():
                    content = archive.extractfile(member)
                    found[member.name] = content.read() if content else b""
    return found


def repack(package: Path, changes: Mapping[str, Content | None], *, name: str | None = None) -> Path:
    """The same package with members replaced, added or (None) removed. Nothing is made consistent: paths.json stays."""

    def make(folder: Path) -> None:
        kept = {key: value for key, value in members(package).items() if key not in changes}
        kept.update({key: _read(value) for key, value in changes.items() if value is not None})
        _write(folder / (name or package.name), kept)

    key = tuple((path, "gone" if value is None else _content({path: value})) for path, value in changes.items())
    return only(cached("repack", (package, key, name, Path(__file__)), make))


def edit(package: Path, path: str, change: Callable[[Any], Any]) -> Path:
    """The same package with one of its JSON or YAML members changed."""
    old = members(package)[path]
    assert isinstance(old, bytes), f"{path} is a symlink"
    return repack(package, {path: json.dumps(change(yaml.safe_load(old)), indent=2)})


def unpack(package: Path) -> Path:
    """The package as a folder, as `conda`'s package cache has it: info/ beside the files."""
    return _unpacked(package) / stem(package)


def stem(package: Path) -> str:
    """NAME-VERSION-BUILD."""
    for ending in (".tar.bz2", ".conda", ".tar.gz"):
        if package.name.endswith(ending):
            return package.name.removesuffix(ending)
    raise ValueError(f"not a package: {package.name}")


def lay(folder: Path, files: Files) -> None:
    """Write files and symlinks into a folder; where there are no links, copies, as conda installs them there."""
    folder.mkdir(parents=True, exist_ok=True)
    links = {}
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = _read(value)
        if isinstance(content, Link):
            links[path] = content.target
        else:
            path.write_bytes(content)
    for path, target in links.items():
        try:
            path.symlink_to(target)
        except OSError:
            _copy(path, links, folder)


def _copy(path: Path, links: Mapping[Path, str], folder: Path) -> None:
    """Put what a link below `folder` leads to where the link would be; nothing where it leads to nothing there."""
    source, seen = path, set()
    while source in links and source not in seen:
        seen.add(source)
        source = Path(os.path.normpath(source.parent / links[source]))
    if source.is_dir() and source.is_relative_to(folder) and source not in path.parents:
        shutil.copytree(source, path)
    elif source.is_file() and source.is_relative_to(folder):
        shutil.copyfile(source, path)


def _unpacked(package: Path) -> Path:
    inputs = (package, HAS_LINKS, Path(__file__))
    return cached("unpacked", inputs, lambda folder: lay(folder / stem(package), members(package)))


def _read(value: Content) -> bytes | Link:
    if isinstance(value, Path):
        return value.read_bytes()
    return value.encode() if isinstance(value, str) else value


def _content(files: Files) -> str:
    return digest(*((name, _read(value)) for name, value in files.items()))


def _script(files: Files) -> list[str]:
    """Shell lines that install the staged files, with the prefix put in where a content asks for it."""
    lines = ['mkdir -p "$PREFIX"', 'cp -RP files/. "$PREFIX/"']
    for name, value in files.items():
        content = _read(value)
        if isinstance(content, bytes) and PREFIX.encode() in content:
            lines.append(f'LC_ALL=C sed -i "s|{PREFIX}|$PREFIX|g" "$PREFIX/{name}"')
    return lines


def _run(
    work: Path,
    recipe: Mapping[str, Any],
    *,
    archive: ArchiveType = "tar.bz2",
    channel: Path | None = None,
    compiler: str | None = None,
) -> Path:
    folder = work / "recipe"
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(recipe), sort_keys=False))
    variants: dict[str, list[Any]] = {"c_compiler": ["emscripten"], "c_compiler_version": [compiler]} if compiler else {}
    if channel is None:
        channel = work / "channel"
        _empty(channel)
    try:
        (result,) = rattler.Stage0Recipe.from_file(folder / "recipe.yaml").run_build(
            rattler.VariantConfig(variants),
            rattler.ToolConfiguration(test_strategy="skip", allow_symlinks_on_windows=True),
            output_dir=work / "output",
            channels=[channel.as_uri()],
            package_format="tar-bz2" if archive == "tar.bz2" else "conda",
            render_config=rattler.RenderConfig(rattler.PlatformConfig(target_platform=SUBDIR)),
        )
    except rattler.RattlerBuildError as error:
        log = "\n".join(getattr(error, "log", []))
        raise RuntimeError(f"{error}\n{log}") from error
    return Path(result.packages[0])


def _channel(compiler: str) -> Path:
    """A channel that has this Emscripten as a compiler, and the emscripten-abi that it exports."""
    major = compiler.partition(".")[0]
    abi = "emscripten-abi"
    pin = f"{abi} >={major},<{int(major) + 1}.0a0" if int(major) > 3 else f"{abi} {compiler}.*"

    def make(folder: Path) -> None:
        _empty(folder)
        recipes: list[dict[str, Any]] = [
            {"package": {"name": abi, "version": compiler}, "build": {"noarch": "generic"}},
            {
                "package": {"name": "emscripten_emscripten-wasm32", "version": compiler},
                "build": {"noarch": "generic"},
                "requirements": {"run_exports": {"strong": [pin]}},
            },
        ]
        for recipe in recipes:
            with tempfile.TemporaryDirectory() as temporary:
                package = _run(Path(temporary), recipe)
                (folder / "noarch" / package.name).write_bytes(package.read_bytes())
                repodata = json.loads((package.parent / "repodata.json").read_text())
                index = folder / "noarch" / "repodata.json"
                known = json.loads(index.read_text())
                known["packages"].update(repodata["packages"])
                index.write_text(json.dumps(known))

    return cached("channel", (compiler, Path(__file__)), make)


def _empty(channel: Path) -> None:
    for subdir in ("noarch", SUBDIR):
        (channel / subdir).mkdir(parents=True, exist_ok=True)
        (channel / subdir / "repodata.json").write_text('{"packages": {}, "packages.conda": {}}')


def _tars(package: Path) -> dict[str, bytes]:
    """The uncompressed tar streams of a package, by the name of their part."""
    if not package.name.endswith(".conda"):
        data = package.read_bytes()
        return {"pkg": (gzip.decompress if package.name.endswith(".tar.gz") else bz2.decompress)(data)}
    with zipfile.ZipFile(package) as archive_zip:
        parts = sorted(name for name in archive_zip.namelist() if name.endswith(".tar.zst"))
        return {
            part.partition("-")[0]: zstandard.ZstdDecompressor().decompressobj().decompress(archive_zip.read(part))
            for part in parts
        }


def tar(files: Mapping[str, bytes | Link], *, executable: Sequence[str] = ()) -> bytes:
    """An uncompressed tar of these members, in this order."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, value in files.items():
            member = tarfile.TarInfo(name)
            member.mtime = int(WHEN.timestamp())
            member.mode = 0o755 if name in executable or PurePosixPath(name).parts[0] == "bin" else 0o644
            if isinstance(value, Link):
                member.type, member.linkname = tarfile.SYMTYPE, value.target
                archive.addfile(member)
            else:
                member.size = len(value)
                archive.addfile(member, io.BytesIO(value))
    return stream.getvalue()


def _write(path: Path, files: Mapping[str, bytes | Link]) -> None:
    """Write a .tar.bz2 or a .conda, as the name says."""
    info = {name: value for name, value in files.items() if name.startswith("info/")}
    rest = {name: value for name, value in files.items() if name not in info}
    if not path.name.endswith(".conda"):
        path.write_bytes(bz2.compress(tar({**info, **rest})))
        return
    compress = zstandard.ZstdCompressor().compress
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        archive.writestr(f"pkg-{stem(path)}.tar.zst", compress(tar(rest)))
        archive.writestr(f"info-{stem(path)}.tar.zst", compress(tar(info)))
