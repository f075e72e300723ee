"""A small set of wheels that need each other: an extension with vendored libraries, extras, markers, versions; and its index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conda2wheel.commands.convert import convert
from conda2wheel.index.simple import write_index
from tests.helpers import zig
from tests.helpers.shapes import dist_info, package
from tests.unit.link.test_linker import chain_packages

MEMBERS = (  # name, version, requirements
    ("aunt", "1.0", ()),
    ("aunt", "2.0", ("niece", 'cousin>=1; extra == "gifts"')),
    ("aunt", "3.0rc1", ()),
    ("niece", "1.5", ()),
    ("cousin", "1.0", ()),
    ("uncle", "1.0", ()),
    (
        "Grand.Parent",
        "1.0",
        (
            "pkg>=1",
            "aunt[gifts]<3",
            'uncle; extra == "visit"',
            'never-there; sys_platform == "win32"',
            'niece>=1; sys_platform == "emscripten" and platform_machine == "wasm32"',
        ),
    ),
)


@dataclass(frozen=True)
class Family:
    """A folder with `simple/` and the wheels in `wheels/`."""

    folder: Path
    wheels: tuple[Path, ...]


def family(folder: Path, python: str = "313", address: str | None = None) -> Family:
    """Make it for a Python (`313`), with the index; `address` is the `base` of `write_index`."""
    wheels = folder / "wheels"
    chain, count, base = chain_packages(zig.chain(python), python)
    convert(chain, out=wheels, libdirs=[count, base], tags="both")
    for name, version, needs in MEMBERS:
        pure(name, version, wheels, *needs)
    made = tuple(sorted(wheels.glob("*.whl")))
    write_index(folder, made, address)
    return Family(folder, made)


def pure(name: str, version: str, out: Path, *needs: str) -> Path:
    """A wheel of one module that knows its `version`."""
    stem = name.lower().replace(".", "_")
    lines = [*(f"Requires-Dist: {need}" for need in needs), "Requires-Python: >=3.9"]
    lines += [f"Provides-Extra: {extra}" for extra in ("visit", "gifts") if f'extra == "{extra}"' in " ".join(needs)]
    source = package(
        {f"{stem}.py": f"version = {version!r}\n", **dist_info(f"{name}-{version}", *lines)},
        name=name.lower(),
        version=version,
        noarch="python",
        depends=["python"],
    )
    made = convert(source, out=out).wheel
    assert made is not None
    return made
