"""Files of lines: nothing of a package makes a line of its own in RECORD, entry_points.txt or METADATA."""

from __future__ import annotations

import email.parser
import email.policy
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conda2wheel import convert, repair
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import BytesBlob, clean_path
from conda2wheel.wheel.entry_points import MAX_LINE, entry_points_text, parse_entry_points
from conda2wheel.wheel.metadata import _header, guard
from conda2wheel.wheel.reader import read_wheel
from conda2wheel.wheel.writer import Member, build_wheel
from tests.helpers import conda
from tests.helpers.shapes import MODULE, dist_info, package

BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # of str.splitlines(), by which RECORD is read


@pytest.mark.parametrize("letter", [*BREAKS, "\x9b", "\x7f", "\x1b"])
def test_a_file_name_with_a_line_break_is_refused(letter: str) -> None:
    with pytest.raises(Refused) as refusal:
        clean_path("x.conda", f"demo/x{letter}/elsewhere/victim.txt")
    assert refusal.value.code == "unsafe-archive"


@pytest.mark.parametrize("path", ["a\x85b.py", "a\u2028b.py", "../a.py", "/a.py", "a\nb.py"])
def test_no_wheel_has_a_member_whose_name_is_more_than_a_path(path: str) -> None:
    with pytest.raises(Refused):
        list(build_wheel([Member(path, BytesBlob(b""))], "demo-1.0.dist-info", 0))


@pytest.mark.parametrize("letter", BREAKS)
@pytest.mark.parametrize("declared", ["x = demo:m{}../../pwned = demo:m", "x{}y = demo:m", "x = demo:m{}[gui_scripts]"])
def test_a_declared_entry_point_is_one_line_or_left_out(letter: str, declared: str) -> None:
    link = {"noarch": {"type": "python", "entry_points": ["fine = demo:m", declared.format(letter)]}}
    source = package({**MODULE, **dist_info("demo-1.0")}, noarch="python")
    from conda2wheel.channels.open import open_package
    from conda2wheel.wheel.entry_points import read_entry_points

    opened = open_package(conda.repack(source, {"info/link.json": json.dumps(link)}))
    found, warnings = read_entry_points(opened, None)
    assert found == {"console_scripts": {"fine": "demo:m"}}
    assert entry_points_text(found) == b"[console_scripts]\nfine = demo:m\n"
    assert [(each.code, each.file) for each in warnings] == [("left-out", "entry_points.txt")]


@pytest.mark.parametrize("name", ["..", ".", "../x", "a/b"])
def test_a_script_that_is_no_file_name_is_left_out(name: str) -> None:
    from conda2wheel.conda.package import CondaPackage
    from conda2wheel.wheel.entry_points import read_entry_points

    opened = CondaPackage("x", (), {"name": "x", "version": "1"}, link={"noarch": {"entry_points": [f"{name} = demo:m"]}})
    assert read_entry_points(opened, None)[0] == {}


@given(st.text(alphabet=st.sampled_from(["a", "=", " ", "[", "]", "#", "\t", *BREAKS, "é", ":"])))
def test_entry_points_are_read_again_as_they_were_written(text: str) -> None:
    found = parse_entry_points(text)
    assert parse_entry_points(entry_points_text(found).decode()) == found


@pytest.mark.parametrize("key", ["name", "version"])
@pytest.mark.parametrize("value", ["a/../../b", "a\nb", "a\u2028b", "a" * 3000])
def test_a_record_whose_name_or_version_is_no_word_is_damaged(key: str, value: str, tmp_path: Path) -> None:
    source = conda.edit(package({**MODULE}, noarch="python"), "info/index.json", lambda index: {**index, key: value})
    with pytest.raises(Refused) as refusal:
        convert(source, out=tmp_path)
    assert refusal.value.code == "corrupt-archive"


def _old_header(text: str) -> tuple[list[tuple[str, str]], str]:
    message = email.parser.HeaderParser(policy=email.policy.compat32).parsestr(text)
    return [(name, str(value)) for name, value in message.items()], str(message.get_payload())


HEADER = st.lists(
    st.sampled_from(["a", ":", " ", "\t", "\n", "\r", "\r\n", "Name: x", "\n\n", "é", "-", "\x85", "\u2028", "\x0b"]), max_size=14
)


@given(HEADER)
def test_fields_are_separated_as_the_email_parser_separates_them(parts: list[str]) -> None:
    text = "".join(parts).lstrip("\r\n")
    assert _header(text) == _old_header(text)


@given(HEADER)
def test_no_line_of_a_description_is_taken_for_a_field(parts: list[str]) -> None:
    assert not any(line.lower().startswith("name:") for line in guard("".join(parts)).splitlines())


def two_infos(folder: Path, *, listed: str) -> Path:
    path = folder / "spam-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl"
    from tests.helpers.shapes import extension

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("spam/_a.cpython-313-wasm32-emscripten.so", extension("_a"))
        for version in ("0.9", "1.0.0"):
            info = f"spam-{version}.dist-info"
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: spam\nVersion: {version}\nRequires-Dist: v{version[0]}\n"
            )
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: cp313-cp313-pyodide_2025_0_wasm32\n")
        archive.writestr(f"spam-{listed}.dist-info/RECORD", "")
    return path


@pytest.mark.parametrize("listed", ["0.9", "1.0.0"])
def test_of_two_dist_infos_the_one_of_the_file_name_counts_and_repair_leaves_the_other_out(listed: str, tmp_path: Path) -> None:
    path = two_infos(tmp_path, listed=listed)
    assert read_wheel(path).dist_info == "spam-1.0.0.dist-info"
    repaired = repair(path, out=tmp_path / "out")
    assert repaired.wheel is not None
    with zipfile.ZipFile(repaired.wheel) as archive:
        infos = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    assert infos == {"spam-1.0.0.dist-info"}
    assert [each.file for each in repaired.warnings if each.code == "several-distributions"] == ["spam-0.9.dist-info"]


@pytest.mark.parametrize("recorded", ["1.0.0", "1.0"])
def test_of_two_dist_infos_in_a_package_the_one_of_the_record_counts(recorded: str) -> None:
    files = {**MODULE, **dist_info("demo-0.9", "Requires-Dist: old"), **dist_info(f"demo-{recorded}", "Requires-Dist: new")}
    assert convert(package(files, noarch="python", depends=["python", "new"]), dry_run=True).requires == ("new",)


def test_a_line_of_entry_points_that_no_project_has_is_left_out() -> None:
    name = "x" * (MAX_LINE - len("a = "))
    assert parse_entry_points(f"[g]\na = {name}\nb = x{name}\n") == {"g": {"a": name}}
