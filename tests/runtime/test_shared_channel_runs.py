"""A mirror with [share]: pip, uv, micropip and loadPackage resolve its index, and a page has one instance of each library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conda2wheel.mirror.config import load
from conda2wheel.mirror.run import RunOptions, run
from conda2wheel.mirror.work.executors import InProcessExecutor
from tests.helpers import clash, sets, zig
from tests.helpers.installers import load_from_lock, micropip_from, pip_from, uv_from
from tests.helpers.serve import Served, served
from tests.runtime.test_shared_run import ANSWERS, PARTS, packages
from tests.unit.link.test_linker import chain_packages, python

TAGS = {"0.28.3": "pyemscripten_2025_0_wasm32", "0.29.5": "pyemscripten_2025_0_wasm32", "314.0.7": "pyemscripten_2026_0_wasm32"}
PYODIDES = [
    pytest.param("0.28.3", "313", id="0.28.3", marks=pytest.mark.long),
    pytest.param("0.29.5", "313", id="0.29.5"),
    pytest.param("314.0.7", "314", id="314.0.7", marks=pytest.mark.long),
]
SHARE = '[share]\nlibraries = "auto"\nprefix = "forge-"\n'
USERS = ["one", "other", "pkg", "two"]
BOTTOM_UP = ["forge-libbase", "forge-libcount", "forge-libshapes"]
LIBRARIES = set(BOTTOM_UP)
SCRIPT = """
import json
import one._one as one, two._two as two
from pkg import _top as top
from pkg.sub.deep import _deep as deep
from other import _top as other
one.set(), two.set()
counts = [top.bump(), other.bump(), deep.bump()]
state = [[module.state() for module in (one, two)], [module.state_by_pointer() for module in (one, two)]]
answers = [[getattr(module, name)() for name in NAMES] for module in (one, two)]
import pyodide_js
opened = pyodide_js._module.LDSO.loadedLibsByName.to_py()
libraries = sorted({path.rpartition("/")[2] for path in opened if ".libs/" in path})
json.dumps([counts, state, ascii(answers), libraries])
""".replace("NAMES", repr(ANSWERS))


@contextmanager
def mirrored(folder: Path, py: str, share: str) -> Iterator[Served]:
    """The store of a mirror of a channel in which two projects need each of three libraries, one of which NEEDs another."""
    users, libshapes = packages(py)
    package, count, base = chain_packages(zig.chain(py), py)
    other = python({"other/__init__.py": "", f"other/{zig.chain(py).top.name}": zig.chain(py).top}, name="other", py=py)
    address = sets.indexed(folder / "channel", [*users, libshapes, package, count, base, other])
    (folder / "mirror.toml").write_text(f'[channel]\nurls = ["{address}"]\n[output]\nstore = "public"\n{share}')
    report = run(load(folder / "mirror.toml"), RunOptions(executor=InProcessExecutor()))
    assert report.exit_status == 0, report.attention
    assert [each.name for each in report.missing or ()] == []
    with served(folder / "public", negotiate=False) as site:
        yield site


@pytest.mark.runtime
@pytest.mark.parametrize(("pyodide", "py"), PYODIDES)
def test_one_instance_of_each_library_serves_all_projects(pyodide: str, py: str, tmp_path: Path) -> None:
    """Installed by micropip, and loaded by the mirror's lock file: the same answers, and one file of each library."""
    wanted = ascii([[clash.shapes_answers(3, number)[name] for name in ANSWERS] for number in PARTS.values()])
    with mirrored(tmp_path, py, SHARE) as site:
        public = tmp_path / "public"
        lock = public / f"pyodide-lock-{TAGS[pyodide].removesuffix('_wasm32')}.json"
        for found in (
            micropip_from(f"{site.url}simple", USERS, pyodide, first=BOTTOM_UP, script=SCRIPT),
            load_from_lock(lock, USERS, pyodide, packages=public, script=SCRIPT),
        ):
            assert found.errors == (), "\n".join(found.errors)
            assert set(found.distributions) >= LIBRARIES | set(USERS)
            counts, state, answers, libraries = json.loads(found.result or "[]")
            assert counts == [1, 2, 3]
            assert state == [[8, 8], [8, 8]]
            assert answers == wanted
            assert [name.partition("-")[0] for name in libraries] == ["libbase", "libcount", "libshapes"]


def test_pip_and_uv_resolve_library_wheels(tmp_path: Path) -> None:
    with mirrored(tmp_path, "313", SHARE) as site:
        for resolve in (pip_from, uv_from):
            found = resolve(f"{site.url}simple/", USERS, platform=TAGS["0.29.5"], python="3.13")
            assert found.ok, found.said
            assert set(found.versions) == LIBRARIES | set(USERS)


@pytest.mark.runtime
@pytest.mark.long
def test_without_sharing_each_project_has_its_own(tmp_path: Path) -> None:
    with mirrored(tmp_path, "313", "") as site:
        found = micropip_from(f"{site.url}simple", USERS, "0.29.5", script=SCRIPT)
        assert found.errors == ()
        counts, state, _, libraries = json.loads(found.result or "[]")
        assert counts == [1, 1, 2]
        assert state == [[7, 8], [7, 8]]
        assert [name.partition("-")[0] for name in libraries] == [
            name for name in ("libbase", "libcount", "libshapes") for _ in "12"
        ]
