"""Texts of packages take time in their length: each function gets a text that one in its square would not finish."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Any

import pytest

from conda2wheel.channels.search import is_spec
from conda2wheel.conda.import_roots import is_module
from conda2wheel.conda.match_spec import spec_name
from conda2wheel.conda.package import CondaPackage
from conda2wheel.conda.paths_json import Placeholder, glob_pattern
from conda2wheel.files.pypa import parse_requirement, parse_specifiers, spdx_expression
from conda2wheel.wheel import layout
from conda2wheel.wheel.entry_points import parse_entry_points
from conda2wheel.wheel.metadata import Document, corrected, guard, parse
from conda2wheel.wheel.prefix import relocate
from conda2wheel.wheel.versions import specifiers_of

N = 100_000  # characters: in its square, hours
SECONDS = 20  # of processor time for one function and all its texts; they take less than one
PACKAGE = CondaPackage("x", (), {"name": "x", "version": "1", "license": "MIT"})


def _field(name: str) -> Callable[[str], Any]:
    def correct(text: str) -> Any:
        return corrected(Document(((name, text),)), PACKAGE, "x", "1", None)

    return correct


TEXTS = [
    "a" * N,
    " " * N,
    "a" + " " * N + "x",
    "1" * N,
    "." * N,
    "a=" * N,
    "=" * N,
    "[" * N,
    ">" * N,
    "a-" * N,
    "a." * N,
    "(" * N,
]
FUNCTIONS: dict[str, tuple[Callable[[str], Any], list[str]]] = {
    "entry points": (
        lambda text: parse_entry_points(f"[x]\n{text}"),
        ["a" + " " * N + "b", "a = " + "b " * N, "a b" * N, *TEXTS],
    ),
    "requirement": (_field("Requires-Dist"), ["a" + " " * N, "a" + "b-" * N, "a>=1." + "1." * N, "a" + "[" * N, *TEXTS]),
    "many requirements": (
        lambda _: corrected(Document(tuple(("Requires-Dist", f"a{n}") for n in range(9000))), PACKAGE, "x", "1", None),
        [""],
    ),
    "URL": (_field("Home-page"), ["https://" + "a" * N + " ", "https://" + "/" * N + " "]),
    "addresses": (_field("Author-email"), ["(" * 5000, "a:" * 5000, "a@" * 8000, "a@b." * N, *TEXTS]),
    "license": (_field("License"), ["MIT AND " * N, "(" * N, *TEXTS]),
    "extra": (_field("Provides-Extra"), ["a-" * N, "a" + "-" * N]),
    "Requires-Python": (_field("Requires-Python"), [">=3.*," * N, "> " * N, ">=" + "1." * N + "*", *TEXTS]),
    "content type": (_field("Description-Content-Type"), ["variant" + " " * N, "variant=" * N]),
    "header": (
        lambda text: parse(text.encode()),
        ["Name" + " " * N + ":", " a\n" * 30_000, "Summary: x\n" * 9000, "a" * N + ":", *TEXTS],
    ),
    "description": (guard, ["Name" + " " * N, "\nName " * N, "\n" * N, *TEXTS]),
    "version range": (specifiers_of, ["1|" * N, "1," * N, "(" * N, "!=1," * 500 + "|2", *TEXTS]),
    "parsers": (lambda text: (parse_requirement(text), parse_specifiers(text), spdx_expression(text)), TEXTS),
    "match spec": (lambda text: (spec_name(text), is_spec(text)), ["a" + " " * N + "\n\n", "a::" * N, "a[" * N, *TEXTS]),
    "paths": (
        lambda text: (is_module(text), layout._EXTENSION.search(text), layout._rule("prefix", text), layout._rule("site", text)),
        [".cpython-" + "1" * N, "a.abi3" + "1" * N + ".s", "a/" * N, "test_" * N, ".so.1" * N + "x", *TEXTS],
    ),
    "globs": (
        lambda text: glob_pattern(["**/a**a**a*a*a*a**b", "*a*a*a*a*a*b", "a/*/**/*.x"]).fullmatch(text),
        ["a" * 3000, "a/" * 2000, "aa/" * 1300],
    ),
    "placeholder": (
        lambda text: relocate(text.encode(), Placeholder("binary", "a")),
        ["a" * N, "a\n" * N, "a\0" * N],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_work_for_a_text_grows_with_its_length(name: str) -> None:
    function, texts = FUNCTIONS[name]
    child = os.fork()
    if child == 0:  # the limit counts processor time, not that of the clock, and its signal ends only this process
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            for text in texts:
                try:
                    function(text)
                except ValueError:
                    continue
        except BaseException:  # noqa: BLE001 - a copy of pytest must not go on
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
