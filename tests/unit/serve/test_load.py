"""What `scripts/bench serve` measures with: every server has the same files, and none fails."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote

import pytest

from conda2wheel.mirror.store.open import open_store
from tests.helpers import index_servers, nginx, wrk
from tests.helpers.index_servers import IndexServer
from tests.helpers.mirror_index import publish_release
from tests.helpers.service import HTML, request
from tests.helpers.service_process import started

pytestmark = pytest.mark.long  # three programs are installed


def test_all_servers_have_the_same_files(tmp_path: Path) -> None:
    publish_release(open_store(str(tmp_path / "public")), 0)
    config = tmp_path / "mirror.toml"
    config.write_text('[channel]\nurls = ["./none"]\n[output]\nstore = "public"\n[serve]\non_demand = false\n')
    flat, by_project = index_servers.lay_out(sorted((tmp_path / "public" / "blobs").rglob("*.whl")), tmp_path / "wheels")
    with ExitStack() as stack:
        service = stack.enter_context(started(config, log=tmp_path / "log"))
        servers = [
            IndexServer("conda2wheel serve", f"{service.url}/simple/", service.process),
            stack.enter_context(index_servers.pypiserver(flat, tmp_path / "pypiserver.log")),
            stack.enter_context(index_servers.simple_repository_server(by_project, tmp_path / "srs.log")),
        ]
        if (program := nginx.find()) is not None:
            servers.append(
                stack.enter_context(index_servers.static_nginx(program, tmp_path / "public", "index.html", tmp_path / "nginx"))
            )
        names = []
        for server in servers:
            files = server.files(["grows"])
            names.append(sorted(unquote(each.rpartition("/")[2]) for each in files))
            bodies = {request(each).body for each in files}
            assert bodies <= {each.read_bytes() for each in flat.iterdir()}
            assert request(server.pages(["grows"])[0], Accept=HTML).status == 200
            if wrk.find() is not None:
                found = wrk.load(files, "*/*", 1, server.process.pid)
                assert min(found.rate, found.p99) > 0
        assert names == [sorted(each.name for each in flat.glob("grows-*"))] * len(servers)
