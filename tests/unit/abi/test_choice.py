"""What the binaries and the interpreter have to say of the platform; and the table that everything is looked up in."""

from __future__ import annotations

import base64
import re
from datetime import date
from pathlib import Path

import pytest

from conda2wheel.abi import platforms
from conda2wheel.abi.choice import Claim, decide
from conda2wheel.abi.signals import Signals, contradictions, read_signals
from conda2wheel.commands.convert import convert
from conda2wheel.errors import Refused
from conda2wheel.wasm.binary import Module
from tests.helpers import conda, zig
from tests.unit.conda.test_abi_evidence import (
    AFTER,
    BEFORE,
    NEW,
    V2024,
    V2025,
    V3145,
    V3173,
    module,
    package,
    platform,
    refused,
    warned,
)

ABI4, ABI3 = ["emscripten-abi >=4,<5.0a0"], ["emscripten-abi >=3.1.73,<3.1.74.0a0"]
EITHER = ["emscripten-abi >=3.1.73,<4.1"]
INIT = "void *PyInit_mod(void) { %s; return 0; }"
TAGS = (
    'extern "C" void PyErr_Clear(void);\n'
    'extern "C" int guarded(void) { try { PyErr_Clear(); } catch (...) { return 1; } return 0; }\n'
    'extern "C" void *PyInit_mod(void) { return (void *)(long)guarded(); }'
)


def built(
    source: str, *, cpp: bool = False, python: str = "313", flags: tuple[str, ...] = (), link: tuple[str, ...] = ()
) -> Path:
    cflags = (*(("-x", "c++", "-fwasm-exceptions", "-fexceptions") if cpp else ()), *flags)
    return zig.side_module("mod", source, python=python, cflags=cflags, ldflags=link)


def tags() -> Path:
    return built(TAGS, cpp=True)


def invokes(python: str = "313") -> Path:
    """C++ exceptions of the JavaScript kind."""
    both = "extern void invoke_vi(int, int), __cxa_find_matching_catch_2(void);"
    return built(both + INIT % "invoke_vi(1, 2), __cxa_find_matching_catch_2()", python=python)


def longjmps() -> Path:
    """Longjmp of the JavaScript kind."""
    both = "extern void invoke_vi(int, int), emscripten_longjmp(int, int);"
    return built(both + INIT % "invoke_vi(1, 2), emscripten_longjmp(1, 2)")


def throws() -> Path:
    return built("extern void __cxa_throw(void *, void *, void *);" + INIT % "__cxa_throw(0, 0, 0)")


def longjmp_tag() -> bytes:
    """The same tag import under the name that wasm longjmp has: shorter, so its length gets the longest form of a LEB128."""
    old, new = b"\x0f__cpp_exception", b"\x8b\x80\x80\x80\x00__c_longjmp"
    data = tags().read_bytes()
    assert (data.count(b"\x03env" + old), len(old)) == (1, len(new))
    return data.replace(b"\x03env" + old, b"\x03env" + new)


def with_module(binary: Path | bytes, *, depends: list[str] | None = None, python: str = "313", **index: object) -> Path:
    return package(python, depends=depends or [], index=index, modules={f"mod{zig.suffix(python)}": binary})


# The binaries choose


def test_tags_choose_wasm_unwinding_and_invokes_choose_javascripts() -> None:
    refused(with_module(module(), depends=EITHER), "unknown-abi", "depends on")
    for binary, tag in ((tags(), V2025), (longjmp_tag(), V2025), (invokes(), V3173), (longjmps(), V3173)):
        result = convert(with_module(binary, depends=EITHER), dry_run=True)
        assert (result.platform, result.evidence[-1]) == (tag, "the binaries' unwinding")


def test_binaries_choose_among_the_emscriptens_of_an_interpreter_with_a_warning() -> None:
    result = convert(with_module(invokes()), dry_run=True)
    assert (result.platform, "platform-from-interpreter" in warned(result)) == (V3173, True)
    assert platform(with_module(tags(), timestamp=AFTER)) == V2025
    assert platform(with_module(module(), timestamp=BEFORE)) == V3173
    result = convert(with_module(tags()), dry_run=True)
    assert (result.platform, "platform-from-interpreter" in warned(result)) == (V2025, True)


def test_a_module_that_fits_no_candidate_is_a_conflict() -> None:
    source = TAGS.replace("PyErr_Clear();", "invoke_v(1); __cxa_find_matching_catch_2();")
    both = built(source.replace("PyErr_Clear(void)", "invoke_v(int), __cxa_find_matching_catch_2(void)"), cpp=True)
    refused(with_module(both), "abi-conflict", "invoke_v|exception tags")
    refused(with_module(both, depends=EITHER), "abi-conflict", "invoke_v|exception tags")


# The binaries veto


@pytest.mark.parametrize(("depends", "said"), [([], V2025), (ABI3, V2025)])
def test_invokes_contradict_a_platform_of_wasm_exceptions_that_the_package_does_not_name(depends: list[str], said: str) -> None:
    words = r"unwinds through JavaScript \(.*invoke_vi.*\), pyemscripten_2025_0_wasm32 through WebAssembly exceptions"
    refused(with_module(invokes(), depends=depends), "abi-conflict", words, said)


@pytest.mark.parametrize("depends", [[], ABI3, EITHER, ABI4])
def test_longjmp_that_can_be_bridged_contradicts_no_platform_of_wasm_exceptions(depends: list[str]) -> None:
    result = convert(with_module(longjmps(), depends=depends), dry_run=True, platform=V2025)
    assert (result.platform, warned(result), result.unusable) == (V2025, {"no-metadata"}, ())


def test_where_another_platform_is_contradicted_longjmp_is_bridged() -> None:
    both = built(TAGS.replace("PyErr_Clear()", "invoke_v(1)").replace("PyErr_Clear(void)", "invoke_v(int)"), cpp=True)
    result = convert(with_module(both, depends=EITHER), dry_run=True)
    assert (result.platform, result.evidence[-1]) == (V2025, "the binaries' unwinding")
    assert [vendored.source for vendored in result.vendored] == ["conda2wheel:unwinding_bridge.so"]


@pytest.mark.parametrize("said", ["auto", V2025])
def test_what_loads_on_the_platform_that_the_package_names_is_a_warning(said: str) -> None:
    both = "extern void invoke_vi(int, int), __cxa_find_matching_catch_2(void), emscripten_longjmp(int, int);"
    binary = built(both + INIT % "invoke_vi(1, 2), __cxa_find_matching_catch_2(), emscripten_longjmp(1, 2)")
    result = convert(with_module(binary, depends=ABI4), dry_run=True, platform=said)
    assert (result.platform, warned(result) - {"no-metadata"}) == (V2025, {"unwinding"})
    assert {symbol for part in result.unusable for symbol in part.symbols} >= {"invoke_vi", "emscripten_longjmp"}
    refused(with_module(binary, depends=ABI4), "abi-conflict", "emscripten_longjmp", said, strict=True)


@pytest.mark.parametrize("said", ["auto", V3173])
def test_tags_contradict_a_platform_of_javascripts_unwinding(said: str) -> None:
    for binary in (tags(), longjmp_tag()):
        refused(with_module(binary, depends=ABI3), "abi-conflict", "imports WebAssembly exception tags", said)


@pytest.mark.parametrize("depends", [ABI3, ABI4])
def test_threads_memory64_and_legalised_integers_fit_no_platform(depends: list[str]) -> None:
    shared = built(INIT % "0", flags=("-matomics", "-mbulk-memory"), link=("--shared-memory", "--max-memory=67108864"))
    refused(with_module(shared, depends=depends), "abi-conflict", "shared memory")
    legalised = built('__attribute__((export_name("orig$f"))) int f(void) { return 1; }' + INIT % "f()")
    refused(with_module(legalised), "abi-conflict", r"orig\$ functions", V2025)
    assert "no-bigint" in warned(convert(with_module(legalised, depends=depends), dry_run=True))
    data = bytearray(module().read_bytes())
    data[data.index(b"\x06memory\x02") + 8] |= 4
    refused(with_module(bytes(data), depends=depends), "abi-conflict", "64-bit memory")


def test_a_module_that_throws_and_cannot_catch_is_a_conflict_where_catching_is_compiled_in() -> None:
    refused(with_module(throws()), "abi-conflict", "without any way to catch", V2025)
    assert platform(with_module(throws(), depends=ABI4)) == V2025  # the package's own evidence
    assert platform(with_module(throws(), depends=ABI3)) == V3173
    siblings = {f"mod{zig.suffix('313')}": throws(), f"other{zig.suffix('313')}": tags()}
    assert platform(package(depends=ABI4, modules=siblings)) == V2025


def test_a_library_that_only_throws_is_no_conflict() -> None:
    library = zig.shared_library(
        "libleaf.so",
        "extern void __cxa_throw(void *, void *, void *); void leaf(void) { __cxa_throw(0, 0, 0); }",
        exports=["leaf"],
    )
    assert platform(package(depends=ABI4, modules={module().name: module(), "mod/libleaf.so": library})) == V2025


def test_more_than_one_contradiction_is_counted() -> None:
    pair = {f"{name}{zig.suffix('313')}": invokes() for name in ("mod", "other")}
    refused(package(modules=pair), "abi-conflict", r"\(and 1 more\)", V2025)


# The interpreter


def test_cpython_3_11_was_only_ever_built_with_one_emscripten() -> None:
    result = convert(with_module(module("311"), python="311"), dry_run=True)
    assert (result.platform, result.filename) == (V3145, f"mod-1.0-cp311-cp311-{V3145}.whl")
    (warning,) = [w for w in result.warnings if w.code == "platform-from-interpreter"]
    assert warning.message == f"no evidence but CPython 3.11: taken as {V3145}"


def test_an_interpreter_of_several_emscriptens_or_none_is_unknown() -> None:
    neutral = refused(with_module(module()), "unknown-abi", r"its binaries name CPython 3\.13")
    assert neutral.hint == f"give --platform, one or several of {V3173}, {V2025}"
    two = refused(with_module(module("310"), python="310"), "unknown-abi", r"CPython 3\.10")
    assert two.hint == "give --platform, one or several of emscripten_3_1_2_wasm32, emscripten_3_1_27_wasm32"
    none = refused(with_module(module("312"), python="312"), "unknown-abi", r"CPython 3\.12")
    assert none.hint.startswith("give --platform TAG or a Pyodide version; known are emscripten_3_1_27_wasm32, ")
    assert V2024 in none.hint


def test_a_library_in_a_package_without_any_cpython_is_unknown() -> None:
    library = zig.shared_library("libone.so", "int one(void) { return 1; }", exports=["one"])
    source = conda.assemble("mod", "1.0", {"site-packages/mod/libone.so": library, "site-packages/mod/__init__.py": ""})
    refused(source, "unknown-abi", "its binaries name no version of CPython")
    assert platform(source, "0.29.5") == V2025


def test_an_interpreter_that_a_platform_does_not_have_is_a_conflict() -> None:
    for python, depends in (("311", ABI4), ("312", ABI4), ("313", ["emscripten-abi ==3.1.58"])):
        words = rf"built for CPython 3\.{python[1:]}, but pyemscripten_"
        refused(with_module(module(python), python=python, depends=depends), "abi-conflict", words)


def test_only_pep_783_ties_a_platform_to_one_interpreter() -> None:
    other = with_module(module(), depends=["emscripten-abi ==3.1.45"])
    refused(other, "abi-conflict", r"Pyodide 0\.24\.1, .*the import system of CPython 3\.11 ignores it")  # the audit, no veto
    assert convert(other, dry_run=True, allow=["abi-conflict"]).platform == V3145
    assert platform(with_module(module("312"), python="312", depends=["emscripten-abi ==3.1.58"])) == V2024


def test_a_stable_abi_is_tied_to_no_interpreter_but_still_to_a_platform() -> None:
    abi3 = {"mod.abi3.so": module("312")}
    source = package("312", depends=ABI4, modules=abi3)
    assert convert(source, dry_run=True).filename == f"mod-1.0-cp312-abi3-{V2025}.whl"
    assert platform(source, V2025) == V2025
    refused(package("314", depends=ABI4, modules={"mod.abi3.so": module("314")}), "abi-conflict", r"abi3 from CPython 3\.14 on")


def test_pure_python_needs_no_evidence() -> None:
    source = conda.assemble("pure", "1.0", {"lib/python3.12/site-packages/pure.py": ""}, depends=["emscripten-abi >=9,<10"])
    result = convert(source, dry_run=True)
    assert (result.platform, result.filename, result.evidence) == ("any", "pure-1.0-py3-none-any.whl", ())


def test_a_channel_without_any_interpreter_is_no_candidate_of_one() -> None:
    """emscripten-forge-6x has compilers and zlib: a new package of CPython 3.13 is not taken to be its."""
    assert platform(with_module(tags(), timestamp=NEW)) == V2025


@pytest.mark.parametrize(
    ("claims", "emscripten"),
    [
        ([("package", {"4.0.9"}), ("environment", {"3.1.73"})], "4.0.9"),
        ([("package", {"4.0.9", "3.1.73"}), ("environment", {"3.1.73"})], "3.1.73"),
        ([("package", {"4.0.9", "3.1.73"}), ("environment", {"5.0.3"}), ("timestamp", {"4.0.9"})], "4.0.9"),
        ([("timestamp", {"4.0.9"}), ("environment", {"3.1.73"})], "3.1.73"),
        ([("timestamp", {"4.0.9", "5.0.3"}), ("environment", {"3.1.73", "4.0.9"})], "4.0.9"),
    ],
)
def test_claims_are_weighed_in_their_order(claims: list[tuple[str, set[str]]], emscripten: str) -> None:
    given = [Claim(level, f"{level} says", frozenset(found)) for level, found in claims]  # type: ignore[arg-type]
    decision = decide("x", given, None, [("m", Signals())])
    assert [row.emscripten for row in decision.platforms] == [emscripten]
    assert "platform-from-interpreter" not in [warning.code for warning in decision.warnings]


def unwinds() -> list[tuple[str, Signals]]:
    return [("m", Signals(js_unwinding=("invoke_vi",), python_module=True))]


@pytest.mark.parametrize("levels", [["package"], ["environment"], ["package", "environment"], ["package", "timestamp"]])
@pytest.mark.parametrize("said", ["auto", V2025])
def test_evidence_about_the_package_names_a_platform_on_which_its_binaries_load(levels: list[str], said: str) -> None:
    claims = [Claim(level, f"{level} says", frozenset({"4.0.9"})) for level in levels]  # type: ignore[arg-type]
    forced = [] if said == "auto" else [platforms.for_emscripten("4.0.9")]
    assert decide("x", claims, "3.13", unwinds(), forced).tag == V2025


@pytest.mark.parametrize(
    "claims",
    [
        [],
        [("timestamp", {"4.0.9"})],
        [("package", {"3.1.73"})],
        [("package", {"4.0.9"}), ("package", {"3.1.73"})],
        [("package", {"4.0.9", "5.0.3"})],
        [("package", {"3.1.73"}), ("environment", {"4.0.9"})],
    ],
)
def test_without_it_binaries_that_load_contradict_a_platform_that_the_caller_names(claims: list[tuple[str, set[str]]]) -> None:
    given = [Claim(level, f"{level} says", frozenset(found)) for level, found in claims]  # type: ignore[arg-type]
    with pytest.raises(Refused, match="unwinds through JavaScript") as caught:
        decide("x", given, None, unwinds(), [platforms.for_emscripten("4.0.9")])
    assert caught.value.code == "abi-conflict"


# Signals and the table


def test_signals_are_read_from_binaries() -> None:
    assert read_signals(Module.parse(module().read_bytes())) == Signals(python_module=True)
    assert read_signals(Module.parse(tags().read_bytes())) == Signals(wasm_unwinding=True, python_module=True)
    assert read_signals(Module.parse(longjmp_tag())) == Signals(wasm_unwinding=True, python_module=True)
    assert read_signals(Module.parse(throws().read_bytes())) == Signals(throws=True, python_module=True)
    assert read_signals(Module.parse(invokes().read_bytes())).js_unwinding == ("invoke_vi",)


def test_a_legacy_dylink_section_contradicts_every_loader_that_dropped_it() -> None:
    legacy = read_signals(Module.parse(b"\0asm\1\0\0\0\0\x0c\x06dylink\0\0\0\0\0"))
    assert legacy == Signals(legacy_dylink=True)
    kept = {row.tag for row in platforms.platforms() if not contradictions([("m", legacy)], row)}
    assert {V3145, V2024} <= kept
    (found,) = contradictions([("m", legacy)], platforms.for_emscripten("4.0.9"))
    assert found.why == f"m has a legacy dylink section, which {V2025} no longer loads"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pyemscripten_2026_0_wasm32", "pyemscripten_2026_0"),
        (" pyodide_2024_0 ", "pyemscripten_2024_0"),
        ("emscripten_3_1_58_wasm32", "pyemscripten_2024_0"),
        ("emscripten_3_1_45", "emscripten_3_1_45"),
        ("0.24.1", "emscripten_3_1_45"),
        ("0.25.0", "emscripten_3_1_46"),
        ("0.26.4", "pyemscripten_2024_0"),
        ("0.27.0a2", "pyemscripten_2024_0"),
        ("314.0.0", "pyemscripten_2026_0"),
        ("315.0.0-alpha.2", "pyemscripten_2026_5"),
        ("315.1.0", "pyemscripten_2026_5"),
        ("1.0.0", None),
        ("0.21.0", None),
        ("pyemscripten_2025_1", None),
        ("emscripten_4_0", None),
        ("wasm32", None),
        ("", None),
    ],
)
def test_platforms_are_found_by_every_name_they_have(text: str, name: str | None) -> None:
    found = platforms.parse(text)
    assert (found.name if found else None) == name


def test_every_pyodide_of_the_table_finds_its_own_row() -> None:
    for row in platforms.platforms():
        for version, digest in row.pyodide:
            assert platforms.for_pyodide(version) is row
            assert platforms.integrity(version) == digest
        assert platforms.parse(row.tag) is row
        assert all(platforms.parse(tag) is row for tag in row.alias_tags)
        assert platforms.for_emscripten(row.emscripten) is row
    assert platforms.integrity("0.1.0") is None


@pytest.mark.parametrize(
    ("version", "unwinding", "runtime_path", "legacy", "libs"),
    [
        ("3.1.73", "js", False, True, True),
        ("3.1.80", "unknown", False, False, True),
        ("4.0.4", "unknown", False, False, True),
        ("4.0.5", "unknown", True, False, False),
        ("4.0.18", "unknown", True, False, False),
        ("6.0.8", "wasm", True, False, False),
    ],
)
def test_an_emscripten_without_a_pyodide_has_the_abilities_of_its_age(
    version: str, unwinding: str, runtime_path: bool, legacy: bool, libs: bool
) -> None:
    row = platforms.for_emscripten(version)
    assert (row.name, row.python, row.on_pypi) == (f"emscripten_{version.replace('.', '_')}", None, False)
    assert (row.unwinding, row.runtime_path, row.legacy_dylink, row.libs_folder) == (unwinding, runtime_path, legacy, libs)


def test_the_rows_of_the_table_agree_with_each_other() -> None:
    rows = platforms.platforms()
    names = [name for row in rows for name in (row.name, *row.aliases)]
    assert len(set(names)) == len(names)
    assert len({row.emscripten for row in rows}) == len(rows)
    assert [row.emscripten for row in rows] == sorted((row.emscripten for row in rows), key=platforms.release)
    versions = [version for row in rows for version, _ in row.pyodide]
    assert len(set(versions)) == len(versions)
    for row in rows:
        assert re.fullmatch(r"(py)?emscripten_\d+_\d+(_\d+)?", row.name)
        assert row.on_pypi or row.name == "emscripten_" + row.emscripten.replace(".", "_")
        assert row.python is not None
        assert row.python_tag == "cp" + row.python.replace(".", "")
        assert row.site_packages == f"/lib/python{row.python}/site-packages"
        assert row.unwinding in ("js", "wasm")
        assert row.runtime_path == (platforms.release(row.emscripten) >= platforms.RUNTIME_PATH_SINCE)
        assert row.pyodide
        for _, digest in row.pyodide:
            assert digest.startswith("sha512-")
            assert len(base64.b64decode(digest.removeprefix("sha512-"), validate=True)) == 64


def test_the_toolchains_agree_with_the_rows() -> None:
    known = {row.emscripten: row for row in platforms.platforms()}
    for toolchain in platforms.toolchains():
        assert toolchain.channels
        assert toolchain.since < (toolchain.until or date.max)
        if toolchain.emscripten in known:
            assert toolchain.unwinding == known[toolchain.emscripten].unwinding
            assert known[toolchain.emscripten].python in toolchain.pythons


def test_a_platform_that_no_pyodide_has_is_a_warning() -> None:
    result = convert(with_module(module(), depends=["emscripten-abi >=3.1.73,<3.1.74.0a0"]), dry_run=True)
    assert (result.platform, "no-pyodide" in warned(result)) == (V3173, True)
    assert "no-pyodide" not in warned(convert(with_module(module(), depends=ABI4), dry_run=True))


@pytest.mark.parametrize("depends", [["emscripten-abi ==3.1.45"], ABI3, ABI4])
@pytest.mark.parametrize(("call", "told"), [("__cxa_throw(0, 0, 0)", True), ("1", False)])
def test_an_extension_that_throws_and_cannot_catch_is_one_warning_on_every_platform(
    call: str, told: bool, depends: list[str]
) -> None:
    python = "311" if "3.1.45" in depends[0] else "313"
    binary = built("extern void __cxa_throw(void *, void *, void *);" + INIT % call, python=python)
    result = convert(with_module(binary, python=python, depends=depends), dry_run=True)
    assert [warning.code for warning in result.warnings].count("cannot-catch") == told
