"""What a package says of the Emscripten that built it, as claims for `abi.choice`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from conda2wheel.abi.choice import Claim
from conda2wheel.abi.platforms import known_emscriptens, toolchains

from .info import CondaPackage

ABI_PACKAGE = "emscripten-abi"
COMPILER_PACKAGES = ("emscripten_emscripten-wasm32", "emscripten")
COMPILER_VARIANTS = ("c_compiler_version", "cxx_compiler_version", "emscripten_version")
ABI_VARIANTS = ("emscripten-abi", "emscripten_abi")
SUBDIRS = ("emscripten-wasm32", "noarch")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_PATCH_PIN = re.compile(r">=(\d+)\.(\d+)\.(\d+)(?:\.\d+)?,<\1\.\2\.(\d+)(?:\.0)?(?:a0)?")


def claims(package: CondaPackage) -> list[Claim]:
    """Every claim, strongest first: own (depends, channel, variant, finalized dependencies, timestamp), environment."""
    return [
        *_depends(package),
        *_channel(package),
        *_variant(package),
        *_finalized(package),
        *_timestamp(package),
        *_environment(package),
    ]


def channel_name(channel: str) -> str:
    """The channel's name in its address: `https://host/emscripten-forge-4x/emscripten-wasm32` is `emscripten-forge-4x`."""
    parts = [part for part in re.sub(r"^[a-z+]+://", "", channel).split("/") if part]
    while parts and (parts[-1] in SUBDIRS or parts[-1].endswith((".conda", ".bz2"))):
        parts.pop()
    return parts[-1] if parts else ""


def _depends(package: CondaPackage) -> Iterator[Claim]:
    for spec in package.depends:
        name, _, version = spec.strip().partition(" ")
        if name == ABI_PACKAGE and version.strip() not in ("", "*"):
            yield Claim("package", f"depends on {spec}", _matching(version.strip()))


def _matching(spec: str) -> frozenset[str]:
    """The Emscripten versions that an `emscripten-abi` range admits: those of the table, and the one that a pin on a
    single patch release names."""
    from rattler import Version, VersionSpec
    from rattler.exceptions import InvalidVersionSpecError

    pin = _PATCH_PIN.fullmatch(spec.replace(" ", ""))
    if pin and int(pin[4]) == int(pin[3]) + 1:
        return frozenset({f"{pin[1]}.{pin[2]}.{pin[3]}"})
    version_part = spec.split(" ", maxsplit=1)[0] if re.search(r"\s+\S*[*_]\S*$", spec) else spec
    if exact := re.fullmatch(r"==?=?\s*(\d+\.\d+\.\d+)|(\d+\.\d+\.\d+)", version_part):
        return frozenset({exact[1] or exact[2]})
    try:
        parsed = VersionSpec(version_part)
    except (InvalidVersionSpecError, ValueError, TypeError):
        return frozenset()
    return frozenset(v for v in known_emscriptens() if parsed.matches(Version(v)))


def _channel(package: CondaPackage) -> Iterator[Claim]:
    if package.channel:
        name = channel_name(package.channel)
        found = frozenset(t.emscripten for t in toolchains() if name in t.channels)
        if found:
            yield Claim("package", f"comes from the channel {name}", found)


def _variant(package: CondaPackage) -> Iterator[Claim]:
    for document, where in ((package.variant_config, "variant_config.yaml"), (package.hash_input, "hash_input.json")):
        for key in (*COMPILER_VARIANTS, *ABI_VARIANTS):
            versions = {str(v) for v in _listed(document.get(key)) if _VERSION.fullmatch(str(v))}
            if len(versions) == 1:
                yield Claim("package", f"{where} has {key} {versions.copy().pop()}", frozenset(versions))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _finalized(package: CondaPackage) -> Iterator[Claim]:
    finalized = package.rendered_recipe.get("finalized_dependencies")
    for part in ("build", "host"):
        section = finalized.get(part) if isinstance(finalized, dict) else None
        for record in (section.get("resolved") or ()) if isinstance(section, dict) else ():
            if not isinstance(record, dict):
                continue
            version = _VERSION.match(str(record.get("version", "")))
            if record.get("name") in (*COMPILER_PACKAGES, ABI_PACKAGE) and version:
                yield Claim("package", f"was built with {record['name']} {version[0]}", frozenset({version[0]}))


def _timestamp(package: CondaPackage) -> Iterator[Claim]:
    """A date only narrows: reproducible builds put any date there."""
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
