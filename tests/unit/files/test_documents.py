"""Documents of packages: what damaged and hostile JSON, YAML and TOML becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conda2wheel.errors import Refused
from conda2wheel.files.documents import MAX_VALUES, DocumentError, json_object, parse_json, parse_toml, parse_yaml
from conda2wheel.files.packagefile import BytesBlob

MANY = "1" * 5000  # digits: more than Python converts
FULL_OF_MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: 1}}\n" for n in range(1, 600))

JSON: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "is not JSON"),
    "digits": (f"[{MANY}]", "4300 digits"),
    "nesting that Python does not follow": ("[" * 200_000, "nested too deeply"),
    "nesting": ("[" * 200 + "]" * 200, "nested deeper than 100"),
    "nesting in objects": ('{"a":' * 200 + "1" + "}" * 200, "nested deeper than 100"),
    "values": ("[" + "1," * (MAX_VALUES + 1) + "1]", "more than 4000000 values"),
}
YAML = {
    "no YAML": ("{% x %}", "is not YAML"),
    "nesting": ("[" * 50_000, "nested deeper than 100"),
    "nodes": ("[" + "a," * 100_000 + "a]", "more than 100000 nodes"),
    "aliases": ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(f"{n}: &{n} [{'*a,' * 9}*a]\n" for n in range(1000)), "aliases"),
    "a chain of aliases": ("- &a0 [x]\n" + "".join(f"- &a{n} [*a{n - 1}]\n" for n in range(1, 900)), "aliases|not YAML"),
    "merges": (FULL_OF_MERGES, "merge keys"),
    "itself": ("&a [*a]", "contains itself"),
}
TOML = {
    "no TOML": ("a =", "Invalid value"),
    "digits": (f"a = {MANY}", "4300 digits"),
    "nesting that Python does not follow": ("a = " + "[" * 5000, "nested too deeply"),
    "nesting": ("a = " + "[" * 150 + "]" * 150, "nested deeper than 100"),
    "a key of many parts": ("a." * 300_000 + "a = 1", "nested deeper than 100"),
    "a quoted key of many parts": ('"a" . ' * 100_000 + "a = 1", "nested deeper than 100"),
    "a table of many parts": ("[" + "a." * 300_000 + "a]", "nested deeper than 100"),
    "length": ("# " + "x" * (1 << 20), "more than 1048576 characters"),
}


@pytest.mark.parametrize("case", JSON)
def test_json_that_is_damaged_or_too_much_is_a_document_error(case: str) -> None:
    text, why = JSON[case]
    for data in (text, text.encode()):
        with pytest.raises(DocumentError, match=why):
            parse_json(data)


@pytest.mark.parametrize("case", YAML)
def test_yaml_that_is_damaged_or_too_much_is_a_document_error(case: str) -> None:
    text, why = YAML[case]
    with pytest.raises(DocumentError, match=why):
        parse_yaml(BytesBlob(text.encode()))


@pytest.mark.parametrize("case", TOML)
def test_toml_that_is_damaged_or_too_much_is_a_document_error(case: str) -> None:
    text, why = TOML[case]
    with pytest.raises(DocumentError, match=why):
        parse_toml(text)


SURROGATES: dict[bytes, Any] = {
    rb'{"a": "\ud800"}': {"a": "\ufffd"},
    rb'{"\uDFFF": ["x\udc80y"]}': {"\ufffd": ["x\ufffdy"]},
    b'{"a": "\xed\xa0\x80"}': {"a": "\ufffd"},
    rb'{"a": "\ud83d\ude00"}': {"a": "\U0001f600"},
    '{"a": "\U0001f600"}'.encode(): {"a": "\U0001f600"},
}


@pytest.mark.parametrize("data", SURROGATES)
def test_lone_surrogates_of_json_become_characters_that_can_be_written(data: bytes) -> None:
    value = parse_json(data)
    assert value == SURROGATES[data]
    json.dumps(value, ensure_ascii=False).encode()


def test_numbers_that_json_cannot_write_are_none() -> None:
    assert parse_json(b"[NaN, Infinity, -Infinity, 1e999, 1.5]") == [None, None, None, None, 1.5]


def test_ordinary_documents_are_as_their_parsers_read_them() -> None:
    document = {"a": [1, {"b": "Grüße"}], "n": 123456789012345678901234567890, "deep": json.loads("[" * 90 + "]" * 90)}
    assert parse_json(json.dumps(document).encode("utf-16")) == document
    assert parse_json(json.dumps(document)) == document
    assert parse_toml('a.b."c.d" = 1\n[t]\nx = [[1], ["."]]\n') == {"a": {"b": {"c.d": 1}}, "t": {"x": [[1], ["."]]}}
    assert parse_toml("x = [" + '"a.b.c", ' * 500 + "]")["x"] == ["a.b.c"] * 500
    assert parse_yaml(BytesBlob(b"a: &b {c: 1}\nd: {<<: *b, e: [*b, *b]}\n"))["d"] == {"c": 1, "e": [{"c": 1}, {"c": 1}]}


def test_a_document_of_a_package_is_refused_with_its_name() -> None:
    with pytest.raises(Refused) as refusal:
        json_object("p.conda", "info/index.json", BytesBlob(b"[]"))
    assert (refusal.value.code, refusal.value.message) == ("corrupt-archive", "p.conda: info/index.json is not a JSON object")
