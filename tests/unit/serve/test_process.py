"""The service as a process, with worker processes: one conversion for many, signals, kills, two servers on one store."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers import command, sets
from tests.helpers.mirror_index import Reader
from tests.helpers.served import Served, serve
from tests.helpers.service import until
from tests.helpers.service_process import ServiceProcess, started
from tests.unit.serve.test_ondemand import asked, packages

pytestmark = pytest.mark.long  # test_ondemand has the same in one process
MANY = 200  # clients
ROUNDS = 50  # of a start and a SIGKILL


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Served]:
    sets.indexed(tmp_path / "channel", [*packages(), *(sets.pure(f"pure-{number}") for number in range(6))])
    with serve(tmp_path / "channel", prefix="/forge") as served:
        yield served


@pytest.fixture
def config(tmp_path: Path, channel: Served) -> Path:
    path = tmp_path / "mirror.toml"
    path.write_text(
        f'[channel]\nurls = ["{channel.url}"]\n[output]\nstore = "public"\npages = false\n[work]\nworkers = 2\n', encoding="utf-8"
    )
    return path


def files(service: ServiceProcess, name: str) -> list[str]:
    return [each["filename"] for each in service.page(name)["files"]]


def lacking(service: ServiceProcess, names: list[str]) -> list[str]:
    """The projects that the index does not list."""
    listed = service.get("/simple/").text
    return [name for name in names if f'"{name}/"' not in listed]


def is_working(service: ServiceProcess) -> bool:
    return service.metric("jobs", status="queued") + service.metric("jobs", status="running") > 0


def ask(service: ServiceProcess, *projects: str) -> list[threading.Thread]:
    """Ask for projects, each in a thread of its own."""
    threads = [threading.Thread(target=service.get, args=(f"/simple/{name}/",)) for name in projects]
    for thread in threads:
        thread.start()
    return threads


def test_many_clients_of_two_servers_cause_one_conversion(config: Path, channel: Served, tmp_path: Path) -> None:
    """Two processes with one state, in which a SIGTERM ends both with status 0."""
    with started(config, log=tmp_path / "a.log") as first, started(config, log=tmp_path / "b.log") as second:
        until(lambda: first.get("/readyz").status == second.get("/readyz").status == 200)
        with ThreadPoolExecutor(MANY) as pool:
            found = list(pool.map(lambda number: files((first, second)[number % 2], "numpy"), range(MANY)))
        assert found == [found[0]] * MANY
        assert len(found[0]) == 1
        assert len(asked(channel)) == 1
        conversions = [each.metric("conversions_total", code="", result="done") for each in (first, second)]
        assert sum(conversions) == 1
        assert [each.end(signal.SIGTERM) for each in (first, second)] == [0, 0]
        assert first.events("stopped") != []


def test_sigterm_loses_no_job(config: Path, channel: Served, tmp_path: Path) -> None:
    names = [f"pure-{number}" for number in range(6)]
    with channel.hold("*/pure-*") as held, started(config, log=tmp_path / "log") as service:
        until(lambda: service.get("/readyz").status == 200)
        threads = ask(service, *names)
        until(lambda: service.metric("jobs", status="queued") + service.metric("jobs", status="running") == 6)
        held.arrived()
        service.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        held.free()
        assert service.process.wait() == 0
    with started(config, log=tmp_path / "log") as service:
        service.idle()
        assert [files(service, name) for name in names] == [[f"{name.replace('-', '_')}-1.0-py3-none-any.whl"] for name in names]
        assert len(asked(channel)) <= 2 * len(names)


def test_a_killed_service_ends_what_was_queued(config: Path, channel: Served, tmp_path: Path) -> None:
    names = [f"pure-{number}" for number in range(6)]
    for number in range(ROUNDS):
        with started(config, log=tmp_path / "log") as service:
            until(lambda: service.get("/readyz").status == 200)
            with channel.hold("*/pure-*", after=number % 6) as held:
                ask(service, *names)
                until(lambda: is_working(service) or not lacking(service, names))
                if number % 2:
                    held.free()
                service.end(signal.SIGKILL)
    with started(config, log=tmp_path / "log") as service:
        service.idle()
        assert lacking(service, names) == []


def test_two_servers_and_a_run_of_the_mirror_leave_a_consistent_index(config: Path, channel: Served, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(config.read_text(encoding="utf-8") + '[state]\npath = "other.sqlite"\n', encoding="utf-8")
    names = [f"pure-{number}" for number in range(6)] + ["numpy", "one", "two"]
    with started(config, log=tmp_path / "a.log") as first, started(other, log=tmp_path / "b.log") as second:
        threads = [thread for service in (first, second) for thread in ask(service, *names)]
        done = command.run("mirror", "run", config)
        for thread in threads:
            thread.join()
        first.idle()
        second.idle()
        assert done.returncode == 0, done.stderr
        assert [files(first, name) for name in names] == [files(second, name) for name in names]
        assert command.run("mirror", "run", config).returncode == 0
        reader = Reader(first.url)
        root = first.get("/simple/").body
        reader._read_projects("simple/", root)
        assert reader.errors == []
