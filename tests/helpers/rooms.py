"""The rooms of the package (its folders) and the imports between them, read from the code."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "converter" / "conda2wheel"
PAGE = REPOSITORY / "CONTRIBUTING.md"
PICTURE = re.compile(r"(<!-- rooms[^>]*-->\n)(.*?)(<!-- /rooms -->)", re.DOTALL)
# What each room is, from the lowest to the highest: a module imports its own room and rooms before it. Three modules
# beside the rooms have a place in the order, too.
ROOMS = {
    "errors": "errors and the table of their codes",
    "results": "result types and their JSON",
    "files": "bounded reading, safe names and links, atomic writing",
    "net": "URLs, credentials, downloads, the cache",
    "wasm": "side modules as bytes: sections, imports, exports, dylink.0",
    "abi": "platforms, main modules' symbols, loaders; `audit/`: the rules",
    "conda": "one conda package: archive formats, index, recipe, evidence, names",
    "channels": "repodata, search, the files of a channel's packages",
    "recipes": "conversion recipes",
    "link": "libraries: finding, vendoring, isolation, NEEDED and RUNTIME_PATH",
    "programs": "programs of packages: finding them, reading their JavaScript, the launcher",
    "options": "what a wheel's bytes depend on, as one value",
    "wheel": "wheels: reader, writer, layout, plan, metadata, tags, provenance",
    "commands": "the pipeline, and one module for each command",
    "pyodide": "a real Pyodide: fetch, run, report",
    "index": "the simple index and lock files",
    "bundle": "resolved sets",
    "mirror": "a whole channel: plan, work, state, store, publish, report",
    "serve": "the HTTP application",
    "cli": "the command line: options and rendering",
}
ORDER = tuple(ROOMS)
ANYWHERE = ("_version",)  # the version alone, which imports nothing


@dataclass(frozen=True)
class Function:
    """A function or method, and how many parameters it takes besides self or cls."""

    module: str
    name: str
    parameters: int


@cache
def modules() -> Mapping[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


@cache
def imports() -> Mapping[str, frozenset[str]]:
    """Of each module the modules of the package that it imports, at its top or inside a function.

    What `conda2wheel/__init__.py` exports is left out: it is above all rooms.
    """
    edges = {}
    for name, tree in modules().items():
        targets = {target for node in ast.walk(tree) for target in _targets(node)}
        edges[name] = frozenset(targets & modules().keys() - {name, "conda2wheel"})
    return edges


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        submodules = {f"{node.module}.{alias.name}" for alias in node.names}
        inside = submodules & modules().keys()
        yield from inside
        if inside != submodules:
            yield node.module


def relative_imports() -> list[str]:
    """Modules with an import that begins with a dot, which `imports` does not follow."""
    return [
        name
        for name, tree in modules().items()
        if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))
    ]


def room(module: str) -> str:
    """The room of a module, or the module's own name where it is beside the rooms; "" for the package itself."""
    _, _, rest = module.partition(".")
    return rest.partition(".")[0]


def between() -> Mapping[str, frozenset[str]]:
    """Of each room the other rooms that it imports."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name, targets in imports().items():
        found[room(name)] |= {room(target) for target in targets}
    return {name: frozenset(targets - {name}) for name, targets in found.items() if name not in ("", "__main__")}


def upward(edges: Mapping[str, frozenset[str]]) -> list[str]:
    """The imports that lead up in `ORDER`; `edges` as `between` gives them."""
    known = {name: height for height, name in enumerate(ORDER)}
    pairs = ((source, target) for source, targets in edges.items() for target in targets if target not in ANYWHERE)
    return sorted(f"{source} imports {target}" for source, target in pairs if known[target] > known.get(source, -1))


def cycles(edges: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """The strongly connected components of more than one node (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in edges.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            at = stack.index(node)
            component = tuple(sorted(stack[at:]))
            del stack[at:]
            if len(component) > 1:
                found.append(component)

    for node in edges:
        if node not in index:
            visit(node)
    return sorted(found)


def functions() -> Iterator[Function]:
    """Every function and method."""
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                yield Function(module, node.name, sum(each.arg not in ("self", "cls") for each in given))


def classes() -> Iterator[tuple[str, str]]:
    """Name and module of every class."""
    for module, tree in modules().items():
        yield from ((node.name, module) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def picture() -> str:
    """The rooms from the highest to the lowest, with what they are and what they import, as a Markdown table."""
    edges = between()
    lines = ["| room | what it is | imports |", "| --- | --- | --- |"]
    for name in reversed(ORDER):
        if name in edges:
            path = f"`{name}/`" if (PACKAGE / name).is_dir() else f"`{name}.py`"
            below = sorted(edges[name] - set(ANYWHERE), key=ORDER.index, reverse=True)
            lines.append(f"| {path} | {ROOMS[name]} | {', '.join(below)} |")
    return "\n".join(lines) + "\n"


def with_picture(text: str) -> str:
    """CONTRIBUTING.md with the picture as it is now."""
    return PICTURE.sub(lambda match: match[1] + picture() + match[3], text)
