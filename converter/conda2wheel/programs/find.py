"""Find the programs of a package that a launcher can start: WASI modules and programs of Emscripten, by their contents.

A WASI program is a module that imports nothing but WASI preview 1 and exports `_start`. An Emscripten program is JavaScript with
a module beside it, or in it. They are commands in bin/ and sbin/, and in libexec/ where those have none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from conda2wheel.conda.package import CondaPackage
from conda2wheel.files.packagefile import EntryCount, PackageFile
from conda2wheel.programs.javascript import Script, read_script
from conda2wheel.wasm.binary import HEADER, MAGIC, Kind, Module, WasmError

ProgramKind = Literal["wasi", "emscripten"]
START = "_start"  # what WASI calls
MAX_NAME = 100  # characters of a command
MAX_SCRIPT = 32 << 20  # bytes of JavaScript that are read; one with its module in it has some megabytes
SUFFIX = "-wasm"  # of names that are taken: it says how this program differs from the one that has the name

_COMMAND = re.compile(r"s?bin/[^/]+")
_HELPER = re.compile(r"libexec/.+")
_JAVASCRIPT = re.compile(r"\.[mc]?js$")
_WORKER = re.compile(r"\.worker\.[mc]?js$")
_SCRIPT_START = re.compile(rb"#![^\n]*\bnode\b")
_ENDING = re.compile(r"\.(?:wasm|[mc]?js)$")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Program:
    """A program of a package.

    Attributes:
        name: the command.
        path: its file's path in the package: the module, or the JavaScript.
        file: that file.
        kind: what runs it.
        script: of an Emscripten program, what its JavaScript says.
        module: of an Emscripten program, the path of its module; None if it is in the JavaScript.
        problem: why the name of the file is not the command's; "" if it is.
    """

    name: str
    path: str
    file: PackageFile
    kind: ProgramKind
    script: Script | None = None
    module: str | None = None
    problem: str = ""


class FoundPrograms(NamedTuple):
    """The programs of a package, and (path, reason) of each file that seems to be one and cannot be started."""

    programs: tuple[Program, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()


@cache
def _rows() -> Mapping[str, Any]:
    return tomllib.loads(files(__package__).joinpath("programs.toml").read_text(encoding="utf-8"))


def find_programs(package: CondaPackage) -> FoundPrograms:
    """The programs of a package, sorted by name. Raises `Refused` (too-large) as every reader of modules."""
    names = {name: file for file in package.files for name in (file.path, *file.aliases)}
    found = _find(names, _COMMAND)
    if not found.programs:
        helpers = _find(names, _HELPER)
        found = FoundPrograms(helpers.programs, (*found.problems, *helpers.problems))
    return found


def _find(names: Mapping[str, PackageFile], where: re.Pattern[str]) -> FoundPrograms:
    programs: dict[str, Program] = {}
    problems: list[tuple[str, str]] = []
    paths = sorted(path for path in names if where.fullmatch(path))
    scripts = {path: script for path in paths if (script := _javascript(path, names[path])) is not None}
    taken = {Script.module_beside(path, script, names) for path, script in scripts.items() if script.is_emscripten}
    for path in paths:
        what = _program(path, names, scripts.get(path), taken)
        if isinstance(what, str):
            problems.append((path, what))
        elif what is not None:
            other = next((each for each in programs.values() if each.name.lower() == what.name.lower()), None)
            if other is not None:
                problems.append((path, f"{other.path} is the command of that name"))
            else:
                programs[what.name] = what
    return FoundPrograms(tuple(programs[name] for name in sorted(programs)), tuple(problems))


def _program(path: str, names: Mapping[str, PackageFile], script: Script | None, taken: set[str | None]) -> Program | str | None:
    """The program of a file, why it is none, or None if it does not seem to be one."""
    file = names[path]
    if script is not None:
        if _WORKER.search(path):
            return None  # a thread of a program
        if script.problem:
            return script.problem
        module = Script.module_beside(path, script, names)
        if module is not None and _why_not_wasi(names[module]) is None:
            return _named(Program("", module, names[module], "wasi"))
        return _named(Program("", path, file, "emscripten", script, module))
    if path in taken or not _is_module(path, file):
        return None
    return _why_not_wasi(file) or _named(Program("", path, file, "wasi"))


def _named(program: Program) -> Program | str:
    """The program with its command, or why it cannot have one."""
    name = command_name(program.path)
    if name is None:
        return "its name cannot be that of a command on every system"
    stem = _ENDING.sub("", program.path.rpartition("/")[2])
    problem = "" if name == stem else f"the command is {name}, since {_why_renamed(stem)}"
    return replace(program, name=name, problem=problem)


def _javascript(path: str, file: PackageFile) -> Script | None:
    """What a file says as JavaScript; None for other files."""
    named = _JAVASCRIPT.search(path) is not None
    if not named and ("." in path.rpartition("/")[2] or not _SCRIPT_START.match(file.blob.read()[:200])):
        return None
    if file.blob.size > MAX_SCRIPT:
        return Script(problem=f"it has more than {MAX_SCRIPT >> 20} MiB of JavaScript")
    return read_script(file.blob.read())


def _is_module(path: str, file: PackageFile) -> bool:
    return path.endswith(".wasm") or file.blob.read()[: len(MAGIC)] == MAGIC


def _why_not_wasi(file: PackageFile) -> str | None:
    """Why a module is no WASI program; None if it is one."""
    data = file.blob.read()
    if data.startswith(MAGIC) and not data.startswith(HEADER):
        return "it is a component (WASI preview 2), and only modules of preview 1 are started"
    try:
        module = Module.parse(data, (file.entries or EntryCount(file.path)).reading(file.path))
        imports, exports = module.imports, module.exports
    except WasmError as error:
        return f"it is a damaged WebAssembly module: {error}"
    wasi = _rows()["wasi"]
    for entry in imports:
        if entry.module not in wasi["modules"]:
            return f"it imports {entry.module}.{entry.field}, which WASI preview 1 does not have"
        if entry.kind is not Kind.FUNC or entry.field not in wasi["functions"]:
            return f"it imports {entry.field}, which is no function of WASI preview 1"
    if not any(entry.name == START and entry.kind is Kind.FUNC for entry in exports):
        return f"it has no {START}, so it is a library and no program"
    return None


def command_name(path: str) -> str | None:
    """The command of a program's file; None if no name will do.

    >>> [command_name(path) for path in ("bin/gap.js", "bin/avr-g++.wasm", "bin/python3.wasm", "bin/-rf.wasm", "bin/nul.js")]
    ['gap', 'avr-gxx', 'python3-wasm', None, None]
    """
    name = _ENDING.sub("", path.rpartition("/")[2]).replace("+", "x")
    rows = _rows()["names"]
    if not is_command(name) or name.partition(".")[0].lower() in rows["devices"]:
        return None
    return name + SUFFIX if _is_environments(name) else name


def is_command(name: str) -> bool:
    """Whether a name is one that commands have: without a space, a quote or another character that a shell takes for its own."""
    return _NAME.fullmatch(name) is not None and len(name) <= MAX_NAME


def _is_environments(name: str) -> bool:
    """Whether a virtual environment has a command of that name, which an installation would replace."""
    return any(re.fullmatch(pattern, name.lower()) for pattern in _rows()["names"]["environment"])


def _why_renamed(stem: str) -> str:
    if _is_environments(stem):
        return f"an environment has a {stem} of its own"
    return f"{stem} has a character that PyPI takes in no command"


def program_files(found: FoundPrograms) -> Iterator[str]:
    """Yield the paths of the programs' own files."""
    for program in found.programs:
        yield program.path
        if program.module is not None:
            yield program.module
