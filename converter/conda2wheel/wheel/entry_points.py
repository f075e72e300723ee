"""Entry points: parsed as importlib.metadata parses them, and written as entry_points.txt that PyPI accepts.

Specification: PyPA entry points. PyPI accepts only certain characters in the names of scripts (warehouse utils/wheel.py).
"""

from __future__ import annotations

import re
from typing import Any

from conda2wheel.conda.package import CondaPackage
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.dist_infos import Distribution

EntryPoints = dict[str, dict[str, str]]
SCRIPT_GROUPS = ("console_scripts", "gui_scripts")
_SCRIPT = re.compile(r"(?!\.+$)[\w.-]+")
MAX_LINE = 4096  # characters


def read_entry_points(package: CondaPackage, distribution: Distribution | None) -> tuple[EntryPoints, list[ConversionWarning]]:
    """The entry points of entry_points.txt, and the scripts that only link.json (noarch) or the conda recipe declare.

    Returns:
        The entry points, and a warning for each script that is left out, because PyPI would refuse a wheel with its name.
    """
    warnings: list[ConversionWarning] = []
    found = parse_entry_points((distribution.text("entry_points.txt") if distribution else None) or "")
    for declared in (*_declared(package.link.get("noarch")), *_declared(_recipe_python(package))):
        entry = _entry(declared)
        if entry is None and declared.strip():
            why = f"the declared entry point {declared[:80]!r} is not one line NAME = REFERENCE"
            warnings.append(ConversionWarning("left-out", why, "entry_points.txt"))
        if entry is not None and not any(entry[0] in found.get(group, {}) for group in SCRIPT_GROUPS):
            found.setdefault("console_scripts", {})[entry[0]] = entry[1]
    for group in SCRIPT_GROUPS:
        for name in [name for name in found.get(group, {}) if not _SCRIPT.fullmatch(name)]:
            del found[group][name]
            warnings.append(
                ConversionWarning("left-out", f"the script {name!r} has a name that PyPI does not take", "entry_points.txt")
            )
    return {group: entries for group, entries in found.items() if entries}, warnings


def parse_entry_points(text: str) -> EntryPoints:
    r"""Parse entry_points.txt: name and target by group. Other lines are ignored, as importlib.metadata does.

    >>> parse_entry_points("[console_scripts]\nf2py = numpy.f2py.f2py2e:main\n")
    {'console_scripts': {'f2py': 'numpy.f2py.f2py2e:main'}}
    """
    found: EntryPoints = {}
    group = None
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip() if line.isprintable() else None
        elif group and (entry := _entry(line)) is not None:
            found.setdefault(group, {})[entry[0]] = entry[1]
    return found


def _entry(text: str) -> tuple[str, str] | None:
    r"""Name and object reference of a line `NAME = REFERENCE`; None for a comment, a head of a group, and more than one line.

    >>> _entry("x = demo:main"), _entry("x = demo:main\r../y = demo:main"), _entry("# x = y"), _entry("x =")
    (('x', 'demo:main'), None, None, None)
    """
    name, equals, target = (part.strip() for part in text.partition("="))
    if not (name and equals and target) or name[0] in "[#;" or len(text) > MAX_LINE or not (name + target).isprintable():
        return None
    return name, target


def entry_points_text(entry_points: EntryPoints) -> bytes:
    """The bytes of entry_points.txt, with groups and names sorted."""
    groups = []
    for group in sorted(entry_points):
        lines = [f"{name} = {target}" for name, target in sorted(entry_points[group].items())]
        groups.append("\n".join([f"[{group}]", *lines]) + "\n")
    return "\n".join(groups).encode()


def _declared(section: Any) -> list[str]:
    entries = section.get("entry_points") if isinstance(section, dict) else None
    return [str(entry) for entry in entries] if isinstance(entries, list) else []


def _recipe_python(package: CondaPackage) -> Any:
    recipe = package.rendered_recipe.get("recipe")
    build = recipe.get("build") if isinstance(recipe, dict) else None
    return build.get("python") if isinstance(build, dict) else None
