"""A License field that is the text of a license gives way to conda's SPDX expression."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.shapes import MODULE, dist_info, made, package

MIT = """License: MIT License
        .
        Copyright (c) 2024 Somebody
        Permission is hereby granted, free of charge, to any person obtaining a copy
        of this software and associated documentation files (the "Software"), to deal
        in the Software without restriction."""
CLASSIFIERS = ("Classifier: License :: OSI Approved :: MIT License", "Classifier: Programming Language :: Python")


@pytest.mark.parametrize("text", [MIT, MIT.replace("\n        ", " "), "License: Copyright Somebody, see LICENSE"])
def test_a_license_text_gives_way_to_condas_expression(text: str, tmp_path: Path) -> None:
    source = package({**MODULE, **dist_info("demo-1.0", text, *CLASSIFIERS)}, about={"license": "MIT"}, noarch="python")
    wheel = made(source, tmp_path)
    assert (wheel.fields("License-Expression"), wheel.fields("License")) == (["MIT"], [])
    assert wheel.fields("Classifier") == ["Programming Language :: Python"]
    assert [each.file for each in wheel.result.warnings if "License is the text" in each.message] == ["METADATA"]


@pytest.mark.parametrize(
    ("own", "condas"), [("License: BSD 3-Clause", "MIT"), (MIT, "custom"), ("License: MIT", "BSD-3-Clause"), (MIT, "")]
)
def test_a_name_of_a_license_and_a_text_without_an_expression_stay(own: str, condas: str, tmp_path: Path) -> None:
    about = {"license": condas} if condas.startswith(("MIT", "BSD")) else {}
    source = package({**MODULE, **dist_info("demo-1.0", own)}, about=about, noarch="python")
    wheel = made(source, tmp_path)
    assert wheel.fields("License-Expression") == []
    assert wheel.fields("License") == [" ".join(own.removeprefix("License: ").split())]
