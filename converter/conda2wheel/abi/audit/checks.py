"""The findings about one module by itself: its form, memory, features, exceptions, and its use of CPython.

Nothing here depends on what else is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.resources import files

from conda2wheel.abi.audit.findings import Finding, Severity, listed
from conda2wheel.abi.audit.simulation import foreign_tag
from conda2wheel.abi.audit.unit import AuditUnit, InstalledModule
from conda2wheel.abi.engines import reported
from conda2wheel.abi.loaders import PyodideLoader
from conda2wheel.wasm.binary import FileKind
from conda2wheel.wasm.signature import Feature

PAGE = 1 << 16
LARGEST = 1 << 16  # pages: Pyodide's memory may grow to 4 GiB
SHORTEST = 24  # bytes that the loaders before 0.28 look at, four at a time
# The exceptions that libc++'s headers throw, in code that is inlined into every user of a vector, a string or a map. A module
# that throws nothing else has no exceptions of its own: where one of these is thrown, a program ends on any platform.
OF_THE_STANDARD_LIBRARY = re.compile(
    r"_ZTISt(12length_error|12out_of_range|9bad_alloc|20bad_array_new_length|9exception|8bad_cast|10bad_typeid)"
    r"|_ZTINSt3__2(17bad_function_call|12bad_weak_ptr)E|_ZTISt(19bad_optional_access|18bad_variant_access)"
)
THROWN = re.compile(r"_ZTI\w+|_ZTVN10__cxxabiv1\w*class_type_infoE")  # types that are thrown or derived from
# Classes with virtual functions that libc++ defines for itself, and never throws: the control blocks of shared_ptr, and what
# std::function has in it. Their typeinfo needs a virtual table of the C++ ABI's class_type_info, as that of an exception class
# does; a class derived from std::exception would need typeinfo for std::exception as well.
OF_LIBCXX_ITSELF = re.compile(r"_ZTINSt3__2\d+__\w+")
DERIVED, FIRST, FUNCTION = "_ZTVN10__cxxabiv120__si_class_type_infoE", "_ZTVN10__cxxabiv117__class_type_infoE", "10__function"

Version = tuple[int, int]
LIMITED_API = "limited_api.txt"  # made by scripts/update-abi
Check = Callable[[InstalledModule, PyodideLoader], Iterator[Finding]]


def own_findings(module: InstalledModule, unit: AuditUnit, loader: PyodideLoader) -> Iterator[Finding]:
    """Yield every finding about one file by itself.

    They are about its form alone if it is no side module, and about its tag alone if another interpreter would import it.
    """
    found = list(_form(module, loader))
    yield from found
    if module.side.is_intact and not any(finding.code == "wrong-python" for finding in found):
        for check in (_legacy, _memory, _engines, _legalised):
            yield from check(module, loader)
        yield from _cannot_catch(module, unit)


def wrong_python(module: InstalledModule, loader: PyodideLoader) -> Iterator[Finding]:
    """The finding about a file with another interpreter's tag, where it has one."""
    tag = foreign_tag(module.name, loader)
    if tag is not None:
        yield from _of_another(module, tag, loader)


def _form(module: InstalledModule, loader: PyodideLoader) -> Iterator[Finding]:
    file = module.name
    tag = foreign_tag(file, loader)
    if tag is not None:
        yield from _of_another(module, tag, loader)
    elif module.side.problem:
        yield Finding("damaged-module", Severity.LOAD, module.path, f"cannot be read: {module.side.problem}")
    elif not module.side.is_intact:
        yield _no_side_module(module, loader)


def _of_another(module: InstalledModule, tag: str, loader: PyodideLoader) -> Iterator[Finding]:
    """A file with another interpreter's tag: Pyodide does not open it, and its import system ignores it."""
    python = loader.platform.python
    if module.side.kind.is_wasm:
        why = f"is tagged {tag}: the import system of CPython {python} ignores it, and the loader does not open it"
        yield Finding("wrong-python", Severity.LOAD, module.path, why, hint=f"take the build for CPython {python}")
    elif module.side.kind.is_foreign:
        why = f"is {module.side.kind}, for another platform ({tag}): nothing in Pyodide opens it"
        yield Finding("fake-dylib", Severity.LOAD, module.path, why)


def _no_side_module(module: InstalledModule, loader: PyodideLoader) -> Finding:
    what = "an empty file" if module.side.kind is FileKind.EMPTY else f"no side module ({module.side.kind})"
    hint = "an object file or archive is linked, not loaded: link it with -sSIDE_MODULE" if _is_linkable(module.side.kind) else ""
    short = (
        module.side.file.blob.size < SHORTEST and module.side.file.blob.size % 4
    )  # the loader fails on it before it knows what it is
    if loader.skips_foreign and not module.side.kind.is_wasm and not short:
        if _is_library(module):
            why = f"is {what}: this loader skips it with a line on the console"
            return Finding("fake-dylib", Severity.NOTE, module.path, why, hint=hint)
        why = f"is {what}: this loader skips it, and its import fails"
        return Finding("fake-dylib", Severity.LOAD, module.path, why, hint=hint)
    return Finding("fake-dylib", Severity.LOAD, module.path, f"is {what}: not loaded, and nor is its whole package", hint=hint)


def _is_linkable(kind: FileKind) -> bool:
    return kind in (FileKind.OBJECT, FileKind.AR)


def _is_library(module: InstalledModule) -> bool:
    """Whether the name of a file that cannot be read is that of a library, not of an extension module."""
    file = module.name
    return file.startswith("lib") or re.search(r"\.so\.\d", file) is not None


def _legacy(module: InstalledModule, loader: PyodideLoader) -> Iterator[Finding]:
    if module.side.kind is FileKind.LEGACY_SIDE_MODULE and not loader.platform.legacy_dylink:
        why = "has a section `dylink`, of Emscripten before 2.0.31, and no `dylink.0`: not loaded"
        yield Finding("legacy-dylink", Severity.LOAD, module.path, why, hint="build it again")


def _memory(module: InstalledModule, loader: PyodideLoader) -> Iterator[Finding]:
    for memory in module.side.memories:
        if memory.is64:
            why = "imports a 64-bit memory; Pyodide is wasm32: not loaded"
            yield Finding("memory64", Severity.LOAD, module.path, why)
        elif memory.shared:
            why = "imports a shared memory (built with -pthread); Pyodide has no threads: not loaded"
            yield Finding("shared-memory", Severity.LOAD, module.path, why, hint="build without -pthread")
        elif memory.maximum is not None and memory.maximum < LARGEST:
            why = f"imports a memory of at most {_size(memory.maximum)}, and Pyodide's may grow to {_size(LARGEST)}: not loaded"
            yield Finding("memory-limits", Severity.LOAD, module.path, why, hint="link without --max-memory")
        elif memory.minimum * PAGE > loader.memory_pages * PAGE + module.side.data_size:
            starts = _size(loader.memory_pages)
            why = f"imports a memory of at least {_size(memory.minimum)}, and Pyodide starts with {starts}: not loaded"
            yield Finding("memory-limits", Severity.LOAD, module.path, why, hint="link without --initial-memory")


def _size(pages: int) -> str:
    return f"{pages * PAGE / (1 << 20):g} MiB"


def _engines(module: InstalledModule, loader: PyodideLoader) -> Iterator[Finding]:
    """The features that not every engine has in which that Pyodide runs.

    No engine loads what none has. What one of them lacks, or had not yet in a version that is still maintained, is suspicious:
    users meet it. The rest is a note.
    """
    is64 = any(memory.is64 for memory in module.side.memories)  # has a finding of its own
    for row in reported(module.side.engine_features, loader.pyodide):
        if row.feature in (Feature.MEMORY64, Feature.TABLE64) and is64:
            continue
        if not row.since:
            why = f"needs {row.words}, which no engine has by default: not loaded"
            yield Finding(row.code, Severity.LOAD, module.path, why, hint=row.hint)
            continue
        severity = Severity.NOTE if row.is_everywhere else Severity.SUSPICIOUS
        others = (
            f"no version of {' and '.join(row.without)} loads it, nor older ones" if row.without else "older ones do not load it"
        )
        why = f"needs {row.words}: {row.versions} or newer; {others}"
        yield Finding(row.code, Severity(row.severity or severity), module.path, why, hint=row.hint)


def _legalised(module: InstalledModule, loader: PyodideLoader) -> Iterator[Finding]:
    if module.side.is_legalised:
        why = "exports orig$ functions (i64 in two halves, built without WASM_BIGINT): callers that pass i64 use the wrong type"
        yield Finding("no-bigint", Severity.SUSPICIOUS, module.path, why, hint="build with -sWASM_BIGINT")


def _cannot_catch(module: InstalledModule, unit: AuditUnit) -> Iterator[Finding]:
    """A module that throws without a way to catch: Emscripten's default for C++ without -fexceptions or -fwasm-exceptions.

    Nothing can be caught where a module imports no exception tag, calls nothing through invoke_* and has no instruction try,
    catch or catch_all (a leaf built with -fwasm-exceptions may have no tag, but it has those where something must be cleaned
    up: awkward-cpp's kernels). A library may leave catching to its users, so only modules that Python imports and what these
    NEED are judged, in units where no module can catch. Measured: kiwisolver of 3.1.73 and of 3.1.45 end the interpreter at their
    first exception, and so does plain C that calls a library like it.
    """
    if (
        "__cxa_throw" not in module.side.called
        or module not in unit.imported
        or unit.has_catching_imports
        or unit.has_catching_code
    ):
        return
    types = sorted(name for name in module.side.import_names if THROWN.fullmatch(name))
    inner = [name for name in types if OF_LIBCXX_ITSELF.fullmatch(name)]
    types = [name for name in types if name not in inner and name not in _tables_for(inner, types)]
    if not types or not all(map(OF_THE_STANDARD_LIBRARY.fullmatch, types)):
        why = "throws C++ exceptions and was built without any way to catch one: the first one ends the interpreter"
        hint = "build with the exceptions of that Pyodide (-fwasm-exceptions since 0.28, -fexceptions before)"
        yield Finding("cannot-catch", Severity.FATAL, module.path, why, "__cxa_throw", hint)
    else:
        thrown = ", ".join(name.removeprefix("_ZTI") for name in types[:3])
        why = f"throws only what the C++ library's own headers throw ({thrown}), and cannot catch it: that ends the interpreter"
        yield Finding("cannot-catch", Severity.NOTE, module.path, why, "__cxa_throw")


def _tables_for(inner: Sequence[str], types: Sequence[str]) -> set[str]:
    """The virtual tables of class_type_info that libc++'s own classes explain; none where an exception class may need them."""
    if not inner or "_ZTISt9exception" in types:
        return set()
    return {DERIVED, *([FIRST] if any(FUNCTION in name for name in inner) else [])}


def cpython_findings(module: InstalledModule, abi3: str | None) -> Iterator[Finding]:
    """Yield the findings about the CPython functions that a module imports beyond the public interface.

    They are private functions, and those that the limited API does not have.

    Args:
        module: a module that is loaded.
        abi3: the version in its wheel's abi3 tag, such as `cp312`. A module named `.abi3.so` is abi3 whatever its wheel is
        tagged, for a version that is not known.
    """
    names = module.side.python_imports
    claims = abi3 is not None or ".abi3" in module.name
    if claims and module.side.is_extension:
        yield from _abi3(module, names, _version(abi3))
    else:
        private = tuple(name for name in names if name.startswith("_Py") and name not in _limited_api())
        if private:
            why = f"imports private functions of CPython, which change without notice: {listed(private)}"
            yield Finding("private-api", Severity.NOTE, module.path, why, symbols=private)


def _abi3(module: InstalledModule, names: tuple[str, ...], version: Version | None) -> Iterator[Finding]:
    limited = _limited_api()
    outside = tuple(name for name in names if name not in limited)
    newer = tuple(name for name in names if version is not None and name in limited and limited[name] > version)
    if outside:
        why = f"is abi3 and imports what is not in the limited API of any version: {listed(outside)}"
        yield Finding("not-abi3", Severity.SUSPICIOUS, module.path, why, symbols=outside)
    if newer and version is not None:
        why = f"is abi3 for CPython {version[0]}.{version[1]} and imports what was added later: {listed(newer)}"
        yield Finding("not-abi3", Severity.SUSPICIOUS, module.path, why, symbols=newer)


def _version(abi3: str | None) -> Version | None:
    """`cp312` as (3, 12); None where nothing is claimed."""
    match = re.fullmatch(r"cp(\d)(\d+)", abi3 or "")
    return (int(match[1]), int(match[2])) if match else None


@cache
def _limited_api() -> dict[str, Version]:
    """The names of the stable ABI (PEP 384) with the version that added each: `data/limited_api.txt`, a line a version."""
    text = files("conda2wheel.abi").joinpath("data", LIMITED_API).read_text(encoding="utf-8")
    found = {}
    for line in text.splitlines():
        version, *names = line.split()
        if version != "#":
            major, minor = version.split(".")
            found.update(dict.fromkeys(names, (int(major), int(minor))))
    return found
