"""Does the audit's verdict agree with the run? For each side module of a wheel in one Pyodide: what the audit says of it, and
what the real thing does."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from conda2wheel.abi.audit.engine import audit_units
from conda2wheel.abi.audit.findings import Finding, Severity
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.side_module import SHARED_OBJECT
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide import fetch
from conda2wheel.pyodide.node import find_node

SCRIPT = Path(__file__).with_name("agreement.mjs")
PYODIDES = ("0.26.4", "0.27.7", "0.28.3", "0.29.5", "314.0.7", "315.0.0-alpha.2")
_FOREIGN = re.compile(r"\.cpython-\d+-[^./]*(?=\.so$)")  # hides a module from `import` and from the loader of another CPython
_NAMED = (  # the symbol in each loader's words
    re.compile(r"bad export type for '([^']+)'"),
    re.compile(r"undefined symbol '([^']+)'"),
    re.compile(r'module="env" function="([^"]+)"'),
)


@dataclass(frozen=True)
class Seen:
    """What Pyodide did with a module: why it did not load, else the functions whose call ends the interpreter; and what came
    of its initialisation, where that was tried."""

    load: str | None
    unresolved: frozenset[str]
    initialised: str | None

    @property
    def symbol(self) -> str | None:
        """What the loader's error names."""
        return next((found[1] for pattern in _NAMED if (found := pattern.search(self.load or ""))), None)

    @property
    def verdict(self) -> str:
        """`load`, `fatal` or `runs`."""
        return "load" if self.load is not None else "fatal" if self.unresolved else "runs"


@dataclass(frozen=True)
class Module:
    """One module in one Pyodide: prediction and observation. `inherited` are the symbols that libraries which it NEEDs are
    predicted to fail with: the loader comes to them first."""

    path: str
    findings: tuple[Finding, ...]
    seen: Seen
    inherited: frozenset[str] = frozenset()

    @property
    def predicted(self) -> str:
        """`load`, `fatal` or `runs`."""
        severities = {finding.severity for finding in self.findings}
        return "load" if Severity.LOAD in severities else "fatal" if Severity.FATAL in severities else "runs"

    def symbols(self, severity: Severity) -> frozenset[str]:
        """What the findings of this severity are about."""
        found = [f for f in self.findings if f.severity is severity]
        return frozenset(name for f in found for name in f.symbols or (f.symbol,) if name is not None)

    @property
    def disagreement(self) -> str | None:
        """What differs; None where audit and run agree on the verdict and on the symbols that it is about."""
        if self.predicted != self.seen.verdict:
            return f"predicted {self.predicted}, seen {self.seen.verdict}"
        if self.predicted == "load":
            named, expected = self.seen.symbol, self.symbols(Severity.LOAD) | self.inherited
            return f"the loader names {named}, the audit {sorted(expected)}" if named not in expected else None
        if self.predicted == "fatal" and self.symbols(Severity.FATAL) != self.seen.unresolved:
            return f"unresolved {sorted(self.seen.unresolved)}, the audit says {sorted(self.symbols(Severity.FATAL))}"
        return None


def members(wheel: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What a wheel has that is named like a shared object, by path, and its Python files. The suffix for one CPython is taken
    off: what is asked is whether the modules would run, not whether they are found."""
    modules, others = {}, {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if SHARED_OBJECT.search(name):
                modules[_FOREIGN.sub("", name)] = archive.read(name)
            elif name.endswith(".py"):
                others[name] = archive.read(name)
    return modules, others


def seen(wheel: Path, pyodide: str, initialise: bool = False) -> dict[str, Seen]:
    """What the Pyodide does with each module of a wheel, which are opened one after the other; with `initialise`, extension
    modules are initialised as well, as `import` does it."""
    node = find_node()
    runtime = fetch.pyodide(pyodide, cache_folder())
    found: dict[str, Seen] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        modules, others = members(wheel)
        job = {
            "pyodide": str(runtime.folder),
            "distribution": wheel.name.partition("-")[0],
            "initialise": initialise,
            "modules": _lay(modules, folder),
            "others": _lay(others, folder) if initialise else [],
        }
        (folder / "job.json").write_text(json.dumps(job))
        done = subprocess.run(
            [node.path, str(SCRIPT), str(folder / "job.json")], capture_output=True, text=True, timeout=600, check=False
        )
        for line in done.stdout.splitlines():
            result = json.loads(line)
            found[result["path"]] = Seen(result["load"], frozenset(result["unresolved"]), result["initialised"])
    if done.returncode or len(found) != len(modules):
        raise RuntimeError(f"{wheel.name} in Pyodide {pyodide}: {done.stderr[-2000:]}")
    return found


def _lay(contents: Mapping[str, bytes], folder: Path) -> list[dict[str, str]]:
    files = []
    for path, data in contents.items():
        file = folder / hashlib.sha256(path.encode()).hexdigest()
        file.write_bytes(data)
        files.append({"path": path, "file": str(file)})
    return files


def unit(wheel: Path) -> AuditUnit:
    """A wheel as the audit sees it."""
    *_, python, abi, _ = wheel.name.split("-")
    return AuditUnit.of_bytes(wheel.name, members(wheel)[0], wheel.name.partition("-")[0], python if abi == "abi3" else None)


def compare(wheel: Path, pyodide: str, initialise: bool = False) -> list[Module]:
    """Prediction and observation for each module of a wheel."""
    asked, observed = unit(wheel), seen(wheel, pyodide, initialise)
    findings = audit_units([asked], pyodide)[asked.name]
    found = {path: tuple(f for f in findings if f.module == path) for path in asked.modules}
    alone = {path: Module(path, found[path], observed[path]) for path in asked.modules}
    needed = {
        path: [each for each in asked.modules if each.rpartition("/")[2] in side.needed] for path, side in asked.modules.items()
    }

    def inherited(path: str, above: frozenset[str] = frozenset()) -> frozenset[str]:
        below = [each for each in needed[path] if each not in above]
        parts = [alone[each].symbols(Severity.LOAD) | inherited(each, above | {path}) for each in below]
        return frozenset().union(*parts)

    return [replace(module, inherited=inherited(path)) for path, module in alone.items()]
