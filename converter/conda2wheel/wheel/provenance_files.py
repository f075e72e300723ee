"""What a wheel says of itself beyond its metadata: its account, and its bill of materials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conda2wheel.conda.host_environment import host_libraries
from conda2wheel.conda.origin import MemberSource
from conda2wheel.conda.package import CondaPackage
from conda2wheel.link.linker import Linked
from conda2wheel.wheel import provenance as account
from conda2wheel.wheel import sbom
from conda2wheel.wheel.apply_recipe import AddedFile
from conda2wheel.wheel.members import library_source
from conda2wheel.wheel.provenance import Made
from conda2wheel.wheel.writer import Member


def told(
    made: Made,
    dist_info: str,
    members: Sequence[Member],
    package: CondaPackage | None,
    linked: Linked,
    others: Iterable[AddedFile] = (),
) -> list[Member]:
    """These members, and those that tell of them; `package` is what they were made from (None: a wheel)."""
    taken = {member.path for member in members}
    bill = f"{dist_info}/{sbom.FOLDER}/{_free(sbom.NAME, f'{dist_info}/{sbom.FOLDER}', taken)}"
    first = Member(
        bill,
        sbom.sbom(
            made, members, _compiled(package, linked), {each.member_path(dist_info.removesuffix(".dist-info")) for each in others}
        ),
    )
    kept = [member for member in members if member.path != f"{dist_info}/{account.NAME}"]
    return [*kept, first, Member(f"{dist_info}/{account.NAME}", account.account(made, [*kept, first]))]


def consulted(linked: Linked, others: Iterable[AddedFile] = ()) -> tuple[MemberSource, ...]:
    """What the libraries came from that linking looked at, and the files of other packages that a recipe takes along."""
    libraries = (library_source(library) for library in linked.consulted)
    return tuple(dict.fromkeys([*libraries, *(MemberSource.of(each.package) for each in others)]))


def _compiled(package: CondaPackage | None, linked: Linked) -> sbom.Compiled:
    """The libraries that each was compiled against, without those that are NEEDED, whether they travel or not."""
    needed = {source.name for source in consulted(linked)}

    def inside(one: CondaPackage) -> tuple[MemberSource, ...]:
        return tuple(library for library in host_libraries(one) if library.name not in needed)

    return sbom.Compiled(inside(package) if package else (), {MemberSource.of(each): inside(each) for each in linked.packages})


def _free(name: str, folder: str, taken: Iterable[str]) -> str:
    """A file name that nothing in `folder` has: a repaired wheel keeps the bill that it had before."""
    stem, _, rest = name.partition(".")
    number, found = 1, name
    while f"{folder}/{found}" in set(taken):
        number += 1
        found = f"{stem}-{number}.{rest}"
    return found
