"""`bundle.lock`: the exact inputs of a bundle. With them the same bundle can be built again after the channels have changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda2wheel._version import __version__
from conda2wheel.bundle.packages import AbsentDependency, ChosenPackage, ExternalRequirement, ShippedPackage
from conda2wheel.bundle.pypi import PyPIWheel
from conda2wheel.bundle.unsatisfied import UnsatisfiedRequest
from conda2wheel.conda.names import Names
from conda2wheel.errors import Failed
from conda2wheel.files.documents import parse_json
from conda2wheel.files.reading import not_found
from conda2wheel.options import Options
from conda2wheel.results import ConversionWarning

SCHEMA = 1
LOCK_NAME = "bundle.lock"


@dataclass(frozen=True)
class ConversionStep:
    """One conversion.

    Attributes:
        package: what was converted.
        libraries: packages of the channels that provided NEEDED libraries and are not in the bundle.
        recipe: the document of the conversion recipe, if there was one.
        notes: warnings about how those libraries were found; a locked build repeats them, since it does not search.
        names: the PyPI names of dependencies that come from their own dist-info and not from the tables.
    """

    package: ChosenPackage
    libraries: tuple[ChosenPackage, ...] = ()
    recipe: Mapping[str, Any] | None = None
    notes: tuple[ConversionWarning, ...] = ()
    names: Names = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return `{"package", "libraries", "recipe", "notes", "names"}`."""
        return {
            "package": self.package.json(),
            "libraries": [each.json() for each in self.libraries],
            "recipe": None if self.recipe is None else dict(self.recipe),
            "notes": [each.json() for each in self.notes],
            "names": dict(self.names),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ConversionStep:
        """Read what `json` returned.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        libraries = tuple(ChosenPackage.from_json(each) for each in document["libraries"])
        notes = tuple(ConversionWarning(**each) for each in document["notes"])
        if not isinstance(document["recipe"], dict | None):
            raise TypeError("a recipe that is no table")
        return cls(ChosenPackage.from_json(document["package"]), libraries, document["recipe"], notes, dict(document["names"]))


@dataclass(frozen=True)
class BundleLock:
    """The inputs of a bundle.

    Attributes:
        requested: the match specs of the caller.
        channels: the channels, without credentials.
        options: how every package was converted, beside its own recipe and names.
        complete: whether the bundle includes pure Python dependencies.
        target: the platform tag, given or detected.
        pyodide: the version of the Pyodide distribution whose packages are used; None without `with_pyodide`.
        steps: the conversions.
        libraries: chosen packages that may contain shared libraries.
        pypi: wheels of PyPI.
        shipped: packages of the Pyodide distribution that the bundle relies on.
        absent: dependencies that no channel has.
        folded: (conda name, PyPI name) of chosen packages without a wheel, whose project another package provides.
        external: requirements that installers find elsewhere; the key is "left".
        share: the name of the common wheel, as `share_libs`.
        url: where the folder will be served.
        pyodide_url: where Pyodide's own packages are.
        wheels: the sha256 of every converted wheel, by file name.
        made_by: the version of conda2wheel that wrote those wheels.
        notes: warnings about the choice, which a locked build repeats, since it does not choose.
        unsatisfied: requested packages that have no wheel.
    """

    requested: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    complete: bool = False
    target: str = ""
    pyodide: str | None = None
    steps: tuple[ConversionStep, ...] = ()
    libraries: tuple[ChosenPackage, ...] = ()
    pypi: tuple[PyPIWheel, ...] = ()
    shipped: tuple[ShippedPackage, ...] = ()
    absent: tuple[AbsentDependency, ...] = ()
    folded: tuple[tuple[str, str], ...] = ()
    external: tuple[ExternalRequirement, ...] = ()
    share: str | None = None
    url: str | None = None
    pyodide_url: str | None = None
    wheels: Mapping[str, str] = field(default_factory=dict)
    made_by: str = __version__
    notes: tuple[ConversionWarning, ...] = ()
    unsatisfied: tuple[UnsatisfiedRequest, ...] = ()

    def text(self) -> str:
        """Return the content of the file."""
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
            "left": [each.json() for each in self.external],
            "notes": [each.json() for each in self.notes],
            "unsatisfied": [each.json() for each in self.unsatisfied],
            "wheels": dict(sorted(self.wheels.items())),
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read_bundle_lock(path: Path) -> BundleLock:
    """Read a `bundle.lock`.

    Raises:
        Failed: not-found, unreadable (not a lock file, or one of another schema).
    """
    try:
        document = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise not_found(path) from None
    except (OSError, ValueError) as error:
        raise Failed("unreadable", f"{path}: {error}", "it is no bundle.lock") from None
    try:
        if document["schema"] != SCHEMA:
            why = f"{path}: has schema {document['schema']!r}; this version reads {SCHEMA}"
            raise Failed("unreadable", why, "use the version of conda2wheel that wrote it")
        return BundleLock(
            requested=tuple(map(str, document["requested"])),
            channels=tuple(map(str, document["channels"])),
            options=Options.from_json(document["options"]),
            complete=bool(document["complete"]),
            target=str(document["target"]),
            pyodide=document["pyodide"],
            steps=tuple(ConversionStep.from_json(each) for each in document["packages"]),
            libraries=tuple(ChosenPackage.from_json(each) for each in document["libraries"]),
            pypi=tuple(PyPIWheel.from_json(each) for each in document["pypi"]),
            shipped=tuple(ShippedPackage(**each) for each in document["shipped"]),
            absent=tuple(
                AbsentDependency(each["name"], each["pypi"], tuple(each["specs"]), tuple(each["users"]))
                for each in document["absent"]
            ),
            folded=tuple((str(each["conda"]), str(each["project"])) for each in document["folded"]),
            external=tuple(ExternalRequirement(**each) for each in document["left"]),
            share=document["share_libs"],
            url=document["url"],
            pyodide_url=document["pyodide_url"],
            wheels={str(name): str(sha256) for name, sha256 in document["wheels"].items()},
            made_by=str(document["made_by"]["version"]),
            notes=tuple(ConversionWarning(**each) for each in document.get("notes", ())),
            unsatisfied=tuple(UnsatisfiedRequest(**each) for each in document.get("unsatisfied", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failed("unreadable", f"{path}: not a bundle.lock: {error}", "write it again with conda2wheel bundle") from None
