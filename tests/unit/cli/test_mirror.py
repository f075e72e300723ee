"""`conda2wheel mirror` for people and for scheduled jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from conda2wheel.cli import app
from tests.helpers import sets
from tests.helpers.mirror_runs import Mirror, small_mirror


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with small_mirror(tmp_path) as made:
        yield made


def command(*words: object) -> Result:
    return CliRunner().invoke(app, ["mirror", *map(str, words)])


def json_of(*words: object) -> Any:
    done = command(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_mirror_from_its_first_command_to_its_last(mirror: Mirror, tmp_path: Path) -> None:
    config = mirror.path
    plan = json_of("plan", config)
    assert (plan["schema"], plan["kind"], plan["items"], len(plan["to_do"])) == (1, "mirror-plan", 6, 5)
    assert {each["why"] for each in plan["to_do"]} == {"new"}
    assert [each["code"] for each in plan["verdicts"]] == ["not-python"]
    assert not (tmp_path / "mirror.sqlite").exists()
    assert command("report", config).exit_code == 1

    ran = command("run", config, "--workers", "1")
    assert ran.exit_code == 0, ran.output
    assert "4 wheels of 4 projects" in ran.stdout
    assert "5 of 5; 4 done, 1 refused" in ran.stderr

    status = json_of("status", config)
    assert {(each["status"], each["code"]): each["items"] for each in status["counts"]} == {
        ("done", None): 4,
        ("refused", "not-python"): 1,
        ("refused", "static-library"): 1,
    }
    assert (status["busy"], status["waiting"], status["problem"]) == (None, [], None)
    assert command("report", config).stdout == (tmp_path / "mirror.report" / "report.txt").read_text()
    assert json_of("report", config)["generation"] == status["generation"]
    out = tmp_path / "out"
    assert command("report", config, "--junit", out / "r.xml", "--html", out / "r.html", "--metrics", out / "m").stdout == ""
    assert ET.parse(out / "r.xml").getroot().get("tests") == "6"  # noqa: S314 - our own
    assert sorted(path.name for path in out.iterdir()) == ["m", "r.html", "r.xml", "report.css", "report.js"]

    assert command("retry", config, "bzip2").stdout.startswith("emscripten-wasm32/bzip2-")
    assert [each["why"] for each in json_of("plan", config)["to_do"]] == ["not done yet"]
    assert command("publish", config).stdout.strip() == status["generation"]
    assert [each["current"] for each in json_of("rollback", config)["generations"]] == [True]
    assert json_of("gc", config)["generations"] == []


def test_the_exit_status_of_a_run_says_whether_something_needs_attention(
    mirror: Mirror, capfd: pytest.CaptureFixture[str]
) -> None:
    mirror.channel.fault("*/two-*", status=404)
    mirror.configure('[notify]\ncommand = ["echo", "heard of it"]\n')
    failed = command("run", mirror.path, "--workers", "1", "--json")
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["look"] == ["1 failed, and had not failed before: noarch/two-1.0-pyh1234567_0"]
    assert failed.stdout.count("\n") == 1  # with an indent that of a whole channel takes longer than the rest of a night
    assert tuple(capfd.readouterr()) == ("", "heard of it\n")
    assert command("report", mirror.path).exit_code == 1
    assert command("run", mirror.path, "--workers", "1").exit_code == 0


def test_a_second_configuration_with_the_state_of_the_first_is_named(mirror: Mirror, tmp_path: Path) -> None:
    assert command("run", mirror.path, "--limit", "1", "--workers", "1").exit_code == 0
    second = tmp_path / "second.toml"
    second.write_text(mirror.path.read_text().replace('"public"', '"other"'))
    line = (
        f"conda2wheel: error: usage: {second}: mirror.sqlite is the state of {mirror.path}, which has another [output] store"
        " (give each configuration a [state] path of its own)\n"
    )
    for words in (["run"], ["plan"], ["status"], ["report"], ["publish"], ["retry", "--all"]):
        done = command(words[0], second, *words[1:])
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", line), words
    assert not (tmp_path / "other").exists()


def test_generations_are_listed_and_rolled_back_to(mirror: Mirror) -> None:
    mirror.run()
    mirror.add(sets.pure("four"))
    mirror.run()
    first, second = command("rollback", mirror.path).stdout.splitlines()
    assert first.split()[0].startswith("000001-")
    assert second.endswith("5 wheels  current")
    assert command("rollback", mirror.path, first.split()[0]).exit_code == 0
    assert command("rollback", mirror.path).stdout.splitlines()[0].endswith("4 wheels  current")
    assert command("rollback", mirror.path, "000009-aaaaaaaa").exit_code == 2
    assert f"rolled back from {second.split()[0]}, which is not published again" in command("status", mirror.path).stdout
    again = command("rollback", mirror.path, first.split()[0])
    assert (again.exit_code, "nothing was changed" in again.stderr) == (0, True)
    assert json_of("status", mirror.path)["rolled_back_from"] == second.split()[0]
    nothing = command("retry", mirror.path, "--all")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "nothing to retry" in nothing.stderr
    assert "nothing to retry" in command("retry", mirror.path, "one").stderr
    unknown = command("retry", mirror.path, "nothere")
    assert (unknown.exit_code, "not-found: nothere: no package of the mirror matches it" in unknown.stderr) == (1, True)


def test_init_writes_a_valid_configuration_and_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    assert command("init", path).stdout.strip() == str(path)
    again = command("init", path)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "already exists" in again.stderr
    assert command("status", path).exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "[channel] has no urls"),
        (("run", "--dask", "tcp://127.0.0.1:9"), "[channel] has no urls"),
        (("retry",), "give match specs, or --all"),
    ],
)
def test_a_wrong_command_line_has_one_message_and_status_2(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text('[channel]\n[output]\nstore = "x"\n')
    verb, *options = words
    done = command(verb, path, *options)
    assert done.exit_code == 2
    assert said in done.output


def test_nothing_heavy_is_imported_for_help() -> None:
    code = (
        "import sys, conda2wheel.cli; sys.exit(bool({'rattler', 'obstore', 'distributed', 'rich.console'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("module", "extra"), [("pebble", "mirror"), ("distributed", "dask")])
def test_an_extra_that_is_not_installed_has_one_line(mirror: Mirror, module: str, extra: str) -> None:
    options = ["--dask", "tcp://127.0.0.1:9"] if extra == "dask" else []
    code = f"import sys; sys.modules[{module!r}] = None; from conda2wheel.cli import main; main()"
    words = ["mirror", "run", str(mirror.path), *options]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("conda2wheel: error: dependency: ")
    assert f"pip install 'conda2wheel-wasm[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
