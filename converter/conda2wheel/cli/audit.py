"""`conda2wheel audit`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import (
    Noted,
    console,
    echo,
    exit_status,
    noted_before,
    print_error,
    print_json,
    print_warnings,
    unused_by_all,
)

if TYPE_CHECKING:
    from conda2wheel.commands.audit_result import Audited
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.files.packagefile import Limits

STDOUT = "-"


class FailOn(StrEnum):
    """The values of --fail-on: severities of findings, repeated here because importing them would slow `--help` down."""

    LOAD = "load"
    FATAL = "fatal"
    SUSPICIOUS = "suspicious"


class ForIndex(StrEnum):
    """The values of --for."""

    PYPI = "pypi"


WIDTH = 130  # columns of a table where stderr is no terminal


@options.with_limits
def audit(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Wheels, folders of wheels, conda packages, side modules.", show_default=False),
    ],
    platform: options.TargetPlatform = "auto",
    find_links: options.FindLinks = None,
    libdir: options.Libdirs = None,
    exclude: options.Exclude = None,
    for_index: Annotated[
        ForIndex | None,
        typer.Option(
            "--for", metavar="pypi", help="Also say what PyPI would refuse of the wheels, and exit with status 1 if it does."
        ),
    ] = None,
    sarif: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the findings as SARIF 2.1.0 to this file; - is stdout.")
    ] = None,
    fail_on: Annotated[
        FailOn,
        typer.Option(metavar="load|fatal|suspicious", help="Exit with status 1 from this severity on; notes never count."),
    ] = FailOn.FATAL,
    offline: options.Offline = False,
    as_json: options.Json = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every finding, notes and the matrix, and tracebacks of bugs.")
    ] = False,
    *,
    limits: Limits,
) -> None:
    """Say whether wheels run in Pyodide, run except for some functions, or do not load, and every reason why.

    The wheels are not run. Prints one verdict per line on stdout; the findings go to stderr. Exit status: 0 all run, 1 one has a
    finding of the severity of --fail-on or a worse one or would be refused by the index of --for, 2 wrong command line.
    """
    from conda2wheel.abi.audit.findings import Severity
    from conda2wheel.cli.progress import show_progress
    from conda2wheel.commands.audit import audit_each
    from conda2wheel.commands.audit_result import Audited, summary_lines
    from conda2wheel.results import document, error_json

    options.require_platform(platform)
    options.require_libdirs(libdir or ())
    options.require_libdirs(find_links or (), "--find-links", urls=False)
    if as_json and sarif == STDOUT:
        raise typer.BadParameter("stdout cannot be both JSON and SARIF", param_hint="--sarif")
    tables = console(err=True, width=WIDTH)
    quiet = as_json or sarif == STDOUT
    with show_progress(len(paths), "auditing") as display:
        results = []
        downloads = options.downloads(offline, display)
        index: Literal["pypi"] | None = "pypi" if for_index else None
        for outcome in audit_each(
            paths,
            platform,
            find_links or (),
            libdirs=libdir or (),
            exclude=exclude or (),
            index=index,
            limits=limits,
            downloads=downloads,
        ):
            results.append(outcome)
            display.advance()
    entries = []
    audited: list[Audited] = []
    errors: list[tuple[str, Conda2WheelError]] = []
    noted: list[Noted] = []
    for source, result in results:
        if not isinstance(result, Audited):
            print_error(result, verbose)
            noted += noted_before(result, source)
            errors.append((source, result))
            entries.append({**error_json(source, result, 0.0), "ok": False})
            continue
        audited.append(result)
        entries.append(result.json())
        noted += [Noted.of(warning, result.source) for warning in result.warnings]
        if not quiet:
            echo(result.line())
            for table in result.tables(verbose):
                tables.print(table)
    print_warnings(unused_by_all(noted, sum(result.modules > 0 for result in audited)), verbose)
    if not quiet:
        for line in summary_lines(audited, len(errors), verbose):
            echo(f"conda2wheel: {line}", err=True)
    if as_json:
        print_json(document(entries))
    if sarif is not None:
        _write_sarif(sarif, audited, errors)
    severity = Severity(fail_on)
    good = all(result.passes(severity) for result in audited)
    raise typer.Exit(max(exit_status(*(error for _, error in errors)), 0 if good else 1))


def _write_sarif(target: str, audited: list[Audited], errors: list[tuple[str, Conda2WheelError]]) -> None:
    from conda2wheel.commands.sarif import sarif
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.files.json_text import json_text
    from conda2wheel.files.writing import write_file

    document = sarif(audited, errors)
    if target == STDOUT:
        print_json(document)
        return
    text = json_text(document, indent=2) + "\n"
    try:
        write_file(Path(target), lambda: iter([text.encode()]))
    except Conda2WheelError as error:
        print_error(error)
        raise typer.Exit(1) from None
