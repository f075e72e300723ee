"""What reaches py-rattler's parsers is bounded, and nothing else gives them text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import conda2wheel
from conda2wheel.conda import parsing
from conda2wheel.conda.match_spec import admits
from conda2wheel.conda.parsing import InvalidSpecError, parse_match_spec, parse_version, parse_version_spec

PARSERS = {
    "BuildString",
    "Channel",
    "GenericVirtualPackage",
    "MatchSpec",
    "NamelessMatchSpec",
    "PackageName",
    "PackageRecord",
    "RepoData",
    "RepoDataRecord",
    "SparseRepoData",
    "Version",
    "VersionSpec",
    "VersionWithSource",
}
DEEP = ("a " + "(" * 20_000, "a[" * 20_000, "a " + "(" * 20_000 + "1" + ")" * 20_000, "(" * 33, "a" * 2001, "1." * 5000)


@pytest.mark.parametrize("text", DEEP)
def test_what_is_too_deep_or_too_long_is_no_match_spec_and_no_version(text: str) -> None:
    for parse in (parse_match_spec, parse_version, parse_version_spec):
        with pytest.raises(InvalidSpecError):
            parse(text)
    assert admits(text, "1.0")
    assert admits("a >=1", text)


def test_real_ones_are_far_from_the_bounds() -> None:
    assert parse_match_spec("numpy >=1.19,<3.0a0|(>=4,<5)").name is not None
    assert str(parse_version("1!2.0.post1+abi_4")) == "1!2.0.post1+abi_4"
    assert parse_version_spec("(>=1,<2)|(>=3,(<4|5))").matches(parse_version("1.5"))
    nested = "(" * parsing.MAX_NESTING + "1" + ")" * parsing.MAX_NESTING
    assert parse_version_spec(nested).matches(parse_version("1"))


@pytest.mark.parametrize("text", ["\ud800", "\x00", "a b c d", "==", "1..2!"])
def test_whatever_py_rattler_raises_is_one_exception(text: str) -> None:
    with pytest.raises(InvalidSpecError):
        parse_version(text)


def test_no_other_module_imports_py_rattlers_parsers() -> None:
    root = Path(conda2wheel.__file__).parent
    found = []
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "import rattler" not in text and "from rattler" not in text:
            continue
        tree = ast.parse(text)
        for_types = {
            id(each)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for each in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in for_types or path.samefile(parsing.__file__):
                continue
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rattler":
                found += [f"{path.name}: {name.name}" for name in node.names if name.name in PARSERS]
            if isinstance(node, ast.Import) and any(name.name.partition(".")[0] == "rattler" for name in node.names):
                found.append(f"{path.name}: rattler")
    assert found == []
