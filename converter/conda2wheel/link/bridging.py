"""Gives a wheel the unwinding bridge (`wasm.bridge`) that its modules with longjmp of the JavaScript kind need."""

from __future__ import annotations

from collections.abc import Mapping

from conda2wheel.abi.bridging import has_bridge
from conda2wheel.abi.side_module import SideModule
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.link.library import Library
from conda2wheel.link.resolution import Resolution
from conda2wheel.wasm.binary import WasmError
from conda2wheel.wasm.bridge import MOST, bridged_names, is_javascript, make_bridge

BRIDGE = "unwinding_bridge.so"  # the NEEDED entry, before it gets a hash
ORIGIN = "conda2wheel"  # its maker


def with_bridge(resolution: Resolution) -> Resolution:
    """A resolution in which the modules that need a bridge NEED one that gives all of them what they import.

    It is unchanged where no module needs one, or the platform cannot have it. Modules that would make it larger than `MOST`
    names, in the order of their keys, stay as they are.
    """
    wanted = _wanted(resolution)
    names: frozenset[str] = frozenset()
    users = []
    for key in sorted(wanted):
        if len(names | wanted[key]) <= MOST:
            names |= wanted[key]
            users.append(key)
    if not users:
        return resolution
    result = resolution.copy()
    library = Library(SideModule(PackageFile(BRIDGE, BytesBlob(make_bridge(names)))), ORIGIN, None, generated=True)
    result.vendored[library.content] = library
    result.bridge = library.content
    for key in users:
        result.added[key, BRIDGE] = tuple(sorted(wanted[key]))
        result.targets[key, BRIDGE] = library.content
    return result


def needing_bridge(resolution: Resolution) -> frozenset[str]:
    """The keys of the modules that need a bridge."""
    return frozenset(_wanted(resolution))


def _wanted(resolution: Resolution) -> Mapping[str, frozenset[str]]:
    """What a bridge must give to each module that needs one; nothing where another module that it NEEDs gives it already.

    The libraries of library wheels have the bridges of these wheels, which give nothing to the modules of another.
    """
    if not all(map(has_bridge, resolution.wheel.platforms)):
        return {}
    found: dict[str, frozenset[str]] = {}
    bridges = {content for content, library in resolution.vendored.items() if library.generated}
    for key in (each for each in resolution.keys if each not in resolution.shared):
        module = resolution.side(key).module
        if module is None or not any(map(is_javascript, module.import_names)):
            continue
        below = (resolution.side(each).module for each in resolution.closure(key) if each not in bridges)
        defined = {name for each in below if each is not None for name in each.export_names}
        try:
            names = bridged_names(module, defined)
        except WasmError:  # the audit says what is wrong with its types
            continue
        if names:
            found[key] = names
    return found
