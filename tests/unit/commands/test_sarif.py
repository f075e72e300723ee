"""`audit --sarif`: what CI systems read, held against SARIF 2.1.0 (OASIS, sarif-v2.1.0-os); numbers are its sections."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from conda2wheel import __version__
from conda2wheel.abi.audit.findings import RULES, Finding, Severity
from conda2wheel.commands.audit import audit_each
from conda2wheel.commands.audit_result import Audited, MatrixRow
from conda2wheel.commands.sarif import sarif
from conda2wheel.errors import Failed, Refused
from tests.unit.cli.test_audit import bad, damaged, good, run, user

URI = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})+")  # RFC 3986: path characters, all else in percent
LEVELS = {"load": "error", "fatal": "error", "upload": "error", "suspicious": "warning", "note": "note"}
EVERY = tuple(
    Finding(code, severity, f"pkg/_{code}.so", f"{code} happened", symbol="f")
    for code in RULES
    for severity in (Severity.LOAD, Severity.NOTE)
)


def judged(source: str, *findings: Finding, pyodide: str | None = "0.29.5") -> Audited:
    rows = (MatrixRow("0.29.5", "pyemscripten_2025_0_wasm32", None if pyodide else Severity.LOAD),)
    return Audited(source, "wheel", "pyemscripten_2025_0_wasm32", pyodide, 1, findings, rows)


def one_run(log: dict[str, Any]) -> dict[str, Any]:
    """The run of a log that was held against the specification."""
    assert log.keys() == {"$schema", "version", "runs"}  # 3.13
    assert log["version"] == "2.1.0"
    assert urlsplit(log["$schema"]).path.endswith("/sarif-schema-2.1.0.json")
    (made,) = log["runs"]
    assert isinstance(made, dict)
    _tool(made["tool"])
    (invocation,) = made["invocations"]  # 3.20
    assert isinstance(invocation["executionSuccessful"], bool)
    for note in invocation.get("toolExecutionNotifications", []):  # 3.58
        assert note["level"] == "error"
        assert note["message"]["text"]
        descriptor = note["descriptor"]  # 3.52
        assert made["tool"]["driver"]["notifications"][descriptor["index"]]["id"] == descriptor["id"]
        for location in note["locations"]:
            _location(location)
    assert made["columnKind"] in ("unicodeCodePoints", "utf16CodeUnits")  # 3.14.17
    rules = [rule["id"] for rule in made["tool"]["driver"]["rules"]]
    seen = set()
    for result in made["results"]:  # 3.27
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        (location,) = result["locations"]
        _location(location)
        for key, mark in result["partialFingerprints"].items():  # 3.27.17: a string of its own, with a version
            assert re.fullmatch(r"\w+/v\d+", key)
            assert re.fullmatch(r"[0-9a-f]{64}", mark)
            assert mark not in seen
            seen.add(mark)
    return made


def _tool(tool: dict[str, Any]) -> None:
    driver = tool["driver"]  # 3.19
    assert driver["name"] == "conda2wheel"
    assert driver["version"] == __version__
    ids = [rule["id"] for rule in driver["rules"]]  # 3.49
    assert len(set(ids)) == len(ids)
    assert set(ids) == {*RULES, "runs-nowhere"}
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])


def _location(location: dict[str, Any]) -> None:
    physical = location["physicalLocation"]  # 3.29: with an artifact, and a region that starts at 1
    uri = physical["artifactLocation"]["uri"]
    assert URI.fullmatch(uri), uri
    assert physical.get("region", {"startLine": 1})["startLine"] >= 1
    for logical in location.get("logicalLocations", []):  # 3.33
        assert logical["fullyQualifiedName"]


def uris(made: dict[str, Any]) -> Iterator[str]:
    for result in made["results"]:
        yield result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]


def test_every_code_and_severity_has_its_rule_and_level() -> None:
    made = one_run(sarif([judged("x-1-py3-none-any.whl", *EVERY)]))
    found = [(result["ruleId"], result["properties"]["severity"], result["level"]) for result in made["results"]]
    assert found == [(each.code, str(each.severity), LEVELS[each.severity]) for each in EVERY]
    assert {str(severity) for severity in Severity} == LEVELS.keys()
    one = one_run(sarif([judged("x-1-py3-none-any.whl", *(Finding("simd", each, "m.so", "x") for each in Severity))]))
    assert [result["level"] for result in one["results"]] == ["error", "error", "error", "warning", "note"]


def test_a_result_names_the_wheel_the_module_and_the_symbols() -> None:
    several = Finding("private-api", Severity.NOTE, "pkg/_x.so", "takes two", hint="do not", symbols=("_PyA", "_PyB"))
    (result,) = one_run(sarif([judged("dist/x-1-py3-none-any.whl", several)]))["results"]
    assert result["message"]["text"] == "pkg/_x.so: takes two (do not)"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "dist/x-1-py3-none-any.whl"
    assert result["locations"][0]["logicalLocations"] == [
        {"fullyQualifiedName": "x-1-py3-none-any.whl/pkg/_x.so", "kind": "module"}
    ]
    assert result["properties"] == {
        "severity": "note",
        "pyodide": "0.29.5",
        "verdict": "runs",
        "symbols": ["_PyA", "_PyB"],
    }


@pytest.mark.parametrize(
    ("source", "uri"),
    [
        ("dist/x-1+local-py3-none-any.whl", "dist/x-1%2Blocal-py3-none-any.whl"),
        ("./dist/../dist/x.whl", "dist/x.whl"),
        ("a folder/50% größer #1?.whl", "a%20folder/50%25%20gr%C3%B6%C3%9Fer%20%231%3F.whl"),
        ("c:odd.whl", "./c%3Aodd.whl"),
        ("https://example.org/x%20y.whl", "https://example.org/x%20y.whl"),
    ],
)
def test_places_are_uris_relative_to_where_the_tool_runs(
    source: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = one_run(sarif([judged(source, EVERY[0])]))
    (found,) = uris(made)
    assert unquote(found).removeprefix("./") == unquote(uri).removeprefix("./")
    assert urlsplit(found).scheme == urlsplit(uri).scheme  # no part of a name is taken for a scheme, query or fragment
    assert (urlsplit(found).query, urlsplit(found).fragment) == ("", "")


def test_what_lies_elsewhere_has_its_whole_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    inside, outside, dotted = uris(
        one_run(sarif([judged(each, EVERY[0]) for each in (str(tmp_path / "in/x.whl"), "../a b.whl", "..x.whl")]))
    )
    assert inside == "x.whl"
    assert outside == (tmp_path / "a b.whl").as_uri()
    assert dotted == "..x.whl"


def test_a_finding_is_the_same_one_in_the_next_version_and_with_other_words() -> None:
    def marks(source: str, *findings: Finding) -> list[str]:
        return [mark for result in one_run(sarif([judged(source, *findings)]))["results"] for mark in _marks(result)]

    first = Finding("unresolved-symbol", Severity.FATAL, "pkg/_x.so", "imports f", symbol="f")
    later = Finding("unresolved-symbol", Severity.LOAD, "pkg/_x.so", "still imports f", symbol="f", hint="do")
    other = Finding("unresolved-symbol", Severity.FATAL, "pkg/_x.so", "imports g", symbol="g")
    assert marks("pkg-1.0-py3-none-any.whl", first) == marks("dist/pkg-2.0-py3-none-any.whl", later)
    assert marks("pkg-1.0-py3-none-any.whl", first) != marks("other-1.0-py3-none-any.whl", first)
    assert len({*marks("pkg-1.0-py3-none-any.whl", first, other, first)}) == 3


def test_two_wheels_of_one_project_have_findings_of_their_own() -> None:
    """As in a folder with a wheel for each CPython: a mark that two results share makes one of them."""
    wheels = [f"pkg-1.0-cp{n}-cp{n}-pyemscripten_{p}_wasm32.whl" for n, p in ((313, "2025_0"), (314, "2026_0"))]
    made = one_run(sarif([judged(each, EVERY[0]) for each in wheels]))
    assert len({mark for result in made["results"] for mark in _marks(result)}) == 2


def _marks(result: dict[str, Any]) -> list[str]:
    return list(result["partialFingerprints"].values())


def test_what_runs_nowhere_is_a_result() -> None:
    item = judged("pkg-1.0-cp313-cp313-emscripten_3_1_73_wasm32.whl", pyodide=None)
    (result,) = one_run(sarif([item]))["results"]
    assert (result["ruleId"], result["level"]) == ("runs-nowhere", "error")
    assert "no Pyodide has" in result["message"]["text"]
    assert one_run(sarif([judged("pkg-1.0-py3-none-any.whl")]))["results"] == []


def test_inputs_that_could_not_be_judged_are_notifications() -> None:
    errors = [Refused("corrupt-archive", "a b.whl: not a wheel", "get it again"), Failed("not-found", "c.whl: no such file")]
    made = one_run(sarif([judged("x-1-py3-none-any.whl", EVERY[0])], list(zip(["a b.whl", "c.whl"], errors, strict=True))))
    (invocation,) = made["invocations"]
    assert invocation["executionSuccessful"] is False
    notes = invocation["toolExecutionNotifications"]
    assert [note["message"]["text"] for note in notes] == list(map(str, errors))
    assert [note["descriptor"]["id"] for note in notes] == ["corrupt-archive", "not-found"]
    places = [note["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for note in notes]
    assert places == ["a%20b.whl", "c.whl"]
    (clean,) = one_run(sarif([judged("x-1-py3-none-any.whl", EVERY[0])]))["invocations"]
    assert clean == {"executionSuccessful": True}


def test_the_command_writes_it_and_keeps_its_status(tmp_path: Path) -> None:
    folder = tmp_path / "a dist"
    paths = [bad(folder), good(folder), damaged(folder), user(folder)]
    target = tmp_path / "made" / "audit.sarif"
    done = run("a dist", "--sarif", target, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("\n") == 3  # the lines for people are there all the same
    text = target.read_text(encoding="utf-8")
    made = one_run(json.loads(text))
    assert sorted({*uris(made)}) == [f"a%20dist/{path.name}" for path in (paths[0], paths[3])]
    (note,) = made["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"].startswith("corrupt-archive: a dist/truncated-1.0-py3-none-any.whl: ")
    # ... and on stdout, alone, the same bytes; with --json beside a file
    piped = run("a dist", "--sarif", "-", cwd=tmp_path)
    assert (piped.returncode, piped.stdout) == (1, text)
    both = run("a dist", "--json", "--sarif", tmp_path / "too.sarif", cwd=tmp_path)
    assert json.loads(both.stdout)["schema"] == 1
    assert (tmp_path / "too.sarif").read_text(encoding="utf-8") == text


def test_it_is_the_same_whatever_the_order_of_hashes(tmp_path: Path) -> None:
    paths = [str(bad(tmp_path)), str(user(tmp_path))]
    audited = [result for _, result in audit_each(paths) if isinstance(result, Audited)]
    here = json.dumps(sarif(audited), indent=2, ensure_ascii=False) + "\n"
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "conda2wheel", "audit", *paths, "--sarif", "-"]
        done = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False)
        assert done.stdout == here


def test_a_file_that_cannot_be_written_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = run(good(tmp_path), "--sarif", tmp_path)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("conda2wheel: error: ")] == [
        f"conda2wheel: error: disk: cannot write {tmp_path}: Is a directory (check the folder, its permissions and free space)"
    ]
