"""Run one check: after the interpreter dies at a module, another one continues with the next module."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda2wheel.pyodide.lock import Runtime
from conda2wheel.pyodide.node import Node, NodeExit, run
from conda2wheel.pyodide.report import Crash, Imported, Installer, Ran
from conda2wheel.results import ConversionWarning

HERE = Path(__file__).parent  # the folder of run.mjs and inside.py, which node reads as files


@dataclass(frozen=True)
class Job:
    """What an interpreter does.

    Attributes:
        packages: Pyodide's packageCacheDir.
        names: Pyodide's own packages to load.
        wheels: the wheels to install, in this order.
        modules: the modules to import.
        script: a Python file to run.
        timeout: seconds without an event after which the interpreter is killed.
    """

    runtime: Runtime
    packages: Path
    installer: Installer
    names: tuple[str, ...]
    wheels: tuple[Path, ...]
    modules: tuple[str, ...]
    script: Path | None
    timeout: float


@dataclass
class JobResult:
    """The events of all interpreters of a job."""

    installed: list[str] = field(default_factory=list)
    install_errors: list[str] = field(default_factory=list)
    modules: list[Imported] = field(default_factory=list)
    script: Ran | None = None
    warnings: list[ConversionWarning] = field(default_factory=list)
    crash: Crash | None = None


def run_job(job: Job, node: Node) -> JobResult:
    """Run a job. Whatever the wheel does is part of the result. Raises `OSError` only for the temporary folder."""
    result = JobResult()
    left, script = job.modules, job.script
    first = True
    while True:
        ending = _session(job, node, left, script)
        if first:
            _record_installation(ending, result)
        first = False
        result.modules += [_imported(event) for event in ending.events if event["event"] == "imported"]
        result.script = next((_ran(event) for event in ending.events if event["event"] == "ran"), result.script)
        crash = _crash(ending)
        if crash is None:
            judged = {module.name for module in result.modules}
            _not_tried(result, [name for name in left if name not in judged], script, "micropip could not be loaded")
            return result
        result.crash = result.crash or crash
        stage = next((event for event in reversed(ending.events) if event["event"] != "fatal"), {"event": "starting"})
        match stage["event"]:
            case "importing":
                result.modules.append(Imported(stage["name"], ok=False, error=crash.line(), crash=crash))
            case "running":
                result.script = Ran(ok=False, error=crash.line(), traceback=crash.last_words)
            case "imported" | "ran":
                pass  # a task that the module or the script left running ended the interpreter
            case _:  # another interpreter would fail at the same point
                result.install_errors.append(f"{_what(stage)}: {crash.line()}")
                _not_tried(result, left, script, "the interpreter died before")
                return result
        judged = {module.name for module in result.modules}
        left = tuple(name for name in left if name not in judged)
        script = None if result.script else script
        if not left and script is None:
            return result


def _not_tried(result: JobResult, names: Sequence[str], script: Path | None, why: str) -> None:
    result.modules += [Imported(name, ok=False, error=f"not tried: {why}") for name in names]
    if script and result.script is None:
        result.script = Ran(ok=False, error=f"not tried: {why}")


def _session(job: Job, node: Node, modules: Sequence[str], script: Path | None) -> NodeExit:
    with tempfile.TemporaryDirectory(prefix="conda2wheel-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        wheels = folder / "wheels"
        wheels.mkdir()
        job_file = {
            "pyodide": str(job.runtime.folder),
            "packages": str(job.packages),
            "inside": str(HERE / "inside.py"),
            "installer": job.installer,
            "names": [*(["micropip"] if job.installer == "micropip" else []), *job.names],
            "wheels": [str(_copied_wheel(wheel, wheels)) for wheel in job.wheels],
            "modules": list(modules),
            "script": str(script) if script else None,
        }
        return run(node, HERE / "run.mjs", job_file, folder, job.timeout)


def _copied_wheel(wheel: Path, folder: Path) -> Path:
    """A copy of the wheel under a path without characters that loadPackage would take for those of a URL."""
    copy = folder / wheel.name
    shutil.copyfile(wheel, copy)  # not a link: the code under test can write to the file
    return copy


def _record_installation(ending: NodeExit, result: JobResult) -> None:
    """Record what was installed.

    A package of Pyodide's own that cannot be loaded is a warning, since modules may not need it; an error of micropip is an
    error.
    """
    for event in ending.events:
        if event["event"] == "installed" and event["ok"]:
            result.installed.append(event["wheel"])
        elif event["event"] == "installed":
            result.install_errors.append(f"{event['wheel']}: {event.get('traceback') or event['error']}")
        elif event["event"] == "loaded" and event["ok"]:
            result.installed.append(event["name"])
        elif event["event"] == "loaded" and event["name"] == "micropip":
            result.install_errors.append(f"micropip: {event['error']}")
        elif event["event"] == "loaded":
            message = f"{event['name']}, a package of Pyodide's own, could not be loaded: {event['error']}"
            result.warnings.append(ConversionWarning("not-loaded", message))


def _imported(event: dict[str, Any]) -> Imported:
    return Imported(event["name"], event["ok"], event["error"], event["traceback"], event["seconds"])


def _ran(event: dict[str, Any]) -> Ran:
    return Ran(event["ok"], event["stdout"], event["error"], event["traceback"], event["seconds"])


def _crash(ending: NodeExit) -> Crash | None:
    if ending.events and ending.events[-1]["event"] == "done":
        return None
    tail = ending.tail.strip()
    fatal = next((event["error"] for event in ending.events if event["event"] == "fatal"), None)
    if fatal is not None:
        return Crash("fatal", f"{fatal}\n{tail}".strip())
    if ending.timed_out:
        return Crash("timeout", f"no news for too long\n{tail}".strip())
    status = ending.status or 0
    how = f"node ended with status {status}"
    if status < 0:
        how = f"node was ended by signal {-status}"
        with suppress(ValueError):
            how = f"node was ended by {signal.Signals(-status).name}"
    return Crash("exit", f"{how}\n{tail}".strip())


def _what(stage: dict[str, Any]) -> str:
    return str(stage.get("wheel") or stage.get("name") or "Pyodide")
