"""Which libraries of conda packages are shared as library wheels. A mirror plans with these; `library_wheel` makes the wheels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SharedFiles:
    """Which libraries of a conda package are shared, by name without `.so`, and which of them keep the names of their symbols."""

    files: tuple[str, ...]
    by_name: tuple[str, ...] = ()


@dataclass(frozen=True)
class SharedPackages:
    """The conda packages whose libraries a wheel takes from library wheels, by name, and what the names of these begin with."""

    prefix: str
    libraries: Mapping[str, SharedFiles] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return the JSON form."""
        rows = {name: {"files": list(each.files), "by_name": list(each.by_name)} for name, each in self.libraries.items()}
        return {"prefix": self.prefix, "libraries": dict(sorted(rows.items()))}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SharedPackages:
        """Read what `json` returned."""
        rows = document["libraries"]
        return cls(
            document["prefix"], {name: SharedFiles(tuple(row["files"]), tuple(row["by_name"])) for name, row in rows.items()}
        )
