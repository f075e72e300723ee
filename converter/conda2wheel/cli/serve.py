"""`conda2wheel serve`: an index of wheels over HTTP that converts on demand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from conda2wheel.cli.messages import error_line


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
) -> None:
    """Serve an index of wheels that converts on demand, until SIGTERM or Ctrl-C.

    Prints its address on stdout once it answers, and log lines on stderr. Without CONFIG: emscripten-forge-4x, and a store in the
    user's data directory. Exit status: 0 it was asked to end, 1 it failed, 2 the configuration is wrong.
    """
    from conda2wheel.errors import Conda2WheelError, Failed

    try:
        try:
            from conda2wheel.serve import config as configuration
            from conda2wheel.serve.run import serve as run
        except ModuleNotFoundError as error:
            name = (error.name or "").partition(".")[0]
            hint = "pip install 'conda2wheel-wasm[serve]'"
            raise Failed("dependency", f"the service needs {name}, which is not installed", hint) from None
        loaded = configuration.default() if config is None else configuration.load(config)
        if store is not None:
            loaded = configuration.with_store(loaded, store)
        given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
        run(replace(loaded, **given), typer.echo)  # type: ignore[arg-type]
    except Conda2WheelError as error:
        typer.echo(error_line(error), err=True)
        raise typer.Exit(2 if error.code == "usage" else 1) from None
