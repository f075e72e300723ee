"""The audit says what really happens: published wheels in Pyodides that they were and were not made for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.agreement import compare
from tests.helpers.agreement_page import bridge_comparisons, bridge_section, comparison, comparisons, page
from tests.helpers.pyemscripten import PUBLISHED, published

pytestmark = pytest.mark.runtime
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "agreement.md"

# What happens, as (runs, fatal, does not load): written down, so that verdict and run cannot be wrong together.
EXPECTED = {
    ("contourpy-1.4.0-cp314", "0.27.7"): (0, 0, 1),  # an exception tag, which that loader does not have
    ("contourpy-1.4.0-cp314", "0.29.5"): (0, 1, 0),  # a function of a newer libc++
    ("contourpy-1.4.0-cp314", "314.0.7"): (1, 0, 0),
    ("powerfit_em-5.0.3-cp313", "0.27.7"): (1, 1, 0),  # functions of a newer CPython
    ("powerfit_em-5.0.3-cp313", "0.29.5"): (2, 0, 0),
    ("powerfit_em-5.0.3-cp313", "314.0.7"): (2, 0, 0),
    ("awkward_cpp-57-cp313", "0.27.7"): (1, 0, 2),  # its kernels are neutral
    ("awkward_cpp-57-cp313", "0.29.5"): (3, 0, 0),
    ("awkward_cpp-57-cp313", "314.0.7"): (3, 0, 0),
    ("librt-0.16.0-cp313", "314.0.7"): (4, 0, 3),  # a private function of CPython has another type
}


QUICK = (("contourpy-1.4.0-cp314", "0.29.5"), ("contourpy-1.4.0-cp314", "314.0.7"), ("awkward_cpp-57-cp313", "0.29.5"))


@pytest.mark.parametrize(
    ("start", "pyodide"),
    [pytest.param(*each, id="-".join(each), marks=() if each in QUICK else pytest.mark.long) for each in EXPECTED],
)
def test_verdict_and_run_agree(start: str, pyodide: str) -> None:
    each = comparison(published(start), pyodide)
    assert [module.disagreement for module in each.modules if module.disagreement] == []
    seen = Counter(module.seen.verdict for module in each.modules)
    assert (seen["runs"], seen["fatal"], seen["load"]) == EXPECTED[start, pyodide]
    if each.own:
        assert each.above_note == []


def test_what_is_imported_from_nowhere_ends_the_interpreter() -> None:
    """A stub that was called by itself is one thing; here CPython comes to it."""
    (module,) = compare(published("msgpack-1.2.4-cp313").get(), "0.27.7", initialise=True)
    assert module.predicted == "fatal"
    came = module.seen.initialised or ""
    assert came.startswith("fatal: ")
    assert any(name in came for name in module.seen.unresolved)


def test_the_page_is_about_these_wheels() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [wheel.filename for wheel in PUBLISHED if f"`{wheel.filename.removesuffix('_wasm32.whl')}`" not in text] == []


@pytest.mark.long
def test_verdict_and_run_agree_with_and_without_a_bridge() -> None:
    found = bridge_comparisons()
    assert [(each.bridge, each.pyodide, m.path, m.disagreement) for each in found for m in each.modules if m.disagreement] == []
    verdicts = {(each.bridge, m.seen.verdict) for each in found for m in each.modules if each.pyodide == "0.29.5"}
    assert verdicts == {(True, "runs"), (False, "runs"), (False, "fatal"), (False, "load")}
    assert bridge_section(found) in PAGE.read_text(encoding="utf-8")


@pytest.mark.long
def test_the_page_is_what_happens() -> None:
    assert page(comparisons(), bridge_comparisons()) == PAGE.read_text(encoding="utf-8")
