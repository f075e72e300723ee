"""Uploads: receive a file within bounds, and convert or audit it in a worker.

An upload and its wheel are in a folder of their job beside the state, never in the store: what a stranger uploads is in no
index. The client's file name is kept, since wheels and packages are read by it, but only one of harmless characters and a known
suffix is taken, inside a folder whose name is the service's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.repodata import channel_url
from conda2wheel.commands.audit import audit_each
from conda2wheel.commands.convert import convert_source
from conda2wheel.commands.pipeline import Context
from conda2wheel.commands.repair import repair_wheel
from conda2wheel.conda.formats import PACKAGE_SUFFIXES
from conda2wheel.errors import Conda2WheelError, Failed, Refused, unexpected_as_failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.threads import processors
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.work.executors import Workers, memory_limit
from conda2wheel.options import Options
from conda2wheel.results import Converted, document, error_json
from conda2wheel.serve.jobs import ServiceJob
from conda2wheel.serve.runner import NICE, JobOutcome
from conda2wheel.serve.state import ServiceState
from conda2wheel.wheel.reader import read_wheel

WHEEL = ".whl"
SUFFIXES = (*PACKAGE_SUFFIXES, WHEEL)
KEEP = 86400.0  # seconds for which what an upload became can be fetched
LINE = 32 << 20  # bytes of a result
# It gives way before it imports anything. There is no nice on Windows.
WORKER = f"import os; getattr(os, 'nice', int)({NICE}); from conda2wheel.serve.uploads import main; main()"
SHARE = 8  # of the largest upload: what all uploads together may take on disk
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,200}")
_FOLDER = re.compile(r"[0-9a-f]{32}")
# The first word of the pipeline's progress, and the stage that it begins; a wheel is opened by reading it.
STAGES = {"opening": "open", "reading": "read", "planning": "plan", "linking": "link", "auditing": "audit", "writing": "write"}


@dataclass(frozen=True)
class Upload:
    """A file that was received.

    Attributes:
        folder: the name of its folder.
        filename: its name.
        size: in bytes.
        sha256: in hexadecimal.
    """

    folder: str
    filename: str
    size: int
    sha256: str


class UploadError(Exception):
    """An upload that is not taken. `status` and `headers` are those of the answer: 400, 413, 415 or 503."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class Uploads:
    """The folder of uploads.

    Args:
        folder: made if it does not exist.
        limit: the number of bytes that one may have.
        most: how many may be received at a time.
    """

    def __init__(self, folder: Path, limit: int, most: int = 32) -> None:
        self.folder, self.limit, self.most = folder, limit, most
        self._open: dict[str, tuple[str, int]] = {}  # folders that are being filled: whose, and how much they may take

    def open_of(self, owner: str) -> int:
        """How many uploads of a client are being received."""
        return sum(each == owner for each, _ in self._open.values())

    async def receive(self, filename: str, announced: int | None, body: AsyncIterator[bytes], owner: str = "") -> Upload:
        """Write a request's body to a new folder.

        Args:
            filename: the client's name for it.
            announced: Content-Length.
            body: the bytes as they come.
            owner: the client's key.

        Raises:
            UploadError: for a name that is no package's or wheel's, too many bytes, none, or a full disk.
        """
        check_filename(filename)
        if announced is not None and announced > self.limit:
            raise self._too_large()
        size = self.limit if announced is None else announced
        if len(self._open) >= self.most:
            raise UploadError(503, "too many uploads are being received; try again later", {"Retry-After": "10"})
        if self.used(without=self._open) + sum(each for _, each in self._open.values()) + size > SHARE * self.limit:
            raise UploadError(503, "too many uploads are kept; try again later", {"Retry-After": "60"})
        name = secrets.token_hex(16)
        self._open[name] = owner, size
        try:
            digest, size = await self._write(self.folder / name, filename, body)
        except OSError as error:
            self.remove(name)
            raise UploadError(503, f"the upload cannot be kept: {error.strerror}") from error
        except BaseException:  # also a client that left
            self.remove(name)
            raise
        finally:
            del self._open[name]
        return Upload(name, filename, size, digest)

    async def _write(self, target: Path, filename: str, body: AsyncIterator[bytes]) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        target.mkdir(parents=True, mode=0o700)
        with (target / filename).open("xb") as out:
            async for chunk in body:
                size += len(chunk)
                if size > self.limit:
                    raise self._too_large()
                digest.update(chunk)
                out.write(chunk)
        if not size:
            raise UploadError(400, "the upload is empty: send the file as the request's body")
        return digest.hexdigest(), size

    def path(self, folder: str, filename: str, *, result: bool = False) -> Path | None:
        """The path of a file of an upload, or of a wheel that it became; None for one that is not there."""
        if not _FOLDER.fullmatch(folder) or not _FILENAME.fullmatch(filename):
            return None
        path = self.folder / folder / ("out" if result else "") / filename
        return path if path.is_file() else None

    def output(self, folder: str) -> Path:
        """Where the wheel of an upload is written."""
        return self.folder / folder / "out"

    def remove(self, folder: str) -> None:
        """Remove a folder, as far as it is there."""
        shutil.rmtree(self.folder / folder, ignore_errors=True)

    def clean(self, live: Iterable[str], now: float) -> int:
        """Remove folders that are older than `KEEP` and belong to no live job; returns how many."""
        keep, removed = set(live), 0
        for each in self._folders():
            if each.name not in keep and now - each.stat().st_mtime > KEEP:
                self.remove(each.name)
                removed += 1
        return removed

    def used(self, without: Container[str] = ()) -> int:
        """The number of bytes in all folders but some."""
        return sum(
            _size(Path(parent) / name)
            for folder in self._folders()
            if folder.name not in without
            for parent, _, names in os.walk(folder)
            for name in names
        )

    def _folders(self) -> list[Path]:
        try:
            return [each for each in self.folder.iterdir() if _FOLDER.fullmatch(each.name)]
        except FileNotFoundError:
            return []

    def _too_large(self) -> UploadError:
        return UploadError(413, f"an upload has at most {self.limit:,} bytes")


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # a worker writes beside, and renames
        return 0


def check_filename(filename: str) -> None:
    """Raise `UploadError` unless a name is that of a conda package or a wheel."""
    if not filename.endswith(SUFFIXES):
        raise UploadError(415, f"the file name ends in none of {', '.join(SUFFIXES)}")
    if not _FILENAME.fullmatch(filename):
        raise UploadError(400, "the file name has other characters than letters, digits, and . _ + ! -, or more than 201")


class UploadWorkerError(Exception):
    """A worker that ended without a result: `code` of errors.CODES and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class UploadJob:
    """All that a worker needs to convert or audit an upload.

    Attributes:
        kind: what is to be done; a wheel that is to be converted is repaired.
        path: the upload.
        out: the folder for the wheel.
        options: `Options.json` as JSON text.
        platform: "auto", or the platform that the client named.
        channels: URLs of the channels in which libraries and names are looked up.
        limits: the bounds on what is opened.
        cache: the download cache; None for the user's own.
        memory: bytes; 0 for no limit.
        timeout: seconds; 0 for no limit.
    """

    kind: Literal["convert", "audit"]
    path: str
    out: str
    options: str
    platform: str
    channels: tuple[str, ...]
    limits: Limits
    cache: str | None = None
    memory: int = 0
    timeout: float = 0.0


OnStage = Callable[[str], None]


def work_upload(job: UploadJob, on_stage: OnStage = lambda _: None) -> dict[str, Any]:
    """Convert or audit an upload.

    Args:
        job: what to do.
        on_stage: called with the name of each stage as it begins.

    Returns:
        `status` ("done", "refused", "failed"), `command` and `document`, the command line's JSON for it, and for a wheel that
        was made `audit`, that of the audit, and `wheel` with its filename, size and sha256.
    """
    text = json.dumps(_work(job, on_stage))  # with the upload's own name in the place of its path on this machine
    folder = json.dumps(str(Path(job.path).parent))[1:-1]
    found: dict[str, Any] = json.loads(text.replace(f"{folder}/out/", "").replace(f"{folder}/", ""))
    return found


def _work(job: UploadJob, on_stage: OnStage) -> dict[str, Any]:
    name = Path(job.path).name
    started = time.monotonic()
    downloads = Downloads(cache=None if job.cache is None else Path(job.cache))

    def progress(line: str) -> None:
        stage = STAGES.get(line.partition(" ")[0])
        if stage is not None:
            on_stage(stage)

    if job.kind == "audit":
        on_stage("audit")
        return _audited(job.path, job, downloads)
    command = "repair" if name.endswith(WHEEL) else "convert"
    try:
        with unexpected_as_failed(name):
            made = _made(command, job, downloads, progress, on_stage)
    except Conda2WheelError as error:
        return _error(command, name, error, time.monotonic() - started)
    on_stage("report")
    audited = _audited(str(made.wheel), job, downloads)
    entry = {**made.json(), "source": name, "wheel": made.filename}
    size = made.wheel.stat().st_size if made.wheel is not None else 0
    return {
        "status": "done",
        "command": command,
        "document": document([entry]),
        "audit": audited["document"],
        "wheel": {"filename": made.filename, "size": size, "sha256": made.sha256},
    }


def _made(command: str, job: UploadJob, downloads: Downloads, progress: Callable[[str], None], on_stage: OnStage) -> Converted:
    options = Options.from_json(json.loads(job.options))
    if command == "repair":
        on_stage("open")
        wheel = read_wheel(Path(job.path), job.limits)
        on_stage("link")
        return repair_wheel(wheel, LibraryIndex((), job.limits, downloads=downloads), options, Path(job.out))
    context = Context.of(channels=job.channels, limits=job.limits, downloads=downloads, progress=progress)
    planned = convert_source(job.path, options, context, Path(job.out))
    if not isinstance(planned, Converted):
        raise Failed("internal", f"{Path(job.path).name}: converted, but no wheel was written")
    return planned


def _audited(path: str, job: UploadJob, downloads: Downloads) -> dict[str, Any]:
    [(source, result)] = audit_each([path], job.platform, limits=job.limits, downloads=downloads)
    name = Path(source).name
    if isinstance(result, Conda2WheelError):
        return _error("audit", name, result, 0.0)
    return {"status": "done", "command": "audit", "document": document([{**result.json(), "source": name}])}


def _error(command: str, name: str, error: Conda2WheelError, seconds: float) -> dict[str, Any]:
    status = "refused" if isinstance(error, Refused) else "failed"
    return {"status": status, "command": command, "document": document([error_json(name, error, seconds)])}


class UploadConverter:
    """Runs the jobs of uploads, each in a process of its own on this machine, where the upload is.

    Args:
        config: returns the configuration as it is now.
        uploads: the folder of uploads.
        state: where stages are recorded.
    """

    def __init__(self, config: Callable[[], MirrorConfig], uploads: Uploads, state: ServiceState) -> None:
        self._config, self._uploads, self._state = config, uploads, state
        self._turns = asyncio.Semaphore(processors())  # a cluster's workers may be many more

    async def __call__(self, job: ServiceJob, _: Workers) -> JobOutcome:
        """Convert or audit the upload of a job; the upload itself is then removed."""
        details = job.request.document
        folder = str(details["folder"])
        path = self._uploads.path(folder, str(details["filename"]))
        if path is None:
            return JobOutcome("failed", {"code": "not-found", "message": "the upload is no longer kept", "hint": "send it again"})
        config = self._config()
        platform = str(details["platform"])
        work = UploadJob(
            kind=job.request.kind,
            path=str(path),
            out=str(self._uploads.output(folder)),
            options=json.dumps(config.options(platform).json()),
            platform=platform,
            channels=tuple(map(channel_url, config.channels)),
            limits=config.limits,
            memory=config.work.memory,
            timeout=config.work.timeout,
        )

        async def on_stage(stage: str) -> None:
            await self._state(lambda _, queue: queue.add_event(job, {"event": "stage", "stage": stage}, time.time()))

        try:
            async with self._turns:
                result = await run_worker(work, on_stage)
        except UploadWorkerError as error:
            outcome = JobOutcome("failed", {"code": error.code, "message": error.message, "hint": ""})
        else:
            outcome = JobOutcome(result["status"], result)
        with contextlib.suppress(OSError):  # `clean` removes it later
            path.unlink()
        return outcome


async def run_worker(job: UploadJob, on_stage: Callable[[str], Awaitable[None]]) -> dict[str, Any]:
    """Run `work_upload` in a process of its own, with the job's bounds on memory and time.

    Args:
        job: what to do.
        on_stage: called with the name of each stage as it begins.

    Raises:
        UploadWorkerError: where it took too long, or its process died.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE
    )
    try:
        async with asyncio.timeout(job.timeout or None):
            return await _converse(process, job, on_stage)
    except TimeoutError:
        raise UploadWorkerError("timeout", f"it takes longer than {job.timeout:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _converse(
    process: asyncio.subprocess.Process, job: UploadJob, on_stage: Callable[[str], Awaitable[None]]
) -> dict[str, Any]:
    if process.stdin is None or process.stdout is None:
        raise UploadWorkerError("internal", "the worker has no pipes")
    process.stdin.write(json.dumps(dataclasses.asdict(job)).encode() + b"\n")
    with contextlib.suppress(ConnectionError):  # it died before it read its job: its status says how
        await process.stdin.drain()
    try:
        async for line in process.stdout:
            message = json.loads(line)
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result
            await on_stage(message["stage"])
    except ValueError:  # of a line that is longer than LINE
        raise UploadWorkerError("too-large", f"the result has more than {LINE:,} bytes") from None
    status = await process.wait()
    raise UploadWorkerError("crash", f"the worker ended with status {status}, perhaps for lack of memory")


def main() -> None:
    """A worker: a job as a line of JSON on stdin, stages and the result as lines on stdout; it ends with its parent."""
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    values = json.loads(line)
    job = UploadJob(**{**values, "channels": tuple(values["channels"]), "limits": Limits(**values["limits"])})

    def say(**message: Any) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    with memory_limit(job.memory):
        result = work_upload(job, lambda stage: say(stage=stage))
    say(result=result)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
