"""Side modules are read when something is asked of them, and once; damage is a value."""

from __future__ import annotations

from dataclasses import dataclass

from conda2wheel.abi.side_module import SideModule, TypedExport, side_modules
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.wasm.binary import HEADER, FileKind, Kind
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
