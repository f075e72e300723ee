"""The table of engines against node: a module is valid where node has all features that are found in it, and nowhere else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from conda2wheel.abi.audit.engine import audit_units
from conda2wheel.abi.audit.findings import RULES, Severity
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.engines import engine_features, engines, has, lacking, main_features, reported
from conda2wheel.abi.platforms import platforms
from conda2wheel.pyodide.node import find_node
from conda2wheel.wasm.binary import HEADER, Module
from conda2wheel.wasm.code import NEWER, scan
from conda2wheel.wasm.encoding import WasmError
from conda2wheel.wasm.features import declared
from conda2wheel.wasm.signature import Feature
from tests.helpers.engine_modules import EngineModule, engine_modules, packaged_node, program

MODULES = engine_modules()
VALIDATE = """
const fs = require('node:fs');
const [folder, ...names] = process.argv.slice(2);
const valid = names.map((name) => [name, WebAssembly.validate(fs.readFileSync(`${folder}/${name}.wasm`))]);
console.log(JSON.stringify([process.version, Object.fromEntries(valid)]));
"""


def found(data: bytes) -> frozenset[Feature]:
    module = Module.parse(data)
    return declared(module) | scan(module).features


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_feature_is_found_where_it_is_needed_and_no_other(module: EngineModule) -> None:
    assert found(module.data) == module.features
    parsed = Module.parse(module.data)
    assert (scan(parsed, NEWER).features | declared(parsed)) & NEWER == module.features & NEWER
    assert scan(parsed).unknown == -1


def test_every_feature_has_a_row_and_a_module() -> None:
    assert set(engine_features()) == set(Feature) == {feature for module in MODULES for feature in module.features}
    assert {row.code for row in engine_features().values()} <= RULES.keys()


def agrees(node: str, folder: Path) -> None:
    """Whether that node takes a module is what the table says of it."""
    script = folder / "validate.cjs"
    script.write_text(VALIDATE)
    for module in MODULES:
        (folder / f"{module.name}.wasm").write_bytes(module.data)
    command = [node, str(script), str(folder), *(module.name for module in MODULES)]
    version, valid = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    wrong = {
        module.name: valid[module.name] for module in MODULES if valid[module.name] == bool(lacking(module.features, version))
    }
    assert (version, wrong) == (version, {})


def test_the_node_at_hand_is_as_the_table_says(tmp_path: Path) -> None:
    agrees(find_node().path, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("version", ["22.18.0", "22.20.0", "24.14.0", "24.19.0"])
def test_other_nodes_are_as_the_table_says(tmp_path: Path, version: str) -> None:
    agrees(str(packaged_node(version)), tmp_path)


def test_every_pyodide_has_the_features_of_its_main_module() -> None:
    for platform in platforms():
        for version, _ in platform.pyodide:
            everywhere = [row for row in engine_features().values() if row.feature in main_features(version)]
            assert all(row.since.keys() == {engine.key for engine in engines()} for row in everywhere)
            assert reported(main_features(version), version) == ()


@pytest.mark.parametrize(
    ("name", "severity", "message"),
    [
        ("plain", None, ""),
        ("try_catch", None, ""),  # of the Pyodide's own kind
        ("ref_null", None, ""),
        (
            "typed_parameter",
            "note",
            "needs typed function references: Chrome 119, Firefox 120, Safari 18, node 22 or newer; older",
        ),
        ("call_ref", "note", "needs typed function references: Chrome 119"),
        (
            "return_call",
            "note",
            "needs tail calls: Chrome 112, Firefox 121, Safari 18.2, node 20 or newer; older ones do not load it",
        ),
        (
            "two_memories",
            "suspicious",
            "needs several memories: Chrome 120, Firefox 125, node 22 or newer; no version of Safari loads it",
        ),
        ("table64", "suspicious", "needs tables with 64-bit indices: Chrome 133"),
        ("relaxed_madd", "suspicious", "needs relaxed SIMD: Chrome 114, Firefox 146, node 21 or newer; no version of Safari"),
        ("page_size", "load", "needs a memory with pages of its own size, which no engine has by default: not loaded"),
        ("stringref", "load", "needs strings as references (stringref), which no engine has by default: not loaded"),
    ],
)
def test_the_audit_says_from_which_versions_on_a_module_is_loaded(name: str, severity: str | None, message: str) -> None:
    (module,) = (module for module in MODULES if module.name == name)
    unit = AuditUnit.of_bytes("x", {"x/a.so": module.data})
    findings = [finding for finding in audit_units([unit], "314.0.7")["x"] if finding.code == "engine"]
    assert [finding.severity for finding in findings] == ([Severity(severity)] if severity else [])
    assert all(finding.message.startswith(message) for finding in findings)


def test_codes_that_were_there_stay() -> None:
    units = [AuditUnit.of_bytes(each.name, {f"{each.name}.so": each.data}) for each in MODULES]
    judged = audit_units(units, "0.29.5")
    codes = {name: {(finding.code, str(finding.severity)) for finding in findings} for name, findings in judged.items()}
    assert ("exnref", "load") in codes["try_table"]
    assert ("simd", "note") in codes["v128_const"]
    assert {code for code, _ in codes["memory64"]} == {
        "engine"
    }  # `memory64` is about Pyodide's memory, which this does not import


@pytest.mark.parametrize("module", [module for module in MODULES if len(module.data) < 120], ids=str)
def test_a_cut_module_is_an_error_of_ours_or_another_module(module: EngineModule) -> None:
    for end in range(len(module.data)):
        try:
            found(module.data[:end])
        except WasmError:
            continue


def test_what_is_announced_and_not_there_is_an_error() -> None:
    many = b"\xff\xff\xff\xff\x0f"
    for number in (1, 2, 4, 5, 6, 9, 11, 13):
        with pytest.raises(WasmError):
            found(HEADER + bytes([number, len(many)]) + many)


def test_an_unknown_type_ends_its_section_and_no_other() -> None:
    assert found(HEADER + program(b"\x12\0", types=[b"\x60\0\0", b"\x01"])) == {Feature.TAIL_CALLS}


def test_a_version_has_what_an_older_one_has() -> None:
    row = engine_features()[Feature.EXTENDED_CONSTANTS]
    assert [has(row, "node", version) for version in ("v20.20.2", "21.0.0", "v22.1.0")] == [False, True, True]
    assert not has(engine_features()[Feature.MULTI_MEMORY], "safari", "99")
    row = engine_features()[Feature.EXNREF]
    answers = {version: has(row, "node", version) for version in ("22.18.0", "22.19.0", "23.9.0", "24.14.1", "24.15.0", "26.1.0")}
    assert list(answers.values()) == [False, True, False, False, True, True]
