"""Other servers of an index of wheels, on loopback, with a mirror's files: nginx, pypiserver, simple-repository-server."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from packaging.utils import canonicalize_name

from tests.helpers.cache import cached
from tests.helpers.nginx import MAIN, WAIT, free_port

PEERS = {
    "pypiserver": ("pypiserver==2.4.2", "gunicorn==27.0.1", "packaging==26.4"),
    "simple-repository-server": (
        "simple-repository-server==0.10.0",
        "simple-repository==0.11.1",
        "fastapi==0.165.0",
        "starlette==1.10.0",
        "uvicorn[standard]==0.54.0",
        "httptools==0.9.0",
        "uvloop==0.23.0",
    ),
}
HREF = re.compile(r'<a href="([^"#]+)')
# Without the manual's negotiation and whole addresses: the fastest that a file server answers.
STATIC = """
    types {{ application/vnd.pypi.simple.v1+json json; text/html html; }}
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location /simple/ {{ index {page}; }}
    }}
"""


@dataclass(frozen=True)
class IndexServer:
    """A server that runs, and the address of its index: `http://127.0.0.1:PORT/simple/`."""

    name: str
    simple: str
    process: subprocess.Popen[str]

    @property
    def root(self) -> str:
        return self.simple.removesuffix("simple/")

    def pages(self, projects: Sequence[str]) -> list[str]:
        """The addresses of project pages."""
        return [f"{self.simple}{project}/" for project in projects]

    def files(self, projects: Sequence[str]) -> list[str]:
        """The addresses of the files that project pages have."""
        return [urljoin(page, href) for page in self.pages(projects) for href in HREF.findall(_read(page))]


def environment(peer: str) -> Path:
    """The folder `bin` of a virtual environment with a peer, as PyPI has it."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        command: list[str | Path] = [
            folder / "venv" / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        done = subprocess.run([*command, *PEERS[peer]], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip install {peer}: {done.stderr.strip()[-2000:]}")

    return cached(peer, (PEERS[peer], sys.version_info[:2], sys.executable), make) / "venv" / "bin"


def lay_out(wheels: Sequence[Path], folder: Path) -> tuple[Path, Path]:
    """Two folders with wheels: all of them flat, as pypiserver wants them, and one folder a project. Links would have to be hard:
    simple-repository-server serves nothing from elsewhere."""
    flat, by_project = folder / "flat", folder / "projects"
    flat.mkdir(parents=True)
    for wheel in wheels:
        project = by_project / canonicalize_name(wheel.name.partition("-")[0])
        project.mkdir(parents=True, exist_ok=True)
        for place in (flat, project):
            shutil.copy(wheel, place)
    return flat, by_project


@contextmanager
def pypiserver(flat: Path, log: Path) -> Iterator[IndexServer]:
    """Serve a flat folder: pypiserver behind gunicorn, one worker."""
    port = free_port()
    # `python pypi-server`: a script's first line is cut at 127 bytes by some systems.
    command = [environment("pypiserver") / "python", environment("pypiserver") / "pypi-server", "run", "--server", "gunicorn"]
    command += ["-p", str(port), "-i", "127.0.0.1", "--disable-fallback", flat]
    with _running("pypiserver", command, f"http://127.0.0.1:{port}/simple/", log) as server:
        yield server


@contextmanager
def simple_repository_server(by_project: Path, log: Path) -> Iterator[IndexServer]:
    """Serve a folder of a folder a project: simple-repository-server on uvicorn with uvloop and httptools."""
    port = free_port()
    peer = environment("simple-repository-server")
    command = [peer / "python", peer / "simple-repository-server", "--host", "127.0.0.1", "--port", str(port), by_project]
    with _running("simple-repository-server", command, f"http://127.0.0.1:{port}/simple/", log) as server:
        yield server


@contextmanager
def static_nginx(program: str, root: Path, page: str, work: Path) -> Iterator[IndexServer]:
    """Serve a store as files with one nginx worker: `page` (index.json or index.html) is a project's page."""
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    work.mkdir()
    config = work / "nginx.conf"
    config.write_text(MAIN.format(user=user, snippet=STATIC.format(port=port, root=root, page=page)))
    command = [program, "-p", work, "-c", config]
    with _running("nginx", command, f"http://127.0.0.1:{port}/simple/", work / "log") as server:
        yield server


def _read(url: str) -> str:
    request = urllib.request.Request(url, headers={"Accept": "text/html"})
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        return str(answer.read().decode())


@contextmanager
def _running(name: str, command: Sequence[object], simple: str, log: Path) -> Iterator[IndexServer]:
    environ: Mapping[str, str] = {**os.environ, "WEB_CONCURRENCY": "1"}
    with log.open("w", encoding="utf-8") as lines:
        process = subprocess.Popen(list(map(str, command)), stdout=lines, stderr=lines, text=True, env=environ)
    try:
        end = time.monotonic() + WAIT
        while True:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            with contextlib.suppress(OSError):
                _read(simple)
                break
            assert time.monotonic() < end, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield IndexServer(name, simple, process)
        assert process.poll() is None, log.read_text(encoding="utf-8")
    finally:
        process.terminate()
        process.wait(WAIT)
