"""`conda2wheel serve` without a configuration: the page with a token of the process, for who started it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.helpers import sets
from tests.helpers.service import request
from tests.helpers.service_process import started

JOBS = "/api/v1/jobs?filename="


def environ(folder: Path) -> dict[str, str]:
    """Data of its own, and a proxy that does not answer: nothing here needs the channel."""
    return {"CONDA2WHEEL_DATA": str(folder / "data"), **{f"{name}_proxy": "http://127.0.0.1:9" for name in ("http", "https")}}


def test_the_second_line_has_a_token_that_permits_uploads(tmp_path: Path) -> None:
    package = sets.pure("one")
    with started("--workers", "1", log=tmp_path / "log", **environ(tmp_path)) as service:
        assert service.process.stdout is not None
        address, _, token = service.process.stdout.readline().strip().partition("#token=")
        assert address == f"{service.url}/convert"
        assert service.get("/convert").status == 200
        jobs, data = f"{service.url}{JOBS}{package.name}", package.read_bytes()
        assert request(jobs, "POST", data=data).status == 401
        added = request(jobs, "POST", data=data, Authorization=f"Bearer {token}")
        assert added.status == 202, added.text
        assert token not in service.log.read_text(encoding="utf-8")
        assert not list(tmp_path.glob("data/**/tokens/*"))


@pytest.mark.long
def test_a_configured_service_and_one_for_others_print_no_token(tmp_path: Path) -> None:
    sets.indexed(tmp_path / "channel", [sets.pure("one")])
    config = tmp_path / "mirror.toml"
    config.write_text('[channel]\nurls = ["./channel"]\n[output]\nstore = "public"\n', encoding="utf-8")
    for arguments in ([config], ["--host", "0.0.0.0"]):
        with started(*arguments, log=tmp_path / "log", **environ(tmp_path)) as service:
            assert service.process.stdout is not None
            assert service.end(signal.SIGTERM) == 0
            assert service.process.stdout.read() == ""
