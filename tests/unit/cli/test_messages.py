"""Every text of a package is shown escaped, warnings are folded, and streams that cannot be written end a command cleanly."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from conda2wheel.cli.messages import Noted, error_line, warning_lines
from conda2wheel.errors import Failed
from conda2wheel.files.json_text import json_text
from conda2wheel.files.terminal import PlainConsole
from conda2wheel.results import ConversionWarning
from tests.helpers import command, sets
from tests.helpers.cache import REPOSITORY

CLI = [sys.executable, "-m", "conda2wheel"]
SOURCES = REPOSITORY / "converter" / "conda2wheel"
HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202e\u2066[bold]b[/bold][link=x:]l[/link]:smile:"


@pytest.mark.parametrize("path", sorted((SOURCES / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_the_command_line_prints_in_one_place_only(path: Path) -> None:
    if path.stem == "messages":
        return
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names = {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in calls}
    assert not names & {"secho", "Console", "print_exception"}, names
    assert not [node for node in calls if isinstance(node, ast.Name) and node.id == "print"]
    assert not [node for node in calls if isinstance(node, ast.Attribute) and ast.unparse(node) == "typer.echo"]


def test_a_console_shows_markup_emoji_codes_and_controls_as_they_are() -> None:
    shown = io.StringIO()
    console = PlainConsole(file=shown, width=200, force_terminal=True)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    console.print(table, style="none")
    console.print(HOSTILE)
    text = shown.getvalue()
    assert text.count("[bold]b[/bold][link=x:]l[/link]:smile:") == 4
    assert text.count("\\x1b[31mred\\x1b]0;title\\x07\\x9b2J\\u202e\\u2066") == 4
    for part in ("\x1b[31m", "\x07", "\x9b", "\u202e", "\u2066", "\x1b]"):
        assert part not in text


def test_warnings_of_one_code_are_one_line() -> None:
    noted = [Noted(ConversionWarning(code, f"about {number}"), (f"{number}-1.whl",)) for number, code in enumerate("aabcaaa")]
    assert list(warning_lines(noted)) == [
        "conda2wheel: warning: 0, 1, 4 and 2 more: 5 warnings, such as: about 0 [a; -v shows all]",
        "conda2wheel: warning: 2-1.whl: about 2 [b]",
        "conda2wheel: warning: 3-1.whl: about 3 [c]",
    ]
    assert len(list(warning_lines(noted, verbose=True))) == len(noted)
    same = [Noted(ConversionWarning("a", "the same"), (f"/x/{name}.whl",)) for name in ("one", "two")]
    assert list(warning_lines(same)) == ["conda2wheel: warning: one.whl, two.whl: 2 warnings: the same [a; -v shows all]"]
    assert list(warning_lines([Noted(ConversionWarning("a", "text"))] * 2)) == ["conda2wheel: warning: text [a]"]


def test_folded_warnings_are_short_and_all_is_there_with_v() -> None:
    url = f"https://example.org/{'x' * 80}/some-1.0.conda"
    noted = [Noted(ConversionWarning("a", f"{name}: {url} is {'ab' * 32} {'y' * 300}")) for name in "ab"]
    (line,) = warning_lines(noted)
    assert len(line) < 260
    assert "a: https://example.org/.../some-1.0.conda is abababababab... yyy" in line
    whole = list(warning_lines(noted, verbose=True))
    assert all(url in each and "ab" * 32 in each and "y" * 300 in each for each in whole)
    (long,) = warning_lines([Noted(ConversionWarning("a", "z" * 200), ("demo-1.0-cp313-cp313-any.whl", "demo/_x.so"))])
    assert long == f"conda2wheel: warning: demo: demo/_x.so: {'z' * 200} [a]"
    (one,) = warning_lines(noted[:1])
    assert "y" * 300 in one


def test_an_error_keeps_its_url_and_shortens_its_hash() -> None:
    url = f"https://example.org/{'x' * 80}/some-1.0.conda"
    error = Failed("network", f"{url}: its sha256 is {'ab' * 32}")
    assert error_line(error, whole=False) == f"conda2wheel: error: network: {url}: its sha256 is abababababab..."
    assert "ab" * 32 in error_line(error)


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False), ({"NO_COLOR": "1"}, False)],
)
def test_errors_and_warnings_are_coloured_where_that_is_wanted(environ: dict[str, str], coloured: bool, tmp_path: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    words = ("convert", sets.pure("one"), tmp_path / f"gone{HOSTILE[0]}[31m", "-o", tmp_path)
    done = command.run(*words, env={**bare, **environ})
    assert ("conda2wheel: \x1b[1;31merror:\x1b[0m not-found: " in done.stderr) is coloured
    assert done.stderr.count("\x1b") == (2 if coloured else 0)  # none of them is the name's
    assert "\x1b" not in done.stdout
    assert done.stderr.endswith("conda2wheel: 1 converted, 1 failed\n")


@pytest.mark.parametrize("ascii_only", [False, True])
def test_json_is_written_of_any_value(ascii_only: bool) -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    document = {"lone": "\udc80", ("a", 1): b"bytes", "long": 10**5000, "nan": float("nan"), "deep": nested, "text": HOSTILE}
    text = json_text(document, 2, ascii_only)
    assert text.replace("\n", "").isprintable()
    assert text.isascii() is ascii_only or not ascii_only
    read = json.loads(text)
    assert (read["lone"], read["nan"], read["text"]) == ("\\udc80", "nan", HOSTILE)
    assert int(read["long"], 16) == 10**5000


@pytest.mark.parametrize(
    "words", ["convert PACKAGE -o DIST", "inspect PACKAGE", "inspect PACKAGE --json", "audit PACKAGE", "names attrs"]
)
@pytest.mark.parametrize(("stdout", "status"), [("ascii", 0), ("closed", 1), ("full", 1), ("unread", 1)])
def test_a_stdout_that_is_ascii_closed_full_or_unread(words: str, stdout: str, status: int, tmp_path: Path) -> None:
    package = sets.pure("one")
    folder = tmp_path / "straße"
    folder.mkdir()
    (folder / package.name).write_bytes(package.read_bytes())
    places = {"PACKAGE": str(folder / package.name), "DIST": str(folder / "dist")}
    environ = {**os.environ, "PYTHONIOENCODING": "ascii" if stdout == "ascii" else "utf-8"}
    done = command.run(*(places.get(word, word) for word in words.split()), env=environ, stdout=stdout)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if " error: " in line] == (
        [f"conda2wheel: error: cannot write the result: {why}"]
        if (why := {"closed": "Bad file descriptor", "full": "No space left on device"}.get(stdout))
        else []
    )
    if stdout == "ascii":
        assert done.stdout.isascii()
        assert ("straße" in done.stdout.encode().decode("unicode_escape")) is (words != "names attrs")
        if "--json" in words:
            assert "straße" in json.loads(done.stdout)["results"][0]["source"]


def test_a_closed_stderr_changes_no_result(tmp_path: Path) -> None:
    shell = 'exec "$@" 2>&-'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *CLI, "convert", str(sets.pure("one")), str(tmp_path / "gone"), "-o", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, f"{tmp_path / 'one-1.0-py3-none-any.whl'}\n")


@pytest.mark.parametrize(
    ("epoch", "words"),
    [
        *((epoch, "convert PACKAGE -o DIST") for epoch in ("yesterday", "-1", "9" * 20, "9" * 5000, "²")),
        ("1e9", "repair WHEEL -o DIST"),
        ("1e9", "bundle one --offline --channel DIST"),
    ],
)
def test_a_wrong_source_date_epoch_is_a_wrong_command_line(epoch: str, words: str, tmp_path: Path) -> None:
    places = {"PACKAGE": str(sets.pure("one")), "WHEEL": str(tmp_path / "x.whl"), "DIST": str(tmp_path)}
    done = command.run(*(places.get(word, word) for word in words.split()), env={**os.environ, "SOURCE_DATE_EPOCH": epoch})
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("conda2wheel: error: usage: SOURCE_DATE_EPOCH is ")


@pytest.mark.parametrize("epoch", ["", "253402300799"])
def test_any_time_of_the_calendar_is_a_source_date_epoch(epoch: str, tmp_path: Path) -> None:
    done = command.run("convert", sets.pure("one"), "-o", tmp_path, env={**os.environ, "SOURCE_DATE_EPOCH": epoch})
    assert done.returncode == 0, done.stderr
    assert command.run("verify", tmp_path / "one-1.0-py3-none-any.whl", "--from", sets.pure("one")).returncode == 0
