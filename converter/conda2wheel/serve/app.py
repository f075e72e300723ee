"""The ASGI application: FastAPI for all but the hot paths /simple/ and /files/, which are answered in front of it."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from conda2wheel._version import __version__
from conda2wheel.errors import Failed
from conda2wheel.serve import files, metrics, simple
from conda2wheel.serve.access import DeniedError
from conda2wheel.serve.api import create_router, validation_text
from conda2wheel.serve.http import CORS, PREFLIGHT, Answer, Message, Receive, Scope, Send, problem, respond
from conda2wheel.serve.openapi import describe_index
from conda2wheel.serve.packages_api import packages_router
from conda2wheel.serve.pages import pages_router
from conda2wheel.serve.service import Service

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def create_app(service: Service) -> Front:
    """The application for a server; it starts and stops the service with its lifespan."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    api = FastAPI(
        title="conda2wheel",
        version=__version__,
        summary="An index of wheels for Pyodide that converts emscripten-forge's conda packages on demand",
        lifespan=lifespan,
        docs_url=None,  # its pages load scripts from a CDN
        redoc_url=None,
    )
    api.state.service = service
    api.include_router(pages_router(service.pages))

    @api.get("/healthz", tags=["operations"])
    async def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok", "version": __version__}

    @api.get("/readyz", tags=["operations"], responses={503: {"description": "It is not ready."}})
    async def readyz() -> Response:
        """Whether the service can serve its index: the store can be read, and it is not stopping."""
        problems = service.problems()
        document = {
            "status": "unavailable" if problems else "ready",
            "problems": problems,
            "generation": service.index.generation,
        }
        return JSONResponse(document, 503 if problems else 200)

    @api.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    async def read_metrics() -> Response:
        """Counters, gauges and durations in Prometheus' text format."""
        await service.count_jobs()
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)

    api.include_router(create_router(service))
    api.include_router(packages_router(service))
    describe_index(api)

    @api.exception_handler(DeniedError)
    async def denied(_: Request, error: DeniedError) -> Response:
        return JSONResponse({"detail": error.detail}, error.status, error.headers)

    @api.exception_handler(HTTPException)
    async def wrong(request: Request, error: HTTPException) -> Response:
        """An error in JSON; to a browser that asks for a page that is not there, a page."""
        path = request.url.path
        wants_page = "text/html" in request.headers.get("accept", "") and not path.startswith("/api/")
        if error.status_code == 404 and wants_page:
            return await service.pages.missing("../" * (path.count("/") - 1))
        return await http_exception_handler(request, error)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"detail": validation_text(error.errors())}, 422)

    @api.exception_handler(Failed)
    async def failed(_: Request, error: Failed) -> Response:
        """The state, the store or the disk: the service recovers, and the client asks again."""
        service.log("failed", "error", code=error.code, message=error.message)
        return JSONResponse({"detail": error.message}, 503, {"Retry-After": "5"})

    return Front(service, api)


class Front:
    """Gives each request an id, counts and logs it, and answers /simple/ and /files/ itself."""

    def __init__(self, service: Service, api: FastAPI) -> None:
        self.service, self.api = service, api
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or run the lifespan."""
        if scope["type"] != "http":
            await self.api(scope, receive, send)
            return
        exchange = _Exchange(send, self._id(scope))
        started = time.perf_counter()
        route = "other"
        try:
            path = scope["path"]
            if scope["method"] == "OPTIONS":
                await respond(exchange.send, 204, PREFLIGHT)
            elif (denied := self._denied(scope)) is not None:
                await denied.send(scope, exchange.send)
            elif path.startswith(simple.PREFIX):
                route = simple.PREFIX
                await self.service.simple(scope, receive, exchange.send)
            elif path.startswith(files.PREFIX):
                route = files.PREFIX
                await self.service.files(scope, receive, exchange.send)
            elif path == "/simple":
                await respond(exchange.send, 301, ((b"location", b"simple/"), (b"content-length", b"0")))
            else:
                inner = {**scope, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}  # the server sends no body
                await self.api(inner, receive, exchange.send)
                route = getattr(inner.get("route"), "path", "other")
        except Exception as error:  # noqa: BLE001 - whatever it is, the service goes on
            self.service.log("error", "error", request=exchange.id, path=scope["path"], error=repr(error), trace=_trace(error))
            if not exchange.status:
                await problem(500, "an error of the service; it is in its log").send(scope, exchange.send)
        seconds = time.perf_counter() - started
        self.service.metrics.request(route, scope["method"], exchange.status, seconds, exchange.sent)
        self.service.log.request(
            request=exchange.id,
            method=scope["method"],
            path=scope["path"],
            status=exchange.status,
            seconds=round(seconds, 6),
            bytes=exchange.sent,
            client=scope["client"][0] if scope.get("client") else None,
        )

    def _denied(self, scope: Scope) -> Answer | None:
        """The answer to a client that may not read; whether the service lives and is ready is no secret."""
        access = self.service.access
        if access.is_open("read") or scope["path"] in ("/healthz", "/readyz"):
            return None
        try:
            access.require(access.client(scope), "read")
        except DeniedError as error:
            headers = ((name.lower().encode(), value.encode()) for name, value in error.headers.items())
            return problem(error.status, error.detail, *headers)
        except Failed as error:  # a damaged token file
            self.service.log("failed", "error", code=error.code, message=error.message)
            return problem(503, "the tokens cannot be read", (b"retry-after", b"60"))
        return None

    def _id(self, scope: Scope) -> str:
        """The request's id: the client's own, where it is a proper one."""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _ID.fullmatch(value):
                return str(value.decode())
        return f"{self._prefix}-{next(self._numbers)}"


class _Exchange:
    """A request under way: adds headers that every answer has, and counts what is sent."""

    def __init__(self, send: Send, identity: str) -> None:
        self._send, self.id = send, identity
        self.status = self.sent = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *CORS, (b"x-request-id", self.id.encode())]
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        await self._send(message)


def _trace(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))
