"""Real conda records, whole: what becomes of a package with their names and `depends`, and of every spec in these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from conda2wheel import Refused, convert
from tests.helpers import packed
from tests.unit.wheel.test_requirements import DATA, SPECS

RECORDS: list[dict[str, Any]] = json.loads((DATA / "conda_records.json").read_text(encoding="utf-8"))["records"]
STATIC = ("cpp-argparse", "doctest", "nlohmann_json", "pugixml", "qhull", "xeus-lite", "zlib")
KERNELS = ("pyjs-rt", "xeus", "xeus-cpp", "xeus-python", "xeus-r")
METAPACKAGES = ("matplotlib", "typing-extensions")


def verdict(name: str) -> str | None:
    """What a package of that name must be refused as, if at all."""
    if name.startswith("r-"):
        return "not-python"
    kinds = {"static-library": STATIC, "interpreter": KERNELS, "metapackage": METAPACKAGES}
    return next((code for code, names in kinds.items() if name in names), None)


def contents(record: dict[str, Any], refusal: str | None) -> dict[str, bytes]:
    """The files that a package of its kind has, without metadata, so that `depends` alone says what it requires."""
    site = "site-packages" if record["subdir"] == "noarch" else "lib/python3.13/site-packages"
    kinds: dict[str | None, dict[str, bytes]] = {
        None: {f"{site}/{record['name'].replace('-', '_')}/__init__.py": b"answer = 42\n"},
        "static-library": {"include/a.h": b"int a;\n"},
        "interpreter": {"bin/kernel.js": b"var Module = {};\n"},
        "not-python": {"lib/R/library/a/DESCRIPTION": b"Package: a\n"},
        "metapackage": {},
    }
    return kinds[refusal]


@pytest.mark.parametrize("record", RECORDS, ids=lambda each: f"{each['name']}-{each['version']}-{each['build']}")
def test_every_real_record_is_converted_or_refused_with_a_reason(record: dict[str, Any], tmp_path: Path) -> None:
    refusal = verdict(record["name"])
    index = {key: value for key, value in record.items() if key != "channel"}
    if record["subdir"] == "noarch":
        index["noarch"] = "python"
    package = packed.pack(tmp_path, index, contents(record, refusal), about={}, info={})
    if refusal:
        with pytest.raises(Refused) as caught:
            convert(package, dry_run=True)
        assert caught.value.code == refusal
        return
    result = convert(package, dry_run=True)
    expected: dict[str, SpecifierSet] = {}
    for requirement in (Requirement(SPECS[spec]) for spec in record["depends"] if SPECS[spec]):
        name = canonicalize_name(requirement.name)
        expected[name] = expected.get(name, SpecifierSet()) & requirement.specifier
    assert {each.name: each.specifier for each in map(Requirement, result.requires)} == expected
    assert "widened-requirement" not in {warning.code for warning in result.warnings}
