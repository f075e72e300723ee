"""Check the programs of a wheel: start each as its command would, in this Python, since Pyodide starts none.

A program passes if it starts and does not trap: it is asked for its version, and if it knows no such option, for its help; what
it answers and with which status is its own. The recipe's test, a Python script, runs with the programs' package on its path.

The wheel may be a stranger's, and its provenance forged. So no Python and no JavaScript of it runs on this machine but what a
sandbox confines: the launcher is this conda2wheel's own, wasmtime confines WASI programs, and node's permission model Emscripten
programs. The test in its provenance runs if it is that of a recipe of conda2wheel itself. `native` runs all that with the rights
of this process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from conda2wheel.errors import Failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.zips import WheelArchive
from conda2wheel.pyodide.node import PASSED_ON, find_node
from conda2wheel.pyodide.report import Checked, Imported, Installer, Ran
from conda2wheel.results import ConversionWarning, WheelProgram
from conda2wheel.wheel.programs import (
    FOLDER_SUFFIX,
    NOT_STARTED,
    TABLE,
    TRAPPED,
    has_only_programs,
    is_test_of_own_recipe,
    launcher_files,
    programs_folder,
    programs_of,
)
from conda2wheel.wheel.reader import Wheel, read_wheel

ASKED = ("--version", "--help")
MAX_OUTPUT = 1 << 20  # bytes; a program that prints more does start
_NOTHING = re.compile(r"(?!)")  # the members to read at once
NO_PYODIDE = "none"  # where a Pyodide's version would be


def wheel_of_programs(path: Path) -> Wheel | None:
    """The wheel, if it has nothing but programs; None for every other wheel. Raises `Refused` as `read_wheel`."""
    wheel = read_wheel(path, Limits(), _NOTHING)
    return wheel if programs_of(wheel) and has_only_programs(wheel) else None


def is_of_programs(path: Path) -> bool:
    """Whether a wheel has nothing but programs. One without a table of programs is not read further. Raises as `read_wheel`."""
    with WheelArchive(path) as archive:
        table = f"{FOLDER_SUFFIX}/{TABLE}"
        if not any(name.endswith(table) and name.count("/") == 1 for name in archive.namelist()):
            return False
    return wheel_of_programs(path) is not None


def not_started(path: Path) -> list[ConversionWarning]:
    """The warning about a wheel for Pyodide that has programs, too: nothing starts these there."""
    with WheelArchive(path) as archive:
        if not any(name.endswith(f"{FOLDER_SUFFIX}/{TABLE}") for name in archive.namelist()):
            return []
    names = ", ".join(program.name for program in programs_of(read_wheel(path, Limits(), _NOTHING)))
    return (
        [ConversionWarning("programs-not-run", f"were not started, since Pyodide starts none: {names}", path.name)]
        if names
        else []
    )


def check_programs(
    wheel: Wheel, test: str | None, script: Path | None, timeout: float, installer: Installer, *, native: bool = False
) -> Checked:
    """Start every program of a wheel.

    Args:
        wheel: a wheel of programs.
        test: the recipe's test, None without one.
        script: a script that runs instead of it.
        timeout: seconds for one program, or for the script.
        installer: what the caller named; nothing is installed.
        native: whether the test runs though it is that of a stranger, and Emscripten programs with the rights of this process.
    """
    started = time.monotonic()
    programs = programs_of(wheel)
    uses_node = any(program.kind != "wasi" for program in programs)
    warnings: list[ConversionWarning] = []
    with tempfile.TemporaryDirectory(prefix="conda2wheel-check-") as temporary:
        site, work = Path(temporary, "site").resolve(), Path(temporary, "work").resolve()
        work.mkdir()
        _unpack(wheel, site, uses_node)
        environment = {**os.environ} if native else _confined(site, work, uses_node)
        environment |= {"PYTHONPATH": str(site), "CONDA2WHEEL_PROGRAMS_CACHE": str(Path(temporary, "cache"))}
        run = _Run(work, environment, timeout)
        modules = tuple(_start(run, programs_folder(wheel), program) for program in programs)
        text = test if script is None else script.read_text(encoding="utf-8")
        if text is not None and script is None and not native and not is_test_of_own_recipe(text):
            why = "the test in the wheel is no recipe's of conda2wheel, and would run with your rights: --native runs it"
            warnings.append(ConversionWarning("test-not-run", why, wheel.path.name))
            text = None
        ran = None if text is None else _script(run, text)
    return Checked(
        wheel=wheel.path,
        pyodide=NO_PYODIDE,
        platform=None,
        installer=installer,
        installed=(wheel.stem,),
        modules=modules,
        script=ran,
        warnings=tuple(warnings),
        seconds=time.monotonic() - started,
    )


def _unpack(wheel: Wheel, site: Path, uses_node: bool) -> None:
    """Write the programs and their table, and the launcher of this conda2wheel, whatever launcher the wheel has."""
    folder = programs_folder(wheel)
    for file in wheel.files:
        if file.path == f"{folder}/{TABLE}" or file.path.startswith(f"{folder}/prefix/"):
            target = site / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.blob.read())
    for name, text in launcher_files(uses_node).items():
        (site / folder / name).write_text(text, encoding="utf-8")


def _confined(site: Path, work: Path, uses_node: bool) -> dict[str, str]:
    """The environment of programs: without credentials, and with node's permission model, where node runs some.

    Raises:
        Failed: dependency, for no node or one that is too old for it.
    """
    passed = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name) or name == "LD_LIBRARY_PATH"}
    if not uses_node:
        return passed
    node = find_node()
    flag = permission_flag(node.version)
    if flag is None:
        why = f"node {node.version} cannot confine the Emscripten programs of this wheel: its permission model came with 20"
        raise Failed("dependency", why, "take node 20 or newer, or run them with your rights: --native")
    options = [flag, f"--allow-fs-read={site}", f"--allow-fs-read={work}", f"--allow-fs-write={work}"]
    quoted = " ".join('"' + each.replace("\\", "\\\\").replace('"', '\\"') + '"' for each in options)
    return {**passed, "CONDA2WHEEL_NODE": node.path, "NODE_OPTIONS": quoted, "NODE_NO_WARNINGS": "1"}


def permission_flag(version: str) -> str | None:
    """The option that switches on the permission model of a node; None for one without.

    >>> permission_flag("v18.20.0"), permission_flag("v20.20.2"), permission_flag("v22.12.0"), permission_flag("v24.1.0")
    (None, '--experimental-permission', '--experimental-permission', '--permission')
    """
    major, minor = (int(part) for part in version.removeprefix("v").split(".")[:2])
    if major < 20:
        return None
    return (
        "--permission"
        if major >= 24 or (major, minor) >= (23, 5) or (22, 13) <= (major, minor) < (23, 0)
        else "--experimental-permission"
    )


class _Run:
    """Runs commands of this Python in a folder, with bounds on time and output."""

    def __init__(self, folder: Path, environment: dict[str, str], timeout: float) -> None:
        self.folder, self.environment, self.timeout = folder, environment, timeout

    def __call__(self, arguments: Sequence[str]) -> tuple[int | None, str]:
        """The status, None after a time-out, and the output."""
        with subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            late = threading.Event()

            def end() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(self.timeout, end)
            timer.start()
            try:
                output = process.stdout.read(MAX_OUTPUT) if process.stdout is not None else b""
                if len(output) == MAX_OUTPUT:
                    process.kill()
                status = process.wait()
            finally:
                timer.cancel()
        full = len(output) == MAX_OUTPUT and not late.is_set()
        return (None if late.is_set() else 0 if full else status), output.decode("utf-8", "replace")


def _start(run: _Run, package: str, program: WheelProgram) -> Imported:
    started = time.monotonic()
    error: str | None = None
    output = ""
    for option in ASKED:
        status, output = run(["-m", package, program.name, option])
        lines = [line for line in output.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if status is None:
            error = f"{option}: no end after {run.timeout:g} seconds"
        elif status == TRAPPED or last.startswith(f"{program.name}: {NOT_STARTED}"):
            error = last or f"{option}: it trapped"
        else:
            error = None
        if error is not None or status == 0:
            break
    return Imported(program.name, error is None, error, output if error else None, time.monotonic() - started)


def _script(run: _Run, text: str) -> Ran:
    started = time.monotonic()
    path = run.folder / "test.py"
    path.write_text(text, encoding="utf-8")
    status, output = run([str(path)])
    seconds = time.monotonic() - started
    if status == 0:
        return Ran(ok=True, stdout=output, seconds=seconds)
    lines = [line for line in output.splitlines() if line.strip()]
    why = f"no end after {run.timeout:g} seconds" if status is None else lines[-1] if lines else f"status {status}"
    return Ran(ok=False, error=why, traceback=output, seconds=seconds)
