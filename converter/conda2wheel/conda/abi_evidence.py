"""Find evidence in a conda package for the Emscripten version that built it, as claims for `abi.choice`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from conda2wheel.abi.choice import Claim
from conda2wheel.abi.platforms import known_emscriptens, toolchains
from conda2wheel.conda.formats import CHANNEL_SUFFIXES
from conda2wheel.conda.package import CondaPackage
from conda2wheel.conda.parsing import InvalidSpecError, parse_match_spec, parse_version, parse_version_spec
from conda2wheel.conda.recipe_yaml import resolved_records

ABI_PACKAGE = "emscripten-abi"
COMPILER_PACKAGES = ("emscripten_emscripten-wasm32", "emscripten")
COMPILER_VARIANTS = ("c_compiler_version", "cxx_compiler_version", "emscripten_version")
ABI_VARIANTS = ("emscripten-abi", "emscripten_abi")
SUBDIRS = ("emscripten-wasm32", "noarch")
_VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")
_PATCH_PIN = re.compile(r">=(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:\.\d+)?,<\1\.\2\.(\d{1,6})(?:\.0)?(?:a0)?")
_EXACT = re.compile(r"(?:==?)?(\d{1,6}\.\d{1,6}\.\d{1,6})(?:\.\*)?")


def claims(package: CondaPackage) -> list[Claim]:
    """Return every claim, strongest first: depends, channel, variant, finalized dependencies, timestamp, environment."""
    exact = [*_variant(package), *_finalized(package)]
    environment = list(_environment(package))
    # A range may admit a version that is not in the table but that other evidence names.
    named = frozenset(version for claim in (*exact, *environment) for version in claim.emscriptens)
    return [*_depends(package, named), *_channel(package), *exact, *_timestamp(package), *environment]


def channel_name(channel: str) -> str:
    """Return the channel's name in its address: `https://host/emscripten-forge-4x/emscripten-wasm32` is `emscripten-forge-4x`."""
    return channel_address(channel).rpartition("/")[2]


def channel_address(channel: str) -> str:
    """Return a channel's address without the query, the subdir and the file name that may follow it."""
    scheme, mark, rest = channel.strip().partition("#")[0].partition("?")[0].rpartition("://")
    parts = [part for part in rest.split("/") if part]
    while parts and (parts[-1] in SUBDIRS or parts[-1].endswith(CHANNEL_SUFFIXES)):
        parts.pop()
    return scheme + mark + "/".join(parts)


def _depends(package: CondaPackage, named: frozenset[str]) -> Iterator[Claim]:
    for spec in package.depends:
        if not re.match(rf"(?:\S*::)?{ABI_PACKAGE}(?![\w.-])", spec.strip()):
            continue
        try:
            version = parse_match_spec(spec.strip(), strict=False).version
        except InvalidSpecError:
            yield Claim("package", f"depends on {spec}", frozenset())
            continue
        if version not in (None, "*"):
            yield Claim("package", f"depends on {spec}", _matching(str(version), named))


def _matching(spec: str, named: frozenset[str]) -> frozenset[str]:
    """Return the Emscripten versions that an `emscripten-abi` range admits.

    They are those of the table, those of the package's other evidence, and the one that a pin on a single patch release names.
    """
    pin = _PATCH_PIN.fullmatch(spec)
    if pin and int(pin[4]) == int(pin[3]) + 1:
        return frozenset({f"{pin[1]}.{pin[2]}.{pin[3]}"})
    if exact := _EXACT.fullmatch(spec):
        return frozenset({exact[1]})
    parsed = parse_version_spec(spec)
    return frozenset(v for v in {*known_emscriptens(), *named} if parsed.matches(parse_version(v)))


def _channel(package: CondaPackage) -> Iterator[Claim]:
    if package.channel:
        name = channel_name(package.channel)
        found = frozenset(t.emscripten for t in toolchains() if name in t.channels)
        if found:
            yield Claim("package", f"comes from the channel {name}", found)


def _variant(package: CondaPackage) -> Iterator[Claim]:
    for document, where in ((package.variant_config, "variant_config.yaml"), (package.hash_input, "hash_input.json")):
        for key in (*COMPILER_VARIANTS, *ABI_VARIANTS):
            compiler = set(_texts(document.get(key.removesuffix("_version"))))
            if key in COMPILER_VARIANTS and compiler and "emscripten" not in compiler:
                continue  # the compiler of another platform
            versions = {text for text in _texts(document.get(key)) if _VERSION.fullmatch(text)}
            if len(versions) == 1:
                yield Claim("package", f"{where} has {key} {versions.copy().pop()}", frozenset(versions))


def _texts(value: Any) -> list[str]:
    """Return the texts in a scalar or a list."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def _finalized(package: CondaPackage) -> Iterator[Claim]:
    recipe = package.rendered_recipe
    for record in [*resolved_records(recipe, "build"), *resolved_records(recipe, "host")]:
        text = record.get("version")
        version = _VERSION.match(text) if isinstance(text, str) else None
        if record["name"] in (*COMPILER_PACKAGES, ABI_PACKAGE) and version:
            yield Claim("package", f"was built with {record['name']} {version[0]}", frozenset({version[0]}))


def _timestamp(package: CondaPackage) -> Iterator[Claim]:
    """A timestamp only narrows the choice: reproducible builds can set any date."""
    if package.timestamp is None:
        return
    day = datetime.fromtimestamp(package.timestamp, UTC).date()
    used = frozenset(t.emscripten for t in toolchains() if t.since <= day and (t.until is None or day <= t.until))
    if used:
        yield Claim("timestamp", f"was built on {day}", used)


def _environment(package: CondaPackage) -> Iterator[Claim]:
    versions = {v for v in package.environment.get(ABI_PACKAGE, ()) if _VERSION.fullmatch(v)}
    if versions:
        yield Claim("environment", f"its environment has {ABI_PACKAGE} {' and '.join(sorted(versions))}", frozenset(versions))
