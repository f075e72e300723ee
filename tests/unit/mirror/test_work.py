"""Workers: a crash, too little memory or a server that never answers fails one item, and no other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conda2wheel import Failed
from conda2wheel.abi.platforms import TagForm
from conda2wheel.channels.downloads import Downloads
from conda2wheel.files.packagefile import Limits
from conda2wheel.mirror.config import MirrorConfig, load
from conda2wheel.mirror.plan.select import list_packages
from conda2wheel.mirror.state.model import ChannelPackage, ItemResult
from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import DaskExecutor, InProcessExecutor, ProcessExecutor, stopped_by_signals
from conda2wheel.mirror.work.worker import ConversionJob, work
from tests.helpers import channel4x, conda, sets
from tests.helpers.clocks import PATIENCE
from tests.helpers.systems import IS_LINUX

GOOD = ("zarr", "numpy", "bzip2")  # a wheel of pure Python, one with side modules, a refusal


@pytest.fixture(scope="module")
def listed() -> dict[str, ChannelPackage]:
    return {each.name: each for each in list_packages([channel4x.shared_channel().urls[0]], Downloads()).packages}


@pytest.fixture
def config(tmp_path: Path) -> MirrorConfig:
    url = channel4x.shared_channel().urls[0]
    (tmp_path / "mirror.toml").write_text(f'[channel]\nurls = ["{url}"]\n[output]\nstore = "public"\n')
    return load(tmp_path / "mirror.toml")


def make_job(package: ChannelPackage, config: MirrorConfig) -> ConversionJob:
    return ConversionJob.of(config.key(package.sha256, package.name, "auto"), package, config)


@pytest.fixture
def good(listed: dict[str, ChannelPackage], config: MirrorConfig) -> list[ConversionJob]:
    return [make_job(listed[name], config) for name in GOOD]


@pytest.fixture
def tarpit(listed: dict[str, ChannelPackage], config: MirrorConfig) -> Iterator[ConversionJob]:
    """A job whose server accepts the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield stuck_at(server, make_job(listed["numpy"], config))


def stuck_at(server: socket.socket, job: ConversionJob) -> ConversionJob:
    return dataclasses.replace(job, url=f"http://127.0.0.1:{server.getsockname()[1]}/x-1-0.conda")


def status_by_package(results: Iterator[ItemResult]) -> dict[str, tuple[str, str | None]]:
    return {each.key.package: (each.status, each.code) for each in results}


def test_a_wheel_is_stored_with_its_metadata_and_described(listed: dict[str, ChannelPackage], config: MirrorConfig) -> None:
    made = work(make_job(listed["numpy"], config))
    assert (made.status, made.code) == ("done", None), made.message
    assert made.wheel is not None
    assert (made.wheel.project, made.wheel.imports) == ("numpy", ("numpy",))
    store = open_store(config.output.store)
    wheel, metadata = store.get(made.wheel.blob), store.get(f"{made.wheel.blob}.metadata")
    assert wheel is not None
    assert metadata is not None
    assert hashlib.sha256(wheel).hexdigest() == made.wheel.sha256
    assert hashlib.sha256(metadata).hexdigest() == made.wheel.metadata_sha256
    assert made.seconds.keys() >= {"convert", "store"}
    assert ItemResult.from_json(made.json()) == made
    assert work(pickle.loads(pickle.dumps(make_job(listed["numpy"], config)))).wheel == made.wheel  # noqa: S301


def test_a_platform_whose_micropip_does_not_take_the_wheel_is_a_warning(
    listed: dict[str, ChannelPackage], config: MirrorConfig
) -> None:
    cases: tuple[tuple[TagForm, list[str]], ...] = (("pep783", ["micropip-tag"]), ("both", []))
    for tags, found in cases:
        named = dataclasses.replace(config, platforms=("0.29.3",), convert=dataclasses.replace(config.convert, tags=tags))
        package = listed["numpy"]
        made = work(ConversionJob.of(named.key(package.sha256, package.name, "0.29.3"), package, named))
        assert (made.status, [code for code, _ in made.warnings if code == "micropip-tag"]) == ("done", found), made.message


def test_source_date_epoch_is_that_of_the_job_and_not_of_the_worker(
    listed: dict[str, ChannelPackage], config: MirrorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = work(make_job(listed["zarr"], config)).wheel
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    job = make_job(listed["zarr"], config)
    dated = work(job).wheel
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    assert plain is not None
    assert dated is not None
    assert work(job).wheel == dated != plain


def test_failures_and_refusals_have_their_codes(listed: dict[str, ChannelPackage], config: MirrorConfig, tmp_path: Path) -> None:
    good = make_job(listed["numpy"], config)
    refused = work(make_job(listed["bzip2"], config))
    assert refused.status == "refused"
    assert (refused.message or "").startswith(f"{listed['bzip2'].subdir}/{listed['bzip2'].stem}: ")  # and no address
    assert work(dataclasses.replace(good, url="https://127.0.0.1:9/x.conda")).code == "network"
    (tmp_path / "file").write_text("")
    assert work(dataclasses.replace(good, store=str(tmp_path / "file" / "store"))).code in ("store", "disk")
    broken = work(dataclasses.replace(good, options="[]"))
    assert (broken.status, broken.code) == ("failed", "internal")
    assert "ValueError" in (broken.message or "")


def test_worker_processes_and_this_process_give_the_same_results(good: list[ConversionJob]) -> None:
    here = {each.key: (each.status, each.code, each.wheel) for each in InProcessExecutor().run(good)}
    apart = {each.key: (each.status, each.code, each.wheel) for each in ProcessExecutor(2).run(good)}
    assert here == apart
    assert len(here) == len(good)


def test_a_package_of_which_a_function_does_not_run_is_done_and_with_strict_refused(tmp_path: Path) -> None:
    channel = sets.indexed(tmp_path / "channel", [sets.native("bad", calls="nobody_has_this")])
    text = f'[channel]\nurls = ["{channel}"]\n[output]\nstore = "public"\n'
    (tmp_path / "mirror.toml").write_text(text)
    (package,) = list_packages([channel], Downloads()).packages
    done = work(make_job(package, load(tmp_path / "mirror.toml")))
    assert done.wheel is not None
    assert [(part.code, part.symbols) for part in done.wheel.unusable] == [("unresolved-symbol", ("nobody_has_this",))]
    assert ItemResult.from_json(json.loads(json.dumps(done.json()))) == done
    (tmp_path / "mirror.toml").write_text(f"{text}[convert]\nstrict = true\n")
    refused = work(make_job(package, load(tmp_path / "mirror.toml")))
    assert (refused.status, refused.code, refused.key == done.key) == ("refused", "unresolved-symbol", False)


def test_a_server_that_never_answers_fails_only_its_own_item(good: list[ConversionJob], tarpit: ConversionJob) -> None:
    slow = dataclasses.replace(tarpit, timeout=1.0, key=dataclasses.replace(tarpit.key, package="slow"))
    found = status_by_package(ProcessExecutor(1).run([slow, *good]))
    assert found.pop("slow") == ("failed", "timeout")
    assert {status for status, _ in found.values()} <= {"done", "refused"}
    assert len(found) == len(good)


def children(process: int) -> list[int]:
    """The worker processes of a process."""
    ours = [word for each in Path(f"/proc/{process}/task").glob("*/children") for word in each.read_text().split()]
    return [pid for pid in map(int, ours) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.skipif(not IS_LINUX, reason="/proc says who a process's children are")
def test_a_killed_worker_fails_only_its_own_item(good: list[ConversionJob], tarpit: ConversionJob) -> None:
    stuck = dataclasses.replace(tarpit, timeout=0.0, key=dataclasses.replace(tarpit.key, package="stuck"))
    found: dict[str, tuple[str, str | None]] = {}
    for each in ProcessExecutor(2).run([stuck, *good]):
        found[each.key.package] = each.status, each.code
        if len(found) == len(good):
            for pid in children(os.getpid()):
                os.kill(pid, signal.SIGKILL)
    assert found.pop("stuck") == ("failed", "crash")
    assert {status for status, _ in found.values()} <= {"done", "refused"}


def test_workers_end_when_their_run_is_killed(listed: dict[str, ChannelPackage], config: MirrorConfig) -> None:
    """Otherwise nothing would enforce the timeouts of their jobs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        job = stuck_at(server, make_job(listed["numpy"], config))
        if (run := os.fork()) == 0:
            try:
                list(ProcessExecutor(1).run([job]))
            finally:
                os._exit(1)
        server.settimeout(PATIENCE)
        with server.accept()[0]:  # its worker is at work
            (worker,) = map(os.pidfd_open, children(run))
            os.kill(run, signal.SIGKILL)
            os.waitpid(run, 0)
            ended, _, _ = select.select([worker], [], [], PATIENCE)
            os.close(worker)
    assert ended == [worker]


@pytest.mark.long
def test_a_package_that_needs_too_much_memory_fails_only_itself(
    good: list[ConversionJob], config: MirrorConfig, tmp_path: Path
) -> None:
    bomb = conda.assemble(
        "bomb", "1.0", {"site-packages/bomb/zeros.bin": b"\0" * (300 << 20)}, noarch="python", depends=["python"]
    )
    package = dataclasses.replace(
        good[0].package, name="bomb", sha256=hashlib.sha256(bomb.read_bytes()).hexdigest(), url=bomb.as_uri()
    )
    heavy = dataclasses.replace(make_job(package, config), memory=200 << 20, limits=Limits(ratio=10**7))
    found = status_by_package(ProcessExecutor(1).run([heavy, *good]))
    assert found.pop(package.sha256) == ("failed", "memory")
    assert {status for status, _ in found.values()} <= {"done", "refused"}


def test_after_a_signal_no_job_is_started_and_the_running_one_ends(good: list[ConversionJob]) -> None:
    executor = InProcessExecutor()
    results = []
    with stopped_by_signals(executor.stop):
        for each in executor.run(good):
            results.append(each)
            signal.raise_signal(signal.SIGTERM)
            break
        assert executor.stop.is_set()
        assert list(executor.run(good)) == []
        with pytest.raises(KeyboardInterrupt):  # a second signal ends the run at once
            signal.raise_signal(signal.SIGINT)
    assert [each.status for each in results] == ["done"]


def test_an_unreachable_scheduler_is_an_error(good: list[ConversionJob]) -> None:
    with pytest.raises(Failed, match="no Dask scheduler at tcp://") as caught:
        list(DaskExecutor("tcp://127.0.0.1:9", connect_timeout=1).run(good))
    assert caught.value.code == "network"


def test_a_dask_cluster_gives_the_same_results_though_a_worker_is_killed(good: list[ConversionJob]) -> None:
    from distributed import LocalCluster

    here = {each.key: (each.status, each.code, each.wheel) for each in InProcessExecutor().run(good)}
    make: Any = LocalCluster
    far: dict[Any, Any] = {}
    with make(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        pids = [worker.pid for worker in cluster.workers.values()]
        for each in DaskExecutor(cluster.scheduler_address).run(good):
            if not far:
                os.kill(pids[0], signal.SIGKILL)
            far[each.key] = each.status, each.code, each.wheel
    assert os.getpid() not in pids
    assert far == here
