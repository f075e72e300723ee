"""What users install with, run on an index or a lock file of ours: micropip and loadPackage in a real Pyodide, pip, uv.

Nothing but loopback is reachable for any of them: fetch is wrapped in Pyodide, and pip and uv are told of one index.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.utils import canonicalize_name

from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide import fetch
from conda2wheel.pyodide.fetch import from_pypi, package_cache
from conda2wheel.pyodide.lock import Runtime
from conda2wheel.pyodide.node import find_node, run
from tests.helpers.cache import pypi, unzipped
from tests.helpers.judges import UV_PLATFORMS

SCRIPT = Path(__file__).with_name("installers.mjs")
SILENCE = 600.0  # seconds
PIP = ("26.3", "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13")


@dataclass(frozen=True)
class Answer:
    """What became of it: names in `loadedPackages`, versions by normalised name, all URLs that were fetched and those of them
    that were no loopback's, what went wrong, the value of the script. Not `ended`: node had nothing left to do before the end."""

    loaded: tuple[str, ...]
    distributions: Mapping[str, str]
    asked: tuple[str, ...]
    refused: tuple[str, ...]
    errors: tuple[str, ...]
    messages: tuple[str, ...]
    result: str | None
    ended: bool = True


@dataclass(frozen=True)
class Resolved:
    """What pip or uv would install: versions and URLs by normalised name; or why not."""

    versions: Mapping[str, str]
    urls: Mapping[str, str]
    said: str
    ok: bool


def runtime(version: str) -> Runtime:
    """A Pyodide, from npm or from the cache."""
    return fetch.pyodide(version, cache_folder())


def micropip_from(
    index: str, requirements: Sequence[str], version: str, *, first: Sequence[str] = (), script: str | None = None
) -> Answer:
    """`micropip.install(requirements, index_urls=index)`; micropip itself comes from the packageCacheDir.

    Those in `first` are installed before, one by one: micropip unpacks and opens the wheels of one call at the same time, in any
    order.
    """
    here = runtime(version)
    packages = package_cache(here, cache_folder())
    assert not (missing := from_pypi(here, ["micropip"], packages)), missing
    return _answer(here, packages=str(packages), first=list(first), micropip=list(requirements), index=index, script=script)


def load_from_lock(
    lock: Path | str,
    names: Sequence[str],
    version: str,
    *,
    base: str | None = None,
    packages: Path | None = None,
    micropip: Sequence[str] = (),
    script: str | None = None,
) -> Answer:
    """`loadPackage(names)` with `lock` in the place of Pyodide's own: a path, or a URL, whose text is handed over as
    `lockFileContents` since Pyodide reads no URL under node. `base` is the packageBaseUrl, `packages` the packageCacheDir."""
    place = None if packages is None else str(packages)
    return _answer(
        runtime(version),
        lock=str(lock),
        load=list(names),
        base=base,
        packages=place,
        micropip=list(micropip),
        script=script,
    )


def install(wheel: Path, version: str, by: Literal["loadPackage", "micropip"], script: str) -> Answer:
    """`loadPackage` of a wheel's path, or `micropip.install` of its file: URL, and then a script."""
    here = runtime(version)
    if by == "loadPackage":
        return _answer(here, load=[str(wheel)], script=script)
    packages = package_cache(here, cache_folder())
    assert not (missing := from_pypi(here, ["micropip"], packages)), missing
    return _answer(here, packages=str(packages), micropip=[f"file:{wheel}"], script=script)


def _answer(here: Runtime, **job: Any) -> Answer:
    order: dict[str, Any] = {
        "pyodide": str(here.folder),
        "packages": None,
        "lock": None,
        "base": None,
        "load": [],
        "first": [],
        "micropip": [],
        "index": None,
    }
    with tempfile.TemporaryDirectory() as folder:
        ending = run(find_node(), SCRIPT, {**order, "script": None, **job}, Path(folder), SILENCE)
    told = next((event for event in ending.events if event["event"] == "answer"), None)
    if told is None and ending.status == 0:
        return Answer((), {}, (), (), (), (), None, ended=False)
    assert told is not None, ending
    return Answer(
        loaded=tuple(told["loaded"]),
        distributions={canonicalize_name(name): value for name, value in told["distributions"].items()},
        asked=tuple(told["asked"]),
        refused=tuple(told["refused"]),
        errors=tuple(told["errors"]),
        messages=tuple(told["messages"]),
        result=told["result"],
    )


def pip_from(source: str | Path, requirements: Sequence[str], *, platform: str, python: str) -> Resolved:
    """`pip install --dry-run` for a platform tag and a Python (`3.13`), from an index (URL) or a folder of wheels alone."""
    pip = unzipped(pypi("pip", *PIP)) / "pip"  # pip before 25.3 compares Requires-Python with the Python that it runs in
    command = [sys.executable, str(pip), "--isolated", "--disable-pip-version-check", "install", "--quiet", "--no-cache-dir"]
    command += ["--dry-run", "--ignore-installed", "--report", "-", "--only-binary", ":all:", "--platform", platform]
    command += ["--python-version", python, "--implementation", "cp", "--abi", f"cp{python.replace('.', '')}", "--abi", "abi3"]
    command += ["--abi", "none", *_source(source)]
    with tempfile.TemporaryDirectory() as folder:
        done = _run([*command, "--target", folder, *requirements])
    rows = json.loads(done.stdout)["install"] if done.returncode == 0 else []
    found = {canonicalize_name(row["metadata"]["name"]): row for row in rows}
    return Resolved(
        {name: row["metadata"]["version"] for name, row in found.items()},
        {name: row["download_info"]["url"] for name, row in found.items()},
        done.stderr,
        done.returncode == 0,
    )


def uv_from(source: str | Path, requirements: Sequence[str], *, platform: str, python: str) -> Resolved:
    """`uv pip install --dry-run` for a platform tag that uv knows and a Python, from an index (URL) or a folder alone."""
    command = [sys.executable, "-m", "uv", "--no-config", "pip", "install", "--dry-run", "--no-cache", "--only-binary", ":all:"]
    command += ["--python-platform", UV_PLATFORMS[platform], "--python-version", python, *_source(source)]
    with tempfile.TemporaryDirectory() as folder:
        done = _run([*command, "--target", folder, *requirements])
    rows = [line.removeprefix(" + ").split("==") for line in done.stderr.splitlines() if line.startswith(" + ")]
    return Resolved({canonicalize_name(name): version for name, version in rows}, {}, done.stderr, done.returncode == 0)


def uv_pylock(lock: Path, target: Path, *, platform: str, python: str, sync: bool = False) -> subprocess.CompletedProcess[str]:
    """`uv pip install -r` or `uv pip sync` of a pylock.toml, for a platform tag that uv knows, into a folder."""
    words = ["sync", str(lock)] if sync else ["install", "-r", str(lock)]
    command = [
        sys.executable,
        "-m",
        "uv",
        "--no-config",
        "pip",
        *words,
        "--no-cache",
        "--no-index",
        "--preview-features",
        "pylock",
    ]
    return _run([*command, "--python-platform", UV_PLATFORMS[platform], "--python-version", python, "--target", str(target)])


def uv_compile(project: Path, extra_index: str, *, platform: str, python: str) -> subprocess.CompletedProcess[str]:
    """pywrangler's `uv pip compile` of a project into its pylock.toml, with a platform in the place of a Pyodide interpreter."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--no-cache", "--no-build"]
    command += ["--extra-index-url", extra_index, "--index-strategy", "unsafe-best-match", "--no-header"]
    command += ["--python-platform", UV_PLATFORMS[platform], "--python-version", python]
    return _run([*command, "--no-python-downloads", "-o", "pylock.toml"], project)


def pip_pylock(lock: Path | str, target: Path, here: Runtime) -> subprocess.CompletedProcess[str]:
    """`pip install -r` of a pylock.toml by a pip that takes itself to be in that Pyodide: it takes no --platform with a lock."""
    order = {
        "pip": str(unzipped(pypi("pip", *PIP))),
        "markers": dict(here.markers),
        "tags": [str(tag) for tag in here.tags],
        "words": [
            "--isolated",
            "--disable-pip-version-check",
            "install",
            "--no-cache-dir",
            "--target",
            str(target),
            "-r",
            str(lock),
        ],
    }
    return _run([sys.executable, str(Path(__file__).with_name("pip_inside.py")), json.dumps(order)])


def _source(source: str | Path) -> list[str]:
    return ["--no-index", "--find-links", str(source)] if isinstance(source, Path) else ["--index-url", source]


def _run(command: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=cwd)
