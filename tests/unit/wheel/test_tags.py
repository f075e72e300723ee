"""The tags of the file name: on which interpreter and which platform a wheel will be taken, and for which it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import Failed, convert_each
from tests.helpers import conda, shapes
from tests.helpers.conda import Content
from tests.helpers.shapes import MODULE, SUFFIX, dist_info, extension, in_site, library, made, package, refused

PLATFORM = "pyemscripten_2025_0_wasm32"
ABI3 = f"demo/_demo.abi3{SUFFIX.removeprefix('.cpython-313')}"


def tags(files: dict[str, Content], out: Path, *, tag: str = "cp313-cp313-unknown_wasm32", **options: object) -> str:
    """The file name's tags for a package with these files beside demo/__init__.py and a WHEEL that claims `tag`."""
    wheel = made(package({**MODULE, **files, **dist_info("demo-1.0", tag=tag)}, **options), out)  # type: ignore[arg-type]
    return wheel.result.filename.removeprefix("demo-1.0-").removesuffix(".whl")


def test_the_suffix_names_the_interpreter(tmp_path: Path) -> None:
    assert tags({f"demo/_demo{SUFFIX}": extension()}, tmp_path) == f"cp313-cp313-{PLATFORM}"


def test_a_suffix_that_no_pyodide_imports_is_refused_by_the_audit(tmp_path: Path) -> None:
    source = package({**MODULE, "demo/_demo.cpython-313.so": extension(), **dist_info("demo-1.0")})
    refused(source, tmp_path / "refused", "abi-conflict", r"\.cpython-313: the import system of CPython 3\.13 ignores it")
    result = made(source, tmp_path, allow=["abi-conflict"]).result
    assert result.filename == f"demo-1.0-cp313-cp313-{PLATFORM}.whl"


def test_a_plain_so_belongs_to_the_interpreter_of_its_folder(tmp_path: Path) -> None:
    assert tags({"demo/_demo.so": extension()}, tmp_path) == f"cp313-cp313-{PLATFORM}"


@pytest.mark.parametrize("name", [ABI3, "demo/_demo.abi3.so"])
@pytest.mark.parametrize(
    ("claim", "floor"),
    [("cp310-abi3-unknown_wasm32", "cp310"), ("cp313-abi3-x\nTag: cp39-abi3-x", "cp39"), ("cp313-cp313-unknown_wasm32", "cp313")],
)
def test_abi3_is_honoured_from_the_oldest_claim_on(name: str, claim: str, floor: str, tmp_path: Path) -> None:
    assert tags({name: extension()}, tmp_path, tag=claim) == f"{floor}-abi3-{PLATFORM}"


def test_abi3_without_a_claim_starts_where_depends_say(tmp_path: Path) -> None:
    abi3 = package({**MODULE, "demo/_demo.abi3.so": extension()}, depends=["python >=3.9", *shapes.ABI])
    wheel = made(abi3, tmp_path)
    assert wheel.result.filename == f"demo-1.0-cp39-abi3-{PLATFORM}.whl"
    assert wheel.metadata["Requires-Python"] == ">=3.9"


def test_a_plain_so_is_abi3_where_wheel_says_so(tmp_path: Path) -> None:
    assert tags({"demo/_demo.so": extension()}, tmp_path, tag="cp310-abi3-unknown_wasm32") == f"cp310-abi3-{PLATFORM}"


def test_an_exact_suffix_beats_a_claim_of_abi3_and_is_told(tmp_path: Path) -> None:
    files: dict[str, Content] = {**MODULE, f"demo/_demo{SUFFIX}": extension(), "demo/_b.abi3.so": extension("_b")}
    wheel = made(package({**files, **dist_info("demo-1.0", tag="cp310-abi3-unknown_wasm32")}), tmp_path)
    assert wheel.result.tags == {f"cp313-cp313-{PLATFORM}"}
    assert wheel.told("wheel-tag") == {"WHEEL"}


@pytest.mark.parametrize("noarch", ["python", "generic"])
def test_abi3_in_a_noarch_package_of_the_arch_channel_is_not_tagged_any(noarch: str, tmp_path: Path) -> None:
    files = in_site({**MODULE, "demo/_demo.abi3.so": extension(), **dist_info("demo-1.0", tag="cp310-abi3-x")}, "site-packages")
    plain = conda.assemble("demo", "1.0", files, depends=["python >=3.10", shapes.ABI[0]])
    polars = conda.edit(plain, "info/index.json", lambda index: {**index, "noarch": noarch})
    wheel = made(polars, tmp_path)
    assert wheel.result.filename == f"demo-1.0-cp310-abi3-{PLATFORM}.whl"
    assert b"Root-Is-Purelib: false" in wheel.read("WHEEL")


def test_abi3_for_a_newer_interpreter_than_the_platforms_is_refused(tmp_path: Path) -> None:
    newer = package({**MODULE, "demo/_demo.abi3.so": extension(), **dist_info("demo-1.0", tag="cp314-abi3-x")})
    refused(newer, tmp_path / "out", "abi-conflict", "3.14")


def test_abi3_from_nowhere_is_unknown(tmp_path: Path) -> None:
    files = in_site({**MODULE, "demo/_demo.abi3.so": extension()}, "site-packages")
    refused(conda.assemble("demo", "1.0", files, depends=[shapes.ABI[0]]), tmp_path / "out", "unknown-abi", "abi3")


def test_a_plain_so_from_nowhere_is_unknown(tmp_path: Path) -> None:
    files = in_site({**MODULE, "demo/_demo.so": extension()}, "site-packages")
    refused(conda.assemble("demo", "1.0", files, depends=[shapes.ABI[0]]), tmp_path / "out", "unknown-abi", "names no CPython")


def test_another_cpython_in_wheel_than_in_the_files_is_told(tmp_path: Path) -> None:
    wheel = made(package({**MODULE, f"demo/_demo{SUFFIX}": extension(), **dist_info("demo-1.0", tag="cp312-cp312-x")}), tmp_path)
    assert wheel.result.tags == {f"cp313-cp313-{PLATFORM}"}
    assert wheel.told("wheel-tag") == {"WHEEL"}


def test_a_library_that_ctypes_opens_needs_no_interpreter_but_a_platform(tmp_path: Path) -> None:
    assert tags({"demo/libnumber.so": library()}, tmp_path) == f"py3-none-{PLATFORM}"


def test_pure_python_built_as_an_arch_package_runs_anywhere(tmp_path: Path) -> None:
    assert tags({}, tmp_path) == "py3-none-any"
    assert tags({}, tmp_path, tag="py3-none-any", string="py313h1234567_0") == "py3-none-any"


def test_two_cpythons_in_one_package_are_refused(tmp_path: Path) -> None:
    files: dict[str, Content] = {**MODULE, f"demo/_demo{SUFFIX}": extension(), "demo/_old.cpython-311.so": extension("_old")}
    refused(package(files), tmp_path / "out", "abi-conflict", "3.11 and 3.13")


@pytest.mark.parametrize(
    ("suffix", "depends", "match"),
    [
        (".cpython-312.so", shapes.ABI, "3.12, its site-packages for 3.13"),
        (SUFFIX, ("python_abi 3.12.* *_cp312",), "its depends for 3.12"),
    ],
)
def test_a_suffix_that_contradicts_its_folder_or_depends_is_refused(
    suffix: str, depends: tuple[str, ...], match: str, tmp_path: Path
) -> None:
    wrong = package({**MODULE, f"demo/_demo{suffix}": extension()}, depends=depends)
    refused(wrong, tmp_path / "out", "abi-conflict", match)


FAKES = {
    "ar archive": b"!<arch>\nmember.o/       0           0     0     644     4         `\nabcd",
    "object": b"\0asm\1\0\0\0" + b"\0\x0a\x07linking\x02\0",
    "no dylink": b"\0asm\1\0\0\0" + b"\1\4\1\x60\0\0",
    "cut": b"\0asm\1\0\0\0" + b"\0\x7f\x08dylink.0",
    "text": b"/* GNU ld script */ INPUT(libreal.so)\n",
    "empty": b"",
}


@pytest.mark.parametrize("kind", FAKES)
@pytest.mark.parametrize("name", ["demo/_demo.so", "demo/libfake.so.1", f"demo/_demo{SUFFIX}"])
def test_what_is_only_called_so_is_refused_in_a_package_for_emscripten(kind: str, name: str, tmp_path: Path) -> None:
    refused(package({**MODULE, name: FAKES[kind]}), tmp_path / "out", "fake-dylib", name.rpartition("/")[2])


@pytest.mark.parametrize(
    "native", [b"\x7fELF" + bytes(60), b"\xcf\xfa\xed\xfe" + bytes(60), b"MZ" + bytes(60)], ids=["ELF", "Mach-O", "PE"]
)
def test_machine_code_is_a_conflict_for_emscripten_and_left_out_of_noarch(native: bytes, tmp_path: Path) -> None:
    files: dict[str, Content] = {**MODULE, "demo/_fast.so": native}
    refused(package(dict(files)), tmp_path / "out", "abi-conflict", "_fast.so")
    wheel = made(package({**files, **dist_info("demo-1.0")}, noarch="python"), tmp_path / "noarch")
    assert wheel.contents == {"demo/__init__.py"}
    assert wheel.told("left-out") == {"site-packages/demo/_fast.so"}
    assert wheel.result.filename.endswith("-py3-none-any.whl")


def test_a_fake_library_outside_site_packages_only_matters_to_who_needs_it(tmp_path: Path) -> None:
    files: dict[str, Content] = {**MODULE, f"demo/_demo{SUFFIX}": extension(), **dist_info("demo-1.0")}
    made(package(files, outside={"lib/libfake.so": FAKES["text"]}), tmp_path)


def test_compat_tags_are_in_the_name_compressed_and_in_wheel_expanded(tmp_path: Path) -> None:
    native = package({**MODULE, f"demo/_demo{SUFFIX}": extension(), **dist_info("demo-1.0")})
    wheel = made(native, tmp_path, compat_tags=True)
    assert wheel.result.filename == f"demo-1.0-cp313-cp313-{PLATFORM}.pyodide_2025_0_wasm32.whl"
    assert wheel.read("WHEEL").decode().splitlines()[2:] == [
        "Root-Is-Purelib: false", f"Tag: cp313-cp313-{PLATFORM}", "Tag: cp313-cp313-pyodide_2025_0_wasm32",
    ]  # fmt: skip
    assert made(native, tmp_path).result.filename == f"demo-1.0-cp313-cp313-{PLATFORM}.whl"
    assert made(native, tmp_path, tags="both").result.filename == wheel.result.filename
    assert made(native, tmp_path, tags="pyodide").result.filename == "demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl"
    with pytest.raises(Failed, match="contradict"):
        made(native, tmp_path, tags="pyodide", compat_tags=True)
    assert made(package({**MODULE, **dist_info("demo-1.0")}), tmp_path, compat_tags=True).result.filename.endswith(
        "py3-none-any.whl"
    )


@pytest.mark.parametrize("number", [0, 1, 7])
def test_a_build_number_never_becomes_a_build_tag(number: int, tmp_path: Path) -> None:
    files = {
        **MODULE,
        f"demo/_demo{SUFFIX}": extension(),
        **dist_info("demo-1.0", more={"WHEEL": "Build: 3\nTag: cp313-cp313-x\n"}),
    }
    wheel = made(package(files, number=number, string=f"py313h1234567_{number}"), tmp_path)
    assert wheel.result.filename == f"demo-1.0-cp313-cp313-{PLATFORM}.whl"
    assert b"Build" not in wheel.read("WHEEL")


@pytest.mark.parametrize("asked", ["pyemscripten_2025_0", "pyodide_2025_0_wasm32", "0.29.5", "0.28"])
def test_a_platform_can_be_given(asked: str, tmp_path: Path) -> None:
    silent = package({**MODULE, f"demo/_demo{SUFFIX}": extension()}, depends=["python"])
    assert made(silent, tmp_path, platform=asked).result.platform == PLATFORM


def test_a_wheel_for_a_pyodide_whose_micropip_does_not_take_it_says_so(tmp_path: Path) -> None:
    native = package({**MODULE, f"demo/_demo{SUFFIX}": extension(), **dist_info("demo-1.0")})
    assert made(native, tmp_path, platform="0.29.3").told("micropip-tag") == {f"demo-1.0-cp313-cp313-{PLATFORM}.whl"}
    [outcome] = convert_each([native], out=tmp_path / "each", platform=["0.28"])
    assert outcome.converted
    assert "micropip-tag" in {each.code for each in outcome.converted.warnings}
    assert not made(native, tmp_path, platform="0.29").told("micropip-tag")
    assert not made(native, tmp_path, platform="0.29.3", tags="both").told("micropip-tag")
