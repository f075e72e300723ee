"""Runs on a Dask cluster with a killed worker, and runs into a bucket, two of them concurrent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from tests.helpers import killed, sets
from tests.helpers.dask_cluster import cluster
from tests.helpers.mirror_index import continuous_reader
from tests.helpers.mirror_index import served as pages
from tests.helpers.mirror_runs import Mirror, small_mirror
from tests.helpers.seaweed import S3

RUN = [sys.executable, "-m", "conda2wheel", "mirror", "run", "--json"]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with small_mirror(tmp_path) as made:
        yield made


def start_run(path: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*RUN, str(path), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report_of(run: subprocess.Popen[str]) -> Any:
    """The report of a run that ended with status 0."""
    out, err = run.communicate()
    assert run.returncode == 0, err + out[-2000:]
    return json.loads(out)


def test_three_dask_workers_of_which_one_is_killed_make_the_same_index(
    mirror: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = Mirror(tmp_path_factory.mktemp("here"), mirror.channel)
    here.run()
    mirror.channel.forget()
    with (
        cluster(tmp_path_factory.mktemp("cluster"), 3) as (address, workers),
        mirror.channel.hold("*.tar.bz2") as held,
    ):
        run = start_run(mirror.path, "--dask", address)
        held.arrived(run, 3)  # each worker has one
        workers[0].send_signal(signal.SIGKILL)
        workers[0].wait()
        held.free()
        report = report_of(run)
        assert [each.poll() for each in workers] == [-signal.SIGKILL, None, None]
    assert report["counts"]["done"] == 4
    assert report["counts"]["failed"] == 0
    assert mirror.index() == here.index()
    assert max(mirror.channel.requests[path] for path in mirror.requested_packages()) > 1  # the killed worker's item was repeated


@pytest.fixture
def bucket(s3: S3, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, str]:
    """The mirror's store in a bucket, and the URL for readers."""
    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    open_store("s3://mirrors/made").put("bucket", b"")
    place = f"mirrors/{time.time_ns()}"
    into(mirror, f"s3://{place}")
    return open_store(f"s3://{place}"), s3.url(place)


def into(mirror: Mirror, url: str) -> None:
    mirror.path.write_text(mirror.path.read_text().replace('store = "public"', f'store = "{url}"'), encoding="utf-8")


@pytest.mark.parametrize(
    "steps",
    [
        [("*/current.json", 1)],
        pytest.param([("*/index.json", 3), ("*/simple/index.html", 2)], marks=pytest.mark.long),  # the last: at the top
    ],
    ids=["at the pointer", "at pages"],
)
def test_killed_runs_into_a_bucket_lead_to_the_same_index_as_in_a_folder(
    steps: list[tuple[str, int]],
    bucket: tuple[Store, str],
    mirror: Mirror,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, address = bucket
    folder = Mirror(tmp_path_factory.mktemp("folder"), mirror.channel)
    folder.run()
    monkeypatch.setenv("CONDA2WHEEL_CACHE", str(mirror.folder / "cache"))  # it downloads for itself
    with continuous_reader(address) as reader:
        with mirror.channel.hold("*.tar.bz2", after=2) as held:
            run = start_run(mirror.path, "--workers", "2")
            held.arrived(run)
            run.kill()
            run.communicate()
        for pattern, number in steps:
            command = killed.command(number, pattern, *RUN[2:], mirror.path, "--workers", "2")
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            assert ended.returncode == -signal.SIGKILL, f"{pattern}: {ended.stderr}"
            reader.whole_round()
        report = report_of(start_run(mirror.path, "--workers", "2"))
        reader.read()
    assert report["counts"]["done"] == 4
    assert pages(store) == pages(folder.store)


def test_two_concurrent_runs_into_one_bucket_publish_the_index_once(
    bucket: tuple[Store, str], mirror: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store, address = bucket
    folder, second = (Mirror(tmp_path_factory.mktemp(name), mirror.channel) for name in ("folder", "second"))
    folder.run()
    into(second, store.url)
    with continuous_reader(address) as reader:
        both = [start_run(each.path, "--workers", "1") for each in (mirror, second)]
        ends = [run.communicate() for run in both]
        assert 0 in [run.returncode for run in both], ends
        for run, (out, err) in zip(both, ends, strict=True):
            assert run.returncode == 0 or "is publishing" in out + err, out + err
        assert [report_of(start_run(each.path))["run"]["worked"] for each in (mirror, second)] == [0, 0]
        reader.read()
    assert pages(store) == pages(folder.store)
    assert len(store.folders("generations")) == 1


def test_read_only_credentials_end_the_run_before_any_work(bucket: tuple[Store, str], mirror: Mirror, s3: S3) -> None:
    store, _ = bucket
    report_of(start_run(mirror.path, "--workers", "1"))
    before = pages(store)
    mirror.add(sets.pure("four"))
    mirror.channel.forget()
    environ = {**os.environ, **s3.environ("reader")}
    done = subprocess.run([*RUN, mirror.path], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "check that the credentials" in json.loads(done.stdout)["problem"]
    assert "Traceback" not in done.stderr
    assert "reader-secret" not in done.stdout + done.stderr
    assert mirror.requested_packages() == []
    assert pages(store) == before
