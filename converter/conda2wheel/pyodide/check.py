"""The Run station: does a wheel install and import in the real thing?

open the wheels -> find the Pyodide that is meant -> fetch it -> gather what the wheel requires -> run -> report.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from conda2wheel.abi import platforms
from conda2wheel.errors import Conda2WheelError, Failed, Refused
from conda2wheel.files.reading import not_found
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide import fetch
from conda2wheel.pyodide.job import Job, run_job
from conda2wheel.pyodide.lock import Runtime
from conda2wheel.pyodide.node import Node, find_node
from conda2wheel.pyodide.report import Checked, Installer
from conda2wheel.pyodide.requirements import Pool, plan_installation, wheels_by_name
from conda2wheel.pyodide.wheelfile import WheelFile, modules, open_wheel, recipe_test, requirements_of
from conda2wheel.results import ConversionWarning

TIMEOUT = 120.0
VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9a-z.]+)?")  # npm's form; it becomes part of a path and of a command


def check_wheels(
    wheels: Sequence[Path],
    *,
    pyodide: str | None = None,
    find_links: Sequence[Path] = (),
    imports: Sequence[str] = (),
    script: Path | None = None,
    installer: Installer = "loadPackage",
    timeout: float = TIMEOUT,
    cache: Path | None = None,
) -> list[Checked]:
    """Install each wheel into a fresh Pyodide, with what it requires, and import its modules.

    `pyodide` is a version; else it follows from each wheel's platform tag. Requirements are looked for among `wheels`
    and in the folders `find_links`, then in Pyodide's own packages. `imports` replaces the wheel's own top-level modules;
    `script` is a Python file that is run afterwards, in the place of the smoke test that a wheel's conversion recipe may
    have. `timeout` is how long, in seconds, an interpreter may be silent at one step (start, one installation, one import, the
    script) before it is ended.

    Whatever a wheel does is in its `Checked`: a failed import, a fatal error, a loop without end. Raises `Refused`
    ("unknown-abi", "corrupt-archive", "too-large") for a wheel that cannot be tried at all, and `Failed` ("not-found",
    "network", "dependency", "unreadable", "disk").

    >>> from pathlib import Path
    >>> from conda2wheel.pyodide import check_wheels
    >>> [result] = check_wheels([Path("dist/msgpack-1.2.4-cp313-cp313-pyemscripten_2025_0_wasm32.whl")])  # doctest: +SKIP
    >>> result.ok, result.pyodide, [module.name for module in result.modules]  # doctest: +SKIP
    (True, '0.29.5', ['msgpack'])
    """
    results = []
    for _, result in check_each(
        wheels,
        pyodide=pyodide,
        find_links=find_links,
        imports=imports,
        script=script,
        installer=installer,
        timeout=timeout,
        cache=cache,
    ):
        if isinstance(result, Conda2WheelError):
            raise result
        results.append(result)
    return results


def check_each(
    wheels: Sequence[Path],
    *,
    pyodide: str | None = None,
    find_links: Sequence[Path] = (),
    imports: Sequence[str] = (),
    script: Path | None = None,
    installer: Installer = "loadPackage",
    timeout: float = TIMEOUT,
    cache: Path | None = None,
) -> Iterator[tuple[Path, Checked | Conda2WheelError]]:
    """As `check_wheels`, one by one, and a wheel that cannot be tried does not keep the others from it: its error is
    yielded in its place. Raises only for what concerns all of them: no node, no such folder, no such script."""
    if script is not None and not script.is_file():
        raise not_found(script)
    if pyodide is not None and VERSION.fullmatch(pyodide) is None:
        raise Refused("unknown-abi", f"{pyodide!r} is no version of Pyodide", "such as 0.29.5")
    opened = [_try_open(path) for path in wheels]
    given = [wheel for wheel in opened if isinstance(wheel, WheelFile)]
    pool = wheels_by_name(find_links, given)
    bench = _Bench(pool=pool, imports=imports, script=script, installer=installer, timeout=timeout, cache=cache_folder(cache))
    for path, wheel in zip(wheels, opened, strict=True):
        if isinstance(wheel, Conda2WheelError):
            yield path, wheel
            continue
        try:
            yield path, bench.check(path, wheel, pyodide or pyodide_for(wheel, given))
        except Conda2WheelError as error:
            yield path, error


def _try_open(path: Path) -> WheelFile | Conda2WheelError:
    try:
        return open_wheel(path)
    except Conda2WheelError as error:
        return error


def pyodide_for(wheel: WheelFile, given: Sequence[WheelFile] = ()) -> str:
    """The Pyodide that a wheel is made for: the newest of its platform's row in the table.

    A wheel without a platform runs where the others that were given with it do; alone, in the newest Pyodide whose
    Python it admits. Raises `Refused("unknown-abi")`.
    """
    if named := _by_platform(wheel):
        return named
    foreign = sorted({tag.platform for tag in wheel.tags} - {"any"})
    if foreign:
        message = f"{wheel.path.name}: no Pyodide is known for {', '.join(foreign)}"
        raise Refused("unknown-abi", message, "--pyodide VERSION tries it in one all the same")
    if others := [version for other in given if (version := _by_platform(other))]:
        return max(others, key=_order)
    python = requirements_of(wheel).python
    for row in reversed(platforms.platforms()):
        if row.pyodide and row.python and not row.prerelease and _admits(python, row.python):
            return _newest(row)
    message = f"{wheel.path.name}: Requires-Python {python} admits no Python that a Pyodide has"
    raise Refused("unknown-abi", message, "--pyodide VERSION tries it in one all the same")


def _by_platform(wheel: WheelFile) -> str | None:
    rows = [platforms.parse(tag.platform) for tag in wheel.tags if tag.platform != "any"]
    return max((_newest(row) for row in rows if row and row.pyodide), key=_order, default=None)


def _newest(row: platforms.Platform) -> str:
    versions = [version for version, _ in row.pyodide]
    return max([v for v in versions if not _order(v).is_prerelease] or versions, key=_order)


def _order(version: str) -> Version:
    try:
        return Version(version)  # `315.0.0-alpha.2`, as npm writes it, is 315.0.0a2
    except InvalidVersion:
        return Version("0.dev0")


def _admits(specifier: str | None, python: str) -> bool:
    """Does Requires-Python admit some release of `3.13`? A bound within the series (>=3.13.1) is met by a late one."""
    if specifier is None:
        return True
    try:
        bounds = SpecifierSet(specifier)
    except InvalidSpecifier:
        return True
    return bounds.contains(f"{python}.99") or bounds.contains(f"{python}.0")


@dataclass(kw_only=True)
class _Bench:
    """What the wheels of one call share: node and each Pyodide are looked for once, when first needed."""

    pool: Pool
    imports: Sequence[str]
    script: Path | None
    installer: Installer
    timeout: float
    cache: Path
    node: Node | None = None
    runtimes: dict[str, Runtime] = field(default_factory=dict)

    def check(self, path: Path, wheel: WheelFile, version: str) -> Checked:
        self.node = self.node or find_node()
        if version not in self.runtimes:
            self.runtimes[version] = fetch.pyodide(version, self.node, self.cache)
        runtime = self.runtimes[version]
        started = time.monotonic()
        plan = plan_installation(wheel, self.pool, runtime)
        names = tuple(self.imports) or modules(wheel, runtime.python_version)
        warnings = list(plan.warnings)
        if not names:
            warnings.append(ConversionWarning("no-modules", "there is no module to import", wheel.path.name))
        packages = fetch.package_cache(runtime, self.cache)
        if self.installer == "micropip":
            reasons = fetch.from_pypi(runtime, ["micropip"], packages)
            warnings += [ConversionWarning("not-from-pypi", f"{reason}; Pyodide asks its own CDN for it") for reason in reasons]
        test = None if self.script is not None else recipe_test(wheel)
        job = Job(
            runtime=runtime,
            packages=packages,
            installer=self.installer,
            names=plan.names,
            wheels=tuple(each.path for each in plan.wheels),
            modules=names,
            script=None if self.script is None else self.script.absolute(),
            timeout=self.timeout,
        )
        try:
            with tempfile.TemporaryDirectory(prefix="conda2wheel-") as folder:
                if test is not None:
                    script = Path(folder) / "recipe_test.py"
                    script.write_text(test, encoding="utf-8")
                    job = replace(job, script=script)
                told = run_job(job, self.node)
        except OSError as error:
            raise Failed("disk", f"{path}: cannot prepare its run: {error}") from error
        return Checked(
            wheel=path,
            pyodide=version,
            platform=runtime.platform,
            installer=self.installer,
            installed=tuple(told.installed),
            install_errors=tuple(told.install_errors),
            modules=tuple(told.modules),
            script=told.script,
            warnings=(*warnings, *told.warnings),
            crash=told.crash,
            seconds=time.monotonic() - started,
        )
