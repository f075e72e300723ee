"""NEEDED libraries that something else brings (--exclude), and the findings that are so because they were not seen."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from conda2wheel.abi.audit.findings import Finding
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.results import ConversionWarning

Unseen = Mapping[str, frozenset[str]]  # names of libraries of which nothing is known, by the path of each module that reaches one


def without_unseen(findings: Sequence[Finding], unseen: Unseen) -> tuple[Finding, ...]:
    """The findings without those that are so because a library was not seen."""

    def follows(finding: Finding) -> bool:
        names = unseen.get(finding.module, frozenset())
        if finding.code == "missing-library":
            return any(_is_about(finding, name) for name in names)
        return bool(names) and finding.code in ("broken-library", "unresolved-symbol", "cpython-symbol", "runtime-path-form")

    return tuple(finding for finding in findings if not follows(finding))


def unseen_libraries(unit: AuditUnit, findings: Iterable[Finding], patterns: Sequence[str]) -> dict[str, frozenset[str]]:
    """The libraries that were not found and that fit a pattern, by each module that NEEDs one, itself or through others."""
    missing = [finding for finding in findings if finding.code == "missing-library"]
    own: dict[str, frozenset[str]] = {}
    for path, side in unit.modules.items():
        about = [finding for finding in missing if finding.module == path]
        names = [each for each in side.loaded_needed if fits(each, patterns) and any(_is_about(one, each) for one in about)]
        if names:
            own[path] = frozenset(names)
    if not own:
        return {}
    by_name = {posixpath.basename(path): path for path in unit.modules}
    needs = {
        path: {by_name[name] for each in side.loaded_needed if (name := posixpath.basename(each)) in by_name}
        for path, side in unit.modules.items()
    }
    found = {}
    for path in unit.modules:
        seen, todo = {path}, [path]
        while todo:
            below = needs[todo.pop()] - seen
            seen |= below
            todo += below
        if reached := seen & own.keys():
            found[path] = frozenset[str]().union(*(own[each] for each in reached))
    return found


def exclude_warnings(unit: AuditUnit, patterns: Sequence[str]) -> list[ConversionWarning]:
    """A warning for each excluded library, about the first module that NEEDs it, and one for each pattern that fits none."""
    inside = {posixpath.basename(path) for path in unit.modules}
    users: dict[str, str] = {}
    for path, side in unit.modules.items():
        for needed in side.loaded_needed:
            if fits(needed, patterns) and posixpath.basename(needed) not in inside:
                users.setdefault(needed, path)
    return [
        *(
            ConversionWarning(
                "excluded-library", f"NEEDs {needed}, which has to be there: where it was not found, nothing was compared", path
            )
            for needed, path in users.items()
        ),
        *(
            ConversionWarning("exclude-unused", f"--exclude {pattern}: no module NEEDs such a library that is not beside it")
            for pattern in patterns
            if not any(fits(needed, [pattern]) for needed in users)
        ),
    ]


def fits(needed: str, patterns: Iterable[str]) -> bool:
    """Whether the file name of a NEEDED entry fits one of the patterns."""
    return any(fnmatchcase(posixpath.basename(needed), pattern) for pattern in patterns)


def _is_about(finding: Finding, needed: str) -> bool:
    return finding.message.startswith(f"NEEDs {needed}, ")
