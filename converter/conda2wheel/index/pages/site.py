"""Make the pages of a catalogue: HTML by Jinja2 templates, and the files that they need.

`Pages.files` are all pages as static files; the service calls the methods for single pages. Addresses are the same in both, and
relative, so that the pages work below any address. All text comes from packages and is escaped by the templates; `POLICIES` are
the Content-Security-Policies, which a page has in itself and a server should send as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from conda2wheel.abi import platforms
from conda2wheel.files.json_text import json_text
from conda2wheel.index.pages.catalogue import (
    NAME,
    STATES,
    CataloguePackage,
    CatalogueWheel,
    PackageCatalogue,
    PyodideVerdict,
    PyodideVersion,
    WheelCommand,
)
from conda2wheel.index.pages.drawings import badge, needed_graph
from conda2wheel.index.pages.feeds import channel_feed, package_feed
from conda2wheel.index.pages.ranking import SearchQuery, called_of, imports_of, names_of, search
from conda2wheel.index.pages.rendering import environment

if TYPE_CHECKING:
    from jinja2 import Environment

STATIC = "static"
ASSETS = ("pages.css", "search.js", "page.js", "try.js", "try-worker.js", "convert.js", "icon.svg")
_BASE = (
    "default-src 'none'; script-src 'self'{script}; style-src 'self'; img-src 'self'; connect-src 'self'{connect};{worker}"
    " form-action 'self'; base-uri 'none'"
)
# The try page runs Pyodide: WebAssembly in a worker, which may ask any https address, since micropip and users' code do.
POLICIES: dict[str, str] = {
    "page": _BASE.format(script="", connect="", worker=""),
    "try": _BASE.format(script=" 'wasm-unsafe-eval'", connect=" https:", worker=" worker-src 'self';"),
}
PageKind = Literal["page", "try"]


@dataclass(frozen=True)
class Site:
    """Where the pages are, and what is there beside them. Paths are relative to the top of the pages.

    Attributes:
        title: the site's name.
        base: the address of the top, with a slash at its end; None where it is not known before a browser shows a page.
        api: whether the service answers: /convert and /api/v1.
        blobs: the path of the store's `blobs/`.
        report: the path of the mirror's report; None where there is none.
        tryable: the versions of Pyodide below `pyodide/`, for the page on which packages are tried.
        locks: the platforms that have a lock file at the top, `pyodide-lock-PLATFORM.json`.
    """

    title: str = "conda2wheel"
    base: str | None = None
    api: bool = False
    blobs: str = "blobs/"
    report: str | None = None
    tryable: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()


@dataclass(frozen=True)
class InstallWay:
    """Lines that install a package. `{top}` in them is the address of the top of the pages."""

    name: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Pages:
    """The pages of a catalogue on a site. Raises `Failed` (dependency) where Jinja2 is missing."""

    catalogue: PackageCatalogue
    site: Site = Site()
    _templates: Environment = field(default_factory=environment, repr=False)

    def search(self, query: SearchQuery | None = None) -> str:
        """The page `/`: all packages; those that fit the query are shown first, and the others only without it."""
        query = query or SearchQuery()
        found = search(self.catalogue, query)
        shown = {package.name for package in found}
        rest = [package for package in search(self.catalogue, SearchQuery()) if package.name not in shown]
        counts = {state: sum(package.state == state for package in self.catalogue.packages) for state in STATES}
        tags = sorted({tag for package in self.catalogue.packages for tag in package.platforms})
        return self._render(
            "search.html",
            "",
            query=query,
            rows=[*((package, True) for package in found), *((package, False) for package in rest)],
            found=len(found),
            counts=counts,
            platforms=tags,
            knows_own=any(each.packages is not None for each in self.catalogue.pyodides),
            knows_pypi=any(package.on_pypi is not None for package in self.catalogue.packages),
        )

    def package(self, package: CataloguePackage) -> str:
        """The page `/packages/NAME/`."""
        wheel = package.wheel
        return self._render(
            "package.html",
            "../../",
            package=package,
            wheel=wheel,
            matrix=self._matrix(wheel),
            ways=() if wheel is None else tuple(self.install(package, wheel)),
            graph=self._graph(package),
        )

    def coverage(self) -> str:
        """The page `/coverage/`."""
        rows = [self._coverage(each) for each in self.catalogue.pyodides if each.column or each.packages is not None]
        changes = self.catalogue.changes
        return self._render(
            "coverage.html",
            "../",
            rows=rows,
            new=[each for each in changes if each.kind == "new"],
            gone=[each for each in changes if each.kind == "gone"],
        )

    def try_package(self) -> str:
        """The page `/try/`, on which `?package=NAME` is tried."""
        return self._render("try.html", "../", kind="try")

    def convert(self) -> str:
        """The page `/convert` of the service."""
        return self._render("convert.html", "")

    def error(self, status: int, message: str, root: str | None = None) -> str:
        """A page that says what went wrong: 404, 503 and so on.

        Args:
            status: the HTTP status.
            message: one sentence.
            root: the relative path to the top; None for the absolute path of a site at the top of its host.
        """
        titles = {404: "Not found", 503: "Not available now"}
        return self._render("error.html", "/" if root is None else root, status=status, title=titles.get(status), message=message)

    def package_json(self, package: CataloguePackage) -> bytes:
        """`/packages/NAME/index.json`: the package's entry of the catalogue, complete."""
        return _json({"schema": 1, "kind": "catalogue-package", "package": package.json()})

    def catalogue_json(self) -> bytes:
        """`/catalogue.json`: the catalogue without descriptions."""
        return _json(self.catalogue.json(long=False))

    def install(self, package: CataloguePackage, wheel: CatalogueWheel) -> Iterator[InstallWay]:
        """The ways to install a package's newest wheel."""
        if package.state == "programs":
            yield from self._install_programs(wheel, package.programs)
            yield self._locked(wheel)
            return
        name = wheel.project
        elsewhere = any(each.by == "elsewhere" and not each.optional for each in package.requirements)
        index = '"{top}simple"'
        lines = ["import micropip"]
        if elsewhere:
            lines.append("from micropip.package_index import DEFAULT_INDEX_URLS")
            index = f"[{index}, *DEFAULT_INDEX_URLS]"
        lines += ["", f'await micropip.install("{name}", index_urls={index})']
        note = "Some of what it requires is neither here nor in Pyodide: micropip looks for it on PyPI." if elsewhere else ""
        yield InstallWay("micropip", "\n".join(lines), note)
        row = self._platform(package)
        url = f"{{top}}{self._blob(wheel.path)}"
        if row is not None and row.name in self.site.locks:
            where, what = f'{{ lockFileURL: "{{top}}pyodide-lock-{row.name}.json" }}', f'"{name}"'
            note = "The lock file has the wheels of this index alone, at their newest versions."
        else:
            where, what, note = "", f'"{url}"', "It reads no requirements: load what the package requires before it."
        yield InstallWay("loadPackage", f"const pyodide = await loadPyodide({where});\nawait pyodide.loadPackage({what});", note)
        python = None if row is None else row.python
        if row is not None and python is not None:
            yield InstallWay(
                "pip",
                "pip install --index-url {top}simple/ --target site --only-binary :all: \\\n"
                f"    --platform {row.tag} --implementation cp --python-version {python} \\\n"
                f"    --abi {row.python_tag} --abi abi3 --abi none {name}",
                "Into a folder, for a site or a worker: nothing of it runs in the Python that pip runs in.",
            )
            if row.name in ("pyemscripten_2024_0", "pyemscripten_2025_0"):  # uv knows no others
                yield InstallWay(
                    "uv",
                    "uv pip install --index-url {top}simple/ --target site \\\n"
                    f"    --python-platform wasm32-pyodide{row.name.split('_')[1]} --python-version {python} {name}",
                )
        kernel = (
            f"a kernel with Pyodide {' or '.join(self._short(each) for each in package.runs)}" if package.runs else "a kernel"
        )
        yield InstallWay(
            "JupyterLite",
            "\n".join(lines),
            f"In a notebook of {kernel} of JupyterLite.",
        )
        yield self._locked(wheel)

    def _install_programs(self, wheel: CatalogueWheel, programs: Sequence[WheelCommand]) -> Iterator[InstallWay]:
        """The ways to install a wheel of programs, by its address: so that no other index is asked for its name."""
        url = f"{{top}}{self._blob(wheel.path)}"
        node = any(each.kind == "emscripten" for each in programs)
        wanted = f'"{wheel.project}[node] @ {url}"' if node else url
        note = "It brings the commands to every system that has Python."
        if node:
            note += (
                " [node] brings node; leave it out where PATH has node 18 or newer. In node a program has all rights of its user."
            )
        yield InstallWay("pip", f"pip install {wanted}", note)
        yield InstallWay("uv", f"uv tool install {wanted}", "In an environment of its own, with the commands on PATH.")
        yield InstallWay("pipx", f"pipx install {wanted}", "The same with pipx.")
        yield InstallWay("uvx", f"uvx --from {wanted} {programs[0].name} --help", "Runs it once, and installs nothing for good.")

    def _locked(self, wheel: CatalogueWheel) -> InstallWay:
        lock = {"name": wheel.filename, "url": f"{{top}}{self._blob(wheel.path)}", "size": wheel.size}
        inner = ", ".join(f"{key} = {json.dumps(value)}" for key, value in lock.items())
        return InstallWay(
            "pylock.toml",
            f'[[packages]]\nname = "{wheel.project}"\nversion = {json.dumps(wheel.version)}\n'
            f'wheels = [{{ {inner}, hashes = {{ sha256 = "{wheel.sha256}" }} }}]',
            "An entry of a lock file (PEP 751).",
        )

    def files(self) -> Mapping[str, bytes]:
        """Every page and what it needs, by path below the top."""
        found = {f"{STATIC}/{name}": data for name, data in assets().items()}
        found["index.html"] = self.search().encode()
        found["404.html"] = self.error(404, "There is no such page.").encode()
        found["feed.xml"] = channel_feed(self.catalogue, self.site.base or "").encode()
        found[NAME] = self.catalogue_json()
        found["coverage/index.html"] = self.coverage().encode()
        if self.site.tryable:
            found["try/index.html"] = self.try_package().encode()
        for package in self.catalogue.packages:
            if package.page is not None:
                found |= {f"packages/{package.page}/{name}": data for name, data in self.package_files(package).items()}
        for project, package in self.catalogue.by_project.items():
            if package.page is not None and project not in self.catalogue.by_name:
                page = self._render("moved.html", "../../", package=package)
                found[f"packages/{project}/index.html"] = page.encode()
        return found

    def package_files(self, package: CataloguePackage) -> Mapping[str, bytes]:
        """The files of a package's folder, by name."""
        found = {
            "index.html": self.package(package).encode(),
            "index.json": self.package_json(package),
            "feed.xml": package_feed(package, self.site.base or "").encode(),
            "badge.svg": self.badge(package).encode(),
        }
        graph = self._graph(package)
        if graph is not None:
            found["needed.svg"] = graph.encode()
        return found

    def badge(self, package: CataloguePackage) -> str:
        """A package's badge, an SVG."""
        return badge(package, {each.version: each.short for each in self.catalogue.pyodides if each.column})

    def _matrix(self, wheel: CatalogueWheel | None) -> list[tuple[PyodideVersion, PyodideVerdict]]:
        rows = {} if wheel is None else {row.pyodide: row for row in wheel.verdicts}
        return [(each, rows[each.version]) for each in self.catalogue.pyodides if each.version in rows]

    def _graph(self, package: CataloguePackage) -> str | None:
        details = package.details
        return None if details is None else needed_graph(f"What the modules of {package.name} NEED", details.libraries)

    def _coverage(self, pyodide: PyodideVersion) -> dict[str, Any]:
        """What the channel and a Pyodide have of each other."""
        version = pyodide.version
        runs = [each for each in self.catalogue.packages if version in (*each.runs, *each.partly)]
        own = pyodide.packages or {}
        projects = {each.project for each in runs}
        known = any(each.on_pypi is not None for each in runs)
        return {
            "pyodide": pyodide,
            "runs": len(runs),
            "own": None if pyodide.packages is None else len(own),
            "only_here": [each for each in runs if each.project and each.project not in own],
            "only_there": sorted(name for name in own if name not in projects),
            "newer": [each for each in runs if each.project and own.get(each.project, _version(each)) != _version(each)],
            "not_on_pypi": [each for each in runs if each.on_pypi == ()] if known else None,
        }

    def _platform(self, package: CataloguePackage) -> platforms.Platform | None:
        """The platform for which a package is installed: of the Pyodides in which it runs, that of the newest column."""
        versions = [each for each in self.catalogue.pyodides if each.version in (*package.runs, *package.partly)]
        chosen = next((each for each in versions if each.column), versions[0] if versions else None)
        return None if chosen is None else platforms.for_pyodide(chosen.version)

    def _short(self, version: str) -> str:
        return next((each.short for each in self.catalogue.pyodides if each.version == version), version)

    def _blob(self, path: str) -> str:
        return self.site.blobs + path.removeprefix("blobs/")

    def _render(self, template: str, root: str, kind: PageKind = "page", **values: Any) -> str:
        catalogue = self.catalogue
        page = self._templates.get_template(template).render(
            site=self.site,
            catalogue=catalogue,
            channels=[channel.rstrip("/").rpartition("/")[2] or channel for channel in catalogue.channels],
            root=root,
            policy=POLICIES[kind],
            asset=lambda name: f"{root}{STATIC}/{name}?{_asset_digest(name)}",
            blob=lambda path: root + quote(self._blob(path)),
            short=self._short,
            states=STATES,
            names_of=names_of,
            imports_of=imports_of,
            called_of=called_of,
            **values,
        )
        return page.rstrip() + "\n"


def _version(package: CataloguePackage) -> str | None:
    return None if package.wheel is None else package.wheel.version


def pyodide_files(folder_names: Iterable[str]) -> Sequence[str]:
    """The files of Pyodide's npm package that the page needs, of all that it has."""
    wanted = (".mjs", ".js", ".wasm", ".zip", ".json", ".whl")
    return [name for name in folder_names if name.endswith(wanted) and not name.startswith((".", "package", "console"))]


@cache
def assets() -> Mapping[str, bytes]:
    """The scripts and styles, by name."""
    folder = files(__package__).joinpath(STATIC)
    return {name: folder.joinpath(name).read_bytes() for name in ASSETS}


@cache
def _asset_digest(name: str) -> str:
    return hashlib.sha256(assets()[name]).hexdigest()[:8]


def _json(document: Mapping[str, Any]) -> bytes:
    return (json_text(document) + "\n").encode()
