"""`scripts/bench serve`: `conda2wheel serve` beside nginx, pypiserver and simple-repository-server, and while conversions run."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import document

if TYPE_CHECKING:
    from tests.helpers.service_process import ServiceProcess
    from tests.helpers.wrk import Load

ROUNDS = 3

SECONDS = 2  # of one load
PAUSE = 20.0  # milliseconds between two requests of a connection, where a load is less than all that a server bears
QUEUED = 8  # conversions that are queued before a load beside them
JSON_PAGE, HTML_PAGE, FILE = "application/vnd.pypi.simple.v1+json", "text/html", "*/*"
KINDS = {"page_json": JSON_PAGE, "page_html": HTML_PAGE, "file": FILE}


def bench() -> dict[str, Any]:
    """Servers of the index of a mirror of the test channel, which has the names and shapes of the real one."""
    from tests.helpers import channel4x, index_servers, nginx, wrk
    from tests.helpers.index_servers import IndexServer
    from tests.helpers.service_process import started

    channel, program = channel4x.shared_channel().root.as_uri(), nginx.find()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers are another user
        config = folder / "mirror.toml"
        scopes = 'open = ["read", "convert", "upload"]'
        config.write_text(
            f'[channel]\nurls = ["{channel}"]\n[output]\nstore = "public"\n[work]\nworkers = 2\n[serve]\nrate = ""\n{scopes}\n'
        )
        mirror = [
            sys.executable,
            "-m",
            "conda2wheel",
            "mirror",
            "run",
            str(config),
        ]  # exit status 1: of some hundreds a few are refused
        subprocess.run(mirror, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        public = folder / "public"
        flat, by_project = index_servers.lay_out(sorted((public / "blobs").rglob("*.whl")), folder / "wheels")
        projects = sorted(each.name for each in by_project.iterdir())
        service = stack.enter_context(started(config, log=folder / "log"))
        ours = IndexServer("conda2wheel serve", f"{service.url}/simple/", service.process)
        pypiserver = stack.enter_context(index_servers.pypiserver(flat, folder / "pypiserver.log"))
        srs = stack.enter_context(index_servers.simple_repository_server(by_project, folder / "srs.log"))
        wheels = ours.files(projects)
        plan = [
            *((ours, accept, wheels if accept == FILE else ours.pages(projects)) for accept in KINDS.values()),
            *((srs, accept, srs.files(projects) if accept == FILE else srs.pages(projects)) for accept in KINDS.values()),
            (pypiserver, HTML_PAGE, pypiserver.pages(projects)),
            (pypiserver, FILE, pypiserver.files(projects)),
        ]
        if program is not None:
            for accept, page in ((JSON_PAGE, "index.json"), (HTML_PAGE, "index.html")):
                static = stack.enter_context(index_servers.static_nginx(program, public, page, folder / page))
                plan.append((static, accept, static.pages(projects)))
            plan.append((static, FILE, [each.replace(f"{service.url}/files/", f"{static.root}blobs/") for each in wheels]))
        service.idle()
        found: dict[tuple[str, str], list[wrk.Load]] = {}
        for _ in range(ROUNDS):
            for server, accept, urls in plan:
                made = wrk.load(urls, accept, SECONDS, server.process.pid)
                found.setdefault((server.name, accept), []).append(made)
        beside = beside_conversions(service, ours.pages(projects))
    servers = {
        kind: {server: median(loads) for (server, asked), loads in found.items() if asked == accept}
        for kind, accept in KINDS.items()
    }
    return document.part(projects=len(projects), servers=servers, beside_conversions=beside)


def beside_conversions(service: ServiceProcess, urls: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Index pages with nothing else to do, and while two packages of 54 MB of side modules are converted, by turns."""
    from tests.helpers import real, wrk
    from tests.helpers.service import request

    package = real.as_conda(real.pypi_wheel("pymupdf"), "conda")
    found: dict[str, dict[str, list[wrk.Load]]] = {"all it bears": {}, "800 a second": {}}
    for _ in range(ROUNDS):
        for name, pause in (("all it bears", 0.0), ("800 a second", PAUSE)):
            service.idle()
            found[name].setdefault("alone", []).append(wrk.load(urls, JSON_PAGE, SECONDS, service.process.pid, pause))
            url, jobs = f"{service.url}/api/v1/jobs?filename={package.name}", []
            for _ in range(QUEUED):
                added = request(url, "POST", data=package.read_bytes(), Content_Type="application/octet-stream")
                assert added.status == 202, f"{added.status} {added.text}"
                jobs.append(added.json()["links"]["self"])
            made = wrk.load(urls, JSON_PAGE, SECONDS, service.process.pid, pause)
            cancelled = [request(each, "DELETE").status for each in jobs]
            assert 204 in cancelled, "the conversions ended before the load"
            found[name].setdefault("beside", []).append(made)
    return {name: {when: median(loads) for when, loads in each.items()} for name, each in found.items()}


def median(loads: list[Load]) -> dict[str, float]:
    """Each figure's median."""
    return {name: round(statistics.median(getattr(each, name) for each in loads), 2) for name in ("rate", "p50", "p99", "cpu")}


def table(part: dict[str, Any]) -> str:
    """For a terminal."""
    lines = [f"{part['projects']} projects"]
    for kind, servers in part["servers"].items():
        lines.append(kind)
        for name, each in servers.items():
            ratio = each["rate"] / servers["conda2wheel serve"]["rate"]
            figures = f"{each['rate']:10,.0f} /s   p50 {each['p50']:8.2f} ms   p99 {each['p99']:8.2f} ms   {each['cpu']:8.1f} us"
            lines.append(f"  {name:<28}{figures} of processor time   {ratio:6.2f} x")
    for name, whens in part["beside_conversions"].items():
        lines.append(f"index pages, {name}")
        for when, each in whens.items():
            lines.append(f"  {when:<28}{each['rate']:10,.0f} /s   p50 {each['p50']:8.2f} ms   p99 {each['p99']:8.2f} ms")
    return "\n".join(lines)
