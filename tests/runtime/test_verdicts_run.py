"""A wheel of which a part does not run: it is converted, everything else in it works, and that part ends as the audit says."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from conda2wheel.commands.audit import audit
from conda2wheel.commands.convert import convert
from conda2wheel.commands.repair import repair
from conda2wheel.pyodide import check_wheels
from tests.helpers import conda, real, zig
from tests.helpers.shapes import dist_info, package

pytestmark = pytest.mark.runtime

ABI = {"313": (">=4.0.9,<4.0.10", "0.29.5"), "311": ("==3.1.45", "0.24.1")}
VERSIONS = [pytest.param("313", id="0.29.5"), pytest.param("311", id="0.24.1", marks=pytest.mark.long)]


def extension(name: str, python: str) -> Path:
    """A module whose right() is 41, and whose crash() calls a function that nothing defines, as numpy's calls backtrace()."""
    calls = {"right": zig.integer("41"), "crash": zig.integer("backtrace_of_nobody()")}
    source = zig.extension(name, calls, declarations="extern int backtrace_of_nobody(void);")
    return zig.side_module(name, source, python=python)


@pytest.mark.parametrize("python", VERSIONS)
@pytest.mark.parametrize("others", [0, pytest.param(19, marks=pytest.mark.long)])
def test_what_does_not_call_it_runs_and_the_call_ends_the_interpreter(python: str, others: int, tmp_path: Path) -> None:
    emscripten, pyodide = ABI[python]
    site = f"lib/python3.{python[1:]}/site-packages"
    bad = extension("_bad", python)
    good = [zig.side_module(f"_m{n}", zig.extension(f"_m{n}", {"one": zig.integer("1")}), python=python) for n in range(others)]
    files: dict[str, conda.Content] = {f"demo/{path.name}": path for path in (bad, *good)}
    files |= {"demo/__init__.py": "", **dist_info("demo-1.0")}
    outside = {f"{site}/{name}": content for name, content in files.items()}
    source = package({}, outside=outside, depends=("python", f"emscripten-abi {emscripten}"))

    result = convert(source, out=tmp_path)
    assert [(part.module, part.symbols) for part in result.unusable] == [(f"demo/{bad.name}", ("backtrace_of_nobody",))]
    audited = audit(result.wheel)
    assert (audited.verdict, audited.unusable) == ("runs-except", result.unusable)

    modules = ["demo._bad", *(f"demo._m{n}" for n in range(others))]
    script = tmp_path / "script.py"
    script.write_text("from demo import _bad\nprint(_bad.right())\n")
    (checked,) = check_wheels([result.wheel], pyodide=pyodide, imports=modules, script=script)
    assert checked.ok, checked.json()
    assert checked.script is not None
    assert checked.script.stdout == "41\n"

    script.write_text("from demo import _bad\n_bad.right()\ntry:\n    _bad.crash()\nexcept BaseException:\n    print('caught')\n")
    (checked,) = check_wheels([result.wheel], pyodide=pyodide, imports=["demo._bad"], script=script)
    assert [module.ok for module in checked.modules] == [True]
    assert checked.script is not None
    assert (checked.script.ok, "caught" in checked.script.stdout) == (False, False)
    assert checked.crash is not None
    assert (checked.crash.reason, "backtrace_of_nobody" in checked.crash.last_words) == ("fatal", True)


SOLVES = """
import kiwisolver as kiwi
x, y = kiwi.Variable("x"), kiwi.Variable("y")
solver = kiwi.Solver()
solver.addConstraint(x + y == 10)
solver.addConstraint(x - y == 4)
solver.updateVariables()
print(x.value(), y.value())
"""


@pytest.mark.long
def test_pyodides_own_wheels_run_except_for_what_throws(tmp_path: Path) -> None:
    """Its toolchain of that time disables exceptions by default, and these packages are built so."""
    built = real.distribution("0.27.7")
    modules = {
        "numpy": "numpy/fft/_pocketfft_umath",
        "scikit_learn": "sklearn/metrics/_pairwise_distances_reduction/_radius_neighbors",
        "contourpy": "contourpy/_contourpy",
        "kiwisolver": "kiwisolver/_cext",
    }
    for name, module in modules.items():
        (wheel,) = built.glob(f"{name}-*.whl")
        audited = audit(wheel)
        assert (audited.verdict, audited.pyodide) == ("runs-except", "0.27.7")
        assert [(part.module.partition(".")[0], part.code) for part in audited.unusable] == [(module, "cannot-catch")]
    script = tmp_path / "script.py"
    script.write_text(SOLVES)
    (checked,) = check_wheels([wheel], script=script)
    assert checked.ok, checked.json()
    assert checked.script is not None
    assert checked.script.stdout == "7.0 3.0\n"
    script.write_text(SOLVES + "solver.addConstraint(x == 3)\n")  # kiwi::UnsatisfiableConstraint
    (checked,) = check_wheels([wheel], script=script)
    assert checked.crash is not None
    assert (checked.crash.reason, "UnsatisfiableConstraint" in checked.crash.last_words) == ("fatal", True)


@pytest.mark.long
def test_pyodides_own_scipy_is_repaired_though_its_library_imports_a_main_program(tmp_path: Path) -> None:
    built = real.distribution("0.27.7")
    (scipy,) = built.glob("scipy-*.whl")
    with zipfile.ZipFile(next(built.glob("openblas-*.zip"))) as archive:
        archive.extract("libopenblas.so", tmp_path / "lib")
    result = repair(scipy, out=tmp_path, libdirs=[tmp_path / "lib"])
    assert ("MAIN__",) in {part.symbols for part in result.unusable}
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, scipy.linalg\n"
        "a = np.array([[3.0, 1.0], [1.0, 2.0]])\n"
        "print(np.allclose(scipy.linalg.solve(a, [9.0, 8.0]), [2.0, 3.0]))\n"
    )
    (checked,) = check_wheels([result.wheel], find_links=[built], script=script)
    assert checked.ok, checked.json()
    assert checked.script is not None
    assert checked.script.stdout == "True\n"
