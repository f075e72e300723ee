"""Wheels with copies of one library, or with a namesake of the main module's, together in one interpreter: each has its own."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.abi.audit.findings import Severity
from conda2wheel.abi.platforms import for_pyodide
from conda2wheel.commands.audit import audit_each
from conda2wheel.commands.audit_result import Audited
from conda2wheel.commands.convert import convert
from conda2wheel.results import Converted
from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module
from tests.helpers import clash, judges
from tests.helpers.clash import Answers, Load
from tests.unit.link.test_linker import library, python

pytestmark = pytest.mark.runtime

PYTHONS = {"0.27.7": "312", "0.28.3": "313", "0.29.5": "313", "314.0.7": "314"}
SHAPES = {"shapes1user": (1, 71), "shapes2user": (2, 72), "twinuser": (1, 73)}  # wheel: version of libshapes.so, its number
BY_POINTER = ("caught", "caught_int", "caught_as_std", "caught_std")  # calls inside of `try`
ORDERS = {"forward": tuple(SHAPES), "backward": tuple(SHAPES)[::-1]}


@dataclass(frozen=True)
class World:
    """Everything converted for one Pyodide, and the answers of all wheels in every load order."""

    pyodide: str
    folder: Path

    @property
    def python(self) -> str:
        return PYTHONS[self.pyodide]

    @property
    def unwinding(self) -> str:
        platform = for_pyodide(self.pyodide)
        assert platform is not None
        return platform.unwinding

    def convert(self, name: str, module: Path, libraries: Mapping[str, Path], folder: str, **options: Any) -> Converted:
        """A wheel of one module, with each library from a package of its own."""
        package = python({module.name: module}, name=name, py=self.python)
        libdirs = [library(lib, {f"lib/{lib}.so": path}, py=self.python) for lib, path in libraries.items()]
        result: Converted = convert(package, out=self.folder / folder, libdirs=libdirs, **options)
        assert result.wheel is not None
        judges.judge(result.wheel)
        return result

    def made(self, *, isolate: bool) -> dict[str, Converted]:
        """The wheels; not isolated, those of which Pyodide has something, or another wheel has."""
        folder, py = ("isolated" if isolate else "as they are"), self.python
        made = {}
        for name, (version, number) in SHAPES.items():
            module = clash.shapes_user(f"_{name}", number, py, self.unwinding)
            libraries = {"libshapes": clash.shapes(version, self.unwinding)}
            made[name] = self.convert(name, module, libraries, folder, isolate=isolate)
        z = {"libz": clash.other_zlib()}
        made["zlibmore"] = self.convert("zlibmore", clash.zlib_user("_zlibmore", py, more=True), z, folder, isolate=isolate)
        kept = clash.zlib_user("_zlibkept", py, more=False)
        made["zlibkept"] = self.convert("zlibkept", kept, z, folder, isolate=isolate, provided=False)
        return made

    @cached_property
    def isolated(self) -> dict[str, Converted]:
        below, above = clash.underlinked()
        under = clash.underlinked_user("_underlinked", self.python)
        same = clash.zlib_user("_zlibsame", self.python, more=False)
        old = clash.typeinfo_user("_typeinfo", self.python, self.unwinding)
        return {
            **self.made(isolate=True),
            "zlibsame": self.convert("zlibsame", same, {"libz": clash.other_zlib()}, "isolated"),
            "underlinked": self.convert("underlinked", under, {"libbelow": below, "libabove": above}, "isolated"),
            "typeinfo": self.convert("typeinfo", old, {"libold": clash.typeinfo_of_its_own()}, "isolated"),
        }

    @cached_property
    def as_they_are(self) -> dict[str, Converted]:
        return self.made(isolate=False)

    @cached_property
    def own(self) -> dict[str, Answers]:
        """What every module answers if it has its own library."""
        row = for_pyodide(self.pyodide)
        assert row is not None
        (version,) = (provided.split()[1] for provided in row.provides if provided.startswith("zlib "))
        own = {name: clash.shapes_answers(*numbers) for name, numbers in SHAPES.items()}
        own["zlibmore"] = clash.ZLIB_ANSWERS | clash.MORE_ANSWERS
        own["zlibkept"] = clash.ZLIB_ANSWERS
        own["zlibsame"] = mains_zlib(version)
        own["underlinked"] = {"value": 42}
        own["typeinfo"] = {"caught": 41}
        return own

    @cached_property
    def answers(self) -> dict[str, dict[str, Answers]]:
        """By load (isolated or as they are, and the order) and wheel."""
        loads = []
        for kind, made in (("isolated", self.isolated), ("as they are", self.as_they_are)):
            for direction, step in (("forward", 1), ("backward", -1)):
                names = list(made)[::step]
                wheels = [wheel for name in names if (wheel := made[name].wheel)]
                loads.append(Load(f"{kind} {direction}", wheels, {f"_{name}": tuple(self.own[name]) for name in names}))
        found = clash.answered(self.pyodide, loads)
        return {load: {name.removeprefix("_"): got for name, got in by.items()} for load, by in found.items()}


def mains_zlib(version: str) -> Answers:
    """What the real zlib answers."""
    crc = zlib.crc32(b"123")
    crc -= (crc >> 31) << 32  # a long is signed
    return {"version": version, "version_by_pointer": version, "crc": crc, "crc_by_pointer": crc, "message": "need dictionary"}


@pytest.fixture(
    scope="module",
    params=[pytest.param(each, marks=() if each == "0.29.5" else pytest.mark.long) for each in PYTHONS],
    ids=str,
)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(request.param, tmp_path_factory.mktemp("isolation"))


@pytest.mark.parametrize("direction", ORDERS)
def test_every_wheel_has_its_own_library_whichever_was_loaded_first(world: World, direction: str) -> None:
    """Two versions and a twin of one, a zlib that is none: functions, pointers, data, state, virtual tables, casts, exceptions
    caught as their own class and as std::exception, and exceptions of the main module."""
    assert world.answers[f"isolated {direction}"] == world.own


@pytest.mark.parametrize("direction", ORDERS)
def test_as_they_are_the_first_loaded_takes_the_place_of_the_others(world: World, direction: str) -> None:
    """What goes through the global offset table is the first's: pointers to functions, data, virtual tables; and calls inside of
    `try`, where JavaScript unwinds, since they are made by pointer. Other calls are not."""
    first, *others = ORDERS[direction]
    got = world.answers[f"as they are {direction}"]
    assert got[first] == world.own[first]
    winner, number = SHAPES[first]
    for place, name in enumerate(others, 2):
        assert got[name] == world.own[name] | {
            "version_by_pointer": winner,
            "scale": 10 * winner,
            "name": f"shapes {winner}",
            "state_by_pointer": number,
            "handler": 6 * winner,
            "tweak_as_callback": 5 * winner + 1000 * SHAPES[name][0],
            "tally": 2 * place,
            "virtual_area": 9 * winner,
            "made_shape": 3 * winner,
            "made_square": 9 * winner,
            **({} if world.unwinding == "wasm" else {key: clash.shapes_answers(winner, 0)[key] for key in BY_POINTER}),
        }
    mains = world.own["zlibsame"]
    assert got["zlibkept"] == mains
    assert got["zlibmore"] == mains | {"flavour": "other version", "pointer_of_its_own": mains["version"]}


def audited(world: World, made: Mapping[str, Converted], names: Sequence[str]) -> dict[str, Audited]:
    found = {}
    for (_, result), name in zip(audit_each([str(made[name].wheel) for name in names], world.pyodide), names, strict=True):
        assert isinstance(result, Audited), result
        found[name] = result
    return found


def suspicious(result: Audited) -> dict[str, set[str]]:
    """The symbols of all findings above a note, by code."""
    found: dict[str, set[str]] = {}
    for finding in result.findings:
        if finding.severity is not Severity.NOTE:
            found.setdefault(finding.code, set()).update(finding.symbols)
    return found


def test_the_audit_says_before_who_will_be_mixed_up_and_in_what(world: World) -> None:
    """All that a test above sees go wrong; but an inline function's static, which C++ itself would make one, is no finding."""
    mixed = {"shapes_version", "shapes_scale", "shapes_names", "shapes_get", "shapes_tweak", "_ZTV5Shape", "_ZTV6Square"}
    mixed |= {"shapes_fail"} if world.unwinding == "js" else set()
    taken = {"zlibVersion", "crc32", "z_errmsg"}
    found = audited(world, world.as_they_are, [*SHAPES, "zlibmore"])
    for name in SHAPES:
        assert mixed <= suspicious(found[name])["symbol-clash"]
    assert suspicious(found["zlibmore"]) == {"main-wins": taken}
    for pair in (("shapes1user", "shapes2user"), ("shapes2user", "twinuser")):
        for result in audited(world, world.as_they_are, pair).values():
            assert mixed <= suspicious(result)["symbol-clash"]
    twins = audited(world, world.as_they_are, ["shapes1user", "twinuser"])
    assert "duplicate-instance" in {code for result in twins.values() for code in suspicious(result)}
    for name in SHAPES:  # alone, each is right
        assert suspicious(audited(world, world.as_they_are, [name])[name]) == {}


def test_the_audit_finds_nothing_to_say_of_isolated_wheels(world: World) -> None:
    assert {name: suspicious(result) for name, result in audited(world, world.isolated, list(world.isolated)).items()} == {
        name: {} for name in world.isolated
    }


def travelling(result: Converted) -> tuple[list[str], tuple[str, ...]]:
    """The libraries in a wheel's files, and what its extension module NEEDs."""
    assert result.wheel is not None
    with zipfile.ZipFile(result.wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".so")]
        (module,) = (name for name in names if "/" not in name)
        needed = dylink.read(Module.parse(archive.read(module))).needed
    return [name for name in names if "/" in name], needed


def test_a_library_that_main_provides_stays_at_home_and_one_symbol_more_lets_it_travel(world: World) -> None:
    same, more, kept = (world.isolated[name] for name in ("zlibsame", "zlibmore", "zlibkept"))
    assert travelling(same) == ([], ())
    row = for_pyodide(world.pyodide)
    assert row is not None
    (provided,) = same.provided
    symbols, users = len({"zlibVersion", "crc32", "z_errmsg"}), (f"_zlibsame.cpython-{world.python}-wasm32-emscripten.so",)
    assert (provided.name, provided.symbols, provided.needed_by) == ("libz.so", symbols, users)
    assert row.tag in provided.by
    assert same.vendored == ()
    for name, result in (("zlibmore", more), ("zlibkept", kept)):
        (path,), (needed,) = travelling(result)
        assert re.fullmatch(rf"{name}\.libs/libz-[0-9a-f]{{8}}\.so", path)
        assert path == f"{name}.libs/{needed}"
        assert [vendored.name for vendored in result.vendored] == [path]
        assert result.provided == ()
    assert world.answers["isolated forward"]["zlibsame"] == world.own["zlibsame"]
