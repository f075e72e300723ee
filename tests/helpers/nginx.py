"""nginx with the configuration that docs/how-to/serve.md gives, on loopback. Debian's, installed or unpacked beside."""

from __future__ import annotations

import platform
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.cache import REPOSITORY, cached
from tests.helpers.systems import IS_ROOT

WAIT = 300.0  # seconds for it to answer
MAIN = """
daemon off;
pid nginx.pid;
error_log error.log;
{user}
events {{ }}
http {{
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{snippet}
}}
"""


def find() -> str | None:
    """The program: installed, or from Debian's package, which is unpacked and not installed, so that nothing is started. None
    where neither is to be had."""
    installed = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if installed:
        return installed
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None

    def make(folder: Path) -> None:
        package = folder / "package"
        package.mkdir()
        for again in (False, True):  # the first time with the lists of packages that are there
            if again:
                subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
            subprocess.run(["apt-get", "download", "-q", "nginx"], cwd=package, capture_output=True, check=False)
            for archive in package.glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
                return
        raise LookupError("apt-get has no nginx")

    try:
        found = cached("nginx", (platform.platform(),), make) / "usr" / "sbin" / "nginx"
    except LookupError:
        return None
    works = found.is_file() and subprocess.run([str(found), "-v"], capture_output=True, check=False).returncode == 0
    return str(found) if works else None


def snippet(page: str = "serve.md") -> str:
    """The configuration in a page of the manual."""
    text = (REPOSITORY / "docs" / "how-to" / page).read_text()
    (found,) = re.findall(r"^```nginx\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


@contextmanager
def running(program: str, root: Path, work: Path) -> Iterator[str]:
    """Serve `root`; logs and other files go to `work`. Yields the address, `http://127.0.0.1:PORT/`."""
    with _answering(program, snippet(), ("root /srv/wheels;", f"root {root};"), work) as address:
        yield address


@contextmanager
def in_front(program: str, url: str, work: Path, scheme: str = "$scheme") -> Iterator[str]:
    """The manual's proxy of the service at `url`, which says that clients came by `scheme`."""
    ours = snippet("service.md").replace("X-Forwarded-Proto $scheme;", f"X-Forwarded-Proto {scheme};")
    with _answering(program, ours, ("proxy_pass http://127.0.0.1:8000;", f"proxy_pass {url};"), work) as address:
        yield address


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _answering(program: str, text: str, change: tuple[str, str], work: Path) -> Iterator[str]:
    port = free_port()
    assert text.count("listen 80;") == text.count(change[0]) == 1
    ours = text.replace("listen 80;", f"listen 127.0.0.1:{port};").replace(*change)
    user = "user root;" if IS_ROOT else ""  # else its workers may not read what only root may
    (work / "nginx.conf").write_text(MAIN.format(user=user, snippet=ours))
    process = subprocess.Popen([program, "-p", str(work), "-c", str(work / "nginx.conf")], stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + WAIT
        while True:
            assert process.poll() is None, process.communicate()[1]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/simple/", timeout=WAIT).close()
                break
            except OSError:
                assert time.monotonic() < end, (work / "error.log").read_text()
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.communicate(timeout=WAIT)
