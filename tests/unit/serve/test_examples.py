"""The manual's unit for systemd and its Containerfile: what they start is started here, as far as this machine can."""

from __future__ import annotations

import configparser
import getpass
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.cache import REPOSITORY
from tests.helpers.nginx import free_port
from tests.helpers.service import PATIENCE, request, until
from tests.helpers.systems import IS_LINUX

PAGE = (REPOSITORY / "docs" / "how-to" / "service.md").read_text(encoding="utf-8")
PROGRAM = "/srv/conda2wheel/bin/conda2wheel"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def run(*command: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env={**os.environ, **environ})


@pytest.fixture
def unit(tmp_path: Path) -> tuple[Path, configparser.ConfigParser]:
    """The unit with the program of this environment, the user of this process and a configuration that there is."""
    config = tmp_path / "mirror.toml"
    (tmp_path / "channel").mkdir()
    config.write_text('[channel]\nurls = ["./channel"]\n[output]\nstore = "public"\n[serve]\nport = 0\n', encoding="utf-8")
    text = block("ini")
    assert text.count(PROGRAM) == text.count("/srv/mirror/mirror.toml") == text.count("User=mirror") == 1
    own = Path(sys.executable).with_name("conda2wheel")
    text = text.replace(PROGRAM, str(own)).replace("/srv/mirror/mirror.toml", str(config))
    path = tmp_path / "conda2wheel.service"
    path.write_text(text.replace("User=mirror", f"User={getpass.getuser()}"), encoding="utf-8")
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string(path.read_text(encoding="utf-8"))
    return path, parser


def test_systemd_accepts_the_unit(unit: tuple[Path, configparser.ConfigParser]) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    path, _ = unit
    done = run("systemd-analyze", "verify", "--man=no", path)
    assert (done.returncode, done.stderr) == (0, "")
    wrong = path.with_name("wrong.service")
    wrong.write_text(path.read_text().replace("KillMode=mixed", "KillMode=gently\nKillMod=mixed"), encoding="utf-8")
    assert "KillMod" in run("systemd-analyze", "verify", "--man=no", wrong).stderr  # it does look


@pytest.mark.skipif(not IS_LINUX, reason="only Linux has systemd")
def test_the_units_commands_start_reload_and_end_the_service(
    unit: tuple[Path, configparser.ConfigParser], tmp_path: Path
) -> None:
    service = unit[1]["Service"]
    log = tmp_path / "log"

    def events(name: str) -> list[dict[str, object]]:
        found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        return [each for each in found if each["event"] == name]

    with log.open("w") as errors:
        process = subprocess.Popen(shlex.split(service["ExecStart"]), stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert request(f"{url}/healthz").status == 200, log.read_text()
        assert run(*shlex.split(service["ExecReload"].replace("$MAINPID", str(process.pid)))).returncode == 0
        until(lambda: bool(events("reload")))
        assert events("reload")[0]["message"] == "the configuration was read again"
        process.send_signal(signal.SIGTERM)  # KillMode=mixed: to the main process alone
        assert process.wait(float(service["TimeoutStopSec"])) == 0
    finally:
        process.kill()
        process.wait()


def instructions(text: str) -> list[tuple[str, str]]:
    """The lines of a Containerfile: instruction and rest."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


@pytest.mark.long
def test_the_containerfiles_commands_make_a_service(tmp_path: Path) -> None:
    """Its steps in a new virtual environment: the wheel of the first command, RUN, ENV, HEALTHCHECK, CMD, and SIGTERM."""
    steps = instructions(block("dockerfile"))
    assert {name for name, _ in steps} == {"FROM", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}
    given = dict(steps)
    copied, data, port = tmp_path / "copied", tmp_path / "data", str(free_port())
    copied.mkdir()
    assert run(sys.executable, "-m", "venv", tmp_path / "venv").returncode == 0
    environ = {"PATH": f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(tmp_path / "venv")}

    def here(text: str) -> str:
        return text.replace("/tmp/", f"{copied}/").replace("/data", str(data)).replace("8000", port)

    made = run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "dist", REPOSITORY, **environ)
    assert made.returncode == 0, made.stderr
    assert given["COPY"] == "dist/*.whl /tmp/"
    for wheel in (tmp_path / "dist").glob("*.whl"):
        shutil.copy(wheel, copied)
    for command in (rest for name, rest in steps if name == "RUN"):
        if command.startswith("install ") and os.geteuid() != 0:
            data.mkdir()  # that a folder belongs to another is for root
            continue
        done = run("sh", "-ec", here(command), **environ)
        assert done.returncode == 0, done.stderr
    environ |= dict(each.split("=", 1) for each in shlex.split(here(given["ENV"])))
    environ["HOME"] = "/nonexistent"
    command, health = json.loads(here(given["CMD"])), json.loads(here(given["HEALTHCHECK"].removeprefix("CMD ")))
    assert os.geteuid() != 0 or data.stat().st_uid == int(given["USER"])  # who may not run what is below this one's home
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}, cwd="/")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"http://0.0.0.0:{port}\n"
        assert run(*health, **environ).returncode == 0
        assert request(f"http://127.0.0.1:{port}/simple/").status == 200
        until((data / "state.sqlite").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert run(*health, **environ).returncode != 0
    finally:
        process.kill()
        process.wait()
