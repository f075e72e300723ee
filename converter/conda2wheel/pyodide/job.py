"""One wheel in as many interpreters as it takes: when one dies at a module, the next goes on behind it."""

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

HERE = Path(__file__).parent  # run.mjs and inside.py lie here; node needs them as files
ERROR = 500  # characters of a one-line error


@dataclass(frozen=True)
class Job:
    """What to do: `names` of Pyodide's own packages, `wheels` in order, `modules` to import, a `script` to run.

    `packages` is the packageCacheDir; `timeout` is in seconds without news from the interpreter.
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
    """What the interpreters told, gathered over all of them."""

    installed: list[str] = field(default_factory=list)
    install_errors: list[str] = field(default_factory=list)
    modules: list[Imported] = field(default_factory=list)
    script: Ran | None = None
    warnings: list[ConversionWarning] = field(default_factory=list)
    crash: Crash | None = None


def run_job(job: Job, node: Node) -> JobResult:
    """Do it. Whatever the wheel does ends up in what is told; raises only for our own disk (OSError)."""
    told = JobResult()
    left, script = job.modules, job.script
    first = True
    while True:
        ending = _session(job, node, left, script)
        if first:
            _hear_installation(ending, told)
        first = False
        told.modules += [_imported(event) for event in ending.events if event["event"] == "imported"]
        told.script = next((_ran(event) for event in ending.events if event["event"] == "ran"), told.script)
        crash = _crash(ending)
        if crash is None:
            judged = {module.name for module in told.modules}
            _not_tried(told, [name for name in left if name not in judged], script, "micropip could not be loaded")
            return told
        told.crash = told.crash or crash
        stage = next((event for event in reversed(ending.events) if event["event"] != "fatal"), {"event": "starting"})
        match stage["event"]:
            case "importing":
                told.modules.append(Imported(stage["name"], ok=False, error=_line(crash), crash=crash))
            case "running":
                told.script = Ran(ok=False, error=_line(crash), traceback=crash.last_words)
            case "imported" | "ran":
                pass  # it died of something that the module or the script had left running
            case _:  # it will not come further next time
                told.install_errors.append(f"{_what(stage)}: {_line(crash)}")
                _not_tried(told, left, script, "the interpreter died before")
                return told
        judged = {module.name for module in told.modules}
        left = tuple(name for name in left if name not in judged)
        script = None if told.script else script
        if not left and script is None:
            return told


def _not_tried(told: JobResult, names: Sequence[str], script: Path | None, why: str) -> None:
    told.modules += [Imported(name, ok=False, error=f"not tried: {why}") for name in names]
    if script and told.script is None:
        told.script = Ran(ok=False, error=f"not tried: {why}")


def _session(job: Job, node: Node, modules: Sequence[str], script: Path | None) -> NodeExit:
    with tempfile.TemporaryDirectory(prefix="conda2wheel-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        wheels = folder / "wheels"
        wheels.mkdir()
        orders = {
            "pyodide": str(job.runtime.folder),
            "packages": str(job.packages),
            "inside": str(HERE / "inside.py"),
            "installer": job.installer,
            "names": [*(["micropip"] if job.installer == "micropip" else []), *job.names],
            "wheels": [str(_place(wheel, wheels)) for wheel in job.wheels],
            "modules": list(modules),
            "script": str(script) if script else None,
        }
        return run(node, HERE / "run.mjs", orders, folder, job.timeout)


def _place(wheel: Path, folder: Path) -> Path:
    """The wheel under a path without characters that loadPackage would take for those of a URL."""
    place = folder / wheel.name
    shutil.copyfile(wheel, place)  # no link: code under test can write to what it is given
    return place


def _hear_installation(ending: NodeExit, told: JobResult) -> None:
    """What went in. A package of Pyodide's own that did not is a warning, except micropip: modules may do without it."""
    for event in ending.events:
        if event["event"] == "installed" and event["ok"]:
            told.installed.append(event["wheel"])
        elif event["event"] == "installed":
            told.install_errors.append(f"{event['wheel']}: {event.get('traceback') or event['error']}")
        elif event["event"] == "loaded" and event["ok"]:
            told.installed.append(event["name"])
        elif event["event"] == "loaded" and event["name"] == "micropip":
            told.install_errors.append(f"micropip: {event['error']}")
        elif event["event"] == "loaded":
            message = f"{event['name']}, a package of Pyodide's own, could not be loaded: {event['error']}"
            told.warnings.append(ConversionWarning("not-loaded", message))


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


def _line(crash: Crash) -> str:
    return f"{crash.reason}: {crash.last_words.splitlines()[0]}"[:ERROR]


def _what(stage: dict[str, Any]) -> str:
    return str(stage.get("wheel") or stage.get("name") or "Pyodide")
