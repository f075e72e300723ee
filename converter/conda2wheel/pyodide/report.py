"""What a check ends in: `Checked`, which knows its own JSON and its own lines for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from rich.table import Table

Installer = Literal["loadPackage", "micropip"]
Reason = Literal["timeout", "fatal", "exit"]
MAX_ERROR = 500  # characters of a one-line error
UNFIT = ("tag-mismatch", "requires-python")  # warnings about a wheel that no installer takes


@dataclass(frozen=True)
class Crash:
    """The end of the interpreter before the end of the job.

    Attributes:
        reason: `timeout` (no news for too long), `fatal` (Pyodide or WebAssembly gave up) or `exit` (the process ended).
        last_words: the error, if there was one, and the end of stdout and stderr.
    """

    reason: Reason
    last_words: str

    def line(self) -> str:
        """The reason and the first of the last words, in one line."""
        return f"{self.reason}: {next(iter(self.last_words.splitlines()), '')}"[:MAX_ERROR]

    def json(self) -> dict[str, Any]:
        """`{"reason", "last_words"}`."""
        return {"reason": self.reason, "last_words": self.last_words}


@dataclass(frozen=True)
class Imported:
    """A module's verdict. `error` is one line; `crash` is set for the module that took the interpreter with it."""

    name: str
    ok: bool
    error: str | None = None
    traceback: str | None = None
    seconds: float = field(default=0.0, compare=False)
    crash: Crash | None = None

    def json(self) -> dict[str, Any]:
        """`{"name", "ok", "error", "traceback", "seconds", "crash"}`."""
        return {
            "name": self.name,
            "ok": self.ok,
            "error": self.error,
            "traceback": self.traceback,
            "seconds": round(self.seconds, 3),
            "crash": None if self.crash is None else self.crash.json(),
        }


@dataclass(frozen=True)
class Ran:
    """A script's verdict: `error` is one line, `stdout` what the script printed (its first million characters)."""

    ok: bool
    stdout: str = ""
    error: str | None = None
    traceback: str | None = None
    seconds: float = field(default=0.0, compare=False)

    def json(self) -> dict[str, Any]:
        """`{"ok", "stdout", "error", "traceback", "seconds"}`."""
        return {
            "ok": self.ok,
            "stdout": self.stdout,
            "error": self.error,
            "traceback": self.traceback,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class LackingFeature:
    """A WebAssembly feature that a module needs and the node at hand does not have.

    `words` name the feature in messages, `since` is the first node that has it, None if none has.
    """

    wheel: str
    module: str
    feature: str
    words: str
    since: str | None

    def json(self) -> dict[str, Any]:
        """`{"wheel", "module", "feature", "needs"}`, the last with null for no version of node."""
        return {"wheel": self.wheel, "module": self.module, "feature": self.feature, "needs": self.since}


@dataclass(frozen=True)
class Checked:
    """The result of one wheel in one Pyodide.

    A wheel of programs is checked without Pyodide: `pyodide` is "none", and `modules` are its programs.
    `ok` is true if an installer takes the wheel there, it was installed, something was tried, all of that worked and nothing
    crashed; warnings do not count but for those of `UNFIT`.
    `crash` is the first crash; `modules` says which module it was. `node` is the version of node; `lacking` are the features that
    it does not have and that modules need, in the wheel and those that it requires, if `ok` is false.
    """

    wheel: Path
    pyodide: str
    platform: str | None
    installer: Installer
    installed: tuple[str, ...] = ()
    install_errors: tuple[str, ...] = ()
    modules: tuple[Imported, ...] = ()
    script: Ran | None = None
    warnings: tuple[ConversionWarning, ...] = ()
    crash: Crash | None = None
    node: str = ""
    lacking: tuple[LackingFeature, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def untried(self) -> bool:
        """Whether there was nothing to import and nothing to run."""
        return not self.modules and self.script is None

    @property
    def ok(self) -> bool:
        """Whether an installer takes the wheel, something was tried, and everything that was tried worked."""
        return not self.untried and not self.unfit and self.unharmed

    @property
    def unfit(self) -> tuple[str, ...]:
        """Why no installer takes the wheel in this Pyodide: the codes of `UNFIT`.

        `loadPackage` checks no tags, so the modules may run all the same; of a wheel for another Python often only the part in
        pure Python does.
        """
        codes = [warning.code for warning in self.warnings if warning.file == self.wheel.name]
        return tuple(code for code in UNFIT if code in codes)

    @property
    def unharmed(self) -> bool:
        """Whether nothing failed: also of a wheel in which there is nothing to try."""
        return (
            not self.install_errors
            and all(module.ok for module in self.modules)
            and (self.script is None or self.script.ok)
            and self.crash is None
        )

    def json(self) -> dict[str, Any]:
        """Return one entry of `results`.

        It is `{"source", "status" ("passed" or "failed"), "wheel", "ok", "pyodide", "platform", "installer", "installed",
        "install_errors", "modules", "script", "warnings", "crash", "engine", "seconds"}`.
        """
        return {
            "source": str(self.wheel),
            "status": "passed" if self.ok else "failed",
            "wheel": str(self.wheel),
            "ok": self.ok,
            "pyodide": self.pyodide,
            "platform": self.platform,
            "installer": self.installer,
            "installed": list(self.installed),
            "install_errors": list(self.install_errors),
            "modules": [module.json() for module in self.modules],
            "script": None if self.script is None else self.script.json(),
            "warnings": [warning.json() for warning in self.warnings],
            "crash": None if self.crash is None else self.crash.json(),
            "engine": {"node": self.node, "lacks": [each.json() for each in self.lacking]},
            "seconds": round(self.seconds, 3),
        }

    def line(self) -> str:
        """One line: the verdict, the wheel, where it ran, and how many modules did."""
        good = sum(module.ok for module in self.modules)
        crash = f", {self.crash.reason}" if self.crash else ""
        unfit = "".join(f", {code}" for code in self.unfit)
        verdict = "ok" if self.ok else "FAILED"
        if self.pyodide == "none":  # a wheel of programs, which Pyodide does not start
            return f"{verdict} {self.wheel.name} ({good} of {len(self.modules)} programs)"
        return f"{verdict} {self.wheel.name} (Pyodide {self.pyodide}, {good} of {len(self.modules)} modules{crash}{unfit})"

    def details(self) -> Iterable[str]:
        """Details for people: what node lacks, installation errors, tracebacks, output, warnings."""
        for lack in self.lacking:
            newer = f"node {lack.since} does" if lack.since else "no node does"
            yield f"{lack.wheel}: {lack.module} needs {lack.words}, which node {self.node} does not have; {newer}"
        for error in self.install_errors:
            if self.crash is None or not error.endswith(self.crash.line()):  # told below, once
                yield f"{self.wheel.name}: not installed: {error.strip()}"
        for module in self.modules:
            if module.traceback:
                yield f"{self.wheel.name}: import {module.name}\n{module.traceback.rstrip()}"
        if self.script and self.script.stdout:
            yield f"{self.wheel.name}: script printed\n{self.script.stdout.rstrip()}"
        if self.script and self.script.traceback and (self.crash is None or self.script.traceback != self.crash.last_words):
            yield f"{self.wheel.name}: script\n{self.script.traceback.rstrip()}"
        if self.crash:
            yield f"{self.wheel.name}: {self.crash.reason}\n{_once(self.crash.last_words)}"
        for warning in self.warnings:
            yield f"{self.wheel.name}: warning: {warning.code}: {warning.message}"


def _once(words: str) -> str:
    """The last words of an interpreter without the lines that it repeats: Pyodide prints its fatal error, and raises it."""
    return "\n".join(dict.fromkeys(line.rstrip() for line in words.splitlines() if line.strip()))


def table(results: Iterable[Checked]) -> Table:
    """A rich table of the modules and scripts of all results; wheels are shown as NAME-VERSION."""
    from rich.table import Table
    from rich.text import Text

    rows = Table()
    for heading in ("wheel", "module", "", "seconds", "error"):
        rows.add_column(heading, overflow="fold", justify="right" if heading == "seconds" else "left")
    for result in results:
        tried: list[tuple[str, bool, float, str | None]] = [(m.name, m.ok, m.seconds, m.error) for m in result.modules]
        if result.script:
            tried.append(("(script)", result.script.ok, result.script.seconds, result.script.error))
        for name, ok, seconds, error in tried:
            crashed = result.crash is not None and error == result.crash.line()
            why = f"{result.crash.reason}, see below" if crashed and result.crash else error or ""
            verdict = Text("ok", style="green") if ok else Text("FAILED", style="red")
            rows.add_row(Text("-".join(result.wheel.name.split("-")[:2])), Text(name), verdict, f"{seconds:.2f}", Text(why))
    return rows
