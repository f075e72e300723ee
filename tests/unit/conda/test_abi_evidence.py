"""Which platform a package was built for: every rule of the order of evidence, and every way to end without one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from conda2wheel.commands.convert import convert
from conda2wheel.conda.abi_evidence import channel_name
from conda2wheel.errors import Failed, Refused
from conda2wheel.results import Planned
from tests.helpers import conda, installed, zig

V3145, V3173, V2024, V2025 = (
    f"{name}_wasm32" for name in ("emscripten_3_1_45", "emscripten_3_1_73", "pyemscripten_2024_0", "pyemscripten_2025_0")
)
BEFORE = 1748736000000  # 2025-06-01, in milliseconds
AFTER = 1767225600000  # 2026-01-01
NEW = 1790000000000  # 2026-09-21


def module(python: str = "313") -> Path:
    """A module whose binary fits every platform."""
    return zig.side_module("mod", zig.extension("mod", {"one": zig.integer("1")}), python=python)


def package(
    python: str = "313",
    *,
    depends: Sequence[str] = (),
    index: Mapping[str, object] | None = None,
    recipe: Mapping[str, object] | None = None,
    hash_input: Mapping[str, object] | None = None,
    modules: conda.Files | None = None,
) -> Path:
    """A package without any evidence but the CPython of its module and what is given; `recipe` has documents by file."""
    site = f"lib/python{python[0]}.{python[1:]}/site-packages"
    made = conda.assemble(
        "mod",
        "1.0",
        {f"{site}/{name}": path for name, path in (modules or {module(python).name: module(python)}).items()},
        recipe={name: yaml.safe_dump(document) for name, document in (recipe or {}).items()} or None,
    )

    def change(old: dict[str, Any]) -> dict[str, Any]:
        return {**{k: v for k, v in old.items() if k != "timestamp"}, "depends": list(depends), **(index or {})}

    made = conda.edit(made, "info/index.json", change)
    return made if hash_input is None else conda.repack(made, {"info/hash_input.json": json.dumps(hash_input)})


def platform(source: str | Path, said: str = "auto") -> str:
    return convert(source, dry_run=True, platform=said).platform


def refused(source: str | Path, code: str, words: str, said: str = "auto", *, strict: bool = False) -> Refused:
    with pytest.raises(Refused, match=words) as caught:
        convert(source, dry_run=True, platform=said, strict=strict)
    assert caught.value.code == code
    return caught.value


def warned(result: Planned) -> set[str]:
    return {warning.code for warning in result.warnings}


# --platform


@pytest.mark.parametrize(
    ("said", "tag"),
    [
        ("pyemscripten_2025_0_wasm32", V2025),
        ("pyemscripten_2025_0", V2025),
        ("pyodide_2025_0_wasm32", V2025),
        ("emscripten_4_0_9_wasm32", V2025),
        ("0.29.5", V2025),
        ("0.28.0", V2025),
        ("emscripten_3_1_73_wasm32", V3173),
        ("emscripten_9_9_9", "emscripten_9_9_9_wasm32"),
    ],
)
def test_what_the_caller_says_goes_before_everything(said: str, tag: str) -> None:
    said_else = package(depends=["emscripten-abi >=3.1.45,<3.1.46.0a0"], index={"timestamp": BEFORE})
    result = convert(said_else, dry_run=True, platform=said)
    assert (result.platform, result.evidence) == (tag, ("--platform",))
    assert not warned(result) & {"platform-from-interpreter"}


@pytest.mark.parametrize("said", ["", "win_amd64", "cp313", "0.99.0", "2025_0", "0.99"])
def test_a_platform_that_is_none_is_said_to_be_none(said: str) -> None:
    with pytest.raises(Failed, match="neither auto, nor a platform tag, nor a known version of Pyodide"):
        convert(package(), dry_run=True, platform=said)


def test_the_interpreter_vetoes_what_the_caller_says() -> None:
    refused(package("311"), "abi-conflict", r"built for CPython 3\.11, but pyemscripten_2025_0_wasm32 is CPython 3\.13", V2025)
    assert platform(package("311"), "0.24.1") == V3145


# The package's own words


@pytest.mark.parametrize(
    ("spec", "tag"),
    [
        ("emscripten-abi >=4,<5.0a0", V2025),
        ("emscripten-abi >=4,<5.0", V2025),
        ("emscripten-abi>=4,<5", V2025),
        ("emscripten-abi >=4,<5.0a0,>=4,<5.0", V2025),
        ("emscripten-abi >=4,<5.0a0 *_0", V2025),
        ("emscripten-abi[version='>=4,<5']", V2025),
        ("emscripten-forge-4x::emscripten-abi >=4,<5", V2025),
        ("emscripten-abi 4.*", V2025),
        ("emscripten-abi 4.0.9", V2025),
        ("emscripten-abi ==4.0.9 h1_0", V2025),
        ("emscripten-abi >=3.1.73,<3.1.74.0a0", V3173),
        ("emscripten-abi >=3.1.73,<3.1.74", V3173),
        ("emscripten-abi >=3.1.45,<3.1.74", V3173),
        ("emscripten-abi ==3.1.73", V3173),
        ("emscripten-abi 3.1.73.*", V3173),
        ("emscripten-abi =3.1.73", V3173),
        ("emscripten-abi >=3.1.80,<3.1.81.0a0", "emscripten_3_1_80_wasm32"),
        ("emscripten-abi 3.1.80.*", "emscripten_3_1_80_wasm32"),
        ("emscripten-abi ==3.1.80", "emscripten_3_1_80_wasm32"),
    ],
)
def test_a_dependency_on_emscripten_abi_is_evidence(spec: str, tag: str) -> None:
    result = convert(package(depends=["python", spec]), dry_run=True)
    assert (result.platform, result.evidence, warned(result) & {"platform-from-interpreter"}) == (
        tag,
        (f"depends on {spec}",),
        set(),
    )


def test_a_dependency_may_come_twice() -> None:
    assert platform(package(depends=["emscripten-abi >=4,<5.0a0", "emscripten-abi >=4,<5.0"])) == V2025


@pytest.mark.parametrize(
    "spec", ["emscripten-abi", "emscripten-abi *", "emscripten-abi-marker >=4,<5", "not-emscripten-abi 4.0.9"]
)
def test_a_dependency_that_says_nothing_is_no_evidence(spec: str) -> None:
    refused(package(depends=[spec]), "unknown-abi", "the package has no evidence")


@pytest.mark.parametrize("spec", ["emscripten-abi >=9,<10", "emscripten-abi !!", "emscripten-abi >=3.1.74,<4"])
def test_a_range_without_a_known_emscripten_is_unknown(spec: str) -> None:
    error = refused(package(depends=[spec]), "unknown-abi", "no Emscripten is known that fits")
    assert V2025 in error.hint


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("emscripten-forge-4x", "emscripten-forge-4x"),
        ("emscripten-forge-4x/emscripten-wasm32", "emscripten-forge-4x"),
        ("https://prefix.dev/emscripten-forge-4x", "emscripten-forge-4x"),
        ("https://repo.prefix.dev/emscripten-forge-4x/", "emscripten-forge-4x"),
        ("https://repo.prefix.dev/emscripten-forge-4x/noarch", "emscripten-forge-4x"),
        ("HTTPS://user:secret@repo.prefix.dev/emscripten-forge-4x/emscripten-wasm32/", "emscripten-forge-4x"),
        ("https://repo.prefix.dev/emscripten-forge-4x/emscripten-wasm32/numpy-2.4.4-py313h_0.tar.bz2", "emscripten-forge-4x"),
        (
            "https://repo.prefix.dev/emscripten-forge-4x/emscripten-wasm32/numpy-2.4.4-py313h_0.conda?x=/y#z",
            "emscripten-forge-4x",
        ),
        ("https://prefix.dev/emscripten-forge-bot/emscripten-forge-6x/noarch", "emscripten-forge-6x"),
        ("https://repo.mamba.pm/emscripten-forge", "emscripten-forge"),
        ("", ""),
        ("https://", ""),
    ],
)
def test_the_name_of_a_channel_is_found_in_every_shape_of_its_address(address: str, name: str) -> None:
    assert channel_name(address) == name


@pytest.mark.parametrize(
    ("channel", "tag"),
    [
        ("https://repo.prefix.dev/emscripten-forge-4x/emscripten-wasm32", V2025),
        ("emscripten-forge-4x-experimental", V2025),
        ("https://repo.prefix.dev/emscripten-forge-dev", V3173),
        ("https://repo.prefix.dev/emscripten-forge-bot/emscripten-forge-6x", "emscripten_6_0_8_wasm32"),
    ],
)
def test_the_channel_is_evidence(channel: str, tag: str) -> None:
    result = convert(package(index={"channel": channel}), dry_run=True)
    assert (result.platform, result.evidence) == (tag, (f"comes from the channel {channel_name(channel)}",))


def test_the_address_of_a_record_is_evidence_where_it_names_no_channel() -> None:
    url = "https://repo.prefix.dev/emscripten-forge-4x/emscripten-wasm32/mod-1.0-h_0.tar.bz2"
    assert platform(package(index={"url": url})) == V2025


def test_an_unknown_channel_is_no_evidence() -> None:
    refused(package(index={"channel": "https://repo.prefix.dev/conda-forge"}), "unknown-abi", "has no evidence")


def test_one_channel_had_three_emscriptens_and_the_interpreter_tells_them_apart() -> None:
    channel = "https://repo.mamba.pm/emscripten-forge"
    assert platform(package("311", index={"channel": channel})) == V3145
    error = refused(package("310", index={"channel": channel}), "unknown-abi", "comes from the channel emscripten-forge")
    assert "emscripten_3_1_2_wasm32, emscripten_3_1_27_wasm32" in error.hint
    assert platform(package("310", index={"channel": channel, "timestamp": 1688000000000})) == "emscripten_3_1_27_wasm32"


@pytest.mark.parametrize("file", ["variant_config.yaml", "conda_build_config.yaml"])
@pytest.mark.parametrize(
    "variant",
    [
        {"c_compiler": "emscripten", "c_compiler_version": "3.1.73"},
        {"cxx_compiler_version": ["3.1.73"]},
        {"emscripten_version": "3.1.73"},
        {"emscripten-abi": "3.1.73", "python": "3.13.* *_cp313"},
        {"c_compiler": ["gcc", "emscripten"], "c_compiler_version": ["14", "3.1.73"]},
    ],
)
def test_the_variant_is_evidence(variant: Mapping[str, object], file: str) -> None:
    assert platform(package(recipe={file: variant})) == V3173
    assert platform(package(hash_input=variant)) == V3173


@pytest.mark.parametrize(
    "variant",
    [
        {"c_compiler": "gcc", "c_compiler_version": "13.3.0"},
        {"c_compiler_version": "4"},
        {"c_compiler_version": ["4.0.9", "3.1.73"]},
        {"c_compiler_version": 4.0},
        {"c_compiler_version": None, "emscripten-abi": {"a": 1}},
    ],
)
def test_a_variant_that_names_no_one_emscripten_is_no_evidence(variant: Mapping[str, object]) -> None:
    refused(package(recipe={"variant_config.yaml": variant}), "unknown-abi", "has no evidence")


def built_with(part: str, *records: object) -> dict[str, object]:
    return {"rendered_recipe.yaml": {"finalized_dependencies": {part: {"resolved": list(records)}}}}


@pytest.mark.parametrize("part", ["build", "host"])
@pytest.mark.parametrize("name", ["emscripten_emscripten-wasm32", "emscripten", "emscripten-abi"])
def test_what_it_was_built_with_is_evidence(part: str, name: str) -> None:
    other = {"name": "zlib", "version": "1.3.1"}
    result = convert(package(recipe=built_with(part, 3, None, other, {"name": name, "version": "3.1.73"})), dry_run=True)
    assert (result.platform, result.evidence) == (V3173, (f"was built with {name} 3.1.73",))


@pytest.mark.parametrize("resolved", [5, "x", {"name": "emscripten"}, [{"name": ["emscripten"], "version": {"a": 1}}], None])
def test_a_strange_list_of_what_it_was_built_with_is_no_evidence(resolved: object) -> None:
    document = {"rendered_recipe.yaml": {"finalized_dependencies": {"build": {"resolved": resolved}, "host": 3}}}
    refused(package(recipe=document), "unknown-abi", "has no evidence")


def test_a_range_admits_an_emscripten_that_only_the_package_names() -> None:
    source = package(
        depends=["emscripten-abi >=4,<5.0a0"], recipe=built_with("build", {"name": "emscripten", "version": "4.0.18"})
    )
    assert platform(source) == "emscripten_4_0_18_wasm32"


def test_rattler_builds_own_package_says_it_everywhere() -> None:
    files = {f"lib/python3.13/site-packages/{module().name}": module()}
    result = convert(conda.build("mod", "1.0", files, compiler="4.0.9"), dry_run=True)
    assert result.platform == V2025
    assert {"depends on emscripten-abi >=4,<5.0a0", "variant_config.yaml has c_compiler_version 4.0.9"} <= set(result.evidence)
    assert "was built with emscripten_emscripten-wasm32 4.0.9" in result.evidence


@pytest.mark.parametrize(
    "source",
    [
        {"depends": ["emscripten-abi >=4,<5.0a0", "emscripten-abi ==3.1.73"]},
        {"depends": ["emscripten-abi >=4,<5.0a0"], "index": {"channel": "emscripten-forge-dev"}},
        {"depends": ["emscripten-abi >=4,<5.0a0"], "recipe": built_with("build", {"name": "emscripten", "version": "3.1.73"})},
        {"index": {"channel": "emscripten-forge-dev"}, "hash_input": {"c_compiler_version": "4.0.9"}},
    ],
)
def test_a_package_that_contradicts_itself_is_a_conflict(source: dict[str, Any]) -> None:
    refused(package(**source), "abi-conflict", "which contradicts that it")


# The date


def test_a_date_alone_decides_nothing() -> None:
    for when in (BEFORE, AFTER):
        refused(package("312", index={"timestamp": when}), "unknown-abi", "it was built on 20")


def test_a_date_narrows_what_the_package_says() -> None:
    spec = "emscripten-abi >=3.1.45,<5"
    error = refused(package(depends=[spec]), "unknown-abi", "depends on emscripten-abi")
    assert error.hint == f"give --platform, one or several of {V3173}, {V2025}"
    result = convert(package(depends=[spec], index={"timestamp": BEFORE}), dry_run=True)
    assert (result.platform, result.evidence) == (V3173, (f"depends on {spec}", "was built on 2025-06-01"))


@pytest.mark.parametrize("when", [1, 315532800, 4102444800000])
def test_a_date_of_a_reproducible_build_contradicts_nothing(when: int) -> None:
    assert platform(package(depends=["emscripten-abi >=4,<5"], index={"timestamp": when})) == V2025
    result = convert(package("311", index={"timestamp": when}), dry_run=True)
    assert (result.platform, result.evidence) == (V3145, ("CPython 3.11",))


def test_a_date_tells_the_emscriptens_of_one_interpreter_apart_with_a_warning() -> None:
    result = convert(package(index={"timestamp": BEFORE}), dry_run=True)
    assert (result.platform, warned(result) & {"platform-from-interpreter"}) == (V3173, {"platform-from-interpreter"})


# The environment


def environment(
    folder: Path, *listed: tuple[str, str, str], python: str = "313", record: Mapping[str, object] | None = None
) -> Path:
    site = f"lib/python{python[0]}.{python[1:]}/site-packages"
    made = installed.empack_targz("mod", "1.0", "h1_0", {f"{site}/{module(python).name}": module(python)}, record=record)
    return installed.empack_env(folder, [made], listed=listed) / made.name


def test_the_environment_that_lists_a_package_is_evidence(tmp_path: Path) -> None:
    for python, version, tag in (
        ("313", "4.0.9", V2025),
        ("313", "3.1.73", V3173),
        ("310", "3.1.27", "emscripten_3_1_27_wasm32"),
    ):
        source = environment(tmp_path / f"{python}-{version}", ("emscripten-abi", version, "h_0"), python=python)
        result = convert(source, dry_run=True)
        assert (result.platform, result.evidence) == (tag, (f"its environment has emscripten-abi {version}",))
        assert "platform-from-interpreter" not in warned(result)


def test_an_environment_is_stronger_than_a_date(tmp_path: Path) -> None:
    record = {"timestamp": 1717200000000}  # June 2024: the channel only had 3.1.45 then
    result = convert(environment(tmp_path, ("emscripten-abi", "3.1.73", "h_0"), record=record), dry_run=True)
    assert (result.platform, result.evidence) == (V3173, ("its environment has emscripten-abi 3.1.73",))


def test_an_environment_is_weaker_than_the_packages_own_words(tmp_path: Path) -> None:
    record = {"depends": ["emscripten-abi >=4,<5"]}
    assert platform(environment(tmp_path, ("emscripten-abi", "3.1.73", "h_0"), record=record)) == V2025
    wide = {"depends": ["emscripten-abi >=4,<7"]}
    assert platform(environment(tmp_path / "wide", ("emscripten-abi", "3.1.73", "h_0"), record=wide)) == V2025


def test_an_environment_with_two_emscriptens_is_none(tmp_path: Path) -> None:
    source = environment(tmp_path, ("emscripten-abi", "3.1.73", "h_0"), ("emscripten-abi", "4.0.9", "h_0"))
    error = refused(source, "unknown-abi", r"its environment has emscripten-abi 3\.1\.73 and 4\.0\.9")
    assert error.hint == f"give --platform, one or several of {V3173}, {V2025}"


@pytest.mark.parametrize(
    "change", [{"build": "h2_0"}, {"version": "1.1"}, {"name": "mood"}, {"filename": "x.tar.gz", "filename_stem": "x"}]
)
def test_an_environment_that_lists_another_package_is_no_evidence(change: dict[str, str], tmp_path: Path) -> None:
    source = environment(tmp_path, ("emscripten-abi", "4.0.9", "h_0"))
    assert platform(source) == V2025
    meta = source.with_name("empack_env_meta.json")
    document = json.loads(meta.read_text())
    document["packages"][0].update(change)
    meta.write_text(json.dumps(document))
    refused(source, "unknown-abi", "the package has no evidence")


def test_a_loose_package_in_the_same_folder_is_no_evidence(tmp_path: Path) -> None:
    source = environment(tmp_path)
    source.with_name("empack_env_meta.json").unlink()
    installed.raw_tar(tmp_path / "emscripten-abi-4.0.9-h_0.tar.gz", installed.honest("emscripten-abi", "4.0.9", "h_0"))
    refused(source, "unknown-abi", "the package has no evidence")


@pytest.mark.parametrize("text", ["{", "[]", '{"packages": 3}', '{"packages": [3]}', "{}"])
def test_a_broken_list_of_an_environment_is_no_evidence_and_no_obstacle(text: str, tmp_path: Path) -> None:
    source = environment(tmp_path, record={"depends": ["emscripten-abi >=4,<5"]})
    source.with_name("empack_env_meta.json").write_text(text)
    result = convert(source, dry_run=True)
    assert result.platform == V2025
    assert ("unreadable-environment" in warned(result)) is (text in ("{", "[]"))


def test_the_neighbours_of_a_prefix_are_evidence(tmp_path: Path) -> None:
    abi = conda.assemble("emscripten-abi", "4.0.9", {}, noarch="generic")
    root = installed.prefix(tmp_path / "env", [package(), abi])
    result = convert(root / "conda-meta" / "mod-1.0-h1234567_0.json", dry_run=True)
    assert (result.platform, result.evidence) == (V2025, ("its environment has emscripten-abi 4.0.9",))
    alone = installed.prefix(tmp_path / "alone", [package()])
    refused(alone, "unknown-abi", "has no evidence")
