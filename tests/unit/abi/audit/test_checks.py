"""What a module by itself says of its exceptions; CPython's limited API is abi3info's, which scripts/update-abi wrote down."""

from __future__ import annotations

import pytest
from abi3info import DATAS, FUNCTIONS

from conda2wheel.abi.audit.checks import DERIVED, FIRST, _limited_api
from conda2wheel.abi.audit.engine import audit_units
from conda2wheel.abi.audit.unit import AuditUnit
from tests.helpers.handmade import GOT, module


def test_the_data_is_abi3infos() -> None:
    entries = (*FUNCTIONS.values(), *DATAS.values())
    theirs = {entry.symbol.name: (entry.added.major, entry.added.minor) for entry in entries}
    assert _limited_api() == theirs
    assert _limited_api()["PyType_GetFullyQualifiedName"] == (3, 13)


LENGTH, ARRAY, EXCEPTION = "_ZTISt12length_error", "_ZTISt20bad_array_new_length", "_ZTISt9exception"
EMPLACE = "_ZTINSt3__220__shared_ptr_emplaceINS_6vectorIdNS_9allocatorIdEEEENS2_IS4_EEEE"
COUNT = "_ZTINSt3__219__shared_weak_countE"
FUNC = "_ZTINSt3__210__function6__funcIPFvvENS_9allocatorIS2_EES2_EE"


@pytest.mark.parametrize(
    ("types", "severity"),
    [
        ([LENGTH, ARRAY], "note"),
        ([LENGTH, ARRAY, EMPLACE, COUNT, DERIVED], "note"),
        ([LENGTH, COUNT, DERIVED], "note"),
        ([LENGTH, FUNC, FIRST, DERIVED], "note"),
        ([LENGTH, COUNT, FIRST], "fatal"),
        ([LENGTH, COUNT, DERIVED, EXCEPTION], "fatal"),
        ([LENGTH, DERIVED], "fatal"),
        ([COUNT, DERIVED], "fatal"),
        ([LENGTH, COUNT, DERIVED, "_ZTISt13runtime_error"], "fatal"),
        ([LENGTH, COUNT, DERIVED, "_ZTIN4kiwi19DuplicateConstraintE"], "fatal"),
        ([], "fatal"),
    ],
    ids=[
        "headers alone",
        "scikit-learn's _radius_neighbors: make_shared",
        "make_shared, hidden",
        "std::function",
        "a class without bases, hidden",
        "a class derived from std::exception, hidden",
        "a derived class, hidden",
        "nothing that is known to be thrown",
        "numpy's pocketfft",
        "kiwisolver",
        "a hidden type",
    ],
)
def test_what_the_headers_of_the_library_throw_is_a_note(types: list[str], severity: str) -> None:
    """The control blocks of shared_ptr and the inside of std::function are classes, and nothing throws them."""
    imports = [("env", "__cxa_throw", "iii>"), *(("GOT.mem", name, GOT) for name in types)]
    made = module(imports, {"PyInit__m": ">i"})
    findings = audit_units([AuditUnit.of_bytes("pkg", {"_m.so": made})], "0.27.7")["pkg"]
    assert [str(finding.severity) for finding in findings if finding.code == "cannot-catch"] == [severity]
