"""`scripts/bench audit`: audits and repairs beside auditwheel-emscripten, and pyodide-build's retagging.

`show` says which libraries are NEEDED and found; `audit` judges every import in each Pyodide. In process, both are warm; as a
command, from start to end, as a person or a CI job would run them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from tests.bench import document, processes, tools
from tests.bench.timing import Times, by_turns, ratio
from tests.helpers import peers
from tests.helpers.pyemscripten import Published, published

GRILL = Published(
    "grill_usd_core-26.8-cp314-cp314-pyemscripten_2026_0_wasm32.whl",
    "278c8782601a5a6ca9e1ab663c3ac9075b97639a071cf1c9de0ea5ce0be2acd9",
)
OURS, SHOW, FLOOR = "audit", "show", "floor: unpack in memory"
RETAGGED = "pyodide_2025_0_wasm32"
_AUDIT = "import sys\nfrom conda2wheel.commands.audit import audit\naudit(sys.argv[1])\nvalue = None"
_RETAG = """
import sys
from pathlib import Path
from pyodide_build.common import retag_wheel
retag_wheel(Path(sys.argv[1]), sys.argv[2])
"""


def wheels() -> list[Path]:
    """Many small modules, one module, four large ones, and some twenty with one library of 27 MB."""
    return [*(published(name).get() for name in ("powerfit_em-6.0.2", "pandas-3.1.1-cp312", "pymupdf-")), GRILL.get()]


@cache
def _show() -> Callable[[str], object]:
    module = tools.hidden(peers.auditwheel_emscripten(), "auditwheel_emscripten", ("auditwheel_emscripten", "leb128", "wheel"))
    found: Callable[[str], object] = module.show
    return found


def in_process(wheel: Path, rounds: int | None = None) -> dict[str, Times]:
    """By turns in this process."""
    from conda2wheel.commands.audit import audit

    def unpack() -> None:
        with zipfile.ZipFile(wheel) as archive:
            archive.testzip()

    show = _show()
    with mock.patch.dict(os.environ, peers.environment()):  # `show` calls the program `wheel`
        audit(wheel)
        works: dict[str, Callable[[], object]] = {OURS: lambda: audit(wheel), FLOOR: unpack}
        try:
            show(str(wheel))
        except Exception:  # noqa: BLE001 - a peer's failure is a result
            return by_turns(works, rounds)
        return by_turns({**works, SHOW: lambda: show(str(wheel))}, rounds)


def as_commands(wheel: Path, rounds: int | None = None) -> dict[str, Times]:
    """By turns, each in a new process. A wheel's findings make its exit status 1."""
    code = f"import zipfile; zipfile.ZipFile({str(wheel)!r}).testzip()"

    def ours() -> None:
        done = subprocess.run([sys.executable, "-m", "conda2wheel", "audit", str(wheel)], capture_output=True, check=False)
        assert done.returncode in (0, 1), done.stderr

    def theirs() -> None:
        assert peers.theirs("show", wheel).returncode == 0

    ours()  # bytecode is written once
    works: dict[str, Callable[[], object]] = {
        OURS: ours,
        FLOOR: lambda: subprocess.run([sys.executable, "-c", code], check=True),
    }
    if peers.theirs("show", wheel).returncode == 0:
        works[SHOW] = theirs
    return by_turns(works, rounds)


def repairs(wheel: Path, rounds: int | None = None) -> dict[str, Times]:
    """`repair` to another tag, which audits, beside pyodide-build's retagging and auditwheel-emscripten's repair, by turns."""
    retag = {**os.environ, "PYTHONPATH": str(tools.installed(*tools.RETAG))}
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)

        def ours() -> None:
            words = ["repair", str(wheel), "-o", str(out), "--tags", "pyodide"]
            subprocess.run([sys.executable, "-m", "conda2wheel", *words], capture_output=True, check=True)

        def retagged() -> None:
            with tempfile.TemporaryDirectory() as folder:
                copied = shutil.copy(wheel, folder)
                subprocess.run([sys.executable, "-c", _RETAG, str(copied), RETAGGED], env=retag, capture_output=True, check=True)

        def theirs() -> None:
            with tempfile.TemporaryDirectory() as folder:
                done = peers.theirs("repair", "--output-dir", folder, wheel)
                assert done.returncode == 0, done.stderr

        works = {"repair": ours, "pyodide-build retag_wheel": retagged, f"auditwheel-emscripten {peers.VERSION} repair": theirs}
        return by_turns(works, rounds)


def one(wheel: Path, rounds: int | None = None) -> dict[str, Any]:
    """Everything about one wheel."""
    with zipfile.ZipFile(wheel) as archive:
        modules = [info for info in archive.infolist() if info.filename.endswith(".so")]
    row: dict[str, Any] = {
        "wheel": wheel.name,
        "modules": len(modules),
        "modules_size": sum(info.file_size for info in modules),
        "memory": {
            "peak": processes.fresh(_AUDIT, str(wheel))[0],
            "idle": processes.fresh("import conda2wheel.commands.audit\nvalue = None")[0],
        },
    }
    for name, times in (("in_process", in_process(wheel, rounds)), ("command", as_commands(wheel, rounds))):
        row[name] = {"times": {work: value.json() for work, value in times.items()}, "ratio": None}
        if SHOW in times:
            each = ratio(times[OURS], times[SHOW])
            row[name]["ratio"] = {"median": each.median, "least": each.least, "most": each.most}
    return row


def bench(
    which: Iterable[Path] | None = None, rounds: int | None = None, report: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """The part `audit` of the document."""
    rows = []
    for wheel in wheels() if which is None else which:
        rows.append(one(wheel, rounds))
        report(row_table(rows[-1]))
    times = repairs(published("pymupdf-").get(), rounds) if which is None else {}
    repaired = {name: value.json() for name, value in times.items()}
    report(repair_table(repaired))
    return document.part(peer=f"auditwheel-emscripten {peers.VERSION}", wheels=rows, repair=repaired)


def row_table(row: dict[str, Any]) -> str:
    """One wheel, for a terminal."""
    lines = [f"{row['wheel']}: {row['modules']} side modules of {row['modules_size'] / 1e6:.1f} MB"]
    for name, words in (("in_process", "in process"), ("command", "as a command")):
        times, each = {work: Times.of(value) for work, value in row[name]["times"].items()}, row[name]["ratio"]
        shown = ", ".join(f"{work} {value.median:.3f} s (cpu {value.processor:.3f})" for work, value in times.items())
        beside = f"{each['median']:.2f} x show ({each['least']:.2f} to {each['most']:.2f})" if each else "show fails"
        lines.append(f"  {words:14} {shown}; {beside}")
    peak, idle = row["memory"]["peak"], row["memory"]["idle"]
    lines.append(f"  {'peak memory':14} {peak >> 20} MiB, {(peak - idle) >> 20} MiB of it for the audit")
    return "\n".join(lines)


def repair_table(rows: dict[str, dict[str, list[float]]]) -> str:
    """Repairs, for a terminal."""
    if not rows:
        return ""
    times = {name: Times.of(value) for name, value in rows.items()}
    return "\n".join(
        ["pymupdf, to another tag"]
        + [f"  {name:42} {value.median:8.3f} s, cpu {value.processor:.3f} s" for name, value in times.items()]
    )
