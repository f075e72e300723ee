"""An index on a plain host, as in the manual: pip, uv and micropip install what `conda2wheel index --flat` wrote."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers import command
from tests.helpers.cache import REPOSITORY, pypi, unzipped
from tests.helpers.family import family
from tests.helpers.installers import PIP, micropip_from
from tests.helpers.serve import served

SCRIPT = "import aunt\nfrom pkg import _top\nassert _top.bump() == 1\naunt.version"
WANTED = ["grand-parent[visit]"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as GitHub Pages gets it, of wheels for CPython 3.13 and 3.14."""
    folder = tmp_path_factory.mktemp("site")
    wheels = [family(folder / python, python).folder / "wheels" for python in ("313", "314")]
    done = command.run("index", *wheels, "--flat", "-o", folder / "wheels")
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def http_server(folder: Path) -> Iterator[str]:
    """`python -m http.server`, and its address."""
    words = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]+/", process.stdout.readline())
        assert found
        yield found[0]
    finally:
        process.terminate()
        process.wait()


@pytest.mark.long
def test_pip_and_uv_install_from_a_plain_server_as_the_manual_says(site: Path, tmp_path: Path) -> None:
    manual = (REPOSITORY / "docs/how-to/static-index.md").read_text(encoding="utf-8")
    pip, uv = (re.search(rf"^{words} (.+?[^\\])$", manual, re.M | re.S) for words in ("pip install", "uv pip install"))
    assert pip
    assert uv
    pip_26 = str(unzipped(pypi("pip", *PIP)) / "pip")  # pip before 25.3 compares Requires-Python with the Python that it runs in
    tools = {
        "pip": ([sys.executable, pip_26, "--isolated", "install", "--no-cache-dir"], pip[1]),
        "uv": ([sys.executable, "-m", "uv", "--no-config", "pip", "install", "--no-cache"], uv[1]),
    }
    with http_server(site) as address:
        for tool, (program, rest) in tools.items():
            out = tmp_path / tool
            words = rest.replace("\\\n", " ").replace("https://me.example.org/", address).split()
            arguments = [{"OUT": str(out), "NAME": WANTED[0]}.get(word, word) for word in words]
            done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert list((out / "pkg").glob("_top*.so"))
            assert (out / "aunt.py").read_text() == "version = '2.0'\n"


@pytest.mark.runtime
@pytest.mark.long
@pytest.mark.parametrize("form", ["simple", "simple/{package_name}/index.html"])
@pytest.mark.parametrize("version", ["0.28.3", "0.29.5", "314.0.7"])
def test_micropip_installs_from_a_plain_server(version: str, form: str, site: Path) -> None:
    with served(site, negotiate=False) as host:
        answer = micropip_from(f"{host.url}wheels/{form}", WANTED, version, script=SCRIPT)
    assert (answer.errors, answer.result) == ((), "2.0")
    assert not [line for line in answer.messages if "API version" in line]


@pytest.mark.runtime
@pytest.mark.long
def test_micropip_installs_from_json_of_a_server_that_negotiates_and_knows_the_api_version(site: Path, tmp_path: Path) -> None:
    with served(tmp_path) as host:
        done = command.run("index", site / "wheels", "-o", tmp_path, "--url", host.url)
        assert done.returncode == 0, done.stderr
        answer = micropip_from(f"{host.url}simple", WANTED, "314.0.7", script=SCRIPT)
        assert any("json" in accept for path, accept in host.accepts.items() if path.startswith("/simple/"))
    assert (answer.errors, answer.result) == ((), "2.0")
    assert not [line for line in answer.messages if "API version" in line]
