"""`audit` and `audit_each` as a library: what is returned, and what is raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import audit
from conda2wheel.abi.platforms import parse
from conda2wheel.commands.audit import audit_each
from conda2wheel.commands.audit_result import Audited
from conda2wheel.errors import Failed, Refused
from tests.unit.cli.test_audit import bad, damaged, good, library, user, wheel


def test_as_a_library_it_returns_or_raises(tmp_path: Path) -> None:
    path = good(tmp_path / "one")
    assert audit(path).ok
    assert audit(tmp_path / "one").source == str(path)  # a folder of one
    assert audit(path, "0.28.3").pyodide == "0.28.3"
    row = parse("pyemscripten_2026_0_wasm32")
    assert row is not None
    assert not audit(path, row).ok
    with pytest.raises(Refused, match="not a zip file") as refused:
        audit(damaged(tmp_path / "two"))
    assert refused.value.code == "corrupt-archive"
    for arguments, code in (
        ((path, "9.9.9"), "usage"),
        ((path, "auto", [tmp_path / "nowhere"]), "not-found"),
        ((tmp_path / "nowhere.whl",), "not-found"),
    ):
        with pytest.raises(Failed) as failed:
            audit(*arguments)
        assert failed.value.code == code
    good(tmp_path / "one", "another")
    with pytest.raises(Failed, match="contains 2 inputs") as failed:
        audit(tmp_path / "one")
    assert failed.value.code == "usage"


def test_each_input_has_its_result_or_error_in_order_and_twice_the_same_is_once(tmp_path: Path) -> None:
    paths = [bad(tmp_path), tmp_path / "nowhere.whl", good(tmp_path)]
    results = list(audit_each([*paths, *paths]))
    assert [source for source, _ in results] == list(map(str, paths))
    assert [result.ok if isinstance(result, Audited) else result.code for _, result in results] == [False, "not-found", True]


def test_two_builds_of_one_project_are_not_judged_together(tmp_path: Path) -> None:
    """As if installed beside each other; and no two versions of a project are."""
    old = user(tmp_path / "old", more={"libshared.so": library(1)})
    new = wheel(tmp_path / "new", "user", {"libshared.so": library(2)}, version="2.0")
    for _, result in audit_each([old, new]):
        assert isinstance(result, Audited)
        assert result.findings == ()
