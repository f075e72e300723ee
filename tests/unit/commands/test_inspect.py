"""`inspect` of a package says what `convert` would do with it: both read one plan."""

from __future__ import annotations

from pathlib import Path

from conda2wheel import convert, inspect
from tests.helpers.shapes import MODULE, dist_info, package

ENTRY = {"entry_points.txt": "[console_scripts]\ndemo = demo:main\n"}


def test_it_says_of_each_file_outside_of_site_packages_what_convert_does_with_it(tmp_path: Path) -> None:
    scripts = {
        "bin/demo": "#!/usr/bin/env python\n",
        "bin/own": "#!/usr/bin/env python\nprint()\n",
        "bin/web": "#!/usr/bin/env node\n",
    }
    source = package({**MODULE, **dist_info("demo-1.0", more=dict(ENTRY))}, outside={**scripts, "share/demo/data": "x"})
    found = inspect(source)
    wheel = convert(source, out=tmp_path)
    assert dict(found.files) | {"share/demo/data": ".data/data"} == {
        **dict(found.files),
        "bin/demo": "installers make it from entry_points.txt",
        "bin/own": ".data/scripts",
        "bin/web": "a program, which Pyodide cannot start",
        "share/demo/data": ".data/data",
    }
    facts = dict(found.facts)
    assert (facts["wheel"], facts["requires"], facts["evidence"]) == (wheel.filename, wheel.requires, wheel.evidence)
    assert [note.partition(":")[0] for note in facts["warnings"]] == [note.code for note in wheel.warnings]


def test_of_a_package_that_is_refused_it_still_says_where_its_files_would_go() -> None:
    source = package({"demo/__init__.py": ""}, name="demo", version="2023c", outside={"share/demo/data": "x"})
    facts = dict(inspect(source).facts)
    assert facts["refused"] == "bad-version"
    assert ("share/demo/data", ".data/data") in inspect(source).files
