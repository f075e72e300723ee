"""The names of CPython's limited API in the package are those of abi3info, which scripts/update-abi wrote down."""

from __future__ import annotations

from abi3info import DATAS, FUNCTIONS

from conda2wheel.abi.audit.checks import _limited_api


def test_the_data_is_abi3infos() -> None:
    entries = (*FUNCTIONS.values(), *DATAS.values())
    theirs = {entry.symbol.name: (entry.added.major, entry.added.minor) for entry in entries}
    assert _limited_api() == theirs
    assert _limited_api()["PyType_GetFullyQualifiedName"] == (3, 13)
