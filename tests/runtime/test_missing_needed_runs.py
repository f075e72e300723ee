"""Modules that take from a library without NEEDing it, in real Pyodides: small ones, and the real scipy and openblas."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conda2wheel import convert, repair
from conda2wheel.pyodide import check_wheels
from conda2wheel.results import Converted
from tests.helpers import conda, f2c, judges, real
from tests.helpers.foreign import Foreign
from tests.unit.link.test_linker import library, python

pytestmark = pytest.mark.runtime

RUNS = [
    pytest.param("311", "0.24.1", id="0.24.1", marks=pytest.mark.long),
    pytest.param("312", "0.26.4", id="0.26.4", marks=pytest.mark.long),
    pytest.param("312", "0.27.7", id="0.27.7"),
    pytest.param("313", "0.28.3", id="0.28.3", marks=pytest.mark.long),
    pytest.param("313", "0.29.5", id="0.29.5", marks=pytest.mark.long),
    pytest.param("314", "314.0.7", id="314.0.7", marks=pytest.mark.long),
]
THROUGH_MARKS = {run.id: () if run.id == "0.29.5" else pytest.mark.long for run in RUNS}
PLATFORMS = {"311": "emscripten_3_1_45_wasm32", "312": "pyodide_2024_0_wasm32", "313": "pyodide_2025_0_wasm32"}
PLATFORMS["314"] = "pyemscripten_2026_0_wasm32"


@pytest.mark.parametrize("isolate", [True, pytest.param(False, marks=pytest.mark.long)], ids=["isolated", "as they are"])
@pytest.mark.parametrize(("py", "pyodide"), RUNS)
def test_the_module_finds_the_library_of_the_others(py: str, pyodide: str, isolate: bool, tmp_path: Path) -> None:
    """Functions, pointers and data, one state; also from a library whose users NEED both."""
    made = f2c.scipy(py)
    libraries = {f"lib/{each.name}": each for each in (made.flib, made.quad)}
    package = python({"pkg/__init__.py": "", **made.package()}, py=py)
    converted = convert(package, out=tmp_path / "new", libdirs=[library("flib", libraries, py=py)], isolate=isolate)
    conda.lay(tmp_path / "libs", {each.name: each for each in (made.flib, made.quad)})
    built = Foreign(f"cp{py}-cp{py}-{PLATFORMS[py]}", {"pkg/__init__.py": b"", **made.package()}).write(tmp_path / "built")
    repaired = repair(built, out=tmp_path / "repaired", libdirs=[tmp_path / "libs"], isolate=isolate)
    script = tmp_path / "script.py"
    script.write_text(f2c.SCRIPT)
    for wheel in filter(None, (converted.wheel, repaired.wheel)):
        judges.judge(wheel)
        (checked,) = check_wheels([wheel], pyodide=pyodide, script=script)
        assert (checked.ok, checked.script is not None and checked.script.stdout) == (True, "one f2c\n"), checked.json()


@pytest.mark.parametrize("isolate", [True, pytest.param(False, marks=pytest.mark.long)], ids=["isolated", "as they are"])
@pytest.mark.parametrize(("py", "pyodide"), [pytest.param(*run.values, id=run.id, marks=THROUGH_MARKS[run.id]) for run in RUNS])
def test_a_module_calls_what_it_needs_through_another_library(py: str, pyodide: str, isolate: bool, tmp_path: Path) -> None:
    """The libraries are loaded first, each with its own functions in scope; the module's call reaches the lower one."""
    module, libraries = f2c.through(py)
    package = python({"pkg/__init__.py": "", f"pkg/{module.name}": module}, py=py)
    made = library("below", {f"lib/{each.name}": each for each in libraries}, py=py)
    converted = convert(package, out=tmp_path / "new", libdirs=[made], isolate=isolate)
    judges.judge(converted.wheel)
    script = tmp_path / "script.py"
    script.write_text(f2c.THROUGH)
    (checked,) = check_wheels([converted.wheel], pyodide=pyodide, script=script)
    assert (checked.ok, checked.script is not None and checked.script.stdout) == (True, "one below\n"), checked.json()


SCIPY = """
import numpy as np, scipy
from scipy import integrate, interpolate, linalg, optimize, sparse
from scipy.sparse.linalg import spsolve
x = np.linspace(0, 6, 30)
grid = np.mgrid[-1:1:8j, -1:1:8j]
found = [
    linalg.solve(np.array([[2.0, 1], [1, 3]]), [3.0, 5]),
    integrate.quad(np.sin, 0, np.pi)[0],
    interpolate.splev(1.0, interpolate.splrep(x, np.sin(x))),
    interpolate.bisplev(0.5, 0.5, interpolate.bisplrep(*map(np.ravel, (*grid, grid[0] * grid[1])), s=0)),
    spsolve(sparse.csc_matrix([[4.0, 1], [1, 3]]), [1.0, 2]),
    optimize.fsolve(lambda v: [v[0] ** 2 - 2], [1.0]),
    optimize.leastsq(lambda p: p - 3, [0.0])[0],
]
expected = [[0.8, 1.4], 2.0, np.sin(1.0), 0.25, [1 / 11, 7 / 11], [2**0.5], [3.0]]
for got, wanted in zip(found, expected, strict=True):
    assert np.allclose(got, wanted, atol=1e-3), (got, wanted)
try:
    linalg.solve(np.zeros((2, 2)), [1.0, 2])
except linalg.LinAlgError as error:
    print(scipy.__version__, error)
"""
ENTRIES = [f"scipy/{name}.cpython-312-wasm32-emscripten.so" for name in ("interpolate/_fitpack", "optimize/_minpack")]


@pytest.mark.long
@pytest.mark.parametrize("source", ["wheel", "conda packages"])
def test_the_real_scipy_computes_with_an_openblas_of_its_own(source: str, tmp_path: Path) -> None:
    """Pyodide 0.27.7's own, which only works there because Pyodide loads its openblas globally; private and isolated here."""
    built = real.distribution("0.27.7")
    numpy, scipy = (next(built.glob(f"{name}-*.whl")) for name in ("numpy", "scipy"))
    libraries = tmp_path / "lib"
    conda.lay(libraries, real.zipped(built / "openblas-0.3.26.zip"))
    if source == "wheel":
        results: list[Converted] = [repair(numpy, out=tmp_path), repair(scipy, out=tmp_path, libdirs=[libraries])]
    else:
        openblas = library("openblas", {"lib/libopenblas.so": libraries / "libopenblas.so"}, version="0.3.26", py="312")
        packages = [real.as_conda(each, spoil=False) for each in (numpy, scipy)]
        results = [convert(package, out=tmp_path, libdirs=[openblas]) for package in packages]
    new = results[1]
    assert [each.file for each in new.warnings if each.code == "needed-added"] == ENTRIES
    unresolved = [each.message for each in new.warnings if each.code == "unresolved-symbol"]
    assert [message for message in unresolved if "function MAIN__," not in message] == []
    assert len(unresolved) == 1
    script = tmp_path / "script.py"
    script.write_text(SCIPY)
    (checked,) = check_wheels([new.wheel], pyodide="0.27.7", find_links=[tmp_path], imports=["scipy"], script=script)
    assert checked.ok, checked.json()
    assert checked.script is not None
    assert checked.script.stdout == "1.14.1 Matrix is singular.\n"


KMEANS = """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression
from threadpoolctl import threadpool_info
x = np.random.RandomState(0).rand(50, 3)
assert np.allclose(LinearRegression().fit(x, x @ [1, 2, 3]).coef_, [1, 2, 3])
assert KMeans(2, n_init=2).fit(x).labels_.shape == (50,)
(found,) = threadpool_info()
print(found["internal_api"], found["version"])
"""


@pytest.mark.long
def test_scikit_learn_finds_an_isolated_openblas(tmp_path: Path) -> None:
    """Its threadpoolctl asks every loaded libopenblas for functions, by their names."""
    built = real.distribution("0.27.7")
    conda.lay(tmp_path / "lib", real.zipped(built / "openblas-0.3.26.zip"))
    repaired = tmp_path / "new"
    for name in ("numpy", "scipy"):
        repair(next(built.glob(f"{name}-*.whl")), out=repaired, libdirs=[tmp_path / "lib"])
    for name in ("joblib", "threadpoolctl"):
        shutil.copy(next(built.glob(f"{name}-*.whl")), repaired)
    learn = repair(next(built.glob("scikit_learn-*.whl")), out=tmp_path)
    script = tmp_path / "script.py"
    script.write_text(KMEANS)
    assert learn.wheel is not None
    (checked,) = check_wheels([learn.wheel], pyodide="0.27.7", find_links=[repaired], imports=["sklearn"], script=script)
    assert checked.script is not None, checked.json()
    assert checked.script.stdout == "openblas 0.3.26\n", checked.json()
