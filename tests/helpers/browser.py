"""Debian's Chromium, driven by playwright-core from npm: what a person would see, click and type."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.net.npm import download_package, npm_package
from conda2wheel.pyodide.node import find_node
from tests.helpers.cache import cached

# Name, version and npm's integrity.
PLAYWRIGHT = (
    "playwright-core",
    "1.65.1",
    "sha512-hqPpz7blSMPxWVdoeE1yiBSzXsKiVOd2k+kjCvmUywD2GPO2Dd9HfcWnq9NN0GHbNZDFgZ9JfBFr+X5/BLo0qw==",
)
AXE = (
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)
DRIVER = Path(__file__).with_name("browse.mjs")


def package(name: str, version: str, integrity: str) -> Path:
    """The folder of an npm package that needs no other."""

    def make(folder: Path) -> None:
        archive = download_package(npm_package(name, version), folder, 64 << 20, integrity)
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()

    return cached(name, (name, version, integrity), make) / "package"


def playwright() -> Path:
    """The folder of playwright-core. Skips the test where node is too old for it."""
    if int((found := find_node()).version.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"{'@'.join(PLAYWRIGHT[:2])} needs node 20, here is {found.version}")
    return package(*PLAYWRIGHT)


@cache
def chromium() -> str:
    """The program, installed where we may. Skips the test where there is none and none can be had."""
    if found := shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome"):
        return found
    if os.getuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("there is no Chromium here, and only root of a Debian can install it: apt-get install chromium")
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", "chromium"]):
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(["apt-get", *command], env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"apt-get {command[0]}: {done.stderr.strip()[-300:]}")
    return shutil.which("chromium") or "/usr/bin/chromium"


class Browser:
    """One page of one browser with a profile of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, call: str, *arguments: Any) -> Any:
        """A method of playwright's page, or one of the driver's own: see `browse.mjs`. Raises `AssertionError` where it fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": call, "with": arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the browser is gone: {self._process.stderr and self._process.stderr.read()[-2000:]}"
        answer = json.loads(line)
        assert "error" not in answer, f"{call} {arguments}: {answer['error']}"
        return answer["value"]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Yields a browser whose profile lies in a folder that is not there yet; it is gone afterwards."""
    command = [find_node().path, str(DRIVER), str(playwright()), chromium(), str(profile)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield Browser(process)
    finally:
        process.communicate(timeout=600)  # the end of its input is the end of it
