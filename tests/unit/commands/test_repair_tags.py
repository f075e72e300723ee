"""Tags follow the evidence: the PEP 783 name, which PyPI takes, instead of older names, of none, and of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import Limits, Refused, Repaired, audit, repair
from conda2wheel.abi.platforms import TagForm
from conda2wheel.wheel.reader import read_wheel
from tests.helpers import conda, judges, zig
from tests.helpers.foreign import Foreign

P24, P25, P26 = (f"pyemscripten_{year}_0_wasm32" for year in ("2024", "2025", "2026"))
FORMS: dict[TagForm, str] = {
    "pep783": P25,
    "pyodide": "pyodide_2025_0_wasm32",
    "both": f"{P25}.pyodide_2025_0_wasm32",
}


def extension(suffix: str) -> conda.Files:
    source = zig.extension("_x", {"answer": zig.integer("42")})
    return {"pkg/__init__.py": "", f"pkg/_x{suffix}": zig.side_module("_x", source)}


def unwinding(suffix: str) -> conda.Files:
    """A module that unwinds through JavaScript, as Emscripten 3.1.x's do."""
    declarations = (
        "extern void invoke_vi(int, int), __cxa_find_matching_catch_2(void);\n"
        "void use(void) { invoke_vi(1, 2); __cxa_find_matching_catch_2(); }"
    )
    source = zig.extension("_x", {"answer": zig.integer("42")}, declarations=declarations)
    return {"pkg/__init__.py": "", f"pkg/_x{suffix}": zig.side_module("_x", source, exports=["use"])}


def fixed(wheel: Path, out: Path, platform: str = "auto", tags: TagForm | None = None) -> Repaired:
    result = repair(wheel, out=out, platform=platform, tags=tags)
    assert result.wheel is not None
    judges.judge(result.wheel)
    return result


@pytest.mark.parametrize(
    ("tag", "suffix", "becomes"),
    [
        ("cp313-cp313-pyodide_2025_0_wasm32", "313", f"cp313-cp313-{P25}"),
        ("cp313-cp313-emscripten_4_0_9_wasm32", "313", f"cp313-cp313-{P25}"),
        ("cp312-cp312-emscripten_3_1_58_wasm32", "312", f"cp312-cp312-{P24}"),
        ("cp314-cp314-emscripten_5_0_3_wasm32", "314", f"cp314-cp314-{P26}"),
        ("cp313-cp313-linux_wasm32", "313", f"cp313-cp313-{P25}"),
        ("cp313-cp313-unknown_wasm32", "313", f"cp313-cp313-{P25}"),
        ("cp313-cp313-any", "313", f"cp313-cp313-{P25}"),
        ("py3-none-any", "313", f"cp313-cp313-{P25}"),
        ("py3-none-any", "314", f"cp314-cp314-{P26}"),
        ("cp313-abi3-emscripten_4_0_9_wasm32", "abi3", f"cp313-abi3-{P25}"),
        ("cp38-abi3-emscripten_4_0_9_wasm32", "abi3", f"cp38-abi3-{P25}"),
        ("cp38-abi3-emscripten_4_0_9_wasm32", "bare", f"cp38-abi3-{P25}"),
        ("cp38-abi3-emscripten_4_0_9_wasm32", "313", f"cp313-cp313-{P25}"),
        ("cp313-cp313-emscripten_4_0_9_wasm32", "bare", f"cp313-cp313-{P25}"),
        ("py3-none-emscripten_4_0_9_wasm32", "bare", f"cp313-cp313-{P25}"),
        ("cp313-cp313-emscripten_4_0_9_wasm32", "abi3", f"cp313-cp313-{P25}"),
        ("cp313-cp313-linux_wasm32.pyodide_2025_0_wasm32", "313", f"cp313-cp313-{P25}"),
    ],
)
def test_a_tag_becomes_the_one_that_pypi_takes(tag: str, suffix: str, becomes: str, tmp_path: Path) -> None:
    ending = {"abi3": ".abi3.so", "bare": ".so"}.get(suffix) or zig.suffix(suffix)
    wheel = Foreign(tag, extension(ending), purelib=tag.endswith("any")).write(tmp_path)
    result = fixed(wheel, tmp_path / "out")
    assert result.filename == f"pkg-1.0-{becomes}.whl"
    assert sorted(result.tags) == [becomes]
    assert "retagged" in {warning.code for warning in result.warnings}


@pytest.mark.parametrize(
    "tag",
    [
        f"cp313-cp313-{P25}",
        f"cp313-cp313-pyodide_2025_0_wasm32.{P25}",
        f"cp313-cp313-emscripten_4_0_9_wasm32.{P25}",
        "cp313-cp313-emscripten_3_1_73_wasm32",
        f"cp312.cp313-abi3-{P25}",
        f"cp313-abi3-{P25}.{P26}",
    ],
)
def test_a_right_tag_stays_as_it_is(tag: str, tmp_path: Path) -> None:
    wheel = Foreign(tag, extension(".abi3.so" if "abi3" in tag else zig.suffix("313"))).write(tmp_path)
    result = repair(wheel, out=tmp_path / "out")
    assert (result.changed, result.filename) == (False, wheel.name)


@pytest.mark.parametrize(
    ("tag", "files", "code", "said"),
    [
        (f"cp314-cp314-{P25}", extension(zig.suffix("314")), "abi-conflict", "built for CPython 3.14"),
        (f"cp314-cp314-{P26}", extension(zig.suffix("313")), "abi-conflict", "its tag for 3.14"),
        (f"cp314-abi3-{P25}", extension(".abi3.so"), "abi-conflict", "abi3 from CPython 3.14 on"),
        (f"py3-none-{P25}", extension(zig.suffix("314")), "abi-conflict", "built for CPython 3.14"),
        ("cp311-cp311-linux_wasm32", extension(zig.suffix("311")), "unknown-abi", "which names no Emscripten"),
        ("cp313-abi3-linux_wasm32", extension(".abi3.so"), "unknown-abi", "which names no Emscripten"),
        ("py3-none-any", extension(".so"), "unknown-abi", "names no CPython"),
        ("cp313-cp313-linux_x86_64", {"pkg/__init__.py": ""}, "unknown-abi", "no side module"),
    ],
)
def test_a_contradiction_or_nothing_to_go_by_is_refused(
    tag: str, files: conda.Files, code: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=said) as caught:
        repair(Foreign(tag, files).write(tmp_path), out=tmp_path / "out")
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)


def test_binaries_contradict_a_platform_that_only_the_caller_names(tmp_path: Path) -> None:
    files = unwinding(zig.suffix("313"))
    with pytest.raises(Refused, match="unwinds through JavaScript") as caught:
        repair(Foreign("cp313-cp313-linux_wasm32", files).write(tmp_path), platform=P25, out=tmp_path / "out")
    assert caught.value.code == "abi-conflict"
    tagged = Foreign(f"cp313-cp313-{P25}", files).write(tmp_path)
    for said in ("auto", P25):
        assert repair(tagged, platform=said, out=tmp_path / "out").filename == tagged.name
    with pytest.raises(Refused, match=r"in Pyodide 0\.29\.5") as caught:
        repair(tagged, out=tmp_path / "out", strict=True)
    assert caught.value.code == "abi-conflict"


def test_unknown_evidence_names_the_candidates(tmp_path: Path) -> None:
    wheel = Foreign("cp311-cp311-linux_wasm32", extension(zig.suffix("311"))).write(tmp_path)
    with pytest.raises(Refused) as caught:
        repair(wheel, out=tmp_path / "out")
    assert "emscripten_3_1_45_wasm32" in caught.value.hint
    assert "pyemscripten" not in caught.value.hint
    result = fixed(wheel, tmp_path / "out", "0.24.1")
    assert result.filename == "pkg-1.0-cp311-cp311-emscripten_3_1_45_wasm32.whl"


def test_the_platform_can_be_said(tmp_path: Path) -> None:
    wheel = Foreign("cp313-abi3-linux_wasm32", extension(".abi3.so")).write(tmp_path)
    assert fixed(wheel, tmp_path / "out", "314.0.7").filename == f"pkg-1.0-cp313-abi3-{P26}.whl"
    assert fixed(wheel, tmp_path / "out", "pyodide_2025_0").filename == f"pkg-1.0-cp313-abi3-{P25}.whl"
    with pytest.raises(Refused) as caught:
        repair(Foreign(f"cp313-cp313-{P25}", extension(zig.suffix("313"))).write(tmp_path), platform=P26, out=tmp_path / "out")
    assert caught.value.code == "abi-conflict"


def test_a_wheel_for_two_platforms_is_changed_for_both(tmp_path: Path) -> None:
    lib = zig.shared_library("libnear.so", "int near(void) { return 3; }", exports=["near"])
    source = zig.extension("_x", {"f": zig.integer("near()")}, declarations="extern int near(void);")
    files = {"pkg/_x.abi3.so": zig.side_module("_x", source, needed=[lib]), "pkg/lib/libnear.so": lib}
    wheel = Foreign(f"cp313-abi3-{P25}.{P26}", files).write(tmp_path)
    result = repair(wheel, out=tmp_path / "out")
    assert (result.filename, result.changed) == (wheel.name, True)
    assert audit(result.wheel or wheel).ok
    assert fixed(wheel, tmp_path / "out", P26).filename == f"pkg-1.0-cp313-abi3-{P26}.whl"


def test_compat_tags_are_added_once(tmp_path: Path) -> None:
    wheel = Foreign(f"cp313-cp313-{P25}", extension(zig.suffix("313"))).write(tmp_path)
    result = fixed(wheel, tmp_path / "out", tags="both")
    assert result.filename == f"pkg-1.0-cp313-cp313-{P25}.pyodide_2025_0_wasm32.whl"
    assert not repair(result.wheel or wheel, out=tmp_path / "again", tags="both").changed
    assert not repair(result.wheel or wheel, out=tmp_path / "again").changed


@pytest.mark.parametrize("before", [P25, "pyodide_2025_0_wasm32", f"{P25}.pyodide_2025_0_wasm32", "emscripten_4_0_9_wasm32"])
def test_a_form_of_tags_has_no_other_names_beside_it(before: str, tmp_path: Path) -> None:
    wheel = Foreign(f"cp313-cp313-{before}", extension(zig.suffix("313"))).write(tmp_path)
    for form, name in FORMS.items():
        result = repair(wheel, out=tmp_path / form, tags=form)
        if result.changed:
            judges.judge(result.wheel or wheel)
        assert result.filename == f"pkg-1.0-cp313-cp313-{name}.whl"
        assert [str(tag) for tag in sorted(read_wheel(result.wheel or wheel, Limits()).tags, key=str)] == [
            f"cp313-cp313-{each}" for each in name.split(".")
        ]
        assert not repair(result.wheel or wheel, out=tmp_path / f"again-{form}", tags=form).changed


def test_a_pyodide_whose_micropip_does_not_take_the_tag_is_named(tmp_path: Path) -> None:
    wheel = Foreign(f"cp313-cp313-{P25}", extension(zig.suffix("313"))).write(tmp_path)

    def named(platform: str, tags: TagForm | None = None) -> list[str]:
        found = repair(wheel, out=tmp_path / "out", platform=platform, tags=tags).warnings
        return [each.message for each in found if each.code == "micropip-tag"]

    assert "micropip 0.11.0 of Pyodide 0.29.3" in named("0.29.3")[0]
    assert "--tags both adds pyodide_2025_0_wasm32" in named("0.29.3", "pep783")[0]
    assert "micropip 0.10.1 of Pyodide 0.28.3" in named("0.28")[0]
    assert not [*named("0.29.5"), *named("0.29"), *named("pyodide_2025_0"), *named("0.29.3", "both"), *named("0.29.3", "pyodide")]


def test_a_build_tag_is_its_builder_s_and_stays(tmp_path: Path) -> None:
    wheel = Foreign("cp313-cp313-linux_wasm32", extension(zig.suffix("313")), build="7").write(tmp_path)
    assert repair(wheel, out=tmp_path / "out").filename == f"pkg-1.0-7-cp313-cp313-{P25}.whl"


def test_wheel_and_file_name_agree_afterwards(tmp_path: Path) -> None:
    """Tools that rename a wheel forget what is in it."""
    wheel = Foreign(f"cp313-cp313-{P25}", extension(zig.suffix("313")), told=["cp313-cp313-linux_x86_64"]).write(tmp_path)
    result = fixed(wheel, tmp_path / "out")
    assert (result.changed, result.filename) == (True, wheel.name)
