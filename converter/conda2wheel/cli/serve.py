"""`conda2wheel serve`: an index of wheels over HTTP that converts on demand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from conda2wheel.cli.messages import echo, exit_status, print_error, print_json, settings, wrong_use
from conda2wheel.cli.options import Json

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
token = typer.Typer(
    name="token",
    help="Make, list and revoke the tokens of a service.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
ServedConfig = Annotated[
    Path | None, typer.Option("--config", metavar="CONFIG", help="The service's configuration.", show_default=False)
]


class ServeCommand(TyperCommand):
    """`serve [CONFIG]`, and `serve token ...`: a group of commands has no optional argument of its own."""

    def __init__(self, *positional: Any, **attributes: Any) -> None:
        super().__init__(*positional, **attributes)
        self.groups = {"token": typer.main.get_command(token)}

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments; those after `token` are the other group's."""
        if args[:1] == ["token"]:
            context = self.groups["token"].make_context(f"{info_name} token", args[1:], parent, **extra)
            if parent is not None and parent.default_map:
                context.default_map = (parent.default_map.get(info_name) or {}).get("token")
            return context
        return super().make_context(info_name, args, parent, **extra)


@contextmanager
def _errors() -> Iterator[None]:
    """Print an error as one line, and exit with its status."""
    from conda2wheel.errors import Conda2WheelError

    try:
        yield
    except Conda2WheelError as error:
        print_error(error)
        raise typer.Exit(exit_status(error)) from None


@app.command(cls=ServeCommand)
def serve(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG]", help="The configuration: mirror.toml, with [serve] in it.", show_default=False),
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="HOST", help="Listen on this address; 127.0.0.1 if not given.")] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", min=0, max=65535, help="Listen on this port; 8000 if not given, 0: a free one.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="The store, a folder or a bucket, instead of [output] store.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Worker processes, instead of [work] workers; 0: one for each core.")
    ] = None,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Convert on the Dask cluster of this scheduler.")] = None,
) -> None:
    """Serve an index of wheels that converts on demand, until SIGTERM or Ctrl-C.

    Prints its address on stdout once it answers, and log lines on stderr. Without CONFIG: emscripten-forge-4x, a store in the
    user's data directory, and on loopback a second line: the page that converts files, with a token of this process. SIGHUP reads
    CONFIG again. `conda2wheel serve token` makes, lists and revokes tokens. Exit status: 0 it was asked to end, 1 it failed, 2
    the configuration is wrong.
    """
    from conda2wheel.errors import Failed

    with _errors():
        try:
            from conda2wheel.mirror.work.executors import DaskExecutor
            from conda2wheel.serve import config as configuration
            from conda2wheel.serve.logs import EventLog
            from conda2wheel.serve.run import serve as run
        except ModuleNotFoundError as error:
            name = (error.name or "").partition(".")[0]
            hint = "pip install 'conda2wheel-wasm[serve]'"
            raise Failed("dependency", f"the service needs {name}, which is not installed", hint) from None

        EventLog.least = settings.level.value

        def read() -> configuration.ServeConfig:
            with wrong_use():
                loaded = configuration.default() if config is None else configuration.load(config)
            if store is not None:
                loaded = configuration.with_store(loaded, store)
            loaded = replace(loaded, host=loaded.host if host is None else host, port=loaded.port if port is None else port)
            if workers is None:
                return loaded
            return replace(loaded, mirror=replace(loaded.mirror, work=replace(loaded.mirror.work, workers=workers)))

        run(read, None if dask is None else DaskExecutor(dask), echo, session=config is None)


@token.command()
def create(
    name: Annotated[str, typer.Option(metavar="NAME", help="What it is for.")],
    scope: Annotated[list[str], typer.Option(metavar="SCOPE", help="What it permits: read, convert, upload, audit. Repeatable.")],
    expires: Annotated[str, typer.Option(metavar="TIME", help="Its lifetime: 12h, 30d; or never.")] = "90d",
    config: ServedConfig = None,
    json: Json = False,
) -> None:
    """Make a token and print it. It is stored nowhere: only its digest is."""
    from conda2wheel.errors import Failed
    from conda2wheel.files.toml import parse_duration

    with _errors():
        try:
            lifetime = None if expires == "never" else parse_duration(expires)
        except ValueError as error:
            raise Failed("usage", f"--expires: {error}", "or never") from None
        text, made = _tokens(config).create(name, scope, time.time(), lifetime)
    if json:
        print_json({"schema": _schema(), "kind": "serve-token", "token": text, **made.json()})
    else:
        echo(text)


@token.command("list")
def list_tokens(config: ServedConfig = None, json: Json = False) -> None:
    """List the tokens, the oldest first."""
    with _errors():
        now = time.time()
        found = [{**each.json(), "expired": each.expired(now)} for each in _tokens(config).tokens()]
    if json:
        print_json({"schema": _schema(), "kind": "serve-tokens", "tokens": found})
        return
    for each in found:
        ends = "never expires" if each["expires"] is None else f"{'expired' if each['expired'] else 'expires'} {each['expires']}"
        echo(f"{each['id']}  {','.join(each['scopes'])}  {ends}  {each['name']}")


@token.command()
def revoke(
    number: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `list` prints it.")], config: ServedConfig = None
) -> None:
    """Revoke a token: running services know it at the next request."""
    with _errors():
        _tokens(config).revoke(number)


def _tokens(config: Path | None) -> Any:
    from conda2wheel.serve import config as configuration
    from conda2wheel.serve.tokens import TokenFolder

    with wrong_use():
        loaded = configuration.default() if config is None else configuration.load(config)
    return TokenFolder(loaded.token_folder)


def _schema() -> int:
    from conda2wheel.results import SCHEMA_VERSION

    return SCHEMA_VERSION
