"""Sets beside a real Pyodide's own packages: its versions hold, and what cannot go with them is told before anything is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conda2wheel.bundle.build import bundle_specs
from conda2wheel.errors import Failed
from tests.helpers import sets

pytestmark = pytest.mark.runtime
PYODIDE = "0.29.5"  # ships numpy 2.2.5


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = [
        sets.native("numpy", "2.4.0"),
        sets.native("numpy", "2.2.5"),
        sets.native("fits-all", depends=["numpy"], requires=["numpy>=2"]),
        sets.native("numba-like", "0.67", depends=["numpy 2.4.*"]),
        sets.native("numba-like", "0.60", depends=["numpy >=2,<2.3"]),
        sets.native("wants-new", depends=["numpy"], requires=["numpy>=2.3"]),
        sets.native("pure-needs", requires=["packaging>=20"]),
    ]
    return sets.indexed(tmp_path_factory.mktemp("channel"), made)


def test_what_pyodide_ships_is_taken_from_it(channel: str, tmp_path: Path) -> None:
    result = bundle_specs(["fits-all"], channels=[channel], platform=PYODIDE, with_pyodide=True, out=tmp_path / "set")
    assert [wheel.name for wheel in result.wheels] == ["fits_all"]
    assert [(each.conda, each.pypi, each.version) for each in result.lock.shipped] == [("numpy", "numpy", "2.2.5")]
    assert result.lock.pyodide == PYODIDE
    rows = json.loads((result.folder / "pyodide-lock.json").read_text())["packages"]
    assert (rows["fits-all"]["depends"], rows["numpy"]["version"]) == (["numpy"], "2.2.5")
    assert rows["numpy"]["file_name"].startswith("numpy-2.2.5-")
    there = bundle_specs(
        ["fits-all"],
        channels=[channel],
        platform=PYODIDE,
        with_pyodide=True,
        out=tmp_path / "set",
        pyodide_url="https://example.org/pyodide",
    )
    rows = json.loads((there.folder / "pyodide-lock.json").read_text())["packages"]
    assert rows["numpy"]["file_name"].startswith("https://example.org/pyodide/numpy-2.2.5-")
    without = bundle_specs(["fits-all"], channels=[channel], platform=PYODIDE, out=tmp_path / "set")
    assert {wheel.name: wheel.version for wheel in without.wheels} == {"fits_all": "1.0", "numpy": "2.4.0"}


def test_an_older_build_that_goes_with_pyodide_is_chosen(channel: str, tmp_path: Path) -> None:
    result = bundle_specs(["numba-like"], channels=[channel], platform=PYODIDE, with_pyodide=True, out=tmp_path / "set")
    assert [(wheel.name, wheel.version) for wheel in result.wheels] == [("numba_like", "0.60")]


@pytest.mark.parametrize("spec", ["numpy =2.4", "numba-like =0.67"])
def test_a_conflict_with_pyodide_is_explained_before_anything_is_converted(channel: str, spec: str, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(Failed, match=r"numpy 2\.4.*but Pyodide ships numpy 2\.2\.5") as caught:
        bundle_specs([spec], channels=[channel], platform=PYODIDE, with_pyodide=True, out=tmp_path / "set", progress=told.append)
    assert caught.value.code == "conflict"
    assert "--with-pyodide" in caught.value.hint
    assert not [line for line in told if line.startswith("converted")]


def test_a_conflict_that_metadata_alone_has_is_found_too(channel: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"wants-new requires numpy>=2\.3, and the bundle has numpy 2\.2\.5") as caught:
        bundle_specs(["wants-new"], channels=[channel], platform=PYODIDE, with_pyodide=True, out=tmp_path / "set")
    assert caught.value.code == "conflict"


def test_what_no_channel_has_may_be_pyodides(channel: str, tmp_path: Path) -> None:
    result = bundle_specs(
        ["pure-needs"], channels=[channel], platform=PYODIDE, with_pyodide=True, complete=True, out=tmp_path / "set"
    )
    assert "packaging" in {each.pypi for each in result.lock.shipped}
    assert (result.lock.pypi, result.lock.external) == ((), ())
