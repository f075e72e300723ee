"""Reports: counts, changes, missing distributions and what needs attention, in every format and for any name."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conda2wheel.abi.audit.findings import RULES
from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.files.terminal import PlainConsole
from conda2wheel.mirror.report.formats import files, json_text, junit, metrics, write_metrics
from conda2wheel.mirror.report.missing import KINDS
from conda2wheel.mirror.report.model import CHANGES, COUNTS, MirrorReport, RunSummary
from conda2wheel.mirror.report.text import show, text
from conda2wheel.mirror.state.model import ItemResult
from tests.helpers import mirror_reports as reports
from tests.helpers.mirror_reports import item, report, runtime, wheel

DOCS = (Path(__file__).parents[3] / "docs" / "reference" / "mirror-report.md").read_text(encoding="utf-8")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]")


@pytest.fixture(scope="module")
def full() -> MirrorReport:
    return report(
        generation="000002-0a1b2c3d",
        changes={"new": [reports.package("numpy")], "vanished": [reports.package("old")]},
        runtimes=[runtime(cffi="1.17.1")],
        history=[RunSummary(1.0, 9.0, 3, {"packages": 10, "done": 4, "bytes": 39_937_035})],
    )


def test_counts_are_of_packages_and_of_wheels(full: MirrorReport) -> None:
    assert full.counts == {
        "packages": 13,
        "done": 4,
        "refused": 3,
        "failed": 5,
        "pending": 1,
        "quarantined": 1,
        "projects": 4,
        "wheels": 5,  # one of them of a package whose last conversion failed
        "bytes": 35_000_000 + 3 * 1_234_567 + 7,
        "runs_except": 1,
    }


def test_stages_and_bytes_are_of_this_run_and_the_slowest_items_of_all_runs(full: MirrorReport) -> None:
    assert [(stage.name, stage.items, stage.seconds) for stage in full.stages] == [
        ("download", 2, 1.0),
        ("convert", 2, 4.0),
        ("store", 2, 0.5),
    ]
    assert full.downloaded == 10_000_000
    assert full.slowest(1)[0].label == "emscripten-wasm32/numpy-2.10.0-py313h0_0"
    assert full.largest(1)[0].package.name == "scipy"


def test_a_wheel_of_which_a_part_does_not_run_is_counted_and_named_in_every_form(full: MirrorReport) -> None:
    made = files(full)
    document = json.loads(made["report.json"])
    assert document["runs_except"] == {"unresolved-symbol": {"count": 1, "meaning": RULES["unresolved-symbol"].meaning}}
    (wheel,) = [each["wheel"] for each in document["items"] if each["name"] == "scipy"]
    assert wheel["unusable"] == [reports.ABSENT.json()]
    assert re.search(r"unresolved-symbol +1 +emscripten-wasm32/scipy-\S+: scipy/_x\.so \(MAIN__\)", text(full))
    assert "conda2wheel_mirror_wheels_runs_except 1\n" in metrics(full)
    page = made["report.html"].decode()
    assert '<li class="runs_except"><b>1</b> <a href="#status=runs_except">run except for a part</a>' in page
    (result,) = [each.result for each in full.items if each.package.name == "scipy"]
    assert result is not None
    stored = json.loads(json.dumps(result.json()))
    assert ItemResult.from_json(stored) == result
    del stored["wheel"]["unusable"]  # as an earlier version wrote it
    earlier = ItemResult.from_json(stored)
    assert earlier.wheel is not None
    assert earlier.wheel.unusable == ()


def test_the_order_of_items_does_not_change_the_report() -> None:
    assert json_text(report(reports.every_kind()[::-1])) == json_text(report())


def test_versions_are_in_their_own_order(full: MirrorReport) -> None:
    assert [item.package.version for item in full.items if item.package.name == "numpy"] == ["2.4.4", "2.10.0"]


def test_no_credentials_of_a_channel_are_in_any_form(full: MirrorReport) -> None:
    for made in (json_text(full), junit(full), metrics(full), text(full)):
        assert "secret" not in made
        assert "https://repo.example/emscripten-forge-4x" in made or made == metrics(full)


# What needs attention


def test_new_failures_lost_wheels_and_quarantined_items_need_attention(full: MirrorReport) -> None:
    assert [reason.partition(",")[0] for reason in full.attention] == ["1 failed", "1 had a wheel before", "1 quarantined"]
    assert full.exit_status == 1


def test_failures_and_refusals_that_were_reported_before_need_no_attention() -> None:
    quiet = report(
        [
            item("old-failure", "failed", "network", previous_status="failed", worked=True),
            item("old-refusal", "refused", "not-python", previous_status="refused", worked=True),
            item("new-refusal", "refused", "metapackage", worked=True),
            item("fine", worked=True),
        ]
    )
    assert (quiet.attention, quiet.exit_status) == ((), 0)


def test_a_new_upload_that_is_refused_is_named_and_needs_attention_once() -> None:
    upload = {"worked": True, "message": "the archive is truncated"}
    kinds = [
        reports.item("new", "refused", "corrupt-archive", **upload),
        reports.item("odd", "refused", "missing-library", **upload),
        reports.item("clib", "refused", "not-python", **upload),
    ]
    earlier = (RunSummary(reports.STARTED, 1.0),)
    later = report(kinds, history=earlier)
    label = "emscripten-wasm32/{}-1.0-py313h0_0"
    assert later.attention == (
        f"1 new, and damaged or hostile: {label.format('new')}",
        f"1 new, and refused: {label.format('odd')}",
    )
    section = text(later).partition("Newly refused\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in section.splitlines()] == [label.format(name) for name in ("new", "odd", "clib")]
    assert "the archive is truncated" in section
    assert report(kinds).attention == later.attention[:1]  # a first run refuses hundreds
    again = [reports.item(each.package.name, "refused", each.code, previous_status="refused") for each in kinds]
    assert (report(again, history=earlier).attention, "Newly refused" in text(report(again, history=earlier))) == ((), False)


def test_a_run_that_could_not_publish_needs_attention() -> None:
    made = report([item("fine")], problem="store: s3://wheels: access denied")
    assert made.attention == ("nothing was published: store: s3://wheels: access denied",)
    assert made.exit_status == 1


def test_an_unknown_kind_of_change_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such change: odd"):
        report(changes={"odd": []})


# What is missing


def kinds(made: MirrorReport) -> dict[str, tuple[str, tuple[str, ...], str | None]]:
    assert made.missing is not None
    return {each.name: (each.kind, each.available, each.code) for each in made.missing}


def test_missing_distributions_are_reported_with_what_is_known_of_them(full: MirrorReport) -> None:
    assert kinds(full) == {
        "numpy": ("version", ("2.4.4 here", "2.10.0 here"), None),
        "absent": ("elsewhere", (), None),
        "libpure": ("refused", (), "bad-version"),
    }
    assert full.missing is not None
    assert full.missing[0].required_by == ((wheel("scipy").filename, "absent>=1"),)


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ("pip @ https://example.org/pip.whl", {"pip": "address"}),
        ("this is no requirement", {"this is no requirement": "unreadable"}),
        ("other; sys_platform == 'emscripten'", {"other": "elsewhere"}),
        ("other; sys_platform == 'linux'", {}),
        ("other; extra == 'test'", {}),
        ("later", {"later": "pending"}),
        ("broken", {"broken": "failed"}),
        ("native", {"native": "platform"}),
        ("In_Pyodide>=2", {}),
        ("in-pyodide>=3", {"in-pyodide": "version"}),
        ("yanked", {"yanked": "elsewhere"}),
        ("matplotlib", {"matplotlib": "refused"}),
        ("zlib", {"zlib": "elsewhere"}),
    ],
)
def test_a_requirement_is_evaluated_as_in_that_pyodide(needs: str, expected: dict[str, str]) -> None:
    made = report(
        [
            item("asks", wheel=wheel("asks", requires=(needs,))),
            item("later", None),
            item("broken", "failed", "crash"),
            item("native", wheel=wheel("native", platform="pyemscripten_2026_0_wasm32")),
            item("yanked", yanked="gone"),
            item("matplotlib-base", "refused", "fake-dylib"),  # which has another name on PyPI
            item("zlib", "refused", "not-python"),  # a C library, without a PyPI name
        ],
        runtimes=[runtime(**{"in-pyodide": "2.1"})],
    )
    assert {name: kind for name, (kind, _, _) in kinds(made).items()} == expected
    assert made.unjudged == 1  # `native`, of another platform


def test_a_wheel_for_another_python_neither_provides_nor_requires() -> None:
    items = [
        item("asks", wheel=wheel("asks", requires=("old",))),
        item("old", wheel=wheel("old", requires=("nowhere",), requires_python="<3.13")),
    ]
    assert kinds(report(items, runtimes=[runtime()])) == {"old": ("platform", (reports.NATIVE,), None)}


def test_pyodides_that_miss_the_same_distribution_share_a_line() -> None:
    made = report(
        [item("asks", wheel=wheel("asks", platform="any", requires=("absent",)))], runtimes=[runtime("0.29.3"), runtime("0.29.5")]
    )
    assert made.missing is not None
    assert [each.pyodide for each in made.missing] == [("0.29.3", "0.29.5")]


def test_without_a_pyodide_nothing_is_reported_as_missing() -> None:
    assert report().json()["missing"] is None


# Formats


def test_json_is_complete_and_ascii(full: MirrorReport) -> None:
    made = json.loads(json_text(full).encode("ascii"))
    assert made["schema"] == 1
    assert len(made["items"]) == 13
    assert made["before"]["packages"] == 10
    assert made["refused"]["fake-dylib"] == {
        "count": 1,
        "meaning": REFUSAL_CODES["fake-dylib"].meaning,
        "advice": "link it with `-sSIDE_MODULE`",
    }
    assert made["failed"]["network"] == {
        "count": 2,
        "meaning": "the channel did not answer, or the connection was interrupted",
        "package": "emscripten-wasm32/flaky-1.0-py313h0_0",
        "message": "timed out",
    }
    assert made["changes"]["vanished"] == ["emscripten-wasm32/old-1.0-py313h0_0"]


def test_all_files_are_served_and_the_same_bytes_each_time(full: MirrorReport) -> None:
    served = files(full)
    assert sorted(served) == ["report.css", "report.html", "report.js", "report.json", "report.txt", "report.xml"]
    assert served == files(full)
    assert served["report.json"] == json_text(full).encode()


def test_every_key_of_the_json_is_in_the_manual(full: MirrorReport) -> None:
    made = full.json()
    assert made["missing"]
    wheels = [each["wheel"] for each in made["items"] if each["wheel"]]
    keys = {*made, *made["items"][0], *wheels[0], *made["history"][0], *made["missing"][0], *COUNTS, *CHANGES, *KINDS}
    assert sorted(key for key in keys if f"`{key}`" not in DOCS) == []


def test_every_metric_is_in_the_manual(full: MirrorReport) -> None:
    names = re.findall(r"^# TYPE (\S+)", metrics(full), re.M)
    assert len(names) > 15
    assert sorted(name for name in names if f"`{name}`" not in DOCS) == []


def test_junit_has_failures_as_errors_lost_wheels_as_failures_and_refusals_as_skipped(full: MirrorReport) -> None:
    root = ET.fromstring(junit(full).encode())  # noqa: S314 - our own
    (suite,) = root
    assert suite.attrib == {
        "name": reports.CHANNEL,
        "tests": "13",
        "errors": "5",
        "failures": "1",
        "skipped": "3",
        "time": f"{30 + 2.75 * 2:.3f}",
    }
    cases = {case.get("classname", ""): case for case in suite}
    assert cases["emscripten-wasm32.lost"][0].tag == "failure"
    assert cases["emscripten-wasm32.lost"][0].get("message") == "fake-dylib: lost/a.so is no side module"
    assert cases["emscripten-wasm32.poison"][0].get("type") == "crash"
    assert cases["emscripten-wasm32.later"][0].attrib == {"message": "pending: not tried yet"}
    assert cases["emscripten-wasm32.clib"][0].tag == "skipped"
    assert not list(cases["emscripten-wasm32.scipy"])
    assert len({(case.get("classname"), case.get("name")) for case in suite}) == 13


def test_prometheus_reads_the_metrics(full: MirrorReport, tmp_path: Path) -> None:
    write_metrics(full, tmp_path / "deep" / "mirror.prom")
    written = (tmp_path / "deep" / "mirror.prom").read_text(encoding="utf-8")
    found = {
        (sample.name.removeprefix("conda2wheel_mirror_"), *sample.labels.values()): sample
        for family in text_string_to_metric_families(written)
        for sample in family.samples
        if family.type == "gauge" and family.documentation
    }
    assert found["items", "done"].value == 4
    assert found["refused", "fake-dylib"].value == 1
    assert found["refused", "too-large"].value == 0  # so that an alerting rule sees it appear
    assert found["failed", "network"].value == 2
    assert found["missing", "elsewhere"].value == 1
    assert found["start_time_seconds",].value == reports.STARTED
    assert found["published",].value == 1
    assert found["look",].value == 3
    assert all(sample.timestamp is None for sample in found.values())  # the collector does not accept a file with time stamps


def test_metrics_of_a_failed_publish_say_so() -> None:
    assert "conda2wheel_mirror_published 0\n" in metrics(report(problem="no"))


@pytest.mark.parametrize("form", [junit, metrics, text])
def test_control_characters_in_names_are_escaped(form: object, full: MirrorReport) -> None:
    made = form(full)  # type: ignore[operator]
    assert "\\u202e" in made
    assert not CONTROLS.search(made)
    assert made.encode("utf-8")


def test_plain_text_has_all_sections(full: MirrorReport) -> None:
    made = text(full)
    assert made.startswith(
        f"13 packages of {reports.CHANNEL}: 5 wheels of 4 projects; 4 worked on in 1 min 23 s; generation 000002-0a1b2c3d\n\n"
        "Needs attention\n  1 failed, and had not failed before: emscripten-wasm32/flaky-1.0-py313h0_0\n"
    )
    for line in (
        "  packages        13     was 10",
        "  done             4   the same",
        "  fake-dylib   1  a file named `.so` that is not a side module",
        "  convert     2   4.0 s   2.0 s",
        "   35 MB  scipy-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl",
    ):
        assert line in made.splitlines(), made
    assert "in the channel, but refused (bad-version)" in made


def test_long_lists_are_shortened_unless_all_is_requested() -> None:
    many = report([], changes={"new": [reports.package(f"p{number:02}") for number in range(30)]})
    assert "and 20 more" in text(many)
    assert "p29" not in text(many)
    assert "p29" in text(many, every=True)


def test_a_terminal_gets_tables_and_a_file_lines(full: MirrorReport) -> None:
    plain, drawn = io.StringIO(), io.StringIO()
    show(full, PlainConsole(file=plain, width=40))
    show(full, PlainConsole(file=drawn, width=160, force_terminal=True))
    assert plain.getvalue() == text(full)
    assert "─" in drawn.getvalue()
    assert "[bold]$title" in drawn.getvalue()  # a name, not markup for rich
    assert "was 10" in drawn.getvalue()


def test_a_channel_of_2600_packages_is_reported_in_every_format() -> None:
    made = reports.channel()
    assert made.counts["packages"] == 2600
    assert len(ET.fromstring(junit(made).encode())[0]) == 2600  # noqa: S314 - our own
    assert len(json.loads(json_text(made))["items"]) == 2600
    assert len(text(made).splitlines()) < 100


def test_hashes_and_urls_are_short_in_the_text_and_whole_in_all_else() -> None:
    url, digest = f"https://repo.example/{'x' * 60}/some-1.0.conda", "ab" * 32
    made = report([reports.item("a", "failed", "network", message=f"{url}: sha256 is {digest}")])
    assert "https://repo.example/.../some-1.0.conda: sha256 is abababababab..." in text(made)
    for whole in (text(made, every=True), json_text(made), junit(made)):
        assert url in whole
        assert digest in whole
