"""Plain values are converted as typer converts them, and the others by typer."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
import typer.main

from conda2wheel.cli.values import convert_quickly


class Colour(StrEnum):
    RED = "red"
    DARK_BLUE = "dark-blue"


def command(
    text: Annotated[str | None, typer.Option()] = None,
    texts: Annotated[list[str] | None, typer.Option()] = None,
    number: Annotated[int, typer.Option(min=1, max=12)] = 6,
    whole: Annotated[int | None, typer.Option()] = None,
    share: Annotated[float, typer.Option(min=0)] = 0.5,
    path: Annotated[Path, typer.Option()] = Path("dist"),
    paths: Annotated[list[Path] | None, typer.Option()] = None,
    there: Annotated[Path | None, typer.Option(exists=True)] = None,
    colour: Annotated[Colour, typer.Option()] = Colour.RED,
    colours: Annotated[list[Colour] | None, typer.Option()] = None,
    flag: Annotated[bool | None, typer.Option("--flag/--no-flag")] = None,
    doubled: Annotated[str | None, typer.Option(parser=lambda value: value * 2)] = None,
) -> None:
    """Nothing."""


TEXTS = (
    "", "x", " 7", "7", "12", "13", "-1", "007", "1_0", "٣", "9" * 400, "0.5", "1e3", "nan", "red", "RED", "dark-blue",
    "DARK_BLUE", ".", "/", "no/such", "a\0b", "\udc80", "/\udcff", "yes", "0",
)  # fmt: skip
LISTS: tuple[object, ...] = ([], (), ["x"], ("red", "dark-blue"), [1, "2"], ["a\0"], [Path("x")], ["x", None])
VALUES = (None, *TEXTS, *LISTS, 7, 0, 2.0, True, False, Path("x/../y"), Colour.RED, b"x")


def made() -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return typer.main.get_command(app)


def outcomes(found: Any) -> Iterator[tuple[str, ...]]:
    with typer.Context(found) as context:
        for parameter in found.get_params(context):
            for value in VALUES:
                try:
                    result = parameter.get_runtime_param().coerce(value, param=parameter, ctx=context)
                except typer.BadParameter as error:
                    yield parameter.name, repr(value), error.message, str(error.param is parameter), str(error.ctx is context)
                except Exception as error:  # noqa: BLE001 - the same, whatever it is
                    yield parameter.name, repr(value), repr(error)
                else:
                    yield parameter.name, repr(value), type(result).__name__, repr(result)


def test_every_value_gives_what_typer_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    slow, quick = made(), made()
    convert_quickly(quick)
    for before, after in zip(outcomes(slow), outcomes(quick), strict=True):
        assert after == before


def test_an_unreadable_file_is_left_to_typer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dist").write_bytes(b"")
    monkeypatch.setattr("os.access", lambda _path, _mode: False)  # root may read everything
    quick = made()
    convert_quickly(quick)
    with typer.Context(quick) as context:
        parameter = next(each for each in quick.get_params(context) if each.name == "path")
        with pytest.raises(typer.BadParameter, match="is not readable"):
            parameter.get_runtime_param().coerce("dist", param=parameter, ctx=context)
