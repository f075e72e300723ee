"""Where a report goes: beside the state, into the store, to Prometheus, and to who wants to be told.

A report that cannot be delivered changes nothing of what the run came to; it is told.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from conda2wheel.errors import Failed
from conda2wheel.files.writing import write_file
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.publish.pyodide_locks import runtimes_of
from conda2wheel.mirror.report.formats import files, json_text, metrics, write_metrics
from conda2wheel.mirror.report.model import MirrorReport
from conda2wheel.mirror.report.pages import pages
from conda2wheel.mirror.store.base import Store
from conda2wheel.net.cache import cache_folder
from conda2wheel.net.download import redacted
from conda2wheel.pyodide.lock import Runtime

Log = Callable[[str], None]
PLACE = "report"  # in a store: not among the generation's files, since a run that changes no index has a report as well
METRICS = "metrics.prom"
STDERR = 2  # stdout is the result's alone
PATIENCE = 60.0  # seconds for a command or a webhook
WHOLE = ("items", "missing")  # what a summary leaves out


def folder(config: MirrorConfig) -> Path:
    """Where the last report lies: STATE.report beside the state."""
    return config.state.with_suffix(".report")


def runtimes(entries: Iterable[IndexEntry], tell: Log) -> tuple[Runtime, ...]:
    """The newest Pyodide of each platform in the index, whose packages count as there. One that cannot be had is told."""
    from conda2wheel.pyodide.fetch import pyodide
    from conda2wheel.pyodide.node import find_node

    found = []
    for known in runtimes_of(entries):
        try:
            found.append(pyodide(known.version, find_node(), cache_folder()))
        except Failed as error:
            tell(f"what is missing for Pyodide {known.version} is not told: {error.message}")
    return tuple(found)


def deliver(report: MirrorReport, config: MirrorConfig, store: Store | None, tell: Log) -> None:
    """Write a report where it belongs and tell who wants to know. `store` None: into no store."""
    made = files(report)
    place = folder(config)
    _try(tell, lambda: _write(place, {**made, METRICS: metrics(report).encode("utf-8", "replace")}))
    if config.notify.metrics is not None:
        path = config.notify.metrics
        _try(tell, lambda: write_metrics(report, path))
    if store is not None:
        served = {**made, "report.html": pages(report.json(), root="../")["report.html"]}
        _try(tell, lambda: store.put_all((f"{PLACE}/{name}", data) for name, data in served.items()))
    if config.notify.when == "always" or report.exit_status:
        notify(report, config, tell)


def notify(report: MirrorReport, config: MirrorConfig, tell: Log) -> None:
    """Run the command and call the webhook of [notify]. What goes wrong is told."""
    if config.notify.command:
        _command(config.notify.command, report, folder(config) / "report.json", tell)
    if config.notify.webhook is not None:
        _post(config.notify.webhook, summary(report), tell)


def summary(report: MirrorReport) -> dict[str, Any]:
    """A report without its long lists."""
    return {key: value for key, value in report.json().items() if key not in WHOLE}


def _command(words: Sequence[str], report: MirrorReport, path: Path, tell: Log) -> None:
    told = {
        "CONDA2WHEEL_REPORT": str(path),
        "CONDA2WHEEL_STATUS": str(report.exit_status),
        "CONDA2WHEEL_GENERATION": report.generation or "",
    }
    try:
        ended = subprocess.run(
            list(words),
            input=json_text(report).encode(),
            stdout=STDERR,
            env={**os.environ, **told},
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        tell(f"[notify] command: {error}")
        return
    if ended.returncode:
        tell(f"[notify] command: {words[0]} ended with {ended.returncode}")


def _post(url: str, document: dict[str, Any], tell: Log) -> None:
    import requests

    headers = {"Content-Type": "application/json"}
    try:
        answer = requests.post(url, data=json.dumps(document), headers=headers, timeout=PATIENCE, allow_redirects=False)
    except requests.RequestException as error:
        tell(f"[notify] webhook: {redacted(url)}: {type(error).__name__}")
        return
    if not answer.ok or answer.is_redirect:
        tell(f"[notify] webhook: {redacted(url)} answered {answer.status_code}")


def _write(place: Path, made: dict[str, bytes]) -> None:
    for name, data in made.items():
        write_file(place / name, partial(iter, (data,)))


def _try(tell: Log, act: Callable[[], object]) -> None:
    try:
        act()
    except Failed as error:
        tell(f"the report: {error.message}")
