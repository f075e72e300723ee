"""`bundle.lock`: the exact inputs of a set, with which the same bytes come again anywhere, whatever became of the channels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda2wheel._version import __version__
from conda2wheel.bundle.chosen import Absent, Chosen, Left, Shipped
from conda2wheel.bundle.pypi import FromPyPI
from conda2wheel.conda.names import Names
from conda2wheel.errors import Failed
from conda2wheel.files.reading import not_found
from conda2wheel.options import Options
from conda2wheel.results import ConversionWarning

SCHEMA = 1
NAME = "bundle.lock"


@dataclass(frozen=True)
class Step:
    """One conversion: the package, what of the channels it was linked with beyond the libraries of the set, the conversion
    recipe that it followed, as a document, what was told of how those libraries were found, and what dependencies are called by
    what lies in them, where our rows say otherwise."""

    package: Chosen
    libraries: tuple[Chosen, ...] = ()
    recipe: Mapping[str, Any] | None = None
    notes: tuple[ConversionWarning, ...] = ()
    names: Names = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """`{"package", "libraries", "recipe", "notes", "names"}`."""
        return {
            "package": self.package.json(),
            "libraries": [each.json() for each in self.libraries],
            "recipe": None if self.recipe is None else dict(self.recipe),
            "notes": [each.json() for each in self.notes],
            "names": dict(self.names),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Step:
        """What `json` wrote. Raises `ValueError`, `KeyError` and `TypeError` for anything else."""
        libraries = tuple(Chosen.from_json(each) for each in told["libraries"])
        notes = tuple(ConversionWarning(**each) for each in told["notes"])
        return cls(Chosen.from_json(told["package"]), libraries, told["recipe"], notes, dict(told["names"]))


@dataclass(frozen=True)
class Lock:
    """What a set was asked to be, and all that went into it. `target` is its platform's tag, asked for or found; `wheels` are the
    sha256 of the converted wheels by file name, as `made_by` made them; `left` are requirements that installers look for
    elsewhere. `url` is where the folder will be served, `pyodide_url` where Pyodide's own packages are, if that was said."""

    requested: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    complete: bool = False
    target: str = ""
    pyodide: str | None = None
    steps: tuple[Step, ...] = ()
    libraries: tuple[Chosen, ...] = ()
    pypi: tuple[FromPyPI, ...] = ()
    shipped: tuple[Shipped, ...] = ()
    absent: tuple[Absent, ...] = ()
    folded: tuple[tuple[str, str], ...] = ()
    left: tuple[Left, ...] = ()
    share: str | None = None
    url: str | None = None
    pyodide_url: str | None = None
    wheels: Mapping[str, str] = field(default_factory=dict)
    made_by: str = __version__

    def text(self) -> str:
        """As it is written."""
        document = {
            "schema": SCHEMA,
            "made_by": {"name": "conda2wheel", "version": self.made_by},
            "requested": list(self.requested),
            "channels": list(self.channels),
            "options": self.options.json(),
            "complete": self.complete,
            "target": self.target,
            "pyodide": self.pyodide,
            "share_libs": self.share,
            "url": self.url,
            "pyodide_url": self.pyodide_url,
            "packages": [step.json() for step in self.steps],
            "libraries": [each.json() for each in self.libraries],
            "pypi": [each.json() for each in self.pypi],
            "shipped": [each.json() for each in self.shipped],
            "absent": [each.json() for each in self.absent],
            "folded": [{"conda": conda, "project": project} for conda, project in self.folded],
            "left": [each.json() for each in self.left],
            "wheels": dict(sorted(self.wheels.items())),
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read_lock(path: Path) -> Lock:
    """Read one. Raises `Failed`: not-found, unreadable (no lock, or one of another schema)."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise not_found(path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise Failed("unreadable", f"{path}: {error}", "it is no bundle.lock") from None
    try:
        if told["schema"] != SCHEMA:
            why = f"{path}: has schema {told['schema']!r}; this version reads {SCHEMA}"
            raise Failed("unreadable", why, "take the conda2wheel that made it")
        return Lock(
            requested=tuple(map(str, told["requested"])),
            channels=tuple(map(str, told["channels"])),
            options=Options.from_json(told["options"]),
            complete=bool(told["complete"]),
            target=str(told["target"]),
            pyodide=told["pyodide"],
            steps=tuple(Step.from_json(each) for each in told["packages"]),
            libraries=tuple(Chosen.from_json(each) for each in told["libraries"]),
            pypi=tuple(FromPyPI.from_json(each) for each in told["pypi"]),
            shipped=tuple(Shipped(**each) for each in told["shipped"]),
            absent=tuple(
                Absent(each["name"], each["pypi"], tuple(each["specs"]), tuple(each["users"])) for each in told["absent"]
            ),
            folded=tuple((str(each["conda"]), str(each["project"])) for each in told["folded"]),
            left=tuple(Left(**each) for each in told["left"]),
            share=told["share_libs"],
            url=told["url"],
            pyodide_url=told["pyodide_url"],
            wheels={str(name): str(sha256) for name, sha256 in told["wheels"].items()},
            made_by=str(told["made_by"]["version"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failed("unreadable", f"{path}: it is no bundle.lock: {error}", "make it anew with conda2wheel bundle") from None
