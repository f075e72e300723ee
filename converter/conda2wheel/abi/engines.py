"""The engines that run WebAssembly, and the first version of each that has a feature: the rows of `engines.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from conda2wheel.abi.platforms import release
from conda2wheel.wasm.signature import Feature

NODE = "node"


class Engine(NamedTuple):
    """One engine.

    Attributes:
        reported: what this version has is not reported.
        maintained: the oldest version that still gets security updates.
    """

    key: str
    name: str
    reported: str
    maintained: str


@dataclass(frozen=True)
class EngineFeature:
    """A WebAssembly feature, and which engines have it.

    Attributes:
        words: its name for messages.
        since: by the key of an engine the first version that has it by default, after those of older series that got it, too; an
            engine without one is missing.
        code: the code of the finding about it.
        severity: the finding's, where it does not follow from the engines.
    """

    feature: Feature
    words: str
    since: Mapping[str, tuple[str, ...]] = field(hash=False)
    code: str = "engine"
    severity: str | None = None
    hint: str = ""

    @property
    def is_everywhere(self) -> bool:
        """Whether the oldest maintained version of every engine has it."""
        return all(has(self, engine.key, engine.maintained) for engine in engines())

    @property
    def versions(self) -> str:
        """The engines that have it, each with its first version: `Chrome 119, Firefox 120, Safari 18, node 22`."""
        return ", ".join(f"{engine.name} {self.first(engine.key)}" for engine in engines() if engine.key in self.since)

    def first(self, engine: str) -> str:
        """The first version of an engine that has it; `22.19/24.15/25` where older series got it, too."""
        return "/".join(self.since.get(engine, ()))

    @property
    def without(self) -> tuple[str, ...]:
        """The names of the engines that have it in no version."""
        return tuple(engine.name for engine in engines() if engine.key not in self.since)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("engines.toml").read_text(encoding="utf-8"))


@cache
def engines() -> tuple[Engine, ...]:
    """Every engine, in the order of the table."""
    return tuple(Engine(key=key, **row) for key, row in _table()["engine"].items())


@cache
def engine_features() -> Mapping[Feature, EngineFeature]:
    """Every feature, in the order of the table: oldest first."""
    keys = [engine.key for engine in engines()]
    found = {}
    for row in _table()["feature"]:
        since = {key: (row[key],) if isinstance(row[key], str) else tuple(row[key]) for key in keys if key in row}
        rest = {key: value for key, value in row.items() if key not in (*keys, "name")}
        found[Feature(row["name"])] = EngineFeature(Feature(row["name"]), since=since, **rest)
    return found


def main_features(pyodide: str) -> frozenset[Feature]:
    """The features that the main module of a Pyodide needs; none for a version that is not in the table."""
    return frozenset(Feature(name) for name in _table()["main"].get(pyodide, ()))


def has(feature: EngineFeature, engine: str, version: str) -> bool:
    """Whether that version of an engine has a feature by default."""
    first = [release(each) for each in feature.since.get(engine, ())]
    given = release(version)
    return any(given >= each for each in first[-1:]) or any(given >= each and given[:1] == each[:1] for each in first)


def reported(features: Iterable[Feature], pyodide: str) -> tuple[EngineFeature, ...]:
    """Those of a module's features that an engine may lack which runs that Pyodide, in the order of the table.

    An engine that runs a Pyodide has what its main module needs, and all that it got with that or before.
    """
    wanted = frozenset(features) - main_features(pyodide)
    rows = [row for feature, row in engine_features().items() if feature in wanted]
    return tuple(row for row in rows if not all(has(row, key, version) for key, version in _oldest(pyodide).items()))


@cache
def _oldest(pyodide: str) -> Mapping[str, str]:
    """Return the version of each engine that is supposed for a Pyodide."""
    needed = [row for feature, row in engine_features().items() if feature in main_features(pyodide)]
    return {
        engine.key: max([engine.reported, *(row.since[engine.key][0] for row in needed if engine.key in row.since)], key=release)
        for engine in engines()
    }


def lacking(features: Iterable[Feature], node: str) -> tuple[EngineFeature, ...]:
    """Those of a module's features that a version of node (`v20.20.2`) lacks, in the order of the table."""
    wanted = frozenset(features)
    return tuple(row for feature, row in engine_features().items() if feature in wanted and not has(row, NODE, node))
