"""Names from elsewhere are written to a disk only if every system takes them for an ordinary file."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from conda2wheel.files.file_names import extended, is_portable
from conda2wheel.files.toml import read_toml


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "a.", "a ", "a/b", "a\\b", "..\\a", "C:a", "a:stream", "a?", 'a"', "a|b", "a\0b", "a\nb", "x" * 256),
        *("nul", "NUL", "Con.txt", "aux.tar.gz", "com1", "LPT9.whl", "prn .txt", "com\u00b9", "conin$"),
    ],
)
def test_a_name_that_some_system_takes_for_something_else_is_not_portable(name: str) -> None:
    assert not is_portable(name)


@pytest.mark.parametrize(
    "name", ["six-1.16-py3-none-any.whl", "con-1.0.whl", "console", "nulls.txt", "com10", ".npmrc", "é", "x" * 255]
)
def test_an_ordinary_name_is_portable(name: str) -> None:
    assert is_portable(name)


def test_paths_of_windows_are_extended_once() -> None:
    long = PureWindowsPath("C:/", "x" * 300, "con")
    assert extended(long) == f"\\\\?\\{long}"
    assert extended(PureWindowsPath(extended(long))) == extended(long)
    assert extended(PurePosixPath("/srv/con")) == "/srv/con"


def test_a_file_of_an_editor_of_windows_is_read(tmp_path: Path) -> None:

    path = tmp_path / "a.toml"
    path.write_bytes("\ufeff[a]\r\nb = '''\r\nc\r\n'''\r\n".encode())
    assert read_toml(path)[1] == {"a": {"b": "c\n"}}
