"""Side modules are read when something is asked of them, and once; damage is a value."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from conda2wheel.abi.side_module import OPENED, SideModule, TypedExport, side_modules
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import BytesBlob, EntryCount, PackageFile
from conda2wheel.wasm.binary import HEADER, FileKind, Kind, encode_uleb
from conda2wheel.wasm.dylink import IMPORT_INFO, RUNTIME_PATH
from tests.helpers.handmade import custom, module, section


@dataclass
class CountedBlob:
    """Bytes that count how often they are read."""

    data: bytes
    reads: int = 0
    sha256: str = ""

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self) -> bytes:
        self.reads += 1
        return self.data


def side(data: bytes) -> SideModule:
    return SideModule(PackageFile("demo.so", BytesBlob(data)))


def test_a_file_is_read_once_and_not_before_something_is_asked() -> None:
    blob = CountedBlob(module([("env", "f", "i>i")], {"PyInit_demo": ">i"}, needed=["libx.so"]))
    found = side_modules([PackageFile("demo.so", blob), PackageFile("demo.py", blob)])["demo.so"]
    assert blob.reads == 0
    assert (found.needed, found.init_functions, {entry.name: entry.signature for entry in found.imports}["f"]) == (
        ("libx.so",),
        ("PyInit_demo",),
        "i>i",
    )
    assert found.exports["PyInit_demo"] == TypedExport(Kind.FUNC, ">i")
    assert (found.is_extension, found.is_intact, found.problem, blob.reads) == (True, True, "", 1)


def test_weak_imports_and_imports_through_the_got_are_told_apart_by_name() -> None:
    imports = [("env", "f", "i>i"), ("GOT.mem", "d", "i*"), ("GOT.func", "f", "i*")]
    found = side(module(imports, weak=[("env", "f")]))
    assert (found.weak, found.got_imports) == (frozenset({"f"}), frozenset({"d", "f"}))


def test_what_is_no_side_module_has_nothing_and_no_problem() -> None:
    for data, kind in ((b"", FileKind.EMPTY), (b"\x7fELF", FileKind.ELF), (HEADER, FileKind.OTHER_WASM)):
        found = side(data)
        assert (found.kind, found.module, found.problem, found.is_intact) == (kind, None, "", False)
        assert (found.needed, found.imports, dict(found.exports), found.memories) == ((), (), {}, ())


def test_a_damaged_module_says_why() -> None:
    found = side(module(needed=["libx.so"])[:-1])
    assert (found.kind, found.needed, found.is_intact) == (FileKind.BROKEN_WASM, (), False)
    assert found.problem


def test_a_damaged_type_leaves_what_linking_needs() -> None:
    imports = section(2, b"\x01\x03env\x01f\x00\x07")  # a function of type 7, and there are no types
    found = side(HEADER + custom("dylink.0", b"\x02\x09\x01\x07libx.so") + imports)
    assert (found.kind, found.needed) == (FileKind.SIDE_MODULE, ("libx.so",))
    assert (found.is_intact, found.loaded_needed, found.imports) == (False, (), ())
    assert "f has a type that does not exist" in found.problem


def test_the_loader_reads_nothing_after_a_wrong_count() -> None:
    counts_modules = b"\x01\x03env\x01f\x01\x03env\x01g\x01"  # two entries that are counted as one
    data = module(dylink=[(IMPORT_INFO, counts_modules), (RUNTIME_PATH, b"\x01\x07$ORIGIN")])
    found = side(data)
    assert (found.runtime_path, found.loaded_runtime_path, found.is_miscounted) == (("$ORIGIN",), (), True)


def bare(*sections: bytes, dylink: bytes = b"") -> bytes:
    """A side module of these sections and none else."""
    return HEADER + custom("dylink.0", dylink) + b"".join(sections)


def body(instructions: bytes) -> bytes:
    """The sections of one function."""
    return section(1, b"\1\x60\0\0") + section(3, b"\1\0") + section(10, b"\1" + encode_uleb(len(instructions)) + instructions)


def read_all(module: SideModule) -> None:
    """Read everything that commands read of a side module."""
    _ = (module.kind, module.imports, module.exports, module.needed, module.engine_features, module.features, module.signals)


MANY = 2000
BOMBS = {
    "sections": bare(b"\0\1\0" * MANY),
    "types": bare(section(1, encode_uleb(MANY) + b"\x60\0\0" * MANY)),
    "types of a group": bare(section(1, b"\1\x4e" + encode_uleb(MANY) + b"\x60\0\0" * MANY)),
    "parameters": bare(section(1, b"\1\x60" + encode_uleb(MANY) + b"\x7f" * MANY + b"\0")),
    "imports": bare(section(2, encode_uleb(MANY) + b"\0\0\3\x7f\0" * MANY)),
    "exports": bare(section(7, encode_uleb(MANY) + b"\0\3\0" * MANY)),
    "functions": bare(section(10, encode_uleb(MANY) + b"\2\0\x0b" * MANY)),
    "variables": bare(body(encode_uleb(MANY) + b"\0\x7f" * MANY + b"\x0b")),
    "elements": bare(section(9, b"\1\0\x41\0\x0b" + encode_uleb(MANY) + b"\0" * MANY)),
    "an expression": bare(section(6, b"\1\x7f\0\x41\0" + b"\x41\0\x6a" * MANY + b"\x0b")),
    "unusual instructions": bare(body(b"\0" + b"\x1c\2\x7f\x7f" * MANY + b"\x0b")),
    "subsections": bare(dylink=b"\x09\0" * MANY),
    "NEEDED": bare(dylink=b"\2" + encode_uleb(2 + MANY) + encode_uleb(MANY) + b"\0" * MANY),
    "weak imports": bare(dylink=b"\4" + encode_uleb(2 + 3 * MANY) + encode_uleb(MANY) + b"\0\0\1" * MANY),
}


@pytest.mark.parametrize("what", BOMBS)
def test_what_the_sections_of_a_packages_modules_list_is_bounded(what: str) -> None:
    read_all(side(module()))  # compiles a pattern, which counts once in a process
    count = EntryCount("demo-1.0-0.conda", OPENED + MANY)
    with pytest.raises(Refused, match=r"^too-large: demo-1\.0-0\.conda: demo\.so and other .* 5000 types") as refused:
        read_all(SideModule(PackageFile("demo.so", BytesBlob(BOMBS[what]), entries=count)))
    assert refused.value.hint == "raise --max-entries if you trust it"


def test_the_bound_is_one_for_all_modules_of_a_package_and_reading_again_is_free() -> None:
    read_all(side(module()))
    count = EntryCount("demo", 2 * (OPENED + 3000))
    files = [PackageFile(f"{name}.so", BytesBlob(module()), entries=count) for name in ("a", "b", "c")]
    for _ in range(3):
        for file in files[:2]:
            read_all(SideModule(file))
    with pytest.raises(Refused, match=r"c\.so and other modules"):
        read_all(SideModule(files[2]))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (bare(section(2, b"\1" + encode_uleb(100_001) + b"x" * 100_001 + b"\0\3\x7f\0")), "name of 100001 bytes"),
        (bare(section(7, b"\1\1\xff\0\0")), "is not UTF-8"),
        (bare(section(2, b"\xff\xff\xff\xff\x0f")), "elements announced"),
        (bare(section(7, b"\1\1f\0\7")), "f has a type that does not exist"),
    ],
    ids=["long name", "encoding", "announced count", "index"],
)
def test_damage_is_a_problem_of_the_module(data: bytes, problem: str) -> None:
    found = side(data)
    read_all(found)
    assert problem in found.problem
    assert not found.is_intact


@pytest.mark.parametrize("instructions", [b"\0\x1f", b"\0\x0e\xff\xff\xff\xff\x0f", b"\0\x0e\x7f" + b"\x80" * 200, b"\0\x1c"])
def test_instructions_that_end_too_early_have_no_features(instructions: bytes) -> None:
    found = side(bare(body(instructions)))
    read_all(found)
    assert (found.features, found.problem) == (frozenset(), "")
