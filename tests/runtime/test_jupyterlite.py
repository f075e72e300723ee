"""JupyterLite sites as in the manual: `jupyter lite build`, and Chromium that installs and calls converted wheels."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.helpers import command, jupyterlite, schemas, sets
from tests.helpers.browser import Browser
from tests.helpers.cache import REPOSITORY
from tests.helpers.jupyterlite import KERNELS
from tests.helpers.serve import served

pytestmark = [pytest.mark.long, pytest.mark.runtime]
MANUAL = (REPOSITORY / "docs" / "how-to" / "jupyterlite.md").read_text(encoding="utf-8")
CODE = [
    "import piplite",
    "await piplite.install(['shapes-one', 'shapes-two'])",
    "import shapes_one, shapes_two",
    "print(shapes_one.one(), shapes_one.one(), shapes_two.one())",  # each wheel has the library for itself
]
PRINTED = "100 101 100"


def block(language: str, words: str) -> str:
    """The block of the manual that has these words."""
    found: list[str] = [each for each in re.findall(rf"^```{language}\n(.*?)^```", MANUAL, re.M | re.S) if words in each]
    assert len(found) == 1
    return found[0]


def steps() -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in block("", "--jupyterlite -o pypi").splitlines()]


def channel(folder: Path, python: str) -> str:
    return sets.indexed(folder, sets.packages(python))


@pytest.mark.parametrize(("kernel", "python"), [("0.7", "313"), ("0.8", "314")])
def test_three_commands_make_a_site_whose_notebooks_install_a_converted_wheel(
    kernel: str, python: str, running: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONDA2WHEEL_CHANNEL", channel(tmp_path / "channel", python))
    jupyterlite.pyodide(KERNELS[kernel], tmp_path / "static/pyodide")
    bundle, index, build = steps()
    assert len(steps()) == 3
    names = [name for word in bundle for name in (["shapes-one", "shapes-two"] if word == "rapidfuzz" else [word])]
    done = command.run(*names[1:], "--platform", KERNELS[kernel].pyodide)
    assert done.returncode == 0, done.stderr
    jupyterlite.comm(tmp_path / "wheels")
    done = command.run(*index[1:])
    assert done.returncode == 0, done.stderr
    printed = jupyterlite.jupyter_lite(KERNELS[kernel], *build[2:], folder=tmp_path)
    assert "duplicated" not in printed
    site = tmp_path / "_output"
    for path in (tmp_path / "pypi/all.json", site / "pypi/all.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        assert set(document) >= {"comm", "shapes-one", "shapes-two"}
        assert schemas.problems(json.loads(jupyterlite.schema(site).read_text(encoding="utf-8")), document) == []
    with served(site, negotiate=False) as host:
        assert jupyterlite.run(running, host.url, CODE) == PRINTED


def test_a_site_installs_from_all_json_of_wheels_of_several_pythons_with_other_names(running: Browser, tmp_path: Path) -> None:
    """Wheels stay as PyPI wants them; piplite finds those of its Python in a list of two Pythons, on another host."""
    kernel = KERNELS["0.7"]
    wheels = tmp_path / "wheels"
    for python, pyodide in (("314", KERNELS["0.8"].pyodide), ("313", kernel.pyodide)):
        out = tmp_path / pyodide
        address = channel(tmp_path / python, python)
        words = ["shapes-one", "shapes-two", "--channel", address, "--platform", pyodide, "--tags", "pep783", "-o", str(out)]
        done = command.run("bundle", *words)
        assert done.returncode == 0, done.stderr
        wheels.mkdir(exist_ok=True)
        for wheel in out.glob("*.whl"):
            wheel.rename(wheels / wheel.name)
    jupyterlite.comm(wheels)
    done = command.run("index", wheels, "--jupyterlite")
    assert done.returncode == 0, done.stderr
    (release_313, release_314) = json.loads((wheels / "all.json").read_text())["shapes-one"]["releases"]["1.0"]
    assert (release_313["filename"].count("-cp313-pyodide_2025_0"), release_313["url"].count("-cp313-pyemscripten")) == (1, 1)
    assert "-cp314-" in release_314["filename"]
    lite = tmp_path / "lite"
    jupyterlite.pyodide(kernel, lite / "static/pyodide")
    with served(wheels, negotiate=False) as other:
        settings = block("json", "pipliteUrls").replace("https://me.example.org/wheels/", other.url)
        (lite / "jupyter-lite.json").write_text(settings, encoding="utf-8")
        jupyterlite.jupyter_lite(kernel, "build", folder=lite)
        with served(lite / "_output", negotiate=False) as host:
            assert jupyterlite.run(running, host.url, CODE) == PRINTED


def test_a_site_imports_what_a_lock_file_has_without_an_installation(running: Browser, tmp_path: Path) -> None:
    kernel = KERNELS["0.7"]
    lite, wheels = tmp_path / "lite", tmp_path / "wheels"
    jupyterlite.pyodide(kernel, lite / "static/pyodide")
    (lite / "pypi").mkdir()
    jupyterlite.comm(lite / "pypi")
    with served(tmp_path, negotiate=False) as host:
        own = f"{host.url}lite/_output/static/pyodide/"
        words = ["shapes-one", "shapes-two", "--channel", channel(tmp_path / "channel", "313"), "--platform", kernel.pyodide]
        done = command.run("bundle", *words, "--with-pyodide", "--pyodide-url", own, "-o", wheels)
        assert done.returncode == 0, done.stderr
        lock = json.loads((wheels / "pyodide-lock.json").read_text(encoding="utf-8"))
        here = json.loads((lite / "static/pyodide/pyodide-lock.json").read_text(encoding="utf-8"))
        for name, entry in here["packages"].items():  # of PyPI's files, which stand in for those of the CDN
            lock["packages"][name]["sha256"] = entry["sha256"]
        (wheels / "pyodide-lock.json").write_text(json.dumps(lock), encoding="utf-8")
        settings = block("json", "lockFileURL").replace("https://me.example.org/", host.url)
        (lite / "jupyter-lite.json").write_text(settings, encoding="utf-8")
        jupyterlite.jupyter_lite(kernel, "build", folder=lite)
        assert jupyterlite.run(running, f"{host.url}lite/_output/", CODE[2:]) == PRINTED
