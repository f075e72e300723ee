"""docs/explanation/agreement.md: what the audit says of published wheels, beside what real Pyodides do with them."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from conda2wheel.abi.audit.findings import Severity
from conda2wheel.abi.platforms import for_pyodide
from conda2wheel.commands.convert import convert
from tests.helpers import longjmps
from tests.helpers.agreement import PYODIDES, Module, compare
from tests.helpers.pyemscripten import PUBLISHED, Published

VERDICTS = {"runs": "runs", "fatal": "runs except", "load": "does not load"}
HEAD = """\
# Verdict and run

`./scripts/agreement` makes this page. It takes {wheels} wheels of {projects} projects that are on PyPI for a `pyemscripten`
platform (the newest of each in November 2026, pinned by hash in `tests/helpers/pyemscripten.py`), audits each of their
side modules for each of {pyodides} Pyodides, and loads the modules in these Pyodides under node.

- **does not load**: `dlopen` of the module by its path fails. Audit and run agree if the symbol that the loader names is one
  that the audit gives as a reason (its own, or that of a library which it NEEDs: the loader comes to that first).
- **runs except**: it loads, and functions that it imports are not defined: the loader replaces them with stubs that end the
  interpreter. Each stub was called, and threw the loader's "cannot resolve symbol". Audit and run agree if these are exactly the
  functions that the audit names.
- **runs**: it loads, and every import is resolved.

The suffix for one CPython (`.cpython-313-wasm32-emscripten.so`) is removed for this, since it would hide every module from
another CPython, and nothing would be learned; `conda2wheel audit` itself says `wrong-python` there. The modules of one wheel
are opened one after the other in one interpreter, libraries first, and in a new one after each failure to load. In the wheel's
own Pyodide each extension module is imported as well, or, if its package imports what is not there (numpy above all, which
PyPI does not have for Pyodide), initialised by itself.

Not tested here: whether a module that loads computes what it should, and throwing where nothing can catch, which no
published wheel does (`tests/helpers/signals*.py` has modules for that and for each other rule).
"""
BRIDGE_HEAD = """\
## The unwinding bridge

The wheel of `tests/helpers/longjmps.py` has three extension modules and two libraries, with longjmp of both kinds. It is made for
2025_0 with an [unwinding bridge](unwinding-bridge.md), its sixth module, and with `--no-bridge`. One of the modules points to
longjmp, so that it does not even load without a bridge.
"""


@dataclass(frozen=True)
class Comparison:
    """One wheel in one Pyodide."""

    wheel: Published
    pyodide: str
    modules: tuple[Module, ...]

    @property
    def own(self) -> bool:
        """Whether the wheel was made for that Pyodide."""
        platform = for_pyodide(self.pyodide)
        return platform is not None and platform.name == self.wheel.platform

    @property
    def agreeing(self) -> int:
        """How many modules agree."""
        return sum(module.disagreement is None for module in self.modules)

    @property
    def above_note(self) -> list[str]:
        """What the audit finds that is worse than a note."""
        return [f"{m.path}: {f.message}" for m in self.modules for f in m.findings if f.severity is not Severity.NOTE]


def comparison(wheel: Published, pyodide: str) -> Comparison:
    """Run one."""
    own = Comparison(wheel, pyodide, ()).own
    return Comparison(wheel, pyodide, tuple(compare(wheel.get(), pyodide, initialise=own)))


def comparisons(report: Callable[[Comparison], None] = lambda each: None) -> list[Comparison]:
    """Run all, two at a time; `report` hears of each."""

    def one(job: tuple[Published, str]) -> Comparison:
        found = comparison(*job)
        report(found)
        return found

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, [(wheel, pyodide) for wheel in PUBLISHED for pyodide in PYODIDES]))


@dataclass(frozen=True)
class BridgeComparison:
    """The wheel of `longjmps`, made with or without a bridge, in one Pyodide."""

    bridge: bool
    pyodide: str
    modules: tuple[Module, ...]


def bridge_comparisons() -> list[BridgeComparison]:
    """Run the wheel of `longjmps` in every Pyodide, with and without its bridge."""
    package, libraries = longjmps.packages("313")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for bridge in (True, False):
            allow = [] if bridge else ["abi-conflict"]
            made = convert(package, out=Path(folder, str(bridge)), libdirs=[libraries], bridge=bridge, allow=allow)
            found += [BridgeComparison(bridge, pyodide, tuple(compare(made.wheel, pyodide))) for pyodide in PYODIDES]
    return found


def bridge_section(found: Iterable[BridgeComparison]) -> str:
    """The part of the page about the unwinding bridge."""
    lines = [BRIDGE_HEAD, "| wheel | Pyodide | predicted | agree |", "| --- | --- | --- | --- |"]
    for each in found:
        counts = Counter(module.predicted for module in each.modules)
        predicted = ", ".join(f"{counts[verdict]} {words}" for verdict, words in VERDICTS.items() if counts[verdict])
        agree = sum(module.disagreement is None for module in each.modules)
        wheel = "with a bridge" if each.bridge else "without"
        lines.append(f"| {wheel} | {each.pyodide} | {predicted} | {agree} of {len(each.modules)} |")
    return "\n".join(lines)


def page(found: Sequence[Comparison], bridged: Sequence[BridgeComparison]) -> str:
    """The text of docs/explanation/agreement.md."""
    projects = {each.wheel.project for each in found}
    pyodides = {each.pyodide for each in found}
    head = HEAD.format(wheels=len({each.wheel for each in found}), projects=len(projects), pyodides=len(pyodides))
    parts = [*_numbers(found), "", *_disagreements(found), "", bridge_section(bridged), ""]
    return "\n".join([head, *parts, *_initialised(found), "", *_table(found), ""])


def _numbers(found: Sequence[Comparison]) -> Iterable[str]:
    modules = [module for each in found for module in each.modules]
    yield "## Numbers"
    yield ""
    yield "| predicted | module in a Pyodide | agree | symbols |"
    yield "| --- | ---: | ---: | ---: |"
    for verdict, words in VERDICTS.items():
        those = [module for module in modules if module.predicted == verdict]
        symbols = sum(len(module.seen.unresolved) if verdict == "fatal" else int(verdict == "load") for module in those)
        agree = sum(module.disagreement is None for module in those)
        yield f"| {words} | {len(those)} | {agree} | {symbols or ''} |"
    yield f"| together | {len(modules)} | {sum(each.agreeing for each in found)} | |"
    own = [each for each in found if each.own]
    clean = sum(not each.above_note for each in own)
    count = sum(len(each.modules) for each in own)
    yield ""
    yield f"In the Pyodide of their tag ({len(own)} pairs, {count} modules), {clean} of {len(own)} have no finding above a note."


def _disagreements(found: Sequence[Comparison]) -> Iterable[str]:
    yield "## Disagreements"
    yield ""
    lines = [
        f"- `{each.wheel.filename}` in Pyodide {each.pyodide}, `{module.path}`: {module.disagreement}"
        for each in found
        for module in each.modules
        if module.disagreement
    ]
    yield from lines or ["None."]


def _initialised(found: Sequence[Comparison]) -> Iterable[str]:
    yield "## In the Pyodide of each wheel's tag"
    yield ""
    yield "| wheel | Pyodide | extension modules |"
    yield "| --- | --- | --- |"
    for each in found:
        if each.own:
            came = Counter(_kind(module.seen.initialised) for module in each.modules if module.seen.initialised is not None)
            yield f"| `{_short(each.wheel)}` | {each.pyodide} | {', '.join(f'{count} {what}' for what, count in came.items())} |"


def _kind(initialised: str) -> str:
    if initialised == "imported":
        return "imported"
    if initialised.startswith("initialised; its package says "):
        return f"initialised by itself ({_asks(initialised)})"
    return f"began to be initialised ({_asks(initialised)})"


def _asks(text: str) -> str:
    for name in ("numpy", "mypy_extensions", "typing_extensions"):
        if name in text:
            return f"there is no {name}"
    return "pandas itself needs numpy" if "could not import module pandas" in text else text


def _table(found: Sequence[Comparison]) -> Iterable[str]:
    yield "## Every wheel in every Pyodide"
    yield ""
    yield "The Pyodides of the wheel's tag are in bold. Of several symbols the first is named."
    yield ""
    yield "| wheel | modules | Pyodide | predicted | seen | agree |"
    yield "| --- | ---: | --- | --- | --- | --- |"
    for each in found:
        pyodide = f"**{each.pyodide}**" if each.own else each.pyodide
        agree = f"{each.agreeing} of {len(each.modules)}"
        cells = (f"`{_short(each.wheel)}`", str(len(each.modules)), pyodide, _predicted(each), _seen(each), agree)
        yield f"| {' | '.join(cells)} |"


def _short(wheel: Published) -> str:
    return wheel.filename.removesuffix("_wasm32.whl")


def _predicted(each: Comparison) -> str:
    severities = {"load": Severity.LOAD, "fatal": Severity.FATAL}
    parts = []
    for verdict, words in VERDICTS.items():
        those = [module for module in each.modules if module.predicted == verdict]
        if those:
            names = sorted({n for m in those for n in m.symbols(severities[verdict])}) if verdict in severities else []
            parts.append(f"{len(those)} {words}{_names(names)}")
    return ", ".join(parts)


def _seen(each: Comparison) -> str:
    parts = []
    for verdict, words in VERDICTS.items():
        those = [module for module in each.modules if module.seen.verdict == verdict]
        if those:
            if verdict == "load":
                names = sorted({module.seen.symbol or "" for module in those} - {""})
            else:
                names = sorted({name for module in those for name in module.seen.unresolved})
            parts.append(f"{len(those)} {words}{_names(names)}")
    return ", ".join(parts)


def _names(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f" (`{names[0]}`" + (f" and {len(names) - 1} more)" if len(names) > 1 else ")")
