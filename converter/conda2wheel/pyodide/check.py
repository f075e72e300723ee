"""Install wheels into a real Pyodide under node and import their modules.

For each wheel: read it, choose and fetch a Pyodide, choose the wheels that it requires, run, and report.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict, Unpack

from packaging.tags import compatible_tags, cpython_tags
from packaging.version import InvalidVersion, Version

from conda2wheel.abi import platforms
from conda2wheel.abi.engines import NODE, lacking
from conda2wheel.errors import Conda2WheelError, Failed, Refused, unexpected_as_failed
from conda2wheel.files.pypa import parse_specifiers
from conda2wheel.files.reading import not_found, wheels_at
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide import fetch
from conda2wheel.pyodide.job import Job, run_job
from conda2wheel.pyodide.lock import Runtime
from conda2wheel.pyodide.node import Node, find_node
from conda2wheel.pyodide.programs import check_programs, not_started, wheel_of_programs
from conda2wheel.pyodide.report import Checked, Installer, LackingFeature
from conda2wheel.pyodide.requirements import Pool, plan_installation, wheels_by_name
from conda2wheel.pyodide.wheelfile import WheelFile, engine_features, modules, open_wheel, recipe_test, requirements_of
from conda2wheel.results import ConversionWarning

TIMEOUT = 120.0
VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9a-z.]+)?")  # npm's form; it becomes part of a path and of a command line


@dataclass(frozen=True)
class CheckOptions:
    """How wheels are checked.

    Attributes:
        pyodide: a version of Pyodide, or a series (0.29) for its newest known one; None chooses by each wheel's platform
            tags: the newest of each platform.
        find_links: folders of wheels, and wheels, in which requirements are looked up before Pyodide's own packages.
        imports: the modules to import instead of a wheel's top-level modules.
        script: a Python file that runs afterwards, instead of the test of the wheel's conversion recipe.
        native: whether what Pyodide cannot run may run with the rights of this process: the recipe's test of a wheel of
            programs, and its Emscripten programs outside of node's permission model.
        installer: what installs the wheels.
        timeout: seconds without an event (start, an installation, an import, the script) after which the interpreter is killed.
        cache: the cache folder; None: the default one.
    """

    pyodide: str | None = None
    find_links: Sequence[Path] = ()
    imports: Sequence[str] = ()
    script: Path | None = None
    native: bool = False
    installer: Installer = "loadPackage"
    timeout: float = TIMEOUT
    cache: Path | None = None


class CheckKeywords(TypedDict, total=False):
    """The fields of `CheckOptions` as keyword arguments."""

    pyodide: str | None
    find_links: Sequence[Path]
    imports: Sequence[str]
    script: Path | None
    native: bool
    installer: Installer
    timeout: float
    cache: Path | None


def check_wheels(wheels: Sequence[Path], **keywords: Unpack[CheckKeywords]) -> list[Checked]:
    """Install each wheel, with the wheels that it requires, into a fresh Pyodide, and import its modules.

    Failed imports, fatal errors and endless loops are part of the results. A wheel that is tagged for several platforms has a
    result for each, oldest platform first.

    Args:
        wheels: the wheels; requirements are looked up among them, too.
        keywords: the fields of `CheckOptions`.

    Raises:
        Refused: unknown-abi, corrupt-archive or too-large for a wheel that cannot be checked.
        Failed: not-found, network, dependency, unreadable, disk.

    >>> from pathlib import Path
    >>> from conda2wheel.pyodide import check_wheels
    >>> [result] = check_wheels([Path("dist/msgpack-1.2.4-cp313-cp313-pyemscripten_2025_0_wasm32.whl")])  # doctest: +SKIP
    >>> result.ok, result.pyodide, [module.name for module in result.modules]  # doctest: +SKIP
    (True, '0.29.5', ['msgpack'])
    """
    results: list[Checked] = []
    for _, result in check_each(wheels, CheckOptions(**keywords)):
        if isinstance(result, Conda2WheelError):
            raise result
        results.append(result)
    return results


def check_each(wheels: Sequence[Path], options: CheckOptions) -> Iterator[tuple[Path, Checked | Conda2WheelError]]:
    """Check wheels one by one; yield the error of a wheel that cannot be checked instead of its result.

    A wheel that is tagged for several platforms is yielded with a result for each.

    Raises:
        Failed: usage for a wrong version of Pyodide, not-found for a missing script or folder.
    """
    script, pyodide = options.script, options.pyodide if options.pyodide is None else platforms.whole_version(options.pyodide)
    if script is not None and not script.is_file():
        raise not_found(script)
    if options.pyodide is not None and (pyodide is None or VERSION.fullmatch(pyodide) is None):
        raise Failed("usage", *platforms.unknown_pyodide(options.pyodide))
    opened = [each for path in wheels for each in _opened(path)]
    given = [wheel for _, wheel in opened if isinstance(wheel, WheelFile)]
    pool = wheels_by_name(options.find_links, given)
    checker = _Checker(pool, options, cache_folder(options.cache))
    for path, wheel in opened:
        if isinstance(wheel, Conda2WheelError):
            yield path, wheel
            continue
        if pyodide is None:
            try:
                with unexpected_as_failed(str(path)):
                    programs = wheel_of_programs(wheel.path)
                    checked = (
                        check_programs(
                            programs, recipe_test(wheel), script, options.timeout, options.installer, native=options.native
                        )
                        if programs is not None
                        else None
                    )
            except Conda2WheelError as error:
                yield path, error
                continue
            if checked is not None:
                yield path, checked
                continue
        try:
            versions = (pyodide,) if pyodide is not None else pyodides_for(wheel, given)
        except Conda2WheelError as error:
            yield path, error
            continue
        for version in versions:
            try:
                with unexpected_as_failed(str(path)):
                    result: Checked | Conda2WheelError = checker.check(path, wheel, version)
            except Conda2WheelError as error:
                result = error
            yield path, result


def _opened(path: Path) -> list[tuple[Path, WheelFile | Conda2WheelError]]:
    """A wheel, or those of a folder."""
    try:
        found = wheels_at(path)
    except Conda2WheelError as error:
        return [(path, error)]
    return [(each, _try_open(each)) for each in found]


def _try_open(path: Path) -> WheelFile | Conda2WheelError:
    try:
        with unexpected_as_failed(str(path)):
            return open_wheel(path)
    except Conda2WheelError as error:
        return error


def pyodide_for(wheel: WheelFile, given: Sequence[WheelFile] = ()) -> str:
    """The newest of `pyodides_for`."""
    return pyodides_for(wheel, given)[-1]


def pyodides_for(wheel: WheelFile, given: Sequence[WheelFile] = ()) -> tuple[str, ...]:
    """The versions of Pyodide to check a wheel in: the newest of each of its platforms in the table, oldest first.

    A wheel without a platform is checked where the other wheels of the call are; alone, in the newest Pyodide whose Python it
    admits.

    Raises:
        Refused: unknown-abi.
    """
    if named := _by_platform(wheel):
        return named
    foreign = sorted({tag.platform for tag in wheel.tags} - {"any"})
    if foreign:
        message = f"{wheel.path.name}: no Pyodide is known for {', '.join(foreign)}"
        raise Refused("unknown-abi", message, "--pyodide VERSION tries it in one all the same")
    if others := [version for other in given for version in _by_platform(other)]:
        return (max(others, key=_order),)
    python = requirements_of(wheel).python
    for row in reversed(platforms.platforms()):
        if row.pyodide and row.python and not row.prerelease and _admits(python, row.python) and _takes(wheel, row):
            return (_newest(row),)
    message = f"{wheel.path.name}: no Pyodide has a Python of its tags that Requires-Python admits ({python or 'any'})"
    raise Refused("unknown-abi", message, "--pyodide VERSION tries it in one all the same")


def _by_platform(wheel: WheelFile) -> tuple[str, ...]:
    rows = [platforms.parse(tag.platform) for tag in wheel.tags if tag.platform != "any"]
    return tuple(sorted({_newest(row) for row in rows if row and row.pyodide}, key=_order))


def _takes(wheel: WheelFile, row: platforms.Platform) -> bool:
    """Whether the CPython of a platform takes the Python and ABI tags of a wheel without a platform."""
    version = tuple(map(int, (row.python or "3").split(".")))
    taken = {*cpython_tags(version, platforms=["any"]), *compatible_tags(version, platforms=["any"])}
    return bool(wheel.tags & taken)


def _newest(row: platforms.Platform) -> str:
    versions = [version for version, _ in row.pyodide]
    return max([v for v in versions if not _order(v).is_prerelease] or versions, key=_order)


def _order(version: str) -> Version:
    try:
        return Version(version)  # `315.0.0-alpha.2`, as npm writes it, is 315.0.0a2
    except InvalidVersion:
        return Version("0.dev0")


def _admits(specifier: str | None, python: str) -> bool:
    """Whether Requires-Python admits some release of `3.13`: the latest for a bound within the series (>=3.13.1)."""
    if specifier is None:
        return True
    bounds = parse_specifiers(specifier)
    return bounds is None or bounds.contains(f"{python}.99") or bounds.contains(f"{python}.0")


@dataclass
class _Checker:
    """Checks the wheels of one call; finds node and fetches each Pyodide once, when first needed."""

    pool: Pool
    options: CheckOptions
    cache: Path
    node: Node | None = None
    runtimes: dict[str, Runtime] = field(default_factory=dict)

    def check(self, path: Path, wheel: WheelFile, version: str) -> Checked:
        self.node = self.node or find_node()
        if version not in self.runtimes:
            self.runtimes[version] = fetch.pyodide(version, self.cache)
        runtime = self.runtimes[version]
        started = time.monotonic()
        plan = plan_installation(wheel, self.pool, runtime)
        names = tuple(self.options.imports) or modules(wheel, runtime.python_version)
        warnings = [*plan.warnings, *not_started(path)]
        if not names:
            warnings.append(ConversionWarning("no-modules", "there is no module to import", wheel.path.name))
        packages = fetch.package_cache(runtime, self.cache)
        if self.options.installer == "micropip":
            reasons = fetch.from_pypi(runtime, ["micropip"], packages)
            warnings += [ConversionWarning("not-from-pypi", f"{reason}; Pyodide asks its own CDN for it") for reason in reasons]
        test = None if self.options.script is not None else recipe_test(wheel)
        job = Job(
            runtime=runtime,
            packages=packages,
            installer=self.options.installer,
            names=plan.names,
            wheels=tuple(each.path for each in plan.wheels),
            modules=names,
            script=None if self.options.script is None else self.options.script.absolute(),
            timeout=self.options.timeout,
        )
        try:
            with tempfile.TemporaryDirectory(prefix="conda2wheel-") as folder:
                if test is not None:
                    script = Path(folder) / "recipe_test.py"
                    script.write_text(test, encoding="utf-8")
                    job = replace(job, script=script)
                outcome = run_job(job, self.node)
        except OSError as error:
            raise Failed("disk", f"{path}: cannot prepare its run: {error}") from error
        checked = Checked(
            wheel=path,
            pyodide=version,
            platform=runtime.platform,
            installer=self.options.installer,
            installed=tuple(outcome.installed),
            install_errors=tuple(outcome.install_errors),
            modules=tuple(outcome.modules),
            script=outcome.script,
            warnings=(*warnings, *outcome.warnings),
            crash=outcome.crash,
            node=self.node.version.removeprefix("v"),
            seconds=time.monotonic() - started,
        )
        return checked if checked.ok else replace(checked, lacking=_lacking(plan.wheels, checked.node))


def _lacking(wheels: Iterable[WheelFile], node: str) -> tuple[LackingFeature, ...]:
    """The features that modules of wheels need and that version of node does not have."""
    return tuple(
        LackingFeature(wheel.path.name, module, str(row.feature), row.words, row.first(NODE) or None)
        for wheel in wheels
        for module, features in engine_features(wheel).items()
        for row in lacking(features, node)
    )
