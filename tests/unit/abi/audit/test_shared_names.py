"""Sets of names leave out only what the rules for single imports find nothing about, in any Pyodide."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from conda2wheel.abi import symbols
from conda2wheel.abi.audit import dependencies
from conda2wheel.abi.audit.dependencies import issues, issues_of, open_imports
from conda2wheel.abi.audit.engine import audit_units
from conda2wheel.abi.audit.shared_names import INTERNAL, NamesInCommon
from conda2wheel.abi.audit.simulation import Simulation, simulate
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.wasm.binary import Kind
from tests.helpers import handmade

TYPES = ("i>i", "i>i", "i>i", "ij>i", "j>j", "d>", ">", "i", "i*")
OWN = ("f", "g", "h", "data", "_ZN3lib4areaEv", "_ZNSt3__25rangeEi", "__pyx_f", "invoke_ii", "__em_js__f", "memory", "PyInit_x")
MAINS = (
    "malloc",
    "free",
    "printf",
    "stdout",
    "PyLong_AsLong",
    "emscripten_get_now",
    "__stack_pointer",
    "__cpp_exception",
    "environ",
)
FILES = ("a.so", "b.so", "sub/c.so", "pkg.libs/libx.so", "pkg.libs/liby.so", "d.cpython-37-x86_64-linux-gnu.so")


def modules(chance: random.Random) -> dict[str, bytes]:
    """Some modules that import and export, with few names and types, so that all kinds of agreement and disagreement happen."""
    found = {}
    for path in chance.sample(FILES, chance.randint(1, len(FILES))):
        names = [*OWN, *chance.sample(MAINS, 3)]
        exports = {name: chance.choice(TYPES) for name in chance.sample(names, chance.randint(0, 6))}
        imports: dict[tuple[str, str, str], None] = {}
        for name in chance.choices((*OWN, *MAINS), k=chance.randint(0, 12)):
            where = chance.choice(("env", "env", "env", "GOT.func", "GOT.mem", "wasi_snapshot_preview1"))
            kind = handmade.GOT if where.startswith("GOT") else chance.choice((*TYPES, "tag i>"))
            imports[where, name, kind] = None
        if chance.random() < 0.1:
            imports["elsewhere", "f", "i>i"] = None
        weak = [(where, name) for where, name, _ in imports if chance.random() < 0.2]
        needed = [name.rpartition("/")[2] for name in FILES if chance.random() < 0.3]
        rpath = ["$ORIGIN/pkg.libs"] if chance.random() < 0.5 else []
        found[path] = handmade.module(list(imports), exports, needed=needed, rpath=rpath, weak=weak)
    return found


def simulations(pyodides: tuple[str, ...], seeds: range) -> Iterator[Simulation]:
    for seed in seeds:
        chance = random.Random(seed)  # noqa: S311 - a test
        units = [AuditUnit.of_bytes("pkg", modules(chance), "pkg")]
        if chance.random() < 0.4:
            units.append(AuditUnit.of_bytes("other", modules(chance), "other"))  # in part at the same paths
        in_common = NamesInCommon()
        for pyodide in pyodides:
            yield simulate(pyodide, units, in_common)


def test_what_is_left_out_has_no_issues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "FEW", 0)
    judged = left_out = 0
    for simulation in simulations(symbols.known(), range(25)):
        for instance in simulation.loaded:
            every = instance.module.side.imports
            found = list(issues(instance, simulation))
            assert found == list(issues_of(every, instance, simulation)), (simulation.loader.pyodide, instance.key)
            judged += len(found)
            left_out += len(every) - len(open_imports(instance, simulation))
    assert judged > 1000
    assert left_out > 1000


def test_owners_are_the_first_modules_with_a_name() -> None:
    for simulation in simulations(("0.25.1", "314.0.7"), range(25)):
        owners: dict[str, object] = {}
        for instance in simulation.loaded:
            for name, offered in instance.module.side.exports.items():
                symbol = simulation.main.get(name)
                in_main = symbol is not None and symbol.kind in ("func", "data")
                if not in_main and name not in INTERNAL and offered.kind in (Kind.FUNC, Kind.GLOBAL):
                    owners.setdefault(name, instance)
        wanted = {name for module in simulation.names.modules for name in module.side.got_imports}
        assert simulation.owners == {name: owner for name, owner in owners.items() if name in wanted}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_known_from_another_pyodide_changes_nothing(seed: int) -> None:
    chance, in_common = random.Random(seed), NamesInCommon()  # noqa: S311
    units = [AuditUnit.of_bytes("pkg", modules(chance), "pkg"), AuditUnit.of_bytes("other", modules(chance), "other")]
    for pyodide in symbols.known():
        assert audit_units(units, pyodide, in_common=in_common) == audit_units(units, pyodide)


def test_files_of_one_content_are_one_library_and_files_of_one_size_are_not() -> None:
    one, other = handmade.module([], {"f": "i>i"}), handmade.module([], {"g": "i>i"})
    assert len(one) == len(other)
    unit = AuditUnit.of_bytes("pkg", {"a.so": one, "b.so": other, "c.so": one, "d.so": other + handmade.custom("x", b"")})
    simulation = simulate("314.0.7", [unit])
    contents = [simulation.names.content(module) for module in unit.installed]
    assert contents[0] == contents[2]
    assert len(set(contents)) == 3


def test_a_module_in_whose_place_another_unit_installs_a_file_is_judged_by_what_it_imports() -> None:
    pointing = handmade.module([("GOT.func", "f", handmade.GOT)], {"PyInit_a": ">i"}, needed=["libf.so"], rpath=["$ORIGIN"])
    library = handmade.module([], {"f": "i>i"})
    one = AuditUnit.of_bytes("one", {"a.so": pointing, "libf.so": library}, "one")
    other = AuditUnit.of_bytes("other", {"a.so": handmade.module([], {"PyInit_a": ">i"})}, "other")
    for pyodide in symbols.known():
        findings = audit_units([one, other], pyodide)["one"]
        assert not [finding for finding in findings if finding.code == "unresolved-symbol"], pyodide
