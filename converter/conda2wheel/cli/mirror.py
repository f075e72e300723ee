"""`conda2wheel mirror`: mirror a whole channel as an index of wheels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli.messages import Level, console, echo, exit_status, print_error, print_json, settings, wrong_use
from conda2wheel.cli.options import Json

if TYPE_CHECKING:
    from conda2wheel.mirror.config import MirrorConfig

app = typer.Typer(
    name="mirror",
    help="Mirror a whole channel as an index of wheels.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration: mirror.toml.", show_default=False)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show complete lists.")]
DEFAULT = Path("mirror.toml")


@app.callback()
def _group() -> None:
    """Mirror a whole channel as an index of wheels, and keep it up to date."""


@contextmanager
def _errors(verbose: bool = False) -> Iterator[None]:
    """Print an error as one line, and exit with its status."""
    from conda2wheel.errors import Conda2WheelError, unexpected_as_failed

    try:
        with unexpected_as_failed("mirror"):
            yield
    except Conda2WheelError as error:
        print_error(error, verbose)
        raise typer.Exit(exit_status(error)) from None


def _load(config: Path) -> MirrorConfig:
    from conda2wheel.mirror.config import load

    with wrong_use():
        return load(config)


def _log(line: str) -> None:
    from conda2wheel.files.escape import printable

    echo(f"conda2wheel: {printable(line)}", err=True)


@app.command()
def init(path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")] = DEFAULT) -> None:
    """Write a commented configuration."""
    from conda2wheel.mirror import operations

    with _errors():
        echo(str(operations.init(path)))


@app.command()
def run(
    config: ConfigFile,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Worker processes, instead of [work] workers; 0: one for each core.")
    ] = None,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Convert on the Dask cluster of this scheduler.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=0, help="Convert only the first N items, to try.")] = None,
    no_publish: Annotated[bool, typer.Option("--no-publish", help="Convert, but leave the index as it is.")] = False,
    accept_vanished: Annotated[
        bool,
        typer.Option("--accept-vanished", help="Continue though most packages of a channel are gone; their wheels are yanked."),
    ] = False,
    stamps: Annotated[bool, typer.Option("--stamps", help="Print the time of day before each line of the progress.")] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Update the mirror: list the channels, convert what is new, publish and report.

    Prints the report on stdout. Exit status: 0 nothing needs attention, 1 something does, 2 the configuration is wrong.
    """
    from conda2wheel.mirror.report.progress import show_progress
    from conda2wheel.mirror.report.text import show
    from conda2wheel.mirror.run import RunOptions, make_executor
    from conda2wheel.mirror.run import run as mirror

    with _errors(verbose):
        loaded = _load(config)
        options = RunOptions(
            executor=make_executor(loaded, workers, dask),
            limit=limit,
            publish=not no_publish,
            accept_vanished=accept_vanished,
            log=_log,
            show_progress=lambda total: show_progress(total, stamps=stamps, quiet=not settings.shows(Level.INFO)),
        )
        report = mirror(loaded, options)
    if json:
        print_json(report.json(), indent=None)
    else:
        show(report, console(), every=verbose)
    raise typer.Exit(report.exit_status)


@app.command()
def plan(config: ConfigFile, json: Json = False, verbose: Verbose = False) -> None:
    """Show what a run would do, and why. Writes nothing."""
    from conda2wheel.mirror import operations

    with _errors(verbose):
        found = operations.plan_run(_load(config))
    if json:
        print_json(operations.plan_json(found), indent=None)
        return
    for line in operations.plan_lines(found, every=verbose):
        echo(line)


@app.command()
def status(config: ConfigFile, json: Json = False) -> None:
    """Show the mirror's status: counts, waiting and quarantined packages, the current generation, and an active run."""
    from conda2wheel.mirror import operations

    with _errors():
        found = operations.status(_load(config))
    if json:
        print_json(found.json())
        return
    for line in found.lines():
        echo(line)


@app.command()
def retry(
    config: ConfigFile,
    specs: Annotated[list[str] | None, typer.Argument(metavar="SPEC", help="Match specs.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All failed and quarantined packages.")] = False,
) -> None:
    """Make the next run retry packages that failed, are quarantined, or (with SPEC) were refused. Prints them."""
    from conda2wheel.mirror import operations

    if bool(specs) == every:
        raise typer.BadParameter("give match specs, or --all", param_hint="SPEC")
    with _errors():
        loaded = _load(config)
        labels = sorted({label for spec in specs or ["all"] for label in operations.retry(loaded, spec)})
    for label in labels:
        echo(label)
    if not labels:
        _log("nothing to retry: none of these packages failed or was refused" if specs else "nothing to retry: no package failed")


@app.command()
def publish(config: ConfigFile) -> None:
    """Publish all wheels in the state, without listing or converting. Prints the current generation."""
    from conda2wheel.mirror import operations

    with _errors():
        result = operations.republish(_load(config))
    if result.withdrawn:
        _log("a rollback withdrew this very index; it is not published again until another one was")
    for entry in result.missing:
        _log(f"{entry.wheel.filename} is not in the store; the next run converts it again")
    echo(result.generation)


@app.command()
def rollback(
    config: ConfigFile,
    generation: Annotated[str | None, typer.Argument(metavar="GENERATION", help="The generation; none: list them.")] = None,
    json: Json = False,
) -> None:
    """Make an earlier generation the current one, or list the generations."""
    from conda2wheel.mirror import operations

    with _errors():
        loaded = _load(config)
        if generation is not None:
            before = operations.status(loaded).generation
            echo(operations.roll_back(loaded, generation))
            if generation == before:
                _log("it is the current generation; nothing was changed")
            return
        found = operations.list_generations(loaded)
    if json:
        print_json({"schema": operations.SCHEMA, "kind": "mirror-generations", "generations": found})
        return
    for line in operations.generation_lines(found):
        echo(line)
    if not found:
        _log("nothing is published")


@app.command()
def gc(config: ConfigFile, json: Json = False) -> None:
    """Remove generations and wheels that are no longer needed."""
    from conda2wheel.mirror import operations

    with _errors():
        removed = operations.collect_garbage(_load(config))
    if json:
        print_json({"schema": operations.SCHEMA, "kind": "mirror-gc", **operations.removed_json(removed)})
    else:
        echo(operations.removed_line(removed))


@app.command()
def report(
    config: ConfigFile,
    json: Json = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as JUnit XML.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page, with its style and script beside it.")
    ] = None,
    metrics: Annotated[Path | None, typer.Option(metavar="FILE", help="Write Prometheus metrics.")] = None,
) -> None:
    """Print the last run's report, or write it to files. Exit status: that of the run."""
    from conda2wheel.mirror import operations

    with _errors():
        loaded = _load(config)
        operations.copy_report(loaded, junit=junit, html=html, metrics=metrics)
        if json or not (junit or html or metrics):
            text = operations.last_report(loaded, "report.json" if json else "report.txt").decode("utf-8", "replace")
            echo(text.removesuffix("\n"))
        status = operations.last_status(loaded)
    raise typer.Exit(status)
