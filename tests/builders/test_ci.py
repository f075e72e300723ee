"""The GitHub Action, the GitLab template and the pre-commit hooks: their shell lines as they stand, on real wheels."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import conda, judges, zig
from tests.helpers.foreign import Foreign, unvendored
from tests.helpers.tools import ROOT, environment, tools

PLATFORM = "pyemscripten_2025_0_wasm32"
CHECKER = ("check-jsonschema==0.39.0",)


def wheels(folder: Path) -> None:
    """In dist: a wheel that NEEDs libcount, of native. In sound and bad: wheels that need nothing; PyPI refuses the second."""
    chain = zig.chain()
    conda.lay(folder / "native", {chain.ALIAS: chain.count, "libbase.so": chain.base})
    unvendored(chain, "313", PLATFORM).write(folder / "dist")
    files: dict[str, conda.Content] = {
        "pkg/__init__.py": "",
        f"pkg/_x{zig.suffix('313')}": zig.side_module("_x", zig.extension("_x", {})),
    }
    Foreign(f"cp313-cp313-{PLATFORM}", files).write(folder / "sound")
    Foreign("cp313-cp313-pyodide_2025_0_wasm32", files).write(folder / "bad")


def shell(script: str, folder: Path, more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run lines as GitHub's `shell: bash` does; GitLab's runner stops at an error, too."""
    there = environment(more=more)
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=there)


class Action:
    """Runs the steps of the composite action whose lines are shell; `${{ }}` has inputs, outputs of steps and `||` alone."""

    def __init__(self, folder: Path, **inputs: str) -> None:
        document = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
        self.folder = folder
        self.steps: list[dict[str, Any]] = document["runs"]["steps"]
        defaults = {name: str(each.get("default", "")) for name, each in document["inputs"].items()}
        assert inputs.keys() <= {name.replace("-", "_") for name in defaults}
        self.values = {f"inputs.{name}": inputs.get(name.replace("-", "_"), value) for name, value in defaults.items()}
        self.values["github.action_path"] = str(ROOT)
        self.said = ""

    def evaluate(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            names = [name.strip() for name in match[1].split("||")]
            return next((found for name in names if (found := self.values.get(name, ""))), "")

        return re.sub(r"\$\{\{(.*?)\}\}", value, text)

    def applies(self, condition: str) -> bool:
        match = re.fullmatch(r"(inputs\.[a-z-]+) == '(\w*)'", condition)
        return not condition or (match is not None and self.values[match[1]] == match[2])

    def run(self, skip: str = "Install conda2wheel") -> int:
        """The exit status of the first step that failed, or 0. What it installs is installed already."""
        output = self.folder / "github.output"
        for step in self.steps:
            if "run" not in step or step["name"] == skip or not self.applies(step.get("if", "")):
                continue
            output.write_text("")
            more = {name: self.evaluate(value) for name, value in step["env"].items()}
            done = shell(step["run"], self.folder, {**more, "GITHUB_OUTPUT": str(output)})
            self.said += done.stdout + done.stderr
            if done.returncode:
                return done.returncode
            for line in output.read_text().splitlines():
                name, _, value = line.partition("=")
                self.values[f"steps.{step['id']}.outputs.{name}"] = value
        return 0


@pytest.mark.long
def test_the_action_audits_and_repairs(tmp_path: Path) -> None:
    wheels(tmp_path)
    assert Action(tmp_path, wheels="sound\n").run() == 0
    refused = Action(tmp_path, wheels="sound\nbad", audit_args="--for=pypi\n--platform=0.29.5\n", sarif="all.sarif")
    assert refused.run() == 1
    (run,) = json.loads((tmp_path / "all.sarif").read_text())["runs"]
    assert {each["ruleId"] for each in run["results"]} == {"pypi-tag"}
    missing = Action(tmp_path, command="repair")
    assert (missing.run(), "missing-library" in missing.said) == (1, True)
    repaired = Action(tmp_path, command="repair", repair_args="--libdir=native", audit_args="--for=pypi")
    assert repaired.run() == 0, repaired.said
    (wheel,) = (tmp_path / "wheelhouse").glob("*.whl")
    judges.judge(wheel)
    assert "PyPI takes it" in repaired.said
    empty = Action(tmp_path, command="repair", wheels="nothing")
    (tmp_path / "nothing").mkdir()
    assert (empty.run(), "::error::no wheels in nothing" in empty.said) == (1, True)


def variables(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\[\[ inputs\.([a-z-]+) \]\]", lambda match: values[match[1]], text)


@pytest.mark.long
def test_the_gitlab_template_audits_and_repairs(tmp_path: Path) -> None:
    wheels(tmp_path)
    spec, job = yaml.safe_load_all((ROOT / "templates" / "conda2wheel.yml").read_text(encoding="utf-8"))
    defaults = {name: str(each.get("default", "")).replace("False", "false") for name, each in spec["spec"]["inputs"].items()}

    def run(**inputs: str) -> subprocess.CompletedProcess[str]:
        values = {**defaults, **{name.replace("_", "-"): value for name, value in inputs.items()}}
        environ = {name: variables(text, values) for name, text in job["conda2wheel"]["variables"].items()}
        lines = [line for line in job["conda2wheel"]["script"] if "pip install" not in line]  # it is there
        assert len(lines) == len(job["conda2wheel"]["script"]) - 1
        return shell("\n".join(lines), tmp_path, environ)

    assert run(wheels="sound", audit_args="--for pypi").returncode == 0
    assert run(wheels="bad", audit_args="--for pypi").returncode == 1
    assert run().returncode == 1
    done = run(repair="true", repair_args="--libdir native", audit_args="--for pypi --platform 0.29.5")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "gl-conda2wheel.sarif").read_text())["runs"][0]["results"] == []


@pytest.mark.long
def test_the_published_schemas_of_action_template_and_workflow(tmp_path: Path) -> None:
    """check-jsonschema brings them, and pre-commit reads its hooks itself; a GitLab component is the part after its spec."""
    checker = tools(*CHECKER)
    _, job = yaml.safe_load_all((ROOT / "templates" / "conda2wheel.yml").read_text(encoding="utf-8"))
    (tmp_path / "gitlab.yml").write_text(yaml.safe_dump(job))
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to/publish.md").read_text(encoding="utf-8"), re.DOTALL)
    (workflow,) = (block for block in blocks if "\njobs:" in block)
    (tmp_path / "workflow.yml").write_text(workflow)
    for schema, path in {
        "github-actions": ROOT / "action.yml",
        "github-workflows": tmp_path / "workflow.yml",
        "gitlab-ci": tmp_path / "gitlab.yml",
    }.items():
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(checker))
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_the_hooks_run_in_pre_commit(tmp_path: Path) -> None:
    """With pre-commit's own installation of this repository from git, into an environment of its own."""
    wheels(tmp_path)
    site = tools("pre-commit==4.7.0")
    home = tmp_path / "home"
    there = environment(site, more={"PRE_COMMIT_HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull})

    def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=there)

    source = tmp_path / "source"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, check=True, cwd=ROOT)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if not name.startswith(("tests/", "docs/")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for folder in (source, tmp_path / "user"):
        folder.mkdir(exist_ok=True)
        run("git", "init", "-q", cwd=folder)
    run("git", "add", "-A", cwd=source)
    assert run("git", *identity, "commit", "-qm", "all", cwd=source).returncode == 0
    revision = run("git", "rev-parse", "HEAD", cwd=source).stdout.strip()
    hooks = [{"id": "conda2wheel-audit"}, {"id": "conda2wheel-pypi"}]
    config = {"repos": [{"repo": str(source), "rev": revision, "hooks": hooks}]}
    user = tmp_path / "user"
    (user / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    for name in ("sound", "bad"):
        (wheel,) = (tmp_path / name).glob("*.whl")
        (user / wheel.name).write_bytes(wheel.read_bytes())
    run("git", "add", "-A", cwd=user)
    done = run(sys.executable, "-m", "pre_commit", "run", "--all-files", "--color", "never", cwd=user)
    assert re.search(r"^conda2wheel audit\.+Passed$", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert re.search(r"^conda2wheel audit --for pypi\.+Failed$", done.stdout, re.MULTILINE), done.stdout
    assert "has the platform tag pyodide_2025_0_wasm32" in " ".join(done.stdout.split())
