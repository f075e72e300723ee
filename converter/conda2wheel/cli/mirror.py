"""`conda2wheel mirror`: a whole channel as an index of wheels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from conda2wheel.cli.messages import error_line, print_json
from conda2wheel.cli.options import Json

app = typer.Typer(
    name="mirror",
    help="A whole channel as an index.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration: mirror.toml.", show_default=False)]
Every = Annotated[bool, typer.Option("--verbose", "-v", help="Show whole lists, and each step.")]
DEFAULT = Path("mirror.toml")


@app.callback()
def _group() -> None:
    """A whole channel as an index of wheels, every night, whatever happens."""


@contextmanager
def _told() -> Iterator[None]:
    """Accidents in one line."""
    from conda2wheel.errors import Conda2WheelError

    try:
        yield
    except Conda2WheelError as error:
        typer.echo(error_line(error), err=True)
        raise typer.Exit(2 if error.code == "usage" else 1) from None


def _say(line: str) -> None:
    from conda2wheel.files.escape import printable

    typer.echo(f"conda2wheel: {printable(line)}", err=True)


@app.command()
def init(path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")] = DEFAULT) -> None:
    """Write a commented configuration to begin with."""
    from conda2wheel.mirror import operations as manage

    with _told():
        typer.echo(str(manage.init(path)))


@app.command()
def run(
    config: ConfigFile,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Worker processes, instead of [work] workers; 0: one a core.")
    ] = None,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Work on the Dask cluster of this scheduler.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=0, help="Work on the first N items only, to try.")] = None,
    no_publish: Annotated[bool, typer.Option("--no-publish", help="Convert, and leave the index as it is.")] = False,
    accept_vanished: Annotated[
        bool, typer.Option("--accept-vanished", help="Go on though most of a channel is gone: it is yanked.")
    ] = False,
    stamps: Annotated[bool, typer.Option("--stamps", help="Put the time of day before each line, for plain logs.")] = False,
    json: Json = False,
    verbose: Every = False,
) -> None:
    """Do what is to be done: read the channels, convert what is new, publish, report.

    Prints the report on stdout. Exit status: 0 nothing to look at, 1 a person must look, 2 the configuration is wrong.
    """
    from rich.console import Console

    from conda2wheel.mirror.config import load
    from conda2wheel.mirror.report.progress import show_progress
    from conda2wheel.mirror.report.text import show
    from conda2wheel.mirror.run import RunOptions, executor
    from conda2wheel.mirror.run import run as mirror

    with _told():
        loaded = load(config)
        options = RunOptions(
            executor=executor(loaded, workers, dask),
            limit=limit,
            publish=not no_publish,
            accept_vanished=accept_vanished,
            tell=_say,
            show_progress=lambda total: show_progress(total, stamps=stamps),
        )
        report = mirror(loaded, options)
    if json:
        print_json(report.json())
    else:
        show(report, Console(), every=verbose)
    raise typer.Exit(report.exit_status)


@app.command()
def plan(config: ConfigFile, json: Json = False, verbose: Every = False) -> None:
    """Say what a run would do, and why. Nothing is written."""
    from conda2wheel.mirror import operations as manage
    from conda2wheel.mirror.config import load

    with _told():
        found = manage.look(load(config))
    if json:
        print_json(manage.plan_json(found))
        return
    for line in manage.plan_lines(found, every=verbose):
        typer.echo(line)


@app.command()
def status(config: ConfigFile, json: Json = False) -> None:
    """Say how the mirror stands: counts, what waits, what was put aside, what is published, who is at work."""
    from conda2wheel.mirror import operations as manage
    from conda2wheel.mirror.config import load

    with _told():
        found = manage.status(load(config))
    if json:
        print_json(found.json())
        return
    for line in found.lines():
        typer.echo(line)


@app.command()
def retry(
    config: ConfigFile,
    specs: Annotated[list[str] | None, typer.Argument(metavar="SPEC...", help="Match specs.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All that failed or were put aside.")] = False,
) -> None:
    """Have the next run try again what failed, was put aside, or (with SPEC) was refused. Prints what that is."""
    from conda2wheel.mirror import operations as manage
    from conda2wheel.mirror.config import load

    if bool(specs) == every:
        raise typer.BadParameter("give match specs, or --all", param_hint="SPEC...")
    with _told():
        loaded = load(config)
        for label in sorted({label for spec in specs or ["all"] for label in manage.retry(loaded, spec)}):
            typer.echo(label)


@app.command()
def publish(config: ConfigFile) -> None:
    """Publish what the state has, without reading channels or converting. Prints the generation that counts."""
    from conda2wheel.mirror import operations as manage
    from conda2wheel.mirror.config import load

    with _told():
        done = manage.republish(load(config))
    if done.held:
        _say("a rollback took this very index away; it stays away until another one is published")
    for entry in done.missing:
        _say(f"{entry.wheel.filename} is not in the store; the next run makes it again")
    typer.echo(done.generation)


@app.command()
def rollback(
    config: ConfigFile,
    generation: Annotated[str | None, typer.Argument(metavar="GENERATION", help="Where to; none: list them.")] = None,
    json: Json = False,
) -> None:
    """Go back to a generation, or list those that there are."""
    from conda2wheel.mirror import operations as manage
    from conda2wheel.mirror.config import load

    with _told():
        loaded = load(config)
        if generation is not None:
            typer.echo(manage.back(loaded, generation))
            return
        found = manage.kept(loaded)
    if json:
        print_json({"schema": manage.SCHEMA, "kind": "mirror-generations", "generations": found})
        return
    for line in manage.generation_lines(found):
        typer.echo(line)


@app.command()
def gc(config: ConfigFile, json: Json = False) -> None:
    """Remove generations and wheels that nobody needs any more."""
    from conda2wheel.mirror import operations as manage
    from conda2wheel.mirror.config import load

    with _told():
        swept = manage.sweep(load(config))
    if json:
        print_json({"schema": manage.SCHEMA, "kind": "mirror-gc", **manage.swept_json(swept)})
    else:
        typer.echo(manage.swept_line(swept))


@app.command()
def report(
    config: ConfigFile,
    json: Json = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as JUnit XML.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page, its style and its script beside it.")] = None,
    metrics: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what Prometheus reads from a file.")] = None,
) -> None:
    """Give the last run's report again, on stdout or in files. Exit status: as the run's."""
    from conda2wheel.mirror import operations as manage
    from conda2wheel.mirror.config import load

    with _told():
        loaded = load(config)
        manage.copy_report(loaded, junit=junit, html=html, metrics=metrics)
        if json or not (junit or html or metrics):
            typer.echo(manage.last_report(loaded, "report.json" if json else "report.txt"), nl=False)
        raise typer.Exit(manage.last_status(loaded))
