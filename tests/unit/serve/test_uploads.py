"""Uploads: received within bounds, worked on in a process of their own, forgotten after a day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.files.packagefile import Limits
from conda2wheel.options import Options
from conda2wheel.serve.runner import NICE
from conda2wheel.serve.uploads import KEEP, Upload, UploadError, UploadJob, Uploads, UploadWorkerError, run_worker
from tests.helpers import conda
from tests.helpers.systems import IS_LINUX

NAME = "demo-1.0-h_0.conda"


async def _body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _receive(uploads: Uploads, *chunks: bytes, name: str = NAME, announced: int | None = None) -> Upload:
    return asyncio.run(uploads.receive(name, announced, _body(*chunks)))


def test_an_upload_is_kept_under_its_own_name_in_a_folder_of_the_service(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads", 10)
    upload = _receive(uploads, b"12345", b"67890", announced=10)
    assert (upload.filename, upload.size) == (NAME, 10)
    path = uploads.path(upload.folder, NAME)
    assert path is not None
    assert path.read_bytes() == b"1234567890"
    assert uploads.path(upload.folder, NAME, result=True) is None
    assert uploads.used() == 10


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".conda",
        "x.zip",
        "../x.conda",
        "a/b.conda",
        "a\\b.whl",
        "a\nb.whl",
        "a\0.whl",
        "\u202ea.whl",
        "-rf.whl",
        "é.whl",
        "a" * 300 + ".whl",
    ],
)
def test_a_name_of_no_package_is_not_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(UploadError) as caught:
        _receive(Uploads(tmp_path / "uploads", 10), b"x", name=name)
    assert caught.value.status in (400, 415)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("chunks", "announced", "status"), [([b"x" * 11], None, 413), ([b"x"], 11, 413), ([], None, 400)])
def test_too_much_or_nothing_leaves_nothing_behind(
    tmp_path: Path, chunks: list[bytes], announced: int | None, status: int
) -> None:
    uploads = Uploads(tmp_path / "uploads", 10)
    with pytest.raises(UploadError) as caught:
        _receive(uploads, *chunks, announced=announced)
    assert caught.value.status == status
    assert uploads.used() == 0


def test_a_client_that_leaves_leaves_nothing_behind(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"12345"
        raise ConnectionError

    uploads = Uploads(tmp_path / "uploads", 10)
    with pytest.raises((ConnectionError, UploadError)):
        asyncio.run(uploads.receive(NAME, None, broken()))
    assert uploads.used() == 0


def test_all_uploads_together_have_a_bound(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads", 10)
    for _ in range(8):
        _receive(uploads, b"x" * 10)
    with pytest.raises(UploadError) as caught:
        _receive(uploads, b"x")
    assert caught.value.status == 503


@pytest.mark.parametrize("folder", ["..", "", "x", "0" * 31, "0" * 32 + "/../..", "0" * 32])
def test_paths_lead_to_nothing_but_uploads(tmp_path: Path, folder: str) -> None:
    (tmp_path / "secret.whl").write_bytes(b"x")
    uploads = Uploads(tmp_path / "uploads", 10)
    assert uploads.path(folder, "secret.whl") is None
    assert uploads.path(_receive(uploads, b"x").folder, "../../secret.whl") is None


def test_old_folders_are_removed_unless_a_job_has_them(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads", 10)
    first, second = _receive(uploads, b"1"), _receive(uploads, b"2")
    now = time.time()
    assert uploads.clean([], now) == 0
    assert uploads.clean([first.folder], now + KEEP + 60) == 1
    assert uploads.path(first.folder, NAME) is not None
    assert uploads.path(second.folder, NAME) is None


def _work(path: Path, kind: str, **bounds: Any) -> tuple[dict[str, Any], list[str]]:
    stages: list[str] = []

    async def on_stage(stage: str) -> None:
        stages.append(stage)

    options = json.dumps(Options.of().json())
    job = UploadJob(kind, str(path), str(path.parent / "out"), options, "auto", (), Limits(), **bounds)  # type: ignore[arg-type]
    return asyncio.run(run_worker(job, on_stage)), stages


@pytest.fixture
def package(tmp_path: Path) -> Path:
    made = conda.assemble("demo", "1.0", {"lib/python3.13/site-packages/demo/__init__.py": "x = 1"}, depends=["python >=3.13"])
    return Path(shutil.copy(made, tmp_path / "upload.conda"))


def test_a_package_becomes_a_wheel_in_a_process_of_its_own(tmp_path: Path, package: Path) -> None:
    result, stages = _work(package, "convert")
    assert (result["status"], result["command"]) == ("done", "convert"), result
    assert stages == ["open", "link", "audit", "write", "report"]
    [entry], [audit] = result["document"]["results"], result["audit"]["results"]
    assert (entry["source"], entry["wheel"]) == ("upload.conda", result["wheel"]["filename"])
    assert audit["ok"]
    assert (tmp_path / "out" / result["wheel"]["filename"]).stat().st_size == result["wheel"]["size"]
    assert str(tmp_path) not in json.dumps(result)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc says who a process's children are")
def test_the_process_of_an_upload_gives_way_to_requests(package: Path) -> None:
    found = set()

    async def look(_: str) -> None:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                    found.add(os.getpriority(os.PRIO_PROCESS, int(path.parent.name)))

    options = json.dumps(Options.of().json())
    job = UploadJob("convert", str(package), str(package.parent / "out"), options, "auto", (), Limits())
    asyncio.run(run_worker(job, look))
    assert max(found) == os.getpriority(os.PRIO_PROCESS, 0) + NICE


def test_a_refusal_names_the_upload_and_no_folder_of_the_service(tmp_path: Path) -> None:
    path = tmp_path / "upload.conda"
    path.write_bytes(b"PK\x03\x04 nothing")
    for kind in ("convert", "audit"):
        result, _ = _work(path, kind)
        [entry] = result["document"]["results"]
        assert (result["status"], entry["code"], entry["source"]) == ("refused", "corrupt-archive", "upload.conda")
        assert str(tmp_path) not in json.dumps(result)


def test_a_worker_that_takes_too_long_is_ended(package: Path) -> None:
    with pytest.raises(UploadWorkerError) as caught:
        _work(package, "convert", timeout=1e-6)
    assert caught.value.code == "timeout"


@pytest.mark.skipif(not IS_LINUX, reason="Linux alone enforces a limit of memory")
def test_a_worker_without_memory_ends_with_an_answer(package: Path) -> None:
    try:
        result, _ = _work(package, "convert", memory=1 << 20)
    except UploadWorkerError as error:  # where even the refusal needs more
        code = error.code
    else:
        code = result["document"]["results"][0]["code"]
    assert code in ("memory", "crash")
