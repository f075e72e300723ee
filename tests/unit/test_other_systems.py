"""Windows and macOS, as far as they can be had here: see `tests/simulated`. `./scripts/test --as windows` runs all tests so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SIMULATED = TOP / "tests" / "simulated"
# What people do first, and what has files open, locked, renamed and linked.
TESTS = (
    "tests/unit/files/test_locks.py",
    "tests/unit/files/test_writing.py",
    "tests/unit/channels/test_downloads.py::test_of_many_that_want_a_file_one_brings_it",
    "tests/unit/mirror/test_run.py::test_the_first_run_converts_everything_and_the_second_requests_only_the_listing",
    "tests/unit/mirror/test_publish.py::test_a_rollback_serves_the_earlier_index_until_another_is_published[folder]",
)
NEED_POSIX = (
    "tests/unit/mirror/test_state.py::test_a_killed_writer_loses_nothing_that_it_committed",
    "tests/unit/conda/test_open_folders.py::test_a_prefix_behind_a_link_gets_its_placeholders_back",
)
IMPORT_ALL = """if True:
    import importlib, pkgutil
    import conda2wheel
    for each in pkgutil.walk_packages(conda2wheel.__path__, "conda2wheel."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
    from conda2wheel.files import writing
    print(writing.os.name, hasattr(writing.os, "fork"), hasattr(writing.os, "O_TMPFILE"))
"""


def on(system: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "CONDA2WHEEL_TESTS_AS": system, "PYTHONPATH": str(SIMULATED), "PYTHONWARNDEFAULTENCODING": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=TOP, env=environ, capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize(("system", "has"), [("windows", "nt False False"), ("macos", "posix True False")])
def test_every_module_is_imported(system: str, has: str) -> None:
    done = on(system, "-c", IMPORT_ALL)
    assert (done.returncode, done.stdout.strip()) == (0, has), done.stderr


def test_what_matters_most_works_as_on_windows() -> None:
    done = on("windows", "-m", "pytest", "-n", "0", "-q", "-rs", "-p", "no:cacheprovider", *TESTS, *NEED_POSIX)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(found[1] for found in re.finditer(r"^SKIPPED .*: (needs .*)$", done.stdout, re.MULTILINE)) == [
        "needs os.fork",
        "needs symbolic links",
    ]


@pytest.mark.long
@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_types_hold_with_what_a_system_has(system: str, tmp_path: Path) -> None:
    """mypy knows which names of the standard library each system has."""
    command = [sys.executable, "-m", "mypy", "--platform", system, "--cache-dir", str(tmp_path), "-p", "conda2wheel"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout
