"""What a package was compiled against: the libraries of its host environment, whose code may be in its binaries.

`info/recipe/rendered_recipe.yaml` of rattler-build has in `finalized_dependencies.host` what the recipe asked for (`specs`)
and every package that came of it, as its repodata record (`resolved`). Nothing says what was linked in: a library that is not
NEEDED is inside, if it has code at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from conda2wheel.conda.abi_evidence import ABI_PACKAGE, COMPILER_PACKAGES, SUBDIRS
from conda2wheel.conda.origin import MemberSource
from conda2wheel.conda.package import CondaPackage

TOOLS = frozenset({ABI_PACKAGE, "python", "python_abi", "cross-python_emscripten-wasm32", *COMPILER_PACKAGES})


def host_libraries(package: CondaPackage) -> tuple[MemberSource, ...]:
    """The libraries of the host environment that the recipe asked for, and those that they asked for, by name.

    Python, packages of Python code (they depend on python) and what only these brought along are none; nor are packages for no
    particular system, which have no machine code.
    """
    section = package.rendered_recipe.get("finalized_dependencies")
    host = section.get("host") if isinstance(section, dict) else None
    if not isinstance(host, dict):
        return ()
    records = {str(record["name"]): record for record in _records(host.get("resolved")) if isinstance(record.get("name"), str)}
    depends = {name: [_first_word(spec) for spec in _texts(record.get("depends"))] for name, record in records.items()}
    brought_along = {needed for needs in depends.values() for needed in needs}
    asked = list(_asked(host.get("specs"))) or [name for name in records if name not in brought_along]
    seen: set[str] = set()
    while asked:
        name = asked.pop()
        if name not in records or name in seen or name in TOOLS or "python" in depends[name]:
            continue
        seen.add(name)
        asked += depends[name]
    return tuple(MemberSource.from_record(records[name]) for name in sorted(seen) if records[name].get("subdir") in SUBDIRS[:1])


def _records(value: Any) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _asked(specs: Any) -> Iterable[str]:
    """The names of what a recipe asked for: `{"source": "zlib >=1.3"}`, `{"variant": "python", "spec": "python 3.13.*"}`."""
    for spec in _records(specs):
        for key in ("source", "spec"):
            if isinstance(spec.get(key), str):
                yield _first_word(spec[key])


def _first_word(spec: str) -> str:
    words = spec.rpartition("::")[2].split()
    return words[0] if words else ""
