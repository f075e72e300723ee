"""NEEDED libraries: found or not, by which form of name and path, and whether what is found can be loaded."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator

from conda2wheel.abi.audit.findings import Finding, Severity
from conda2wheel.abi.audit.load import Instance, Session
from conda2wheel.abi.audit.unit import InstalledModule
from conda2wheel.abi.loader_search import misread


def needed(instance: Instance, session: Session, broken: Collection[InstalledModule]) -> Iterator[Finding]:
    """What is wrong with the libraries that one instance NEEDs; `broken` are the files that cannot be loaded themselves."""
    module = instance.module
    missing = False
    for name, found in instance.needed.items():
        if found is None:
            missing = True
            yield _missing(name, module, session)
        elif found.module in broken:
            why = f"NEEDs {name}, and {found.module.path} cannot be loaded itself: not loaded"
            yield Finding("broken-library", Severity.LOAD, module.path, why)
        elif "/" in name:
            why = f"NEEDs {name}, with its folder: found where it lies now, and nowhere else"
            yield Finding("needed-path", Severity.NOTE, module.path, why)
    yield from _runtime_path(module, session, missing)


def _missing(name: str, module: InstalledModule, session: Session) -> Finding:
    file = posixpath.basename(name)
    lying = [path for path in session.files if posixpath.basename(path) == file]
    place = f"; there is {lying[0]}" if lying else ""
    if session.loader.searches_by_path and "/" in name:
        why = f"NEEDs {name}, and names with a slash are not searched for{place}: not loaded"
        return Finding("needed-path", Severity.LOAD, module.path, why, hint="NEEDED must be the file name alone")
    hint = "conda2wheel repair --libdir puts it there"
    if session.loader.searches_by_path:
        where = (
            "site-packages and RUNTIME_PATH" if module.side.loaded_runtime_path else "site-packages, and there is no RUNTIME_PATH"
        )
        if module.side.is_miscounted:
            where = "site-packages; a subsection of dylink.0 has more entries than it counts, and what follows it is not read"
            hint = "build it again: the tool that changed this section last spoiled it"
    else:
        where = "<distribution>.libs, site-packages and beside the module; RUNTIME_PATH is not read"
    why = f"NEEDs {name}, which is not where this loader looks ({where}){place}: not loaded"
    return Finding("missing-library", Severity.LOAD, module.path, why, hint=hint)


def _runtime_path(module: InstalledModule, session: Session, missing: bool) -> Iterator[Finding]:
    if not session.loader.platform.runtime_path:
        return
    for entry in module.side.loaded_runtime_path:
        wrong = misread(entry)
        if wrong:
            severity = Severity.SUSPICIOUS if missing else Severity.NOTE
            yield Finding("runtime-path-form", severity, module.path, f"has the RUNTIME_PATH entry {entry}: {wrong}")
