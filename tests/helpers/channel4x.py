"""emscripten-forge-4x in its real size and shape: 654 packages by their real names, versions, requirements and contents.

One build each, or as many builds and versions as the real channel has; and what they depend on elsewhere, as conda-forge has it.
The archives are written directly: the same bytes each time, 2,600 of them in less than a minute.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conda2wheel.wheel.versions import pep440
from tests.helpers import channel4x_binaries, channel4x_files, channel4x_outputs, conda, packed, shapes, zig
from tests.helpers.cache import cached
from tests.helpers.channel4x_outputs import DATA, Output, others, outputs

COMPILER = "4.0.9"
SUBDIRS = ("noarch", "emscripten-wasm32")
SOURCES = tuple(
    Path(each.__file__)
    for each in (channel4x_binaries, channel4x_files, channel4x_outputs, conda, packed, shapes, zig)
    if each.__file__
)
TABLES = tuple(
    DATA / name for name in ("channel_4x.json", "channel_4x_python.txt", "channel_4x_others.toml", "channel_4x_conda_forge.txt")
)
OLDER_PYTHON, OLDER = 6.0, 2.5  # weights: of Python packages the channel has more builds


@dataclass(frozen=True)
class Channel:
    """Two folders that rattler indexed, as `--channel` takes them, and what is in the first."""

    root: Path  # emscripten-forge-4x
    conda_forge: Path
    builds: tuple[Output, ...]

    def file(self, build: Output) -> Path:
        """The package file of a build."""
        return self.root / build.subdir / f"{build.name}-{build.version}-{build.build}.tar.bz2"

    @property
    def urls(self) -> tuple[str, str]:
        """Both as file URLs, in the order in which emscripten-forge's users have them."""
        return self.root.as_uri(), self.conda_forge.as_uri()


def channel(folder: Path, artifacts: int | None = None, seed: int = 0) -> Channel:
    """Lay the channels into a folder that the test may change: `emscripten-forge-4x` and `conda-forge`.

    artifacts: how many builds the first has; None is one of each package. Beyond that come lower build numbers and older
        versions, chosen by `seed`; Python packages have more.
    """
    ready = shared_channel(artifacts, seed)
    shutil.copytree(ready.root.parent, folder, dirs_exist_ok=True)
    return replace(ready, root=folder / ready.root.name, conda_forge=folder / ready.conda_forge.name)


def shared_channel(artifacts: int | None = None, seed: int = 0) -> Channel:
    """The same in the cache itself, for tests that change nothing there."""
    builds = tuple(chosen(artifacts, seed))
    ready = cached("channel4x", (artifacts, seed, Path(__file__), *SOURCES, *TABLES), lambda place: _make(place, builds))
    return Channel(ready / "emscripten-forge-4x", ready / "conda-forge", builds)


def chosen(artifacts: int | None, seed: int = 0) -> list[Output]:
    """The builds of a channel of that size: the newest of each package, those that others pin, then by weight."""
    newest = list(outputs())
    if artifacts is None:
        return newest
    assert artifacts >= len(newest), f"a channel has at least {len(newest)} builds"
    dice = random.Random(seed)  # noqa: S311 - reproducible, not secret
    olds = [output for output in newest if output.name not in ("emscripten-abi", "python", "python_abi")]
    older = [_older(output) for output in olds]
    weights = [OLDER_PYTHON if output.kind == "python" else OLDER for output in olds]
    pinned = [position for position, output in enumerate(olds) for _ in others()["older"].get(output.name, ())]
    found = {(output.name, output.version, output.number): output for output in newest}
    while len(found) < artifacts:
        position = pinned.pop(0) if pinned else dice.choices(range(len(olds)), weights)[0]
        output = next(older[position])
        found.setdefault((output.name, output.version, output.number), output)
    return list(found.values())


def _older(output: Output) -> Iterator[Output]:
    """The builds of a package that are older than its newest, in order, without end: pinned versions, lower build numbers, lower
    versions with a build or two."""
    age = 0
    for version in others()["older"].get(output.name, ()):
        age += 1
        yield replace(output, version=version, number=0, age=age)
    for number in reversed(range(output.number)):
        age += 1
        yield replace(output, number=number, age=age)
    version, known = output.version, set(others()["older"].get(output.name, ()))
    while True:
        version = _before(version)
        if version in known:
            continue
        for number in (1, 0) if len(output.name) % 2 else (0,):
            age += 1
            yield replace(output, version=version, number=number, age=age)


def _before(version: str) -> str:
    """The version before: 2.4.1 of 2.4.2, 2.3.9 of 2.4.0; 0.0.0.N where nothing is left to count down."""
    parts = re.split(r"(\D+)", version)
    numbers = [position for position, part in enumerate(parts) if part.isdigit()]
    for position in reversed(numbers):
        if int(parts[position]) > 0:
            parts[position] = str(int(parts[position]) - 1)
            for later in numbers:
                if later > position:
                    parts[later] = "9"
            return "".join(parts)
    return f"{version}.0"


def _make(place: Path, builds: Sequence[Output]) -> None:
    newest = {output.name: output for output in reversed(outputs())}
    root = place / "emscripten-forge-4x"
    for subdir in SUBDIRS:
        (root / subdir).mkdir(parents=True)
    for build in builds:
        _write(root / build.subdir, build, newest)
    _conda_forge(place / "conda-forge")
    from rattler.index import index_fs

    for each in (root, place / "conda-forge"):
        asyncio.run(index_fs(each))


def _write(folder: Path, output: Output, newest: Mapping[str, Output]) -> None:
    index = output.record(newest)
    info: dict[str, bytes | conda.Link] = dict(packed.recipe(index, _host(output, newest), COMPILER))
    if output.noarch == "python":
        info["link.json"] = packed.dumped({"noarch": {"type": "python"}, "package_metadata_version": 1})
    if output.name in others()["exported"] and output.name != "r-base":
        spec = others()["exported"][output.name]["spec"].format(build=output.build)
        info["run_exports.json"] = packed.dumped({"strong" if output.name == "passagemath-abi" else "weak": [spec]})
    if output.name == "numpy":
        info["run_exports.json"] = packed.dumped({"weak": ["numpy >=2.2,<3"]})
    info["licenses/LICENSE"] = f"The license of {output.name}.\n".encode()
    about = {
        "channels": ["https://prefix.dev/emscripten-forge-4x", "https://prefix.dev/conda-forge"],
        **{key: value for key, value in output.about.items() if key in ("license", "summary")},
    }
    for field, key in (("homepage", "home"), ("repository", "dev_url"), ("documentation", "doc_url")):
        if field in output.about:
            about[key] = output.about[field]
    packed.pack(folder, index, channel4x_files.content(output), about=about, info=info)


def _host(output: Output, newest: Mapping[str, Output]) -> list[dict[str, Any]]:
    """The host environment of a Python package: the libraries among its run requirements."""
    if output.kind != "python" or output.noarch:
        return []
    names = [re.split(r"[\s<>=]", spec, maxsplit=1)[0].lower() for spec in output.run]
    return [newest[name].record(newest) for name in names if name in newest and newest[name].kind in ("static", "shared")]


def _conda_forge(root: Path) -> None:
    """What the packages need that is not in the channel, `noarch: python`, as .conda; R's packages are no business of ours."""
    (root / "emscripten-wasm32").mkdir(parents=True)
    (root / "noarch").mkdir()
    for line in (DATA / "channel_4x_conda_forge.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, version, pypi, depends, requires = (cell.strip() for cell in line.split("|"))
        index = {
            "build": "pyhd8ed1ab_0",
            "build_number": 0,
            "depends": ["python >=3.10", *filter(None, depends.split(" & "))],
            "license": "MIT",
            "name": name,
            "noarch": "python",
            "subdir": "noarch",
            "timestamp": int(channel4x_outputs.NEWEST.timestamp() * 1000),
            "version": version,
        }
        normal = pep440(version)
        folder = f"{pypi.replace('-', '_').replace('.', '_').lower()}-{normal}"
        lines = [f"Requires-Dist: {each}" for each in filter(None, requires.split(" & "))]
        made = shapes.dist_info(folder, metadata=shapes.core(pypi, normal or "0", *lines), tag="py3-none-any")
        module = pypi.replace("-", "_").replace(".", "/").lower()
        files = {f"site-packages/{path}": str(value).encode() for path, value in made.items()}
        files[f"site-packages/{module}/__init__.py"] = f'__version__ = "{version}"\n'.encode()
        info = {"link.json": packed.dumped({"noarch": {"type": "python"}, "package_metadata_version": 1})}
        packed.pack(root / "noarch", index, files, about={"license": "MIT"}, info=info, archive="conda")
