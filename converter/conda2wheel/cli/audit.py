"""`conda2wheel audit`: would it run there, and every reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, MaxMembers, MaxMemberSize, MaxRatio, MaxSize, complaint, limits, print_json, require_places

if TYPE_CHECKING:
    from rich.console import Console

    from conda2wheel.audit import Audited

REASON = 110  # characters of a reason in the matrix
SHOWN = 12  # findings of one input in the table; --verbose and --json have all


def audit(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Wheels, folders of wheels, conda packages, side modules.", show_default=False),
    ],
    platform: Annotated[str, typer.Option(metavar="auto|TAG|PYODIDE", help="A platform tag or a Pyodide version.")] = "auto",
    find_links: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="A folder of wheels that are installed beside: their libraries count. Repeatable."),
    ] = None,
    libdir: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Where a package's NEEDED libraries may be found. Repeatable.")
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the findings as SARIF 2.1.0 for CI, too; - is stdout.")
    ] = None,
    json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every finding, and notes.")] = False,
    max_members: MaxMembers = None,
    max_size: MaxSize = None,
    max_member_size: MaxMemberSize = None,
    max_ratio: MaxRatio = None,
) -> None:
    """Say whether wheels would run in a Pyodide, and every reason why not.

    Nothing is run and nothing is written. Exit status: 0 they would run, 1 one would not, 2 the command line is wrong.
    """
    import sys

    from rich.console import Console

    from conda2wheel.abi.platforms import parse
    from conda2wheel.audit import Audited, audit_each
    from conda2wheel.outcome import Conda2WheelError, document, error_json

    if platform != "auto" and parse(platform) is None:
        raise typer.BadParameter(
            f"{platform!r} is neither auto, nor a platform tag, nor a Pyodide version", param_hint="--platform"
        )
    require_places(libdir or ())
    for folder in find_links or ():
        if not Path(folder).is_dir():
            raise typer.BadParameter(f"{folder}: no such folder", param_hint="--find-links")
    if json and str(sarif) == "-":
        raise typer.BadParameter("stdout cannot be both JSON and SARIF", param_hint="--sarif")
    bounds = limits(max_members, max_size, max_member_size, max_ratio)
    results = audit_each(paths, platform=platform, find_links=find_links or (), libdirs=libdir or (), limits=bounds)
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 240)
    entries = []
    for result in results:
        if isinstance(result, Conda2WheelError):
            typer.echo(complaint(result), err=True)
            entries.append({**error_json(_source(result), result, 0.0), "ok": False})
            continue
        entries.append(result.json())
        for warning in result.warnings:
            typer.echo(f"conda2wheel: warning: {result.source}: {warning.message} [{warning.code}]", err=True)
        if not json and str(sarif) != "-":
            _show(console, result, verbose)
    if json:
        print_json(document(entries))
    audited = [result for result in results if isinstance(result, Audited)]
    if sarif is not None:
        _write_sarif(sarif, audited)
    raise typer.Exit(0 if len(audited) == len(results) and all(result.ok for result in audited) else 1)


def _source(error: Exception) -> str:
    """What was given, as the message begins with it."""
    return getattr(error, "message", str(error)).partition(": ")[0]


def _write_sarif(target: Path, audited: list[Audited]) -> None:
    import json

    from conda2wheel.sarif import sarif
    from conda2wheel.wheel.archive import write_file

    text = json.dumps(sarif(audited), indent=2) + "\n"
    if str(target) == "-":
        typer.echo(text, nl=False)
    else:
        write_file(target, lambda: iter([text.encode()]))


def _show(console: Console, result: Audited, verbose: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from conda2wheel.abi.findings import Severity

    console.print(f"[bold]{escape(result.line())}[/bold]")
    findings = [finding for finding in result.findings if verbose or finding.severity is not Severity.NOTE]
    if findings:
        table = Table("severity", "code", "module", "what", box=None, pad_edge=False)
        for finding in findings if verbose else findings[:SHOWN]:
            what = finding.message + (f" ({finding.hint})" if finding.hint and verbose else "")
            table.add_row(f"  {finding.severity}", finding.code, escape(finding.module), escape(what))
        console.print(table)
    hidden = len(result.findings) - (len(findings) if verbose else min(len(findings), SHOWN))
    if hidden:
        console.print(f"  and {hidden} more (-v shows all)")
    if result.matrix:
        table = Table("Pyodide", "platform", "runs", "code", "why not", box=None, pad_edge=False)
        for row in result.matrix:
            reason = row.reason if verbose or len(row.reason) <= REASON else row.reason[:REASON] + "..."
            table.add_row(f"  {row.pyodide}", row.platform, "yes" if row.runs else "no", row.code, escape(reason))
        console.print(table)
