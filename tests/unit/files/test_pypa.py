"""Texts that packaging would follow by recursion, or that Python would not convert, are no requirements, versions or licenses."""

from __future__ import annotations

import pytest

from conda2wheel.files import pypa

PARSERS = (pypa.parse_requirement, pypa.parse_specifiers, pypa.parse_pep440, pypa.spdx_expression)
HOSTILE = (
    "a; " + "(" * 100_000,
    "a; " + "(" * 3000 + "python_version > '3'" + ")" * 3000,
    "a>=" + "1" * 5000,
    "1" * 5000,
    ">=" + "1." * 50_000,
    "(" * 3000 + "MIT" + ")" * 3000,
    "MIT AND " * 20_000 + "MIT",
    "a" * 1_000_000,
    "\ud800",
    "",
)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_too_long_or_too_deep_is_none(parse: object, text: str) -> None:
    assert callable(parse)
    assert parse(text) is None or text == ""  # an empty text is any version


def test_what_is_real_is_parsed() -> None:
    marker = " and ".join(["(python_version > '3' or extra == 'x')"] * 30)
    assert pypa.parse_requirement(f"a>=1; {marker}") is not None
    assert str(pypa.parse_pep440("1!2.0.post1+local.1")) == "1!2.0.post1+local.1"
