"""Distribute a report: beside the state, into the store, to Prometheus, and to the command and webhook of [notify].

A report that cannot be written or sent is logged; it does not change the outcome of the run.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conda2wheel.errors import Failed
from conda2wheel.files.writing import write_file
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.publish.pyodide_locks import runtimes_of
from conda2wheel.mirror.report.formats import files_below, json_text, metrics, write_metrics
from conda2wheel.mirror.report.model import MirrorReport
from conda2wheel.mirror.store.base import Store
from conda2wheel.net.cache import cache_folder
from conda2wheel.net.urls import redacted
from conda2wheel.pyodide.lock import Runtime

Log = Callable[[str], None]
STORE_FOLDER = "report"  # not in a generation: a run that leaves the index unchanged has a report as well
METRICS = "metrics.prom"
STDERR = 2  # the command's output goes here: stdout is for the result alone
TIMEOUT = 60.0  # seconds for a command or a webhook
LONG_LISTS = ("items", "missing", "left_out_records")  # not in a summary


def report_folder(config: MirrorConfig) -> Path:
    """The folder of the last report: STATE.report beside the state."""
    return config.state.with_suffix(".report")


def runtimes(entries: Iterable[IndexEntry], log: Log) -> tuple[Runtime, ...]:
    """The newest Pyodide of each platform in the index, with its packages. One that cannot be fetched is logged."""
    from conda2wheel.pyodide.fetch import pyodide

    found = []
    for runtime in runtimes_of(entries):
        try:
            found.append(pyodide(runtime.version, cache_folder()))
        except Failed as error:
            log(f"the report does not say what is missing for Pyodide {runtime.version}: {error.message}")
    return tuple(found)


def distribute(report: MirrorReport, config: MirrorConfig, store: Store | None, log: Log) -> None:
    """Write a report to its folder, the metrics file and the store (None: to no store), and send it to [notify]."""
    contents, served = files_below(report, ("", "../"))  # beside the state; in the store, whose report/ is below its top
    folder = report_folder(config)
    _try(log, lambda: _write(folder, {**contents, METRICS: metrics(report).encode("utf-8", "replace")}))
    if config.notify.metrics is not None:
        path = config.notify.metrics
        _try(log, lambda: write_metrics(report, path))
    if store is not None:
        _try(log, lambda: store.put_all((f"{STORE_FOLDER}/{name}", data) for name, data in served.items()))
    if config.notify.when == "always" or report.exit_status:
        notify(report, config, log)


def notify(report: MirrorReport, config: MirrorConfig, log: Log) -> None:
    """Run the command and call the webhook of [notify]; errors are logged."""
    if config.notify.command:
        _run_command(config.notify.command, report, report_folder(config) / "report.json", log)
    if config.notify.webhook is not None:
        _post(config.notify.webhook, summary(report), log)


def summary(report: MirrorReport) -> dict[str, Any]:
    """A report without its long lists."""
    return {key: value for key, value in report.json().items() if key not in LONG_LISTS}


def _run_command(words: Sequence[str], report: MirrorReport, path: Path, log: Log) -> None:
    variables = {
        "CONDA2WHEEL_REPORT": str(path),
        "CONDA2WHEEL_STATUS": str(report.exit_status),
        "CONDA2WHEEL_GENERATION": report.generation or "",
    }
    try:
        ended = subprocess.run(
            list(words),
            input=json_text(report).encode(),
            stdout=STDERR,
            env={**os.environ, **variables},
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log(f"[notify] command: {error}")
        return
    if ended.returncode:
        log(f"[notify] command: {words[0]} ended with {ended.returncode}")


def _post(url: str, document: dict[str, Any], log: Log) -> None:
    import requests

    parts = urlsplit(redacted(url))
    shown = f"{parts.scheme}://{parts.netloc}"  # the path of a webhook's address often is its password
    headers = {"Content-Type": "application/json"}
    try:
        answer = requests.post(url, data=json.dumps(document), headers=headers, timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        log(f"[notify] webhook: {shown}: {type(error).__name__}")
        return
    if not answer.ok or answer.is_redirect:
        log(f"[notify] webhook: {shown} answered {answer.status_code}")


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        write_file(folder / name, partial(iter, (data,)))


def _try(log: Log, action: Callable[[], object]) -> None:
    try:
        action()
    except Failed as error:
        log(f"the report: {error.message}")
