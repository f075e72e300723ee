"""JupyterLite: sites that `jupyter lite build` of PyPI builds, with the Pyodide of their kernel, in Chromium."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide import fetch
from tests.helpers.browser import Browser
from tests.helpers.cache import cached

COMM = "comm==0.2.2"  # the kernel installs it, and Pyodide does not have it


@dataclass(frozen=True)
class Kernel:
    """A jupyterlite-pyodide-kernel, its jupyterlite-core, and its Pyodide."""

    version: str
    core: str
    pyodide: str


KERNELS = {"0.7": Kernel("0.7.2", "0.7.6", "0.29.3"), "0.8": Kernel("0.8.6", "0.8.6", "314.0.6")}


def jupyter_lite(kernel: Kernel, *arguments: str, folder: Path) -> str:
    """Run `jupyter lite` in a folder, and return what it printed. Raises `AssertionError` where it fails."""

    def make(environment: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        wanted = [f"jupyterlite-pyodide-kernel=={kernel.version}", f"jupyterlite-core=={kernel.core}"]
        _pip(environment / "bin" / "python", "install", *wanted)

    environment = cached("jupyterlite", (kernel, sys.version_info[:2], sys.executable), make)
    command = [str(environment / "bin" / "python"), "-c", "from jupyterlite_core.app import main; main()", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def schema(site: Path) -> Path:
    """The kernel's JSON Schema of `all.json`, in a site that was built."""
    return site / "extensions/@jupyterlite/pyodide-kernel-extension/static/schema/piplite.v0.schema.json"


def pyodide(kernel: Kernel, folder: Path) -> None:
    """Copy the kernel's Pyodide to a folder, with what the kernel installs of it. PyPI's files stand in for those of the CDN.

    A site has them in `static/pyodide`. The module sqlite3, which is on the CDN alone, is missing; the kernel does without it.
    """

    def make(made: Path) -> None:
        runtime = fetch.pyodide(kernel.pyodide, cache_folder())
        shutil.copytree(runtime.folder, made, dirs_exist_ok=True)
        names = ["micropip", "ipython", "jedi", "traitlets"]
        wanted = [each for each in runtime.closure(names) if each.file_name.endswith("none-any.whl")]
        pins = [f"{each.name}=={each.version}" for each in wanted]
        options = ["--no-deps", "--only-binary", ":all:", "--python-version", runtime.python_version, "--dest", str(made)]
        _pip(sys.executable, "download", *options, *pins)
        path = made / "pyodide-lock.json"
        lock = json.loads(path.read_text(encoding="utf-8"))
        for entry in lock["packages"].values():
            if (file := made / entry["file_name"]).is_file():
                entry["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        path.write_text(json.dumps(lock), encoding="utf-8")

    shutil.copytree(cached("jupyterlite-pyodide", (kernel,), make), folder)


def comm(folder: Path) -> None:
    """Download what the kernel installs from PyPI."""
    _pip(sys.executable, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), COMM)


def run(page: Browser, address: str, code: Sequence[str]) -> str:
    """Run code in the REPL of a site, and return the last line that it printed before `DONE`, or the end of the traceback."""
    source = "\n".join([*code, "print('DO' + 'NE')"])
    page("goto", f"{address}repl/index.html?kernel=python&execute=1&code={quote(source)}")
    page("waitForFunction", r"/^(DONE|\w*Error: .*)$/m.test(document.body.innerText)")
    lines = str(page("evaluate", "document.body.innerText")).splitlines()
    end = next(n for n, line in enumerate(lines) if line == "DONE" or "Error: " in line)
    page("trouble")  # of JupyterLite's own
    return lines[end - 1] if lines[end] == "DONE" else lines[end]


def _pip(python: str | Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
