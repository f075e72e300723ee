"""The shipped symbol data is what npm's package gives, and what the running Pyodide has."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zstandard

import conda2wheel
from conda2wheel.abi.engines import main_features
from conda2wheel.abi.symbols import MAX_SIZE, SUFFIX, known, symbols
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide import fetch
from conda2wheel.pyodide.node import find_node
from conda2wheel.pyodide.symbols import make
from conda2wheel.wasm.binary import Module
from conda2wheel.wasm.code import scan
from conda2wheel.wasm.features import declared

pytestmark = [pytest.mark.runtime, pytest.mark.cold]
DATA = Path(conda2wheel.__file__).parent / "abi" / "data"
USUAL = ("0.29.5",)
KINDS = {"function": {"func", "js"}, "number": {"data"}, "object": {"data", "global", "tag", "memory", "table", "object"}}
TELL = """
import fs from 'node:fs';
import module from 'node:module';
const [, , folder, file] = process.argv;
module.register('data:text/javascript,' + encodeURIComponent(`export async function resolve(name, context, next) {
  const source = {ws: 'export default class {}', 'node-fetch': 'export default globalThis.fetch'}[name];
  return source ? {url: 'data:text/javascript,' + encodeURIComponent(source), shortCircuit: true} : next(name, context);
}`));
const { loadPyodide } = await import(`${folder}/pyodide.mjs`);
const py = await loadPyodide({ indexURL: `${folder}/` });
const native = (value) => typeof value === 'function' && /^\\d+$/.test(value.name);
const main = py._module.LDSO.loadedLibsByName.__main__;
const found = Object.entries(main.exports ?? main.module).filter(([, value]) => !value?.stub);
const facts = found.map(([name, value]) => [name, [typeof value, native(value), Boolean(value?.sig)]]);
const text = (code) => py.runPython(code);
fs.writeFileSync(file, JSON.stringify({
  symbols: Object.fromEntries(facts),
  prefix: text('import sys; sys.prefix'),
  site: text('import site; site.getsitepackages()[0]'),
}));
process.exit(0);
"""


def running(version: str, folder: Path) -> dict[str, Any]:
    script, told = folder / "tell.mjs", folder / "told.json"
    script.write_text(TELL)
    node = find_node()
    package = fetch.pyodide(version, cache_folder(None)).folder
    subprocess.run([node.path, str(script), str(package), str(told)], check=True, capture_output=True, timeout=600)
    read: dict[str, Any] = json.loads(told.read_text())
    return read


def is_as_it_runs(version: str, folder: Path) -> None:
    told, ours = running(version, folder), symbols(version)
    assert told["prefix"] == "/"
    assert set(told["symbols"]) == set(ours)
    for name, (type_, native, signed) in told["symbols"].items():
        kind, signature = ours[name]
        assert kind in KINDS[type_], name
        if type_ == "function":
            assert (kind == "func") == native, name
            assert kind == "func" or bool(signature) == signed, name


def is_what_npm_gives(version: str) -> None:
    data, found = make(version)
    assert found == symbols(version)
    assert len(data) < 100_000
    shipped = DATA / f"{version}{SUFFIX}"
    wasm = Module.parse((fetch.pyodide(version, cache_folder(None)).folder / "pyodide.asm.wasm").read_bytes())
    assert declared(wasm) | scan(wasm).features == main_features(version)  # abi/engines.toml
    assert text(data) == text(shipped.read_bytes())  # not the compressed bytes: those change with the version of libzstd


def text(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_SIZE)


@pytest.mark.parametrize("version", USUAL)
def test_the_data_is_what_the_running_pyodide_has(version: str, tmp_path: Path) -> None:
    is_as_it_runs(version, tmp_path)
    is_what_npm_gives(version)


@pytest.mark.long
@pytest.mark.parametrize("version", [version for version in known() if version not in (*USUAL, "0.22.1")])
def test_the_data_is_what_every_running_pyodide_has(version: str, tmp_path: Path) -> None:
    is_as_it_runs(version, tmp_path)
    is_what_npm_gives(version)
