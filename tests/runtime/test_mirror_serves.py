"""A published folder behind nginx, as the manual configures it: pip, uv and micropip install from it."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from conda2wheel.index.pyodide_lock import LockEntry as Locked
from conda2wheel.index.simple import index_file
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.publish.publisher import publish
from conda2wheel.mirror.publish.pyodide_locks import lock_files
from conda2wheel.mirror.publish.rollback import rollback
from conda2wheel.mirror.state.model import ChannelPackage, MirrorWheel
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.worker import put_wheel
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide.fetch import from_pypi, package_cache
from tests.helpers import nginx
from tests.helpers.browser import browser
from tests.helpers.family import family
from tests.helpers.installers import micropip_from, pip_from, runtime, uv_from
from tests.helpers.mirror_index import Reader
from tests.runtime.test_index_installs import SCRIPT, TAG, WANTED, came

NOW = 1.8e9


def put(store: Store, path: Path) -> IndexEntry:
    """Write a wheel as the mirror's workers do."""
    project, file, metadata = index_file(path, "")
    locked = Locked.of_file(path, "", file.sha256, "3.13")
    platform = "any" if path.stem.endswith("-any") else TAG
    told = (project, file.version, file.filename, file.sha256, file.size, file.metadata_sha256, platform)
    wheel = MirrorWheel(*told, file.requires_python, locked.requires, locked.imports)
    put_wheel(store, wheel, path, metadata)
    package = ChannelPackage(file.sha256, "https://c/x", "https://c", "noarch", project, file.version, "0", 0, True, (), "r")
    return IndexEntry(wheel, package)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with two generations: the second no longer has the older aunt."""
    made = family(tmp_path_factory.mktemp("made"))
    store = open_store(str(tmp_path_factory.mktemp("mirror")))
    entries = [put(store, path) for path in made.wheels]
    publish(store, entries, {}, now=NOW, grace=86400, make_files=lock_files)
    publish(store, [e for e in entries if e.wheel.filename[:6] != "aunt-1"], {}, now=NOW + 1, grace=86400, make_files=lock_files)
    return store


@pytest.fixture
def address(store: Store, tmp_path: Path) -> Iterator[str]:
    program = nginx.find()
    if program is None:
        pytest.skip("neither nginx nor apt-get to bring it")
    with nginx.running(program, Path(store.url), tmp_path) as address:
        yield address


def test_pip_and_uv_install_from_it(address: str) -> None:
    for resolve in (pip_from, uv_from):
        found = resolve(f"{address}simple/", ["grand-parent[visit]"], platform=TAG, python="3.13")
        assert found.versions == WANTED, found.said
        kept = resolve(f"{address}simple/", ["aunt==1.0"], platform=TAG, python="3.13")
        assert kept.versions == {"aunt": "1.0"}, kept.said  # yanked, but still installed where it is pinned
        assert "no longer in https://c" in kept.said


@pytest.mark.runtime
def test_micropip_installs_from_it(address: str) -> None:
    came(micropip_from(f"{address}simple/", ["grand-parent[visit]"], "0.29.5", script=SCRIPT), address)


@contextmanager
def other_origin(version: str) -> Iterator[str]:
    """A Pyodide and micropip on a host that is not the mirror's, which sends no word of CORS; yields its address."""
    here = runtime(version)
    packages = package_cache(here, cache_folder())
    assert not (missing := from_pypi(here, ["micropip"], packages)), missing

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            name = path.strip("/").partition("?")[0]
            return str(next((f / name for f in (here.folder, packages) if (f / name).is_file()), here.folder / "package.json"))

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


IN_THE_PAGE = """(async () => {
  const { loadPyodide } = await import('/pyodide.mjs');
  const py = await loadPyodide({ indexURL: '/', packageBaseUrl: `${location.origin}/` });
  await py.loadPackage('micropip', { checkIntegrity: false });  // PyPI's bytes, not the CDN's
  await py.runPythonAsync(`import micropip
await micropip.install(["grand-parent[visit]"], index_urls="INDEX")`);
  return await py.runPythonAsync(`SCRIPT`);
})()"""


@pytest.mark.runtime
@pytest.mark.cold
def test_micropip_in_chromium_installs_from_it_across_origins(address: str, tmp_path: Path) -> None:
    with other_origin("0.29.5") as pyodide, browser(tmp_path / "profile") as page:
        page("goto", f"{pyodide}package.json")
        assert page("evaluate", IN_THE_PAGE.replace("INDEX", f"{address}simple").replace("SCRIPT", SCRIPT)) == "2.0"
        asked = page("evaluate", "performance.getEntriesByType('resource').map((entry) => entry.name)")
        wheels = [url for url in asked if url.startswith(address) and url.endswith(".whl")]
        assert len(set(wheels)) == len(WANTED)  # a set: see test_index_installs.came
        assert {url.partition("/")[0] + "//" + url.split("/")[2] + "/" for url in asked} == {address, pyodide}
        assert page("trouble") == []


def test_every_page_and_every_wheel_is_there_and_stays_where_a_generation_is_named(store: Store, address: str) -> None:
    reader = Reader(address)
    reader.read()
    rollback(store, None, now=NOW)
    reader.read()
    rollback(store, "000002-" + store.folders("generations")[1][-8:], now=NOW)
    reader.read()
    assert reader.errors == []
    assert reader.requests > 60


def test_lock_files_name_wheels_that_are_there(address: str) -> None:
    place = f"{address}pyodide-lock-pyemscripten_2025_0.json"
    with urllib.request.urlopen(place) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        packages = json.load(answer)["packages"]
    assert packages.keys() >= WANTED.keys()
    assert {name: packages[name]["version"] for name in WANTED} == WANTED
    for row in packages.values():
        with urllib.request.urlopen(urljoin(place, row["file_name"])) as answer:
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
