"""Read and write `dist-info/conda2wheel.json`: from which package and file each member of a wheel comes, and what was changed.

`conda2wheel verify` makes the wheel again from the packages that it names. Nothing in it depends on the machine: it has no
path, no time of day, and no host name but those of channels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from conda2wheel._version import __version__
from conda2wheel.conda.origin import MemberOrigin, MemberSource
from conda2wheel.files.documents import json_object
from conda2wheel.files.packagefile import Blob, BytesBlob
from conda2wheel.options import Options
from conda2wheel.results import ALLOWED, ConversionWarning, Provided, UnusablePart, Vendored
from conda2wheel.wheel.writer import Member

if TYPE_CHECKING:
    from conda2wheel.wheel.reader import Wheel

SCHEMA = 1
NAME = "conda2wheel.json"
TOOL = "conda2wheel"
SHARE = "share"  # the command of a common wheel


class Provenance(NamedTuple):
    """How a wheel is made.

    Attributes:
        command: convert, repair or share.
        judged_by: the versions of Pyodide that the audit used.
        input: the package or wheel that is converted or repaired; None for a common wheel.
        moment: the time of the members, in seconds since 1970.
        consulted: the other packages that the result depends on: those of all libraries that were found, vendored or not.
        overrides: the refusals that `--allow` turned into warnings.
        unusable: the parts that end the interpreter when they are reached.
        shared: the libraries that the wheel takes from the common wheel `requires`.
        previous: the provenance that a repaired wheel had before.
    """

    command: str
    filename: str
    name: str
    version: str
    license: str | None
    platform: str
    judged_by: tuple[str, ...]
    evidence: tuple[str, ...]
    options: Options
    input: MemberSource | None
    moment: float
    consulted: tuple[MemberSource, ...] = ()
    overrides: tuple[ConversionWarning, ...] = ()
    unusable: tuple[UnusablePart, ...] = ()
    vendored: tuple[Vendored, ...] = ()
    provided: tuple[Provided, ...] = ()
    shared: tuple[Vendored, ...] = ()
    requires: str | None = None
    previous: Mapping[str, Any] | None = None


def allowed_warnings(warnings: Iterable[ConversionWarning]) -> tuple[ConversionWarning, ...]:
    """The warnings that would be refusals without `--allow`."""
    return tuple(dict.fromkeys(warning for warning in warnings if warning.code == ALLOWED))


def read_provenance(wheel: Wheel) -> dict[str, Any] | None:
    """The provenance in a wheel, of any schema version; None if it has none.

    Raises:
        Refused: corrupt-archive for a file that is no JSON object, too-large.
    """
    file = wheel.info(NAME)
    if file is None:
        return None
    return json_object(wheel.source, file.path, file.blob)


def summarize(document: Mapping[str, Any]) -> tuple[tuple[tuple[str, Any], ...], tuple[tuple[str, str], ...]]:
    """The facts of a provenance document for people, and what was changed in each member; unknown parts are left out."""
    sources = [_source(each) for each in _list(document.get("sources"))]
    members = document.get("members")
    changed = [
        (path, f"{_what(entry)}; from {sources[entry['source']]}: {entry.get('file')}")
        for path, entry in (members.items() if isinstance(members, dict) else ())
        if isinstance(entry, dict)
        and type(entry.get("source")) is int
        and 0 <= entry["source"] < len(sources)
        and "changes" in entry
    ]
    vendored = [f"{each.get('name')}" for each in _list(document.get("vendored"))]
    common = document.get("shared")
    shared = (
        [f"{each.get('name')} of {common.get('requires')}" for each in _list(common.get("libraries"))]
        if isinstance(common, dict)
        else []
    )
    provided = [f"{each.get('name')} by {each.get('by')}" for each in _list(document.get("provided"))]
    overrides = [f"{each.get('code')}: {each.get('file')}: {each.get('message')}" for each in _list(document.get("overrides"))]
    tool = document.get("tool")
    facts = (
        ("made_by", f"{tool.get('name')} {tool.get('version')}, {document.get('command')}" if isinstance(tool, dict) else None),
        ("made_of", tuple(sources)),
        ("vendored", tuple(vendored)),
        ("shared", tuple(shared)),
        ("provided", tuple(provided)),
        ("overrides", tuple(overrides)),
        ("unusable", tuple(f"{each.get('module')}: {each.get('message')}" for each in _list(document.get("unusable")))),
    )
    return facts, tuple(changed)


def _list(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _source(source: Mapping[str, Any]) -> str:
    try:
        return str(MemberSource.from_json(source))
    except ValueError:
        return "an unknown source"


def _what(entry: Mapping[str, Any]) -> str:
    """The changes in a member, in words."""
    changes = entry["changes"] if isinstance(entry["changes"], dict) else {}
    words = [f"{key.replace('_', ' ')} {', '.join(map(str, value))}" for key, value in changes.items() if isinstance(value, list)]
    if isinstance(added := changes.get("needed_added"), dict):
        words.append(f"NEEDED {', '.join(map(str, added))} added")
    if renamed := changes.get("renamed"):
        words.append(f"{renamed} symbols renamed")
    words += [key for key in ("prefix", "shebang", "mended") if key in changes]
    return "; ".join(words) or "changed"


def provenance_file(provenance: Provenance, members: Iterable[Member]) -> Blob:
    """The bytes of conda2wheel.json for a wheel with these members; it has no entry for itself and RECORD."""
    sources = list(
        dict.fromkeys(
            [
                *([provenance.input] if provenance.input else []),
                *sorted(provenance.consulted, key=lambda source: sorted(source.json().items())),
            ]
        )
    )
    entries = {member.path: _entry(member.origin, sources) for member in sorted(members, key=lambda m: m.path)}
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "tool": {"name": TOOL, "version": __version__},
        "command": provenance.command,
        "wheel": provenance.filename,
        "platform": provenance.platform,
        "judged_by": list(provenance.judged_by),
        "evidence": list(provenance.evidence),
        "options": provenance.options.json(),
        "overrides": [_override(each) for each in provenance.overrides],
        "unusable": [part.json() for part in provenance.unusable],
        "sources": [source.json() for source in sources],
        "vendored": [{"name": each.name, "needed_by": list(each.needed_by)} for each in provenance.vendored],
        "provided": [each.json() for each in provenance.provided],
        "members": entries,
    }
    if provenance.shared:
        libraries = [{"name": each.name, "needed_by": list(each.needed_by)} for each in provenance.shared]
        document["shared"] = {"requires": provenance.requires, "libraries": libraries}
    if provenance.previous is not None:
        document["previous"] = provenance.previous
    return BytesBlob((json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def _override(warning: ConversionWarning) -> dict[str, Any]:
    code, _, message = warning.message.partition(": ")
    return {"code": code, "message": message, "file": warning.file}


def _entry(origin: MemberOrigin, sources: list[MemberSource]) -> dict[str, Any]:
    """Return `{"source": index, "file"}`, or `{"source": None}` for a generated member.

    If its bytes differ from the source's, `before` (sha256) and `changes` are added.
    """
    if origin.source is None:
        return {"source": None}
    if origin.source not in sources:
        sources.append(origin.source)
    entry: dict[str, Any] = {"source": sources.index(origin.source), "file": origin.file}
    if origin.before is not None:
        entry |= {"before": origin.before, "changes": dict(origin.changes)}
    return entry
