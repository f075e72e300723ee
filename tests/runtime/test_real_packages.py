"""Real packages, from emscripten-forge and from PyPI's own PEP 783 wheels: converted, judged, compared, called."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.commands.convert import ConvertOutcome, convert, convert_each
from conda2wheel.pyodide import check_wheels
from conda2wheel.results import Converted
from conda2wheel.wheel.reader import read_wheel
from tests.helpers import conda, judges, real

pytestmark = pytest.mark.runtime

REFUSED = {
    "emscripten-abi": "metapackage",
    "python": "interpreter",
    "requests-wasm-polyfill": "interpreter",  # replaces requests for emscripten-forge's own main module
    "xeus-lite": "metapackage",  # empack took its static library away; its record is all that is left
    "xeus-python": "interpreter",
    "xeus-python-shell": "metapackage",
}
PATIENCE = 600.0  # seconds: pymupdf is 45 MB of WebAssembly
NUMPY = {
    "0.9.8": "numpy-1.25.2-cp310-cp310-emscripten_3_1_27_wasm32.whl",
    "1.0.0": "numpy-1.25.2-cp311-cp311-emscripten_3_1_45_wasm32.whl",
}
PYODIDE = {"0.9.8": "0.22.1", "1.0.0": "0.24.1"}
# These wheels are right and cannot be imported: Pyodide's standard library has neither termios nor fcntl, and
# matplotlib_inline imports matplotlib without requiring it.
NOT_FOR_PYODIDE = {
    "ipython": "The module 'termios' is removed",
    "matplotlib-inline": "'matplotlib'",
    "pexpect": "The module 'termios' is removed",
    "ptyprocess": "The module 'fcntl' is removed",
}
# Loads, and traps in CPython's own code on import: emscripten-forge's CPython 3.10 and Pyodide 0.22's are not alike enough.
OF_ANOTHER_INTERPRETER = {"numpy": "null function or function signature mismatch"}
NUMPY_SCRIPT = """
import numpy as np
a = np.array([[3.0, 1.0], [1.0, 2.0]])
assert (a @ a).tolist() == [[10.0, 5.0], [5.0, 5.0]]
assert np.allclose(np.linalg.solve(a, [9.0, 8.0]), [2.0, 3.0])
assert np.fft.fft([1, 0, 0, 0]).tolist() == [1, 1, 1, 1]
assert np.random.default_rng(1).random(3).shape == (3,)
for failing, kind in ((lambda: np.arange(3).reshape(2, 2), ValueError), (lambda: np.random.default_rng(-1), ValueError)):
    try:
        failing()
    except kind:
        continue
    raise AssertionError("C code did not raise")
print("numpy", np.__version__)
"""


def converted(version: str, out: Path) -> dict[str, ConvertOutcome[Converted]]:
    sources = sorted(real.xeus(version).glob("*.tar.gz"))
    assert len(sources) > 25
    return {
        path.name.rsplit("-", 2)[0]: outcome
        for path, outcome in zip(sources, convert_each(map(str, sources), out=out), strict=True)
    }


@pytest.mark.parametrize("version", [pytest.param("0.9.8", marks=pytest.mark.long), "1.0.0"])
def test_every_package_of_a_jupyterlite_site_ends_converted_or_refused_with_the_right_code(version: str, tmp_path: Path) -> None:
    outcomes = converted(version, tmp_path)
    refused = {name: outcome.error.code for name, outcome in outcomes.items() if outcome.error}
    assert refused == {name: code for name, code in REFUSED.items() if name in outcomes}
    numpy = outcomes["numpy"].converted
    assert numpy is not None
    assert numpy.filename == NUMPY[version]
    assert numpy.evidence == (f"its environment has emscripten-abi 3.1.{'45' if version == '1.0.0' else '27'}",)
    pure = {outcome.converted.platform for name, outcome in outcomes.items() if outcome.converted and name != "numpy"}
    assert pure == {"any"}
    for wheel in tmp_path.glob("*.whl"):
        judges.judge(wheel, ignore=("W002",))  # numpy and jedi have equal files of their own


def test_numpy_of_emscripten_forge_computes_and_raises_in_pyodide(tmp_path: Path) -> None:
    source = next(real.xeus("1.0.0").glob("numpy-*.tar.gz"))
    result = convert(source, out=tmp_path)
    assert result.wheel is not None
    script = tmp_path / "script.py"
    script.write_text(NUMPY_SCRIPT)
    (checked,) = check_wheels([result.wheel], script=script)
    assert checked.pyodide == PYODIDE["1.0.0"]
    assert checked.ok, checked.json()
    assert checked.script is not None
    assert checked.script.stdout == "numpy 1.25.2\n"


@pytest.mark.long
@pytest.mark.parametrize("version", ["0.9.8", "1.0.0"])
def test_the_converted_ones_import_in_pyodide_with_each_other_as_needs(version: str, tmp_path: Path) -> None:
    converted(version, tmp_path)
    failed = {}
    for checked in check_wheels(sorted(tmp_path.glob("*.whl")), pyodide=PYODIDE[version], find_links=[tmp_path]):
        assert not checked.install_errors, checked.json()
        if not checked.ok:
            failed[checked.wheel.name.partition("-")[0].replace("_", "-")] = [m.error or "" for m in checked.modules if not m.ok]
    expected = NOT_FOR_PYODIDE | (OF_ANOTHER_INTERPRETER if version == "0.9.8" else {})
    assert failed.keys() == expected.keys()
    for name, reason in expected.items():
        assert all(reason in error for error in failed[name]), failed[name]


@pytest.mark.long
def test_the_pure_needs_of_a_package_are_found_beside_it(tmp_path: Path) -> None:
    converted("1.0.0", tmp_path)
    (checked,) = check_wheels(list(tmp_path.glob("stack_data-*.whl")), pyodide="0.24.1", find_links=[tmp_path])
    assert checked.ok, checked.json()
    assert {name.partition("-")[0] for name in checked.installed} >= {"asttokens", "executing", "pure_eval", "six", "stack_data"}


# What is called in each of PyPI's own wheels. contourpy and awkward-cpp need numpy, which no registry has for these
# Pyodides, so their C code is reached without it.
CALLS = {
    "msgpack": """
import msgpack
from msgpack import _cmsgpack
assert msgpack.Packer is _cmsgpack.Packer
data = {"a": [1, 2.5, None, b"x"], "z": {"deep": True}}
assert msgpack.unpackb(msgpack.packb(data)) == data
try:
    msgpack.unpackb(b"\\xc1")
except msgpack.FormatError:
    print("raised")
""",
    "pydantic-core": """
from pydantic_core import SchemaValidator, ValidationError, core_schema, from_json
validator = SchemaValidator(core_schema.int_schema(gt=3))
assert validator.validate_python("42") == 42
assert from_json(b'{"a": [1, 2]}') == {"a": [1, 2]}
try:
    validator.validate_python(1)
except ValidationError as error:
    assert error.errors()[0]["type"] == "greater_than"
    print("raised")
""",
    "pymupdf": """
import pymupdf
document = pymupdf.open()
document.new_page().insert_text((72, 72), "conda2wheel")
again = pymupdf.open(stream=document.tobytes(), filetype="pdf")
assert again[0].get_text().strip() == "conda2wheel"
try:
    pymupdf.open(stream=b"no pdf at all", filetype="pdf")[0]
except Exception as error:
    print("raised")
""",
    "awkward-cpp": """
import ctypes, glob, importlib.machinery, importlib.util
folder = "/lib/python3.13/site-packages/awkward_cpp/lib/"
class Error(ctypes.Structure):
    _fields_ = [("str", ctypes.c_char_p), ("filename", ctypes.c_char_p), ("id", ctypes.c_int64), ("attempt", ctypes.c_int64)]
check = ctypes.CDLL(folder + "libawkward-cpu-kernels.so").awkward_IndexedArray64_validity
check.argtypes, check.restype = [ctypes.POINTER(ctypes.c_int64), ctypes.c_int64, ctypes.c_int64, ctypes.c_bool], Error
index = (ctypes.c_int64 * 3)(0, 2, 1)
assert check(index, 3, 3, False).str is None
assert b"len(content)" in check(index, 3, 2, False).str
loader = importlib.machinery.ExtensionFileLoader("_ext", glob.glob(folder + "_ext*.so")[0])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_ext", loader))
loader.exec_module(module)
builder = module.ArrayBuilder(initial=16, resize=2)
builder.beginlist()
builder.integer(7)
builder.endlist()
assert len(builder) == 1
try:
    builder.endlist()
except ValueError as error:
    assert "endlist" in str(error) or "end_list" in str(error), error
    print("raised")
""",
    "contourpy": """
import importlib.machinery, importlib.util, glob
path = glob.glob("/lib/python3.13/site-packages/contourpy/_contourpy*.so")[0]
loader = importlib.machinery.ExtensionFileLoader("contourpy._contourpy", path)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("contourpy._contourpy", loader))
loader.exec_module(module)
assert module.max_threads() >= 1
try:
    module.SerialContourGenerator()
except TypeError:
    print("raised")
""",
}


def sized(names: Iterable[str]) -> list[Any]:
    """The packages as parameters; 45 MB of pymupdf take a minute."""
    return [pytest.param(name, marks=pytest.mark.long if name == "pymupdf" else ()) for name in names]


@pytest.mark.parametrize("archive", ["tar.bz2", pytest.param("conda", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", sized(real.WHEELS))
def test_a_wheel_of_pypi_s_comes_back_from_a_spoiled_conda_package(name: str, archive: conda.ArchiveType, tmp_path: Path) -> None:
    original = real.pypi_wheel(name)
    result = convert(real.as_conda(original, archive), out=tmp_path)
    assert result.wheel is not None
    judges.judge(result.wheel)
    assert result.filename == original.name
    theirs, ours = read_wheel(original), read_wheel(result.wheel)
    assert ours.tags == theirs.tags
    _same_members(original, result.wheel)
    assert _metadata(result.wheel) == _metadata(original)


def _same_members(original: Path, made: Path) -> None:
    """Every module and file of the original, byte for byte; in dist-info, only what installers and RECORD need differs."""
    with zipfile.ZipFile(original) as one, zipfile.ZipFile(made) as two:
        theirs = {name: one.read(name) for name in one.namelist()}
        ours = {name: two.read(name) for name in two.namelist()}
    info = next(name for name in theirs if name.endswith(".dist-info/METADATA")).partition("/")[0]
    assert {n: d for n, d in ours.items() if ".dist-info/" not in n and ".data/" not in n} == {
        n: d for n, d in theirs.items() if not n.startswith(info)
    }
    kept = {n.removeprefix(f"{info}/licenses/").removeprefix(f"{info}/"): d for n, d in ours.items() if n.startswith(info)}
    rewritten = {"METADATA", "WHEEL", "RECORD", "entry_points.txt"}
    for name, data in theirs.items():
        base = name.removeprefix(f"{info}/licenses/").removeprefix(f"{info}/")
        if name.startswith(info) and base not in rewritten:
            assert kept[base] == data, name


def _metadata(wheel: Path) -> tuple[list[tuple[str, str]], str]:
    """Fields and description; the version of the format and the place of license files may differ."""
    with zipfile.ZipFile(wheel) as archive:
        message = message_from_bytes(archive.read(next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))))
    ignored = {"metadata-version", "license-file", "dynamic"}
    fields = sorted((key.lower(), " ".join(str(value).split())) for key, value in message.items() if key.lower() not in ignored)
    return fields, str(message.get_payload()).strip()


@pytest.mark.parametrize("name", sized(CALLS))
def test_a_wheel_that_came_back_is_called_into_and_raises(name: str, tmp_path: Path) -> None:
    result = convert(real.as_conda(real.pypi_wheel(name)), out=tmp_path)
    assert result.wheel is not None
    script = tmp_path / "script.py"
    script.write_text(CALLS[name])
    needs = [real.typing_extensions().parent] if name == "pydantic-core" else []
    (checked,) = check_wheels([result.wheel], imports=["sys"], script=script, find_links=needs, timeout=PATIENCE)
    assert checked.ok, checked.json()
    assert checked.script is not None
    assert checked.script.stdout.endswith("raised\n")
