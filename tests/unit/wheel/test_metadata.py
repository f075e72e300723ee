"""METADATA of any age is read, and what is written says the same to packaging, to pip and to micropip's line reader."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.metadata import Metadata, parse_email
from packaging.requirements import Requirement

from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.wheel import metadata
from conda2wheel.wheel.metadata import FIELDS, Document, parse
from tests.helpers import judges
from tests.helpers.shapes import MODULE, dist_info, made, package

LINE_ENDS = ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
HEAD = (("Metadata-Version", "2.4"), ("Name", "demo"), ("Version", "1.0"))


def micropip(data: bytes) -> tuple[list[str], set[str]]:
    """The requirements and extras that micropip's reader finds."""
    reader = judges._micropip("metadata").Metadata(data)
    lines = [line for line in reader.metadata if line.startswith(reader.REQUIRES_DIST)]
    return [str(reader._parse_requirement(line)) for line in lines], set(reader.deps) - {None}


def test_fields_are_title_case_and_one_line_each() -> None:
    text = (
        "metadata-version: 2.1\nNAME: demo\nversion: 1.0\nrequires-dist: a>=1,\n  <2\nSummary: one\n\ttwo\nX-Unknown: x\n\nbody\n"
    )
    assert parse(text.encode()).encode() == (
        b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: a>=1, <2\nSummary: one two\n\nbody\n"
    )


def test_crlf_and_a_byte_order_mark_change_nothing() -> None:
    plain = "Name: demo\nVersion: 1.0\nRequires-Dist: a\n\nline one\n\nline two\n"
    spoiled = "\ufeff\r\n" + plain.replace("\n", "\r\n")
    assert parse(spoiled.encode()).encode() == parse(plain.encode()).encode() == plain.encode()


@pytest.mark.parametrize(("encoding", "name"), [("utf-8", "Jürgen 日本"), ("latin-1", "Jürgen Français")])
def test_authors_keep_their_letters(encoding: str, name: str) -> None:
    document = parse(f"Name: demo\nVersion: 1.0\nAuthor: {name}\n\nby {name}\n".encode(encoding))
    assert document.get("Author") == name
    assert document.body == f"by {name}\n"
    assert parse(document.encode()) == document


def test_emoji_and_hard_spaces_survive_and_control_characters_do_not() -> None:
    value = "a\u00a0b 👩\u200d🔬 \u3000 c\x00\x1b[1m"
    assert parse(f"Summary: {value}\n".encode()).get("Summary") == "a\u00a0b 👩\u200d🔬 \u3000 c [1m"


def test_half_a_surrogate_pair_is_no_crash() -> None:
    assert Document((("Summary", "a\ud800b"),), "c\udfff\n").encode() == b"Summary: a?b\n\nc?\n"


def test_unknown_values_are_no_values() -> None:
    text = "Name: UNKNOWN\nVersion: 1.0\nSummary: UNKNOWN\nHome-page: unknown\nAuthor: \nPlatform: UNKNOWN\n\nUNKNOWN\n"
    document = parse(text.encode())
    assert document.fields == (("Name", "UNKNOWN"), ("Version", "1.0"))  # a name of that sort is dealt with elsewhere
    assert document.body == ""


@pytest.mark.parametrize("indent", ["        ", "       |", "\t"])
def test_a_description_field_becomes_the_body(indent: str) -> None:
    text = f"Name: demo\nDescription: # Title\n{indent}\n{indent}text\n{indent}    code\nKeywords: a\n"
    document = parse(text.encode())
    assert document.body == "# Title\n\ntext\n    code"
    assert document.fields == (("Name", "demo"), ("Keywords", "a"))


def test_the_body_wins_over_a_description_field() -> None:
    assert parse(b"Name: demo\nDescription: short\n\nlong\n").body == "long\n"
    assert parse(b"Name: demo\nDescription: short\n\n  \n").body == "short"


def test_a_single_field_that_comes_twice_counts_once() -> None:
    document = parse(b"Name: demo\nName: other\nSummary: a\nSummary: b\nClassifier: c\nClassifier: d\n")
    assert document.fields == (("Name", "demo"), ("Summary", "a"), ("Classifier", "c"), ("Classifier", "d"))


def test_a_field_that_makes_it_look_like_a_mail_with_parts_does_not_lose_the_text() -> None:
    document = parse(b"Name: demo\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\ntext\n--x--\n")
    assert "text" in document.body


def test_nothing_at_all_is_an_empty_document() -> None:
    assert parse(b"") == Document()


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("field", ["Requires-Dist", "Provides-Extra", "Name", "requires-dist ", "Version"])
def test_a_body_line_that_looks_like_a_field_is_none(end: str, field: str) -> None:
    document = Document((*HEAD, ("Requires-Dist", "numpy>=1")), f"Title{end}{field}: sixpack{end}text\n")
    data = document.encode()
    assert micropip(data) == (["numpy>=1"], set())
    assert not [line for line in data.decode().splitlines()[5:] if line.startswith(f"{field}:")]
    assert parse(data).encode() == data  # once guarded, it stays as it is
    assert data.decode().replace("\u2060", "").count(f"{field}: sixpack") == 1


def test_a_body_that_begins_like_a_field_is_none() -> None:
    data = Document(HEAD, "Requires-Dist: sixpack\n").encode()
    assert micropip(data) == ([], set())
    assert Metadata.from_email(data).description == "\u2060Requires-Dist: sixpack\n"


@pytest.mark.parametrize("end", [*LINE_ENDS, "\n  ", "\r\n\t"])
def test_a_field_cannot_smuggle_in_another(end: str) -> None:
    data = Document((*HEAD, ("Keywords", f"a{end}Requires-Dist: sixpack")), "").encode()
    assert micropip(data) == ([], set())
    assert Metadata.from_email(data).requires_dist is None


def test_the_guard_holds_in_a_whole_wheel(tmp_path: Path) -> None:
    body = "# demo\n\n" + "".join(f"Requires-Dist: evil{n}{end}" for n, end in enumerate(LINE_ENDS)) + "Provides-Extra: bad\n"
    info = dist_info("demo-1.0", "Requires-Dist: numpy>=1", "Description-Content-Type: text/markdown", body=body)
    wheel = made(package({**MODULE, **info}), tmp_path)
    assert wheel.result.requires == ("numpy>=1",)
    assert micropip(wheel.read("METADATA")) == (["numpy>=1"], set())


names = st.from_regex(r"\A[a-z]([a-z0-9.-]{0,8}[a-z0-9])?\Z")
requirements = st.builds(
    lambda name, extra, specifier, marker: f"{name}{extra}{specifier}{marker}",
    names,
    st.sampled_from(["", "[fast]"]),
    st.sampled_from(["", ">=1.0", "<3,>=2.2", "~=1.4", "==1.*", "!=2"]),
    st.sampled_from(["", '; python_version < "3.12"', '; extra == "test"', '; sys_platform != "emscripten"']),
)
lines = st.one_of(
    st.text(max_size=30),
    st.builds(lambda field, value: f"{field}: {value}", st.sampled_from(FIELDS), st.text(max_size=10)),
    st.sampled_from(["Requires-Dist: evil", "Provides-Extra: evil", "Requires-Dist:evil #", " Requires-Dist: no", "---", ""]),
)
ends = st.sampled_from(LINE_ENDS)
bodies = st.lists(st.tuples(lines, ends), max_size=8).map(lambda parts: "".join(line + end for line, end in parts))
values = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)


@settings(max_examples=300, deadline=None)
@given(st.lists(requirements, max_size=4), st.lists(names, max_size=2), values, values, bodies)
def test_whatever_is_in_it_packaging_and_micropip_see_the_same(
    requires: list[str], extras: list[str], summary: str, author: str, body: str
) -> None:
    pairs = [("Summary", summary), ("Author", author), *(("Requires-Dist", r) for r in requires)]
    document = Document((*HEAD, *pairs, *(("Provides-Extra", extra) for extra in extras)), body)
    data = document.encode()
    wanted = [str(Requirement(r)) for r in requires]
    raw, unparsed = parse_email(data)
    assert not unparsed
    assert [str(Requirement(r)) for r in raw.get("requires_dist", [])] == wanted
    assert raw.get("provides_extra", []) == extras
    assert set(raw) <= {
        "metadata_version",
        "name",
        "version",
        "summary",
        "author",
        "requires_dist",
        "provides_extra",
        "description",
    }
    found, known = micropip(data)
    assert found == wanted
    assert known == set(extras)
    assert shown(raw.get("description", "")) == shown(body)
    again = parse(data)
    assert again.all("Requires-Dist") == requires
    assert again.encode() == Document(tuple(p for p in again.fields if p[1]), again.body).encode()


def shown(body: str) -> str:
    """What a reader sees of a description: its printable characters."""
    return "".join(c for c in body if not c.isspace() and c not in "\u2060\x1c\x1d\x1e\x1f\x85" and c.isprintable()).strip()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.lists(st.sampled_from(FIELDS), max_size=5))
def test_any_bytes_can_be_read(data: bytes, fields: list[str]) -> None:
    text = b"".join(field.encode() + b": " + data[:10] + b"\n" for field in fields) + data
    document = parse(text)
    assert all(
        name in FIELDS and value == value.strip() and not set(value) & set(string.whitespace[1:])
        for name, value in document.fields
    )
    document.encode().decode()


def test_a_package_whose_metadata_is_latin_1_converts(tmp_path: Path) -> None:
    metadata = "Metadata-Version: 1.2\nName: demo\nVersion: 1.0\nAuthor: Jürgen\nSummary: Größe\n".encode("latin-1")
    wheel = made(package({**MODULE, **dist_info("demo-1.0", metadata=metadata)}), tmp_path)
    assert "Author: Jürgen\n".encode() in wheel.read("METADATA")


@pytest.mark.parametrize(
    "data",
    [
        b"Name: x\n" * (metadata.MAX_FIELDS + 2),
        b"Name: x\n" + b" x\n" * (metadata.MAX_HEADER + 1),
        b"Name: x\n" + b"x" * metadata.MAX_METADATA,
    ],
)
def test_metadata_that_no_project_has_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        metadata.read_metadata("x", PackageFile("METADATA", BytesBlob(data)))
    assert caught.value.code in ("too-large", "corrupt-archive")


@pytest.mark.parametrize("address", ["(" * 50_000, "a@b.org, " * 20_000, "x:" * 8000 + "a@b.org;" * 100])
def test_addresses_that_no_mail_has_are_left_out(address: str) -> None:
    document = metadata.parse(f"Name: x\nVersion: 1\nAuthor-email: {address}\n".encode())
    mended, warnings = metadata.corrected(document, CondaPackage("x", (), {"name": "x", "version": "1"}), "x", "1", None)
    kept = mended.get("Author-email")
    assert kept is None or len(kept) <= metadata.MAX_ADDRESSES
    assert kept is not None or [each.code for each in warnings] == ["metadata-field"]
