"""Run the service: uvicorn on a socket, until SIGTERM or SIGINT."""

from __future__ import annotations

import ipaddress
import logging
import math
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn

from conda2wheel.errors import Failed
from conda2wheel.mirror.owner import require_own_state
from conda2wheel.mirror.work.executors import Executor
from conda2wheel.serve.app import create_app
from conda2wheel.serve.config import ServeConfig
from conda2wheel.serve.connections import bounded_protocol
from conda2wheel.serve.logs import LogHandler
from conda2wheel.serve.service import Service

BACKLOG = 2048


class _Server(uvicorn.Server):
    """Tells the service of a signal at once, so that requests that wait end, and says when it listens."""

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._on_ready = service, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._service.stop_soon()


@dataclass(frozen=True)
class BoundServer:
    """A server, the socket that it will listen on, and the service's address."""

    server: uvicorn.Server
    socket: socket.socket
    address: str

    def run(self) -> None:
        """Serve until `server.should_exit` is set or, in the main thread, a signal comes."""
        with self.socket:
            self.server.run(sockets=[self.socket])


def bind(service: Service, on_ready: Callable[[str], None] = lambda _: None) -> BoundServer:
    """Make the server of a service. `on_ready` is called with its address once it answers.

    Raises:
        Failed: "network" where the port cannot be had.
    """
    config = service.config
    listening = _listen(config.host, config.port)
    options = uvicorn.Config(
        create_app(service),
        http=bounded_protocol(),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(config.proxies),
        forwarded_allow_ips=list(config.proxies),
        timeout_graceful_shutdown=math.ceil(config.stop),
        lifespan="on",
    )
    host, port = listening.getsockname()[:2]
    address = config.url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
    return BoundServer(_Server(options, service, lambda: on_ready(address)), listening, address)


def serve(
    read_config: Callable[[], ServeConfig],
    executor: Executor | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
    *,
    session: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Args:
        read_config: reads the configuration.
        executor: converts; None for worker processes.
        on_ready: called with the service's address once it answers, then with that of /convert if it has a session.
        session: whether who reads these addresses may do everything until the process ends, if it listens on loopback alone.

    Raises:
        Failed: as `read_config`, `bind` and `Service`, and usage for the state of another configuration.
    """
    config = read_config()
    if config.on_demand:
        require_own_state(config.mirror)
    service = Service(config, executor=executor)
    handler = LogHandler(service.log)
    for name in ("uvicorn", "uvicorn.error", "conda2wheel"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)

    def ready(address: str) -> None:
        on_ready(address)
        if session and ipaddress.ip_address(bound.socket.getsockname()[0].partition("%")[0]).is_loopback:
            on_ready(f"{address}/convert#token={service.access.open_session()}")

    bound = bind(service, ready)

    def reload(*_: object) -> None:
        try:
            service.reload_soon(read_config())
        except Failed as error:
            service.log("reload", "error", message=error.message)

    with ExitStack() as handlers:
        handlers.enter_context(_signals_are_no_errors())
        if hasattr(signal, "SIGHUP"):  # not on Windows
            handlers.enter_context(_handled(signal.SIGHUP, reload))
        bound.run()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Failed("network", f"cannot listen on {host} port {port}: {error.strerror}", "choose another with --port") from None


@contextmanager
def _signals_are_no_errors() -> Iterator[None]:
    """Uvicorn raises the signal that ended it again: a service that was asked to end has not failed."""
    with _handled(signal.SIGTERM, lambda *_: None), _handled(signal.SIGINT, lambda *_: None):
        yield


@contextmanager
def _handled(number: signal.Signals, handler: Callable[..., None]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
