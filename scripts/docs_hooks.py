"""Hooks of the documentation's build: tables that follow from the code replace their markers.

A page has a marker of its own line, and the site has the table:

    <!-- options: mirror run -->    the arguments and options of a command
    <!-- refusals -->               the refusal codes, what they mean and what to do
    <!-- failures -->               the failure codes, what they mean and what to do
    <!-- retries -->                the classes of a mirror's failures, with their pauses
    <!-- engines -->                the WebAssembly features, with the first version of each engine that has them
    <!-- keys -->                   the options that have a variable and a key, by name
    <!-- api -->                    every name that `conda2wheel` exports
"""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MARKER = re.compile(r"^<!-- (options|refusals|failures|retries|engines|keys|api)(?:: ([^>]+?))? -->$", re.MULTILINE)
sys.path.insert(0, str(ROOT / "converter"))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs asks for each page's text before it renders it."""
    return MARKER.sub(lambda match: _TABLES[match[1]](match[2] or ""), markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """MkDocs has written the site: beside the schemas comes the description of the service's API."""
    import json
    import os
    import tempfile
    from unittest import mock

    from conda2wheel.serve.app import create_app
    from conda2wheel.serve.config import default
    from conda2wheel.serve.service import Service

    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"CONDA2WHEEL_DATA": folder}):
        document = create_app(Service(default())).api.openapi()
    place = Path(config["site_dir"]) / "reference" / "schemas" / "openapi.json"
    place.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def options(command: str) -> str:
    """What `conda2wheel COMMAND --help` prints."""
    from typer.testing import CliRunner

    from conda2wheel.cli import app

    words = command.split()
    shown = CliRunner(env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}).invoke(
        app, [*words, "--help"], prog_name="conda2wheel", catch_exceptions=False
    )
    return f"```text\n{shown.output.strip()}\n```"


def refusals(_: str) -> str:
    """The table of refusal codes."""
    return _codes("refused")


def failures(_: str) -> str:
    """The table of failure codes."""
    return _codes("failed")


def _codes(kind: str) -> str:
    from conda2wheel.errors import CODES

    rows = [_row(f"`{code}`", row.meaning, row.advice) for code, row in CODES.items() if row.kind == kind]
    return "\n".join(["| code | meaning | what to do |", "| --- | --- | --- |", *rows])


def retries(_: str) -> str:
    """The classes of a mirror's failures."""
    (path,) = (ROOT / "converter").rglob("retry.toml")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    rows = [
        _row(f"`{name}`", row["why"], *(str(row[key]) for key in ("base", "factor", "longest", "tries")))
        for name, row in table.items()
    ]
    head = "| class | meaning | first pause (s) | factor | longest pause (s) | tries |"
    return "\n".join([head, "| --- | --- | ---: | ---: | ---: | ---: |", *rows])


def engines(_: str) -> str:
    """The table of engines."""
    from conda2wheel.abi import engines

    every = engines.engines()
    rows = [
        _row(f"`{feature.feature}`", feature.words, *(feature.first(engine.key) or "–" for engine in every))
        for feature in engines.engine_features().values()
    ]
    for words, key in (("not reported: what it had in", "reported"), ("oldest with security updates", "maintained")):
        rows.append(_row("", f"*{words}*", *(str(getattr(engine, key)) for engine in every)))
    head = _row("feature", "what it is", *(engine.name for engine in every))
    return "\n".join([head, "| --- | --- |" + " ---: |" * len(every), *rows])


def keys(_: str) -> str:
    """The table of options, with the commands that have them."""
    import typer.main

    from conda2wheel.cli import app
    from conda2wheel.cli.defaults import may_be_found
    from conda2wheel.cli.habits import leaves, option_name, options_of

    having: dict[str, list[tuple[str, bool]]] = {}
    every = list(leaves(typer.main.get_command(app)))
    for words, command in every:
        for option in options_of(command):
            having.setdefault(option_name(option), []).append((" ".join(words), may_be_found(words, option)))
    rows = []
    for name, commands in sorted(having.items()):
        shown = "all" if len(commands) == len(every) else ", ".join(f"`{words}`" for words, _ in commands)
        by_project = [words for words, allowed in commands if allowed]
        allowed = "yes" if len(by_project) == len(commands) else f"of {', '.join(by_project)}" if by_project else "no"
        rows.append(_row(f"`{name}`", shown, allowed if len(commands) < len(every) else "yes, but for `mirror` and `serve`"))
    return "\n".join(["| key | commands | in a file that is found |", "| --- | --- | --- |", *rows])


def api(_: str) -> str:
    """mkdocstrings' directive for every exported name."""
    import conda2wheel

    names = [name for name in conda2wheel.__all__ if not name.startswith("__")]
    kinds: dict[str, list[str]] = {"Functions": [], "Classes": [], "Tables": []}
    for name in names:
        value = getattr(conda2wheel, name)
        kinds["Classes" if inspect.isclass(value) else "Functions" if callable(value) else "Tables"].append(name)
    parts = []
    for heading, those in kinds.items():
        parts += [f"## {heading}", *(f"::: conda2wheel.{name}" for name in those)] if those else []
    return "\n\n".join(parts)


def _row(*cells: str) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"


_TABLES = {
    "options": options,
    "refusals": refusals,
    "failures": failures,
    "retries": retries,
    "engines": engines,
    "keys": keys,
    "api": api,
}
