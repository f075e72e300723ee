"""Catalogues without a mirror: a channel of any size with every kind of package, reproducibly, and one that attacks its pages."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from conda2wheel.abi import symbols
from conda2wheel.index.pages.catalogue import (
    PackageCatalogue,
    PyodideVerdict,
    WheelCommand,
    WheelComponent,
    WheelDetails,
    WheelFinding,
    WheelLibrary,
)
from conda2wheel.mirror.publish.catalogue import MirrorRecord, StoredDetails, make_catalogue
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.report.model import ReportItem
from conda2wheel.mirror.state.mirror_state import KnownPackage, MirrorItem
from conda2wheel.mirror.state.model import MirrorWheel
from tests.helpers import mirror_reports as reports
from tests.helpers.mirror_reports import NAMES, NATIVE, STARTED

HOSTILE = reports.HOSTILE.replace("\ud800", "")  # no repodata can have a lone surrogate

LIBRARIES = (
    WheelLibrary(
        "scipy.libs/libopenblas-1a2b3c4d.so", "vendored", "openblas 0.3.30", tuple(f"scipy/linalg/_m{n}.so" for n in range(6))
    ),
    WheelLibrary("scipy.libs/libgfortran-0badcafe.so", "vendored", "libgfortran 14", ("scipy.libs/libopenblas-1a2b3c4d.so",)),
    WheelLibrary("libz.so", "provided", "Pyodide 0.29.5", ("scipy/io/_z.so",)),
)
NATIVE_ROWS = tuple(
    PyodideVerdict(
        each,
        each.startswith(("0.28", "0.29")),
        "runs" if each.startswith(("0.28", "0.29")) else "does-not-load",
        None,
        None,
        None,
    )
    for each in symbols.known()
)
PART = replace(
    NATIVE_ROWS[7],
    verdict="runs-except",
    code="unresolved-symbol",
    module="scipy/_x.so",
    reason="imports function MAIN__, which is not defined",
)


def details(name: str, **more: Any) -> WheelDetails:
    """Details as a wheel has them; a wheel with side modules where `verdicts` are among them."""
    defaults: dict[str, Any] = {
        "summary": f"What {name} is for, in one line",
        "license": "MIT",
        "description": f"# {name}\n\nText.",
    }
    return WheelDetails(**{**defaults, **more})


def rich() -> WheelDetails:
    """Details with all that a page can show."""
    return details(
        "scipy",
        summary="Fundamental algorithms for scientific computing in Python",
        description="SciPy\n=====\n\nSciPy (pronounced *Sigh Pie*) is open-source software for mathematics.\n" * 4,
        content_type="text/x-rst",
        license="BSD-3-Clause AND MIT",
        license_files=("LICENSE.txt", "LICENSES_bundled.txt"),
        urls=(("Homepage", "https://scipy.example/"), ("Source", "https://code.example/scipy")),
        modules=7,
        verdicts=tuple(PART if each.pyodide == PART.pyodide else each for each in NATIVE_ROWS),
        findings=(WheelFinding("private-api", "note", "scipy/_x.so", "imports private functions of CPython", "look at it"),),
        libraries=LIBRARIES,
        components=(WheelComponent("openblas", "0.3.30", "shared", "BSD-3-Clause", "pkg:conda/openblas@0.3.30"),),
        smoke_test="import scipy\nprint(scipy.__version__)\n",
    )


def catalogue(
    items: Iterable[ReportItem],
    known: Mapping[str, WheelDetails] | None = None,
    on_pypi: Mapping[str, tuple[str, ...]] | None = None,
    **own: str,
) -> PackageCatalogue:
    """The catalogue of a report's items; `known` are details by wheel file name, `own` what Pyodide 0.29.5 has itself."""
    items = list(items)
    record = MirrorRecord(
        channels=(reports.CHANNEL,),
        packages=[
            KnownPackage(each.package, STARTED - (9e6 if number % 40 else 86400.0), None) for number, each in enumerate(items)
        ],
        wanted={(each.result or reports.done(each.package)).key: each.package for each in items},
        items={
            each.result.key: MirrorItem(each.result.key, each.result.status, each.result.code, 0, 0, None)
            for each in items
            if each.result is not None
        },
        results={each.result.key: each.result for each in items if each.result is not None},
    )
    wheels: dict[str, IndexEntry] = {}
    for each in items:
        if each.wheel is not None:
            wheels[each.wheel.filename] = IndexEntry(each.wheel, each.package, each.yanked)

    def read(wheel: MirrorWheel) -> StoredDetails:
        given = (known or {}).get(wheel.filename)
        native = {"verdicts": NATIVE_ROWS, "modules": 3} if wheel.platform != "any" else {}
        return StoredDetails(given or details(wheel.project, **native), sbom=given is not None, provenance=given is not None)

    return make_catalogue(
        record, wheels.values(), read, [replace(reports.runtime(**own), version="0.29.5")] if own else [], on_pypi
    )


def small() -> PackageCatalogue:
    """A few packages of every kind."""
    items = reports.every_kind()[:-1]
    scipy = next(each for each in items if each.package.name == "scipy")
    assert scipy.wheel is not None
    return catalogue(items, {scipy.wheel.filename: rich()}, numpy="2.2.5", cffi="1.17.1")


def tools() -> PackageCatalogue:
    """A package of programs alone, one with Python besides, and one without any."""
    both = (WheelCommand("counts", "emscripten", "none"), WheelCommand("words", "wasi", "folders"))
    items = [
        reports.item("tools", wheel=reports.wheel("tools-wasm", platform="any", imports=("tools_wasm_programs",))),
        reports.item("words", wheel=reports.wheel("words", platform="any", imports=("words",), requires=("wasmtime>=40",))),
        reports.item("plain", wheel=reports.wheel("plain", platform="any", imports=("plain",))),
    ]
    only, with_python = items[0].wheel, items[1].wheel
    assert only is not None
    assert with_python is not None
    known = {
        only.filename: details("tools", programs=both, only_programs=True),
        with_python.filename: details("words", programs=both[1:]),
    }
    return catalogue(items, known)


def hostile() -> PackageCatalogue:
    """Packages whose every text attacks the page, and whose addresses are none."""
    made = reports.wheel("evil", requires=(HOSTILE, "numpy<2"), imports=(HOSTILE,), vendored=(HOSTILE,))
    attacked = details(
        "evil",
        summary=HOSTILE,
        description=HOSTILE * 3,
        content_type=HOSTILE,
        license=HOSTILE,
        license_files=(HOSTILE,),
        urls=(
            (HOSTILE, "javascript:alert(1)"),
            ("Homepage", "https://evil.example/?a=1&b=<>"),
            ("x", "data:text/html,<script>1</script>"),
        ),
        verdicts=tuple(replace(each, reason=HOSTILE, module=HOSTILE, code=HOSTILE) for each in NATIVE_ROWS),
        findings=(WheelFinding(HOSTILE, 'note" onclick="alert(1)', HOSTILE, HOSTILE, HOSTILE),),
        libraries=(WheelLibrary(HOSTILE, "vendored", HOSTILE, (HOSTILE,)), WheelLibrary("b.so", "provided", HOSTILE, (HOSTILE,))),
        components=(WheelComponent(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        smoke_test=HOSTILE,
        programs=(WheelCommand(HOSTILE, HOSTILE, HOSTILE),),
    )
    items = [
        *reports.every_kind()[:-1],
        reports.item(HOSTILE, "failed", HOSTILE, message=HOSTILE, hint=HOSTILE, version=HOSTILE, build=HOSTILE),
        reports.item(
            "evil", wheel=made, warnings=((HOSTILE, HOSTILE),), url="javascript:alert(1)", build=HOSTILE, timestamp=1e300
        ),
        reports.item("..", "refused", "not-python", message=HOSTILE),
        reports.item("gone", yanked=HOSTILE),
    ]
    return catalogue(items, {made.filename: attacked}, numpy="2.2.5", evil=HOSTILE)


def channel(count: int = 2600) -> PackageCatalogue:
    """As many packages as a large channel has builds, each with a name of its own."""
    dice = random.Random(0)  # noqa: S311 - reproducible, not secret
    names = json.loads(NAMES.read_text(encoding="utf-8"))
    python, other = names["python"], names["other"]
    items = []
    for number in range(count):
        pool = python if dice.random() < 0.6 else other
        name = pool[number % len(pool)] if number < len(pool) else f"{pool[number % len(pool)]}-{number // len(pool)}"
        share = dice.random()
        if pool is other and share < 0.8:
            items.append(reports.item(name, "refused", "not-python", message="nothing in it belongs into site-packages"))
        elif share < 0.85:
            pure = dice.random() < 0.35
            needs = tuple(f"{each}>=1" for each in dice.sample(python, dice.randrange(5)))
            version = f"{dice.randrange(9)}.{dice.randrange(30)}.{dice.randrange(9)}"
            size = int(dice.lognormvariate(13, 2))
            built = STARTED - dice.randrange(400) * 86400.0
            made = reports.wheel(
                name, version, "any" if pure else NATIVE, size=size, requires=needs, imports=(name.replace("-", "_"),)
            )
            items.append(reports.item(name, version=version, wheel=made, timestamp=built))
        elif share < 0.95:
            items.append(reports.item(name, None))
        else:
            items.append(reports.item(name, "failed", "timeout", message="300 s were not enough", at=STARTED))
    there = {name: ("any",) if number % 7 == 0 else () for number, name in enumerate(python)}
    return catalogue(items, None, there, **{name.replace("-", "_"): "1.0" for name in python[::9]})
