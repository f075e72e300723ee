"""/api/v1/jobs: convert packages of the channels and uploads, audit uploads, and follow what happens.

A job of the API is one of the queue (`jobs`). Who knows its id may read it; a client lists and counts its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sse_starlette import EventSourceResponse

from conda2wheel.errors import Failed
from conda2wheel.mirror.state.match_specs import MatchSpecs
from conda2wheel.serve.access import Client, DeniedError
from conda2wheel.serve.files import PREFIX as FILES
from conda2wheel.serve.jobs import REQUESTED, JobEvent, JobKind, JobRequest, JobStatus, ServiceJob
from conda2wheel.serve.ondemand import request_of
from conda2wheel.serve.service import Service
from conda2wheel.serve.tokens import Scope
from conda2wheel.serve.uploads import UploadError

PREFIX = "/api/v1"
MAX_DOCUMENT = 1 << 16  # bytes of a JSON body
MAX_PROBLEMS = 5  # of a request, that an answer names
MAX_WAITING = 1000  # jobs of all clients that wait, beyond which none is taken
PAUSE = 30.0  # seconds that a body may pause, and have before it needs a rate
SLOWEST = 1000  # bytes a second of a body, on average
POLL = 0.5  # seconds between two looks at a job that another process runs
JobId = Annotated[str, Path(max_length=100, description="The job's id, 24 hexadecimal digits.")]
PlatformName = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9._]+$")]


class JobWish(BaseModel):
    """What is to be done with a package of the channels."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["convert"] = "convert"
    spec: str = Field(min_length=1, max_length=500, description="A match spec, such as `numpy >=2` or `numpy`.")


class JobDocument(BaseModel):
    """A job. Times are in seconds since 1970.

    `result` is null until it has ended; `result.document` is the JSON that the command line prints for the same.
    """

    id: str
    kind: JobKind
    source: Literal["channel", "upload"]
    subject: str = Field(description="The package's file name.")
    status: JobStatus
    stage: str | None = Field(description="The stage that it is in: open, link, audit, write or report.")
    created: float
    started: float | None
    ended: float | None
    attempts: int
    result: dict[str, Any] | None
    links: dict[str, str] = Field(description="`self`, `events`, and `wheel` where there is one.")


class JobList(BaseModel):
    """Jobs, the newest first; `next` is for `before` of the next page."""

    jobs: list[JobDocument]
    next: int | None


class ApiProblem(BaseModel):
    """Why a request is not answered."""

    detail: str = Field(description="One sentence.")


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ApiProblem, "description": text}
    for status, text in (
        (401, "A token is needed, or the one that was sent is not known."),
        (403, "The token lacks the scope."),
        (404, "There is no such thing."),
        (422, "A parameter or the body is not as described."),
        (429, "Too many requests, or too many jobs that have not ended."),
        (503, "The service cannot do it now."),
    )
}
_UPLOAD_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **_PROBLEMS,
    400: {"model": ApiProblem, "description": "The file name or the body is wrong."},
    408: {"model": ApiProblem, "description": "The upload takes too long."},
    413: {"model": ApiProblem, "description": "The body is too large."},
    415: {"model": ApiProblem, "description": "The body is neither JSON nor a package or wheel."},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": JobWish.model_json_schema()},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@dataclass(frozen=True)
class _Desk:
    """What the routes of jobs share: who may add one, and what is told of one."""

    service: Service

    async def admit(self, request: Request, scope: Scope) -> Client:
        """The client of a request that adds a job, if it may."""
        service = self.service
        if not service.config.on_demand:
            raise DeniedError(403, "this service converts nothing", {})
        client = service.access.client(request.scope)
        service.access.require(client, scope)
        service.access.count(client, "convert")
        mine = await service.state(lambda _, queue: queue.jobs(client.key, service.config.jobs))
        if sum(job.is_live for job in mine) + service.uploads.open_of(client.key) >= service.config.jobs:
            raise DeniedError(429, f"{service.config.jobs} of your jobs have not ended", {"Retry-After": "10"})
        counts = await service.state(lambda _, queue: queue.counts())
        if counts["queued"] >= MAX_WAITING:
            raise HTTPException(503, "too many jobs wait", {"Retry-After": "60"})
        return client

    def base_of(self, request: Request) -> str:
        """The address that links begin with."""
        return self.service.config.url or str(request.base_url).rstrip("/")

    async def job_of(self, identity: str) -> ServiceJob:
        """The job with an id."""
        job = await self.service.state(lambda _, queue: queue.get(identity))
        if job is None:
            raise HTTPException(404, f"no job has the id {identity}")
        return job

    async def document(self, request: Request, job: ServiceJob) -> JobDocument:
        """What is told of a job."""
        events = await self.service.state(lambda _, queue: queue.events(job)) if job.is_live else []
        return _document(self.base_of(request), job, events)


def create_router(service: Service) -> APIRouter:
    """The routes of the API for a service."""
    router = APIRouter(prefix=PREFIX, tags=["jobs"], responses=_PROBLEMS)
    desk = _Desk(service)

    @router.post("/jobs", status_code=202, responses=_UPLOAD_PROBLEMS, openapi_extra=_BODY, operation_id="add_job")
    async def add_job(
        request: Request,
        response: Response,
        kind: Annotated[JobKind, Query(description="Of an upload: `convert` (a wheel: repair) or `audit`.")] = "convert",
        filename: Annotated[str, Query(max_length=201, description="Of an upload: its file name.")] = "",
        platform: Annotated[PlatformName, Query(description="Of an upload: a platform tag or a Pyodide version.")] = "auto",
    ) -> JobDocument:
        """Convert a package of the channels, by a JSON body with a match spec; or convert or audit the file that is the body."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            client = await desk.admit(request, "convert")
            requests = await _channel_requests(service, await _wish(request, service.config.upload_wait), client)
        else:
            client = await desk.admit(request, "audit" if kind == "audit" else "upload")
            _check_platform(service, platform)
            requests = [await _upload_request(service, request, JobSubject(kind, filename, platform), client)]
        jobs = await service.state(lambda _, queue: queue.add(requests, time.time()))
        service.runner.wake()
        found = await desk.document(request, jobs[0])
        response.headers["Location"] = found.links["self"]
        return found

    @router.get("/jobs", operation_id="list_jobs")
    async def list_jobs(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    ) -> JobList:
        """The jobs that the client added, the newest first."""
        client = service.access.client(request.scope)
        jobs = await service.state(lambda _, queue: queue.jobs(client.key, limit, before))
        found = [await desk.document(request, job) for job in jobs]
        return JobList(jobs=found, next=jobs[-1].number if len(jobs) == limit else None)

    @router.get("/jobs/{job}", operation_id="read_job")
    async def read_job(request: Request, job: JobId) -> JobDocument:
        """A job, by its id."""
        return await desk.document(request, await desk.job_of(job))

    @router.delete(
        "/jobs/{job}",
        status_code=204,
        operation_id="cancel_job",
        responses={409: {"model": ApiProblem, "description": "It has begun."}},
    )
    async def cancel_job(request: Request, job: JobId) -> None:
        """Cancel a job that waits."""
        service.access.client(request.scope)
        found = await desk.job_of(job)
        if not await service.state(lambda _, queue: queue.cancel(found.id, time.time())):
            raise HTTPException(409, "only a job that waits can be cancelled")

    @router.get("/jobs/{job}/events", operation_id="follow_job", response_class=EventSourceResponse)
    async def follow_job(
        request: Request,
        job: JobId,
        last_event_id: Annotated[str | None, Header(max_length=20, description="Where the client stopped reading.")] = None,
    ) -> EventSourceResponse:
        """What happens to a job, as server-sent events, until it ends.

        The types are `queued`, `running`, `stage` and the status that ended it, of which the data is the job.
        """
        found = await desk.job_of(job)
        after = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdigit() else 0
        return EventSourceResponse(_events(service, desk.base_of(request), found, after), ping=15)

    @router.get(
        "/jobs/{job}/files/{filename}",
        operation_id="read_file",
        response_class=FileResponse,
        responses={200: {"content": {"application/octet-stream": {}}, "description": "The wheel."}},
    )
    async def read_file(job: JobId, filename: Annotated[str, Path(max_length=300)]) -> FileResponse:
        """The wheel that an upload became, for a day."""
        document = (await desk.job_of(job)).request.document
        path = service.uploads.path(str(document.get("folder", "")), filename, result=True)
        if path is None:
            raise HTTPException(404, "the job has no such file, or no longer")
        return FileResponse(path, media_type="application/octet-stream", filename=filename)

    return router


@dataclass(frozen=True)
class JobSubject:
    """What an upload is to become."""

    kind: JobKind
    filename: str
    platform: str


def validation_text(errors: Sequence[Any]) -> str:
    """What is wrong with parameters or a body, as one sentence: which of them, and why.

    >>> validation_text([{"loc": ("query", "limit"), "msg": "Input should be less than or equal to 100"}])
    'limit should be less than or equal to 100'
    >>> validation_text([{"loc": ("spec",), "msg": "Field required"}, {"loc": (), "msg": "Invalid JSON: EOF"}])
    'spec: field required; the body: invalid JSON: EOF'
    """
    return "; ".join(_problem_text(each["loc"], each["msg"]) for each in errors[:MAX_PROBLEMS])


def _problem_text(place: Sequence[int | str], message: str) -> str:
    names = place[1:] if place and place[0] in ("query", "path", "header", "cookie", "body") else place
    name = ".".join(str(each)[:100] for each in names) or "the body"
    about = re.match(r"(?:Input|String|Value) (?=should )", message)
    return f"{name} {message[about.end() :]}" if about else f"{name}: {message[:1].lower()}{message[1:]}"


async def _wish(request: Request, wait: float) -> JobWish:
    body = bytearray()
    async for chunk in _timed(request.stream(), wait):
        body += chunk
        if len(body) > MAX_DOCUMENT:
            raise HTTPException(413, f"a JSON body has at most {MAX_DOCUMENT:,} bytes")
    try:
        return JobWish.model_validate_json(bytes(body))
    except ValidationError as error:
        raise HTTPException(422, validation_text(error.errors(include_url=False, include_input=False))) from None


async def _channel_requests(service: Service, wish: JobWish, client: Client) -> list[JobRequest]:
    """The jobs for the newest version that fits a spec."""
    if not service.catalogue.is_read:
        raise HTTPException(503, "the channels have not been read yet", {"Retry-After": "10"})
    try:
        specs = MatchSpecs([wish.spec])
    except Failed as error:
        raise HTTPException(422, error.message) from None
    packages = service.catalogue.packages()
    fits = await asyncio.to_thread(specs.fit, packages)
    fitting = [package for package, is_fitting in zip(packages, fits, strict=True) if is_fitting]
    items = sorted((item for package in fitting for item in service.catalogue.items_of(package)), key=lambda item: item.age)
    if not items:
        raise HTTPException(404, f"no channel has a package that fits {wish.spec!r}{_meant(service, wish.spec)}")
    newest = [item for item in items if item.age == items[0].age]
    return [_owned(request_of(item, REQUESTED), client) for item in newest]


def _meant(service: Service, spec: str) -> str:
    """The conda names of the packages that a spec may mean by their name on PyPI, as the end of a message."""
    name = re.split(r"[\s=<>!~\[]", spec.rpartition("::")[2].strip(), maxsplit=1)[0]
    names = sorted({item.package.name for item in service.catalogue.items(canonicalize_name(name))} - {name})
    return f"; did you mean {' or '.join(names[:5])}?" if names else ""


async def _upload_request(service: Service, request: Request, subject: JobSubject, client: Client) -> JobRequest:
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
    try:
        body = _timed(request.stream(), service.config.upload_wait)
        upload = await service.uploads.receive(subject.filename, announced, body, client.key)
    except UploadError as error:
        raise HTTPException(error.status, error.detail, error.headers) from None
    document = {
        "source": "upload",
        "folder": upload.folder,
        "filename": upload.filename,
        "sha256": upload.sha256,
        "platform": subject.platform,
    }
    return JobRequest(subject.kind, f"upload:{upload.folder}", document, client.key, REQUESTED)


def _check_platform(service: Service, platform: str) -> None:
    try:
        service.config.mirror.options(platform)
    except Failed as error:
        raise HTTPException(422, error.message) from None


async def _timed(stream: AsyncIterator[bytes], wait: float) -> AsyncIterator[bytes]:
    """The chunks of a body; 408 if it takes longer than `wait` seconds, pauses for too long, or is too slow."""
    clock = asyncio.get_running_loop().time
    began, received = clock(), 0
    while True:
        slow = began + PAUSE + received / SLOWEST
        try:
            async with asyncio.timeout_at(min(began + wait, clock() + PAUSE, slow)):
                chunk = await anext(stream, None)
        except TimeoutError:
            words = f"a body takes at most {wait:g} s, pauses at most {PAUSE:g} s, and has {SLOWEST:,} bytes a second"
            raise HTTPException(408, words) from None
        if chunk is None:
            return
        received += len(chunk)
        yield chunk


def _owned(request: JobRequest, client: Client) -> JobRequest:
    return JobRequest(request.kind, request.key, request.document, client.key, request.priority)


def _document(base: str, job: ServiceJob, events: list[JobEvent]) -> JobDocument:
    details = job.request.document
    stages = [str(each.document["stage"]) for each in events if "stage" in each.document]
    here = f"{base}{PREFIX}/jobs/{job.id}"
    links = {"self": here, "events": f"{here}/events"}
    wheel = (job.result or {}).get("wheel")
    if isinstance(wheel, dict):
        sha256, filename = wheel["sha256"], wheel["filename"]
        is_upload = details.get("source") == "upload"
        links["wheel"] = f"{here}/files/{filename}" if is_upload else f"{base}{FILES}{sha256[:2]}/{sha256}/{filename}"
    package = details.get("package")
    subject = details.get("filename") or (_package_name(package) if isinstance(package, dict) else "")
    return JobDocument(
        id=job.id,
        kind=job.request.kind,
        source=details["source"],
        subject=str(subject),
        status=job.status,
        stage=stages[-1] if stages and job.is_live else None,
        created=job.created,
        started=job.started,
        ended=job.ended,
        attempts=job.attempts,
        result=None if job.result is None else dict(job.result),
        links=links,
    )


def _package_name(package: dict[str, Any]) -> str:
    return str(package.get("url", "")).rpartition("/")[2]


async def _events(service: Service, base: str, job: ServiceJob, after: int) -> AsyncIterator[dict[str, str]]:
    """Events for sse-starlette, until the job has ended or the service stops."""
    while True:
        number = after
        found, now = await service.state(_look(job, number))
        for event in found:
            after = event.number
            name = str(event.document["event"])
            ends = now is not None and not now.is_live and name == now.status
            data = _document(base, now, []).model_dump(mode="json") if ends and now is not None else event.document
            yield {"id": str(event.number), "event": name, "data": json.dumps(data)}
        if now is None or not now.is_live or service.stopping.is_set():
            return
        await service.runner.until_next(POLL)


def _look(job: ServiceJob, after: int) -> Callable[[Any, Any], tuple[list[JobEvent], ServiceJob | None]]:
    return lambda _, queue: (queue.events(job, after), queue.get(job.id))
