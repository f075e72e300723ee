"""The platform tags that the micropip of a Pyodide refuses. The data are in `micropip.toml`.

Pyodide's own loader (`loadPackage`, lock files) compares no tags.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from conda2wheel.abi.choice import PlatformChoice
from conda2wheel.abi.platforms import Platform, for_pyodide, parse, whole_version
from conda2wheel.results import ConversionWarning

LOADS_ALL = "loadPackage and lock files take every name"


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    found: Mapping[str, Mapping[str, str]] = tomllib.loads(files(__package__).joinpath("micropip.toml").read_text("utf-8"))
    return found


def micropip_of(pyodide: str) -> str | None:
    """The version of micropip that a Pyodide has; None for one that is older than the table.

    >>> micropip_of("0.29.3"), micropip_of("314.0.2")
    ('0.11.0', '0.11.1')
    """
    try:
        wanted = Version(pyodide)
    except InvalidVersion:
        return None
    return next((has for since, has in reversed(tuple(_table()["micropip"].items())) if Version(since) <= wanted), None)


def takes(micropip: str, platform_tag: str) -> bool:
    """Whether a version of micropip knows the name of a platform that its Pyodide has."""
    since = next((version for start, version in _table()["takes"].items() if platform_tag.startswith(start)), "0")
    return Version(since) <= Version(micropip)


def untaken(choice: PlatformChoice, filename: str) -> tuple[ConversionWarning, ...]:
    """A warning for each Pyodide version of `--platform` whose micropip does not take the file name of a wheel.

    >>> [each.code for each in untaken("0.29.3", "demo-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl")]
    ['micropip-tag']
    """
    given = [choice] if isinstance(choice, str | Platform) else list(choice)
    try:
        tags = sorted({tag.platform for tag in parse_wheel_filename(filename)[3]})
    except InvalidWheelFilename:
        return ()
    warnings = []
    for pyodide in dict.fromkeys(filter(None, (whole_version(each) for each in given if isinstance(each, str)))):
        row, micropip = for_pyodide(pyodide), micropip_of(pyodide)
        own = [tag for tag in tags if row is not None and parse(tag) == row]
        if row is None or micropip is None or not own or any(takes(micropip, tag) for tag in own):
            continue
        known = ", ".join(tag for tag in row.alias_tags if takes(micropip, tag))
        why = f"micropip {micropip} of Pyodide {pyodide} does not install it, since it does not know {', '.join(own)}"
        advice = f"--tags both adds {known}" if known else "no name of the platform is known to it"
        warnings.append(ConversionWarning("micropip-tag", f"{why}: {advice}; {LOADS_ALL}", filename))
    return tuple(warnings)
