"""Reports without a mirror: a channel of any size with every kind of item, reproducibly."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.mirror.report.model import MirrorReport, ReportItem, RunOutcome, RunSummary
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, MirrorWheel, ResultStatus
from conda2wheel.pyodide.lock import LockedPackage, Runtime
from conda2wheel.results import UnusablePart

CHANNEL = "https://repo.example/emscripten-forge-4x"
STARTED = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC
NATIVE = "pyemscripten_2025_0_wasm32"
NEEDS = ("numpy<2", "absent>=1", "cffi", "gone; python_version < '3'", "libpure")
NAMES = Path(__file__).parents[1] / "data" / "channel_4x_names.json"
ABSENT = UnusablePart("scipy/_x.so", "unresolved-symbol", ("MAIN__",), "imports function MAIN__, which is not defined")
# A name that attacks a page, a terminal, an XML reader or a collector of metrics.
HOSTILE = '</script><img src=x onerror="alert(1)">]]>&amp;\x1b[2J\n\u202e\ud800\x00{}\\ [bold]$title'


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def package(name: str, version: str = "1.0", build: str = "py313h0_0", **more: Any) -> ChannelPackage:
    stem = f"{name}-{version}-{build}"
    defaults: dict[str, Any] = {
        "sha256": sha256(stem),
        "url": f"https://me:secret@repo.example/t/tk-secret/emscripten-forge-4x/emscripten-wasm32/{stem}.tar.bz2",
        "channel": "https://me:secret@repo.example/t/tk-secret/emscripten-forge-4x",
        "subdir": "emscripten-wasm32",
        "build_number": 0,
        "noarch": False,
        "depends": (),
        "record": sha256("record of " + stem),
        "size": 1_000_000,
        "timestamp": STARTED - 86400,
    }
    return ChannelPackage(name=name, version=version, build=build, **{**defaults, **more})


def wheel(project: str, version: str = "1.0", platform: str = NATIVE, **more: Any) -> MirrorWheel:
    tag = "py3-none-any" if platform == "any" else f"cp313-cp313-{platform}"
    filename = f"{project.replace('-', '_')}-{version}-{tag}.whl"
    defaults: dict[str, Any] = {
        "sha256": sha256(filename),
        "size": 1_234_567,
        "metadata_sha256": sha256("metadata of " + filename),
    }
    return MirrorWheel(project=project, version=version, filename=filename, platform=platform, **{**defaults, **more})


def done(of: ChannelPackage, status: ResultStatus = "done", code: str | None = None, **more: Any) -> ItemResult:
    return ItemResult(ItemKey(of.sha256, "0.1.0", "0123456789abcdef", "auto"), status, code, **more)


def item(name: str, status: ResultStatus | None = "done", code: str | None = None, **more: Any) -> ReportItem:
    """An item of a status; `more` goes to the package (version, build, ...), the result (message, wheel, ...) or the item."""
    of = package(name, **{key: more.pop(key) for key in (*ChannelPackage.__dataclass_fields__,) if key in more})
    result = {key: more.pop(key) for key in (*ItemResult.__dataclass_fields__,) if key in more}
    if status == "done":
        result.setdefault("wheel", wheel(name, of.version))
    return ReportItem(of, None if status is None else done(of, status, code, **result), **more)


def runtime(version: str = "0.29.3", **packages: str) -> Runtime:
    locked = {name: LockedPackage(name, held, f"{name}-{held}.whl", "0" * 64, ()) for name, held in packages.items()}
    return Runtime(version, Path(), "3.13.2", "4.0.9", "2025_0", locked)


def every_kind() -> list[ReportItem]:
    """A few items, with every kind of result."""
    spent = {"download": 0.5, "convert": 2.0, "store": 0.25}
    return [
        item("numpy", version="2.4.4", worked=True, seconds=spent, downloaded=9_000_000),
        item("numpy", version="2.10.0", previous_status="done", seconds={"convert": 30.0}),
        item(
            "scipy",
            worked=True,
            seconds=spent,
            downloaded=1_000_000,
            warnings=(("not-isolated", "libx keeps its names"),),
            wheel=wheel("scipy", size=35_000_000, requires=NEEDS, unusable=(ABSENT,)),
        ),
        item("old", yanked="no longer in emscripten-forge-4x", previous_status="done"),
        item(
            "clib",
            "refused",
            "not-python",
            message="nothing in it belongs into site-packages",
            hint="--libdir",
            previous_status="refused",
        ),
        item("lost", "refused", "fake-dylib", message="lost/a.so is no side module", previous_status="done", worked=True),
        item("libpure", "refused", "bad-version", message="1.0.x.y has no PEP 440 form", previous_status="refused"),
        item("flaky", "failed", "network", message="timed out", hint="try again", worked=True, attempts=1, at=STARTED),
        item("older", "failed", "network", message="was cut", previous_status="failed", attempts=2, at=STARTED - 9),
        item(
            "poison", "failed", "crash", message="signal 11", previous_status="failed", attempts=5, quarantined=True, at=STARTED
        ),
        item("later", None),
        item(
            "kept",
            "failed",
            "timeout",
            message="300 s were not enough",
            previous_status="failed",
            older_wheel=wheel("kept", size=7),
        ),
        item(
            HOSTILE,
            "failed",
            HOSTILE,
            message=HOSTILE,
            hint=HOSTILE,
            previous_status="failed",
            version=HOSTILE,
            build=HOSTILE,
            at=1.0,
        ),
    ]


def report(items: list[ReportItem] | None = None, **more: Any) -> MirrorReport:
    """A report of these items, or of `every_kind`; `more` goes to `RunOutcome` or `MirrorReport.make`."""
    outcome = {key: more.pop(key) for key in RunOutcome.__dataclass_fields__ if key in more}
    defaults: dict[str, Any] = {"channels": [package("x").channel], "converter": "0.1.0"}
    return MirrorReport.make(
        every_kind() if items is None else items,
        outcome=RunOutcome(**{"started": STARTED, "seconds": 83.0, **outcome}),
        **{**defaults, **more},
    )


def channel(count: int = 2600) -> MirrorReport:
    """A report of as many packages as a real channel has, with 40 earlier runs."""
    return report(
        list(_channel(count)),
        generation="000041-1a2b3c4d",
        changes={"new": [package("numpy", "2.4.4")], "changed": [package("scipy"), package("attrs")]},
        runtimes=[runtime(cffi="1.17.1", numpy="2.2.5")],
        history=[_earlier(count, day) for day in range(40)],
    )


def _earlier(count: int, day: int) -> RunSummary:
    done, failed = count // 2 + 8 * day, (day * 7) % 30
    counts = {"packages": count - 60 + day, "done": done, "refused": count - 60 + day - done - failed, "failed": failed}
    return RunSummary(STARTED - 86400 * (40 - day), 60.0 + day, day, {**counts, "bytes": 4 * 10**9})


def _channel(count: int) -> Iterator[ReportItem]:
    dice = random.Random(0)  # noqa: S311 - reproducible, not secret
    defaults = json.loads(NAMES.read_text(encoding="utf-8"))
    names = sorted({*defaults["python"], *defaults["other"]})
    codes = list(REFUSAL_CODES)
    yield from every_kind()[:-1]
    for number in range(count - len(every_kind()) + 1):
        name, version = names[number % len(names)], f"{1 + number // len(names)}.{dice.randrange(30)}.{number}"
        spent = {"download": dice.random(), "convert": dice.expovariate(0.5), "store": dice.random() / 5}
        share = dice.random()
        if share < 0.7:
            pure = dice.random() < 0.3
            needs = tuple(f"{other}>=1" for other in dice.sample(defaults["python"], dice.randrange(6)))
            made = wheel(name, version, "any" if pure else NATIVE, size=int(dice.lognormvariate(13, 2)), requires=needs)
            yield item(name, version=version, worked=number % 9 == 0, seconds=spent, wheel=made, downloaded=10**6)
        elif share < 0.98:
            code = codes[min(int(dice.expovariate(0.4)), len(codes) - 1)]
            message = f"{name}: {REFUSAL_CODES[code].meaning}"
            yield item(name, "refused", code, version=version, message=message, seconds=spent, previous_status="refused")
        else:
            yield item(
                name, "failed", "timeout", version=version, message="300 s were not enough", previous_status="failed", at=STARTED
            )
