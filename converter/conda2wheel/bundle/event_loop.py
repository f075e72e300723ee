"""Run py-rattler's coroutines, for a caller that may have an event loop of its own."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in its own thread, since asyncio.run is not allowed in a caller with an event loop.

    An interrupt (Ctrl-C) does not wait for the answer.
    """
    box: dict[str, Any] = {}
    loop = asyncio.new_event_loop()

    def target() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                box["result"] = runner.run(work)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            box["error"] = error
        while _is_in_callback(loop):
            time.sleep(0.001)

    thread = threading.Thread(target=target, name="conda2wheel-solver")
    thread.start()
    try:
        thread.join()
    except BaseException:
        with suppress(RuntimeError):  # the loop has just ended
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        raise
    if "error" in box:
        raise box["error"]
    result: T = box["result"]
    return result


def _is_in_callback(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a thread of py-rattler is still in the call that hands its answer to a loop.

    The loop continues as soon as that call wakes it, and the process may end. The thread needs the interpreter's lock once more
    and aborts if the interpreter is gone (Python before 3.14: `Fatal Python error: PyGILState_Release`). After that call it
    holds the lock until it has left Python.
    """
    code = asyncio.BaseEventLoop.call_soon_threadsafe.__code__
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            if frame.f_code is code and frame.f_locals.get("self") is loop:
                return True
            frame = frame.f_back
    return False
