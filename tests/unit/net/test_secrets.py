"""What opens a channel is in nothing that is written, shown, logged or served."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rattler.index import index_fs

from conda2wheel.bundle.build import bundle_specs
from conda2wheel.channels.downloads import Downloads
from conda2wheel.commands.convert import convert
from conda2wheel.errors import Conda2WheelError
from conda2wheel.mirror.config import load
from conda2wheel.mirror.run import RunOptions, run
from conda2wheel.mirror.work.executors import InProcessExecutor
from tests.helpers import conda
from tests.helpers.served import Served, serve

SECRET = "tk-5ecre7-0f3a9"  # noqa: S105 - opens nothing
FORMS = ("//me:{}@", "/t/{}", "/proxy/t/{}")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    root = tmp_path / "channel"
    for subdir in ("noarch", "emscripten-wasm32"):
        (root / subdir).mkdir(parents=True)
    made = conda.assemble(
        "demo", "1.0", {"site-packages/demo.py": "x = 1\n"}, noarch="python", string="pyh1_0", about={"license": "MIT"}
    )
    shutil.copy(made, root / "noarch" / made.name)
    asyncio.run(index_fs(root))
    for place in (root / "t" / SECRET, root / "proxy" / "t" / SECRET):
        shutil.copytree(root, place, ignore=shutil.ignore_patterns("t", "proxy"))
    with serve(root) as running:
        yield running


def private(served: Served, form: str) -> str:
    return served.url.replace("//", form.format(SECRET)) if form.startswith("//") else served.url + form.format(SECRET)


def files_with(folder: Path, secret: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("form", FORMS)
def test_no_file_and_no_result_has_the_secret(
    form: str, served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    out, channel, told = tmp_path / "out", private(served, form), list[str]()
    downloads = Downloads(cache=out / "cache", watch=lambda url, *_: told.append(url))
    wheel = convert("demo", channels=[channel], out=out / "dist", downloads=downloads, progress=told.append)
    bundle = bundle_specs(
        [f"{channel}::demo"], channels=[channel], out=out / "bundle", platform="0.29.5", downloads=downloads, progress=told.append
    )
    lock = json.loads((out / "bundle" / "bundle.lock").read_text())
    assert lock["packages"][0]["package"]["url"].endswith("/noarch/demo-1.0-pyh1_0.tar.bz2")
    convert(f"{channel}/noarch/demo-1.0-pyh1_0.tar.bz2", out=out / "dist", downloads=downloads, progress=told.append)
    with pytest.raises(Conda2WheelError) as caught:
        convert("nosuch", channels=[channel], out=out / "dist", downloads=downloads)
    for shown in (
        repr(wheel),
        repr(bundle),
        json.dumps(bundle.json()),
        str(caught.value),
        *told,
        caplog.text,
        *capfd.readouterr(),
    ):
        assert SECRET not in shown
    assert files_with(out, SECRET) == []
    assert told


def test_a_mirror_writes_and_serves_none_of_it(served: Served, tmp_path: Path) -> None:
    config = tmp_path / "mirror" / "mirror.toml"
    config.parent.mkdir()
    config.write_text(f'[channel]\nurls = ["{private(served, FORMS[0])}"]\n[output]\nstore = "store"\n')
    lines: list[str] = []
    downloads = Downloads(cache=tmp_path / "mirror" / "cache")
    report = run(load(config), RunOptions(executor=InProcessExecutor(), log=lines.append, downloads=downloads))
    assert report.problem is None
    assert report.counts["done"] == 1
    assert SECRET not in json.dumps(report.json()) + "".join(lines)
    assert files_with(tmp_path / "mirror", SECRET) == [config]


def test_what_an_earlier_version_cached_with_secrets_is_removed(served: Served, tmp_path: Path) -> None:
    old = tmp_path / "cache" / "repodata" / "0123456789abcdef"
    old.mkdir(parents=True)
    (old / "00ff.info.json").write_text(json.dumps({"url": private(served, FORMS[0])}))
    convert("demo", channels=[served.url], out=tmp_path / "dist", downloads=Downloads(cache=tmp_path / "cache"))
    assert files_with(tmp_path / "cache", SECRET) == []
