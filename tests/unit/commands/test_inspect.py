"""`inspect` of a package says what `convert` would do with it: both read one plan."""

from __future__ import annotations

from pathlib import Path

from conda2wheel import convert, inspect
from tests.helpers import handmade, hostile
from tests.helpers.command import run
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


def test_cells_of_many_lines_show_each_line_in_its_column(tmp_path: Path) -> None:
    depends = ["python 3.13.*", *(f"demo-{number}" for number in range(250))]
    needed = [f"lib{number}.so" for number in range(250)]
    module = handmade.module(exports={"PyInit__x": ">i"}, needed=needed)
    package = hostile.package("", {**hostile.info(depends=depends), f"{hostile.SITE}/_x.so": module})
    (tmp_path / package.filename).write_bytes(package.data)
    lines = [line.rstrip() for line in run("inspect", package.filename, "--offline", cwd=tmp_path).stdout.splitlines()]
    first = next(number for number, line in enumerate(lines) if line.startswith("  depends"))
    label, space = "  depends  ", " " * 11
    assert lines[first : first + len(depends)] == [f"{label if each is depends[0] else space}{each}" for each in depends]
    heading = next(number for number, line in enumerate(lines) if line.startswith("side module"))
    column = lines[heading].index("NEEDED")
    assert [line[column:].split()[0] for line in lines[heading + 1 : heading + 1 + len(needed)]] == needed
