"""Find the libraries of a package's host environment, whose code may be statically linked into its binaries.

rattler-build's `info/recipe/rendered_recipe.yaml` has in `finalized_dependencies.host` the recipe's own specs (`specs`) and the
repodata record of every package installed for them (`resolved`). It does not record what was linked: a library that no module
NEEDs may be linked statically.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from conda2wheel.conda.abi_evidence import ABI_PACKAGE, COMPILER_PACKAGES, SUBDIRS
from conda2wheel.conda.match_spec import spec_name
from conda2wheel.conda.origin import MemberSource
from conda2wheel.conda.package import CondaPackage
from conda2wheel.conda.recipe_yaml import environment, resolved_records

TOOLS = frozenset({ABI_PACKAGE, "python", "python_abi", "cross-python_emscripten-wasm32", *COMPILER_PACKAGES})


def host_libraries(package: CondaPackage) -> tuple[MemberSource, ...]:
    """Return the libraries of the host environment that the recipe asked for, and those that they depend on, by name.

    Left out are Python, packages of Python code (they depend on python) with the dependencies that only they have, and noarch
    packages, which have no machine code.
    """
    records = {str(record["name"]): record for record in resolved_records(package.rendered_recipe, "host")}
    depends = {name: [spec_name(spec) for spec in _texts(record.get("depends"))] for name, record in records.items()}
    dependencies = {needed for needs in depends.values() for needed in needs}
    specs = environment(package.rendered_recipe, "host").get("specs")
    todo = list(_requested(specs)) or [name for name in records if name not in dependencies]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in records or name in seen or name in TOOLS or "python" in depends[name]:
            continue
        seen.add(name)
        todo += depends[name]
    return tuple(MemberSource.from_record(records[name]) for name in sorted(seen) if records[name].get("subdir") in SUBDIRS[:1])


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _requested(specs: Any) -> Iterable[str]:
    """The names in the recipe's own specs: `{"source": "zlib >=1.3"}`, `{"variant": "python", "spec": "python 3.13.*"}`."""
    for spec in specs if isinstance(specs, list) else ():
        for key in ("source", "spec"):
            if isinstance(spec, dict) and isinstance(spec.get(key), str):
                yield spec_name(spec[key])
