"""What each stage of a conversion takes: the functions of the pipeline, wrapped while one package is converted.

The time of a stage is without that of the stages that it calls, in the thread that converts; what other threads do meanwhile is
in the processor's seconds alone.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import GeneratorType
from typing import Any
from unittest import mock

PIPELINE = "conda2wheel.commands.pipeline"
# Stage, and the functions that are it; an inner one's time is not the outer one's.
STAGES: dict[str, tuple[str, ...]] = {
    "open: decompress, hash, spool": (f"{PIPELINE}:open_package",),
    "read: metadata, recipe, names": (f"{PIPELINE}:read_package", "conda2wheel.conda.open:read_info"),
    "plan: layout, tags, requirements": (f"{PIPELINE}:prepare_package",),
    "link: NEEDED, vendoring, isolation": (f"{PIPELINE}:Prepared.link",),
    "audit": (f"{PIPELINE}:_judge",),
    "members: METADATA, provenance, SBOM": (f"{PIPELINE}:wheel_members", f"{PIPELINE}:with_provenance"),
    "wheel: sha256, crc32, deflate": (f"{PIPELINE}:build_wheel",),
    "write: to disk, fsync": (f"{PIPELINE}:write_file",),
}
REST = "rest"


@dataclass
class Clock:
    """Seconds by stage. Only the thread that made it is measured."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    _stack: list[str] = field(default_factory=lambda: [REST])
    _thread: int = field(default_factory=threading.get_ident)
    _since: tuple[float, float] = field(default_factory=lambda: (time.perf_counter(), time.process_time()))

    def enter(self, stage: str) -> None:
        """The stage begins, within the one that runs."""
        self.charge()
        self._stack.append(stage)

    def leave(self) -> None:
        """The stage that began last ends."""
        self.charge()
        self._stack.pop()

    def charge(self) -> None:
        """Give the time since the last change to the stage that runs."""
        now, stage = (time.perf_counter(), time.process_time()), self._stack[-1]
        self.wall[stage] = self.wall.get(stage, 0.0) + now[0] - self._since[0]
        self.cpu[stage] = self.cpu.get(stage, 0.0) + now[1] - self._since[1]
        self._since = now

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, or generator function, as a part of a stage."""

        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*arguments, **keywords)
            self.enter(stage)
            try:
                result = function(*arguments, **keywords)
            finally:
                self.leave()
            return self._each(stage, result) if isinstance(result, GeneratorType) else result

        return wrapped

    def _each(self, stage: str, results: Iterator[Any]) -> Iterator[Any]:
        while True:
            self.enter(stage)
            try:
                item = next(results)
            except StopIteration:
                return
            finally:
                self.leave()
            yield item


def stages(work: Callable[[], object]) -> Clock:
    """Run the work, and return what its stages took."""
    clock = Clock()
    with ExitStack() as stack:
        for stage, places in STAGES.items():
            for place in places:
                owner, name = _owner(place)
                stack.enter_context(mock.patch.object(owner, name, clock.wrap(stage, getattr(owner, name))))
        clock.charge()
        clock.wall.clear()
        clock.cpu.clear()
        work()
        clock.charge()
    return clock


def _owner(place: str) -> tuple[Any, str]:
    module, _, names = place.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = names.split(".")
    for each in parents:
        owner = getattr(owner, each)
    return owner, name
