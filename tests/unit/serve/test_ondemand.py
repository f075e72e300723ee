"""Conversion on demand: what the channel has and the index has not is converted when it is asked for, once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conda2wheel.mirror import operations
from conda2wheel.mirror.run import RunOptions, run
from conda2wheel.mirror.store.lease import Lease
from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.mirror.work.shared_results import lock_path, result_paths
from conda2wheel.serve.config import ServeConfig
from tests.helpers import channel4x, sets
from tests.helpers.mirror_index import served as published
from tests.helpers.mirror_index import sha
from tests.helpers.seaweed import S3
from tests.helpers.served import Served, serve
from tests.helpers.service import JSON, RunningService, configured, request, running, until

REAL = ("numpy", "bzip2", "r-arrow")  # with side modules; refused by its contents; refused by its name


def packages() -> list[Path]:
    whole = channel4x.shared_channel()
    own = [
        sets.pure("one", "1.0"),
        sets.pure("one", "2.0"),
        sets.pure("two", requires=["three", "extra-thing ; extra == 'x'", "one ; sys_platform == 'win32'"]),
        sets.pure("three"),
        sets.pure("python-xxhash", project="xxhash"),
        sets.pure("renamed", project="other-name"),
    ]
    return [*(whole.file(each) for each in whole.builds if each.name in REAL), *own]


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Served]:
    sets.indexed(tmp_path / "channel", packages())
    with serve(tmp_path / "channel", prefix="/forge") as served:
        yield served


@pytest.fixture
def config(tmp_path: Path, channel: Served) -> ServeConfig:
    return configured(tmp_path, channel=channel.url)


def start(config: ServeConfig):  # type: ignore[no-untyped-def]
    return running(config, executor=InProcessExecutor())


def asked(channel: Served) -> list[str]:
    """The package files that the channel was asked for, with how often."""
    return sorted(
        path.rpartition("/")[2] for path, n in channel.requests.items() for _ in range(n) if path.endswith((".conda", ".bz2"))
    )


def versions(service: RunningService, project: str) -> list[str]:
    found: list[str] = service.page(project).get("versions", [])
    return found


def test_a_project_is_converted_at_the_first_request_and_never_again(config: ServeConfig, channel: Served) -> None:
    with start(config) as service:
        service.idle()
        assert service.get("/simple/", Accept=JSON).json()["projects"] == []
        page = service.page("numpy")
        [file] = page["files"]
        assert sha(request(file["url"]).body) == file["hashes"]["sha256"]
        assert len(asked(channel)) == 1
        assert [each["name"] for each in service.get("/simple/", Accept=JSON).json()["projects"]] == ["numpy"]
        assert service.page("numpy") == page
    with start(config) as again:
        again.idle()
        assert again.page("numpy")["files"][0]["hashes"] == file["hashes"]
        assert len(asked(channel)) == 1


def test_the_newest_version_comes_first_and_older_ones_follow(config: ServeConfig) -> None:
    with start(config) as service:
        assert versions(service, "one")[-1] == "2.0"
        service.idle()
        assert versions(service, "one") == ["1.0", "2.0"]
        ended = [each["key"] for each in service.events("job") if each["status"] == "done"]
        assert len(ended) == 2


@pytest.mark.long
def test_requirements_that_the_channel_has_are_converted_ahead(config: ServeConfig, channel: Served) -> None:
    with start(config) as service:
        assert versions(service, "two") == ["1.0"]
        service.idle()
        assert [each["name"] for each in service.get("/simple/", Accept=JSON).json()["projects"]] == ["three", "two"]


def test_what_is_refused_has_a_page_without_files_that_says_why(config: ServeConfig) -> None:
    with start(config) as service:
        for name, code in (("bzip2", "static-library"), ("r-arrow", "not-python")):
            page = service.page(name)
            assert (page["files"], page["meta"]["api-version"]) == ([], "1.1")
            [package] = page["_conda2wheel"]["packages"]
            assert (package["state"], package["code"]) == ("refused", code)
            html = service.get(f"/simple/{name}/").text
            assert f"refused: {code}: " in html
            assert "<a " not in html
        assert service.get("/simple/nothing/").status == 404


def test_names_of_the_channel_lead_to_projects(config: ServeConfig) -> None:
    with start(config) as service:
        assert versions(service, "xxhash") == ["1.0"]  # by the table
        [package] = service.page("renamed")["_conda2wheel"]["packages"]
        assert package["message"] == "the package is the project other-name"
        assert versions(service, "other-name") == ["1.0"]  # by what it turned out to be


def test_many_who_ask_at_once_cause_one_conversion(config: ServeConfig, channel: Served) -> None:
    with start(config) as service:
        service.idle()
        found: list[int] = []
        with channel.hold("*/numpy-*") as held:
            threads = [threading.Thread(target=lambda: found.append(len(service.page("numpy")["files"]))) for _ in range(40)]
            for thread in threads:
                thread.start()
            held.arrived()
        for thread in threads:
            thread.join()
        assert found == [1] * 40
        assert len(asked(channel)) == 1


def test_two_services_on_one_store_convert_once(config: ServeConfig, channel: Served, tmp_path: Path) -> None:
    """Each with a state of its own, as on two machines."""
    other = replace(config, mirror=replace(config.mirror, state=tmp_path / "other.sqlite"))
    with start(config) as first, start(other) as second:
        found: list[list[str]] = []
        with channel.hold("*/numpy-*") as held:
            threads = [threading.Thread(target=lambda s=s: found.append(versions(s, "numpy"))) for s in (first, second)]
            for thread in threads:
                thread.start()
            held.arrived()
        for thread in threads:
            thread.join()
        assert found[0] == found[1] != []
        assert len(asked(channel)) == 1


def test_a_conversion_that_takes_longer_goes_on(config: ServeConfig, channel: Served) -> None:
    with start(replace(config, wait=0.2)) as service:
        service.idle()
        with channel.hold("*/numpy-*") as held:
            answer = service.get("/simple/numpy/", Accept=JSON)
            assert (answer.status, answer.headers["retry-after"], answer.json()["state"]) == (503, "5", "converting")
            held.arrived()
        service.idle()
        assert service.get("/simple/numpy/").status == 200
        assert len(asked(channel)) == 1


def test_a_failure_is_no_verdict_and_is_tried_again(config: ServeConfig, channel: Served) -> None:
    with start(config) as service:
        service.idle()
        channel.fault("*/numpy-*", status=404)
        answer = service.get("/simple/numpy/", Accept=JSON)
        assert (answer.status, answer.json()["state"]) == (503, "failed")
        assert int(answer.headers["retry-after"]) > 30
        channel.heal()
        operations.retry(config.mirror, "all")
        assert len(service.page("numpy")["files"]) == 1


@pytest.mark.long
def test_a_lost_wheel_is_made_again(config: ServeConfig, channel: Served) -> None:
    with start(config) as service:
        before = service.page("three")["files"]
    store = service.service.store
    store.delete([info.path for info in store.list("blobs")])
    with start(config) as service:
        assert service.page("three")["files"][0]["hashes"] == before[0]["hashes"]
        assert request(service.page("three")["files"][0]["url"]).status == 200


@pytest.mark.parametrize(
    "own_state", [pytest.param(True, marks=pytest.mark.long), False], ids=["the same state", "another state"]
)
def test_a_run_of_the_mirror_finds_what_the_service_made(
    config: ServeConfig, channel: Served, tmp_path: Path, own_state: bool
) -> None:
    with start(config) as service:
        files = {name: service.page(name)["files"] for name in ("numpy", "three")}
        assert service.page("bzip2")["files"] == []
        service.idle()
        before = asked(channel)
        mirror = config.mirror if own_state else replace(config.mirror, state=tmp_path / "other.sqlite")
        report = run(mirror, RunOptions(InProcessExecutor()))
        assert report.exit_status == 0
        again = [name for name in asked(channel) if name in before and asked(channel).count(name) > before.count(name)]
        assert again == []
        until(lambda: service.service.index.generation is not None)
        for name, found in files.items():
            assert service.page(name)["files"] == found
            static = json.loads(published(service.service.store)[f"simple/{name}/index.json"])
            assert [each["hashes"] for each in static["files"]] == [each["hashes"] for each in found]
        operations.collect_garbage(replace(mirror, output=replace(mirror.output, grace=0.0)))
        assert [path for path in result_paths(service.service.store) if "numpy" in path or "three" in path] == []
        assert request(service.page("numpy")["files"][0]["url"]).status == 200


@pytest.mark.long
def test_gc_keeps_what_the_service_made(config: ServeConfig, channel: Served) -> None:
    with start(config) as service:
        [file] = service.page("three")["files"]
        mirror = replace(config.mirror, select=replace(config.mirror.select, include=("one",)))
        run(mirror, RunOptions(InProcessExecutor()))
        operations.collect_garbage(replace(mirror, output=replace(mirror.output, grace=0.0)))
        assert request(file["url"]).status == 200
    with start(config) as service:
        service.idle()
        until(lambda: "three" in service.get("/simple/").text)
        assert request(service.page("three")["files"][0]["url"]).status == 200


def test_who_waits_is_told_to_come_again_when_the_service_ends(config: ServeConfig, channel: Served) -> None:
    found: list[int] = []
    with channel.hold("*/numpy-*") as held, start(replace(config, stop=0.0)) as service:
        service.idle()
        thread = threading.Thread(target=lambda: found.append(service.get("/simple/numpy/").status))
        thread.start()
        held.arrived()
        service.service.stop_soon()
        thread.join()
        held.free()
    assert found == [503]
    with start(config) as service:  # the job is still queued
        service.idle()
        assert "numpy" in service.get("/simple/").text


@pytest.mark.long
def test_a_lease_of_another_machine_is_waited_for(config: ServeConfig) -> None:
    with start(replace(config, wait=0.5)) as service:
        service.idle()
        [item] = service.service.catalogue.items("three")
        with Lease(service.service.store, path=lock_path(item.key, "three")):
            assert service.get("/simple/three/").status == 503
        service.idle()
        assert versions(service, "three") == ["1.0"]


@pytest.mark.long
def test_a_bucket_is_a_store_like_a_folder(config: ServeConfig, channel: Served, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    output = replace(config.mirror.output, store=f"s3://stores/{time.time_ns()}")
    open_store(output.store).clock()  # makes the server's bucket
    bucket = replace(config, mirror=replace(config.mirror, output=output))
    with start(bucket) as service:
        [file] = service.page("numpy")["files"]
        assert sha(request(file["url"]).body) == file["hashes"]["sha256"]
        part = request(file["url"], Range="bytes=0-3")
        assert (part.status, part.body) == (206, b"PK\x03\x04")
    with start(replace(bucket, mirror=replace(bucket.mirror, state=bucket.mirror.state.with_name("other.sqlite")))) as service:
        assert service.page("numpy")["files"][0]["hashes"] == file["hashes"]
        assert len(asked(channel)) == 1


def test_a_version_that_failed_is_tried_again_though_another_is_there(config: ServeConfig, channel: Served) -> None:
    with start(config) as service:
        service.idle()
        channel.fault("*/one-2.0-*", status=404)
        page = service.page("one")
        assert page["versions"] == ["1.0"]
        [note] = page["_conda2wheel"]["packages"]
        assert (note["package"], note["state"]) == ("noarch/one-2.0-pyh1234567_0", "failed")
        channel.heal()
        operations.retry(config.mirror, "all")
        service.page("one")
        service.idle()
        assert versions(service, "one") == ["1.0", "2.0"]
