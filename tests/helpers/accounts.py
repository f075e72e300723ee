"""A judge of what a wheel says of itself: its account and its bill of materials, read without conda2wheel's own code."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclonedx.validation.json import JsonStrictValidator

ACCOUNT = "conda2wheel.json"
SBOM = re.compile(r"sboms/conda2wheel(-\d+)?\.cdx\.json")
OF_THIS_MACHINE = re.compile(rb'"(/tmp|/root|/home|/work)/|file://')  # a JSON string that begins with a place


def complaints(wheel: Path) -> Iterator[str]:
    """What is wrong with them, a line each; a wheel that was copied as it was need not have any."""
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    info = next(name.partition("/")[0] for name in members if name.endswith(".dist-info/RECORD"))
    bills = {name: data for name, data in members.items() if SBOM.fullmatch(name.removeprefix(f"{info}/"))}
    for name, data in bills.items():
        if error := _validator().validate_str(data.decode()):
            yield f"{name}: {str(error).splitlines()[0]}"
    if (told := members.get(f"{info}/{ACCOUNT}")) is None:
        if bills:
            yield "a bill of materials without an account"
        return
    account = json.loads(told)
    if set(account["members"]) != set(members) - {f"{info}/{ACCOUNT}", f"{info}/RECORD"}:
        yield f"the account tells of {sorted(set(account['members']) ^ set(members))}"
    for name, data in {**bills, ACCOUNT: told}.items():
        if found := OF_THIS_MACHINE.search(data):
            yield f"{name} names a place of the build machine: {data[found.start() : found.end() + 40]!r}"
    yield from _travelling(account, members, [json.loads(data) for data in bills.values()])


@cache
def _validator() -> JsonStrictValidator:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator  # two seconds: it builds the grammars of all kinds of IRIs

    return JsonStrictValidator(SchemaVersion.V1_6)


def _travelling(account: dict[str, Any], members: dict[str, bytes], bills: list[dict[str, Any]]) -> Iterator[str]:
    """Each library that travels is in a bill, with its own hash, below a component for its package."""
    files = {
        (file["name"], file["hashes"][0]["content"])
        for bill in bills
        for component in bill.get("components", [])
        for file in component.get("components", [])
    }
    for library in account["vendored"]:
        if (library["name"], hashlib.sha256(members[library["name"]]).hexdigest()) not in files:
            yield f"{library['name']} travels and is in no bill of materials"
