"""What a command imports, since that is most of the time of a short one. Nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import conda, handmade, lists
from tests.unit.link.test_linker import python

NEVER = {"asyncio", "cyclonedx", "importlib.metadata", "pydantic", "rattler", "rich"}  # of what stderr that is no terminal needs
HELP = NEVER | {
    "deflate", "email", "http", "packaging", "requests", "tomllib", "urllib.request", "yaml", "zstandard",
    "conda2wheel.commands", "conda2wheel.options", "conda2wheel.cli.options",
}  # fmt: skip
CONVERT = NEVER | {"filelock", "http", "requests", "sqlite3", "ssl", "urllib.request", "conda2wheel.net.download"}
CONVERT |= {f"conda2wheel.channels.{name}" for name in ("contents", "lists", "records", "repodata", "search")}


# What a package without side modules, programs, requirements and a licence of SPDX needs none of.
PURE = {"email.utils", "packaging.licenses", "packaging.requirements", "yaml"}
PURE |= {"conda2wheel.abi.audit.engine", "conda2wheel.abi.audit.unit", "conda2wheel.link.linker", "conda2wheel.link.resolution"}
PURE |= {"conda2wheel.programs.find", "conda2wheel.wheel.programs", "conda2wheel.wheel.reader"}


def imported(*words: str, cwd: Path) -> set[str]:
    code = (
        f"import sys; sys.argv = {['conda2wheel', *words]!r}\n"
        "before = set(sys.modules)\n"
        "from conda2wheel.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end\n"
        "print(*sys.modules.keys() - before, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_no_command(tmp_path: Path) -> None:
    assert imported("--help", cwd=tmp_path) & HELP == set()


@pytest.mark.parametrize("name", ["convert", "mirror"])
def test_help_of_a_command_imports_no_other(name: str, tmp_path: Path) -> None:
    found = imported(name, "--help", cwd=tmp_path)
    assert found & (HELP - {"conda2wheel.cli.options"}) == set()
    assert {f"conda2wheel.cli.{each}" for each in ("convert", "mirror", "serve", "bundle")} & found == {f"conda2wheel.cli.{name}"}


def test_convert_imports_what_its_package_needs(tmp_path: Path) -> None:
    package = conda.assemble("demo", "1.0", {"site-packages/demo.py": "x = 1\n"}, noarch="python", string="pyh1_0")
    assert imported("convert", str(package), "-o", str(tmp_path), cwd=tmp_path) & (CONVERT | PURE) == set()


def test_a_package_with_a_side_module_is_linked_and_audited(tmp_path: Path) -> None:
    package = python({"_demo.cpython-313-wasm32-emscripten.so": handmade.module(exports={"PyInit__demo": ">i"})})
    found = imported("convert", str(package), "-o", str(tmp_path), cwd=tmp_path)
    assert {"conda2wheel.link.linker", "conda2wheel.abi.audit.engine"} <= found
    assert found & {"conda2wheel.link.common_wheel", "conda2wheel.programs.find", "conda2wheel.wheel.reader"} == set()


def test_a_run_of_a_mirror_without_work_imports_nothing_that_converts(tmp_path: Path) -> None:
    channel = lists.channel(tmp_path / "channel", "plain", {"r-demo-1.0-r44_0.conda": {**lists.SOUND, "name": "r-demo"}})
    config = tmp_path / "mirror.toml"
    config.write_text(f'[channel]\nurls = ["{channel.as_uri()}"]\n[output]\nstore = "public"\n')
    found = imported("mirror", "run", str(config), "--json", cwd=tmp_path)
    assert (tmp_path / "public" / "simple" / "index.json").is_file()
    assert {"conda2wheel.mirror.run", "conda2wheel.mirror.publish.publisher"} <= found
    converting = {"commands.pipeline", "commands.library_wheel", "link.linker", "wheel.plan", "abi.audit.engine", "pyodide.check"}
    publishing = {"index.pages.site", "index.pyodide_lock", "mirror.publish.catalogue"}
    assert found & {f"conda2wheel.{name}" for name in converting | publishing} == set()


def test_garbage_is_not_looked_for_among_modules(tmp_path: Path) -> None:
    code = (
        "import gc, sys; sys.argv = ['conda2wheel', '--version']\nfrom conda2wheel.cli import main\n"
        "try: main()\nexcept SystemExit: print(gc.get_threshold()[0] > len(gc.get_objects()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["True"]
