"""The mirror's state and the queue of jobs on a thread of their own, since SQLite waits for disks and other processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from conda2wheel.errors import Failed
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.owner import open_state
from conda2wheel.mirror.run import rebuild
from conda2wheel.mirror.state.mirror_state import MirrorState, StateCorruptedError
from conda2wheel.mirror.state.process_lock import process_lock
from conda2wheel.mirror.store.base import Store
from conda2wheel.serve.jobs import JobQueue

T = TypeVar("T")


class ServiceState:
    """Runs functions of the state and the queue, one after the other.

    Args:
        config: the configuration.
        store: from which a state that is missing or damaged is rebuilt, as a run of the mirror would.
        log: called with lines for people.
    """

    def __init__(self, config: MirrorConfig, store: Store, log: Callable[[str], None]) -> None:
        self._config, self._store, self._log = config, store, log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="conda2wheel-state")
        self._open: tuple[MirrorState, JobQueue] | None = None

    async def __call__(self, work: Callable[[MirrorState, JobQueue], T]) -> T:
        """Return what a function of the state and the queue returns. Raises `Failed` (state, disk)."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    async def close(self) -> None:
        """Close the files, after what was asked for before."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _run(self, work: Callable[[MirrorState, JobQueue], T]) -> T:
        if self._open is None:
            self._open = self._connect()
        return work(*self._open)

    def _connect(self) -> tuple[MirrorState, JobQueue]:
        path = self._config.state
        try:
            if not path.exists():
                self._rebuild(lambda: not path.exists())
            state = open_state(self._config, record=True)
        except StateCorruptedError as damage:
            self._log(f"{damage.message}; the file is kept under another name")
            self._rebuild(lambda: True)
            state = open_state(self._config, record=True)
        try:
            return state, JobQueue(path)
        except BaseException:
            state.close()
            raise

    def _rebuild(self, is_needed: Callable[[], bool]) -> None:
        try:
            with process_lock(self._config.state, time.time()):
                if is_needed():
                    rebuild(self._config, self._store, self._log)
        except Failed as error:
            if error.code != "busy":  # a run of the mirror is doing just that
                raise

    def _close(self) -> None:
        if self._open is not None:
            for each in self._open:
                each.close()
            self._open = None
