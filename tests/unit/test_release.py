"""scripts/release: what it refuses, and (with --long) that it builds reproducibly what pip, uv and pipx install."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conda2wheel import __version__
from tests.helpers.cache import REPOSITORY

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (REPOSITORY / ".git").exists() or os.name != "posix",
    reason="a release is made from a clone, by a script of bash",
)
TODAY = f"## {__version__} - 2026-11-27"


def clone(source: Path, folder: Path) -> None:
    """Clone a repository, with this one's tools. `scripts/setup` must not make .venv anew: these tests run in it."""
    subprocess.run(["git", "clone", "-q", source, folder], check=True)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    stamped = b"".join((folder / name).read_bytes() for name in ("requirements.lock", "pyproject.toml"))
    (folder / ".venv" / "stamp").write_text(f"{sys.version_info[:2]} {hashlib.sha256(stamped).hexdigest()}\n")


class Clone:
    """A clone of this repository with a commit that is ready to be released."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clone(REPOSITORY, folder)
        self.change("CHANGELOG.md", "## Unreleased", TODAY)
        self.git("commit", "-qam", "Release")

    def git(self, *words: str) -> str:
        name = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        return subprocess.run(["git", *name, *words], cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def change(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def release(self, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("CONDA2WHEEL_", "SOURCE_DATE"))}
        return subprocess.run(
            ["./scripts/release", *words], cwd=self.folder, env=environ, capture_output=True, text=True, check=False
        )


def test_it_refuses_what_is_not_ready(tmp_path: Path) -> None:
    ready = Clone(tmp_path / "clone")

    def refusal() -> str:
        done = ready.release()
        assert done.returncode == 1
        assert not (ready.folder / "dist").exists()
        return done.stderr.splitlines()[-1]

    ready.change("CHANGELOG.md", TODAY, "## Unreleased")
    assert f"begins with '## Unreleased', not with '## {__version__} - YYYY-MM-DD'" in refusal()
    ready.git("checkout", "-q", "CHANGELOG.md")
    ready.change("converter/conda2wheel/_version.py", __version__, "99.0")
    assert "not with '## 99.0 - " in refusal()
    ready.git("checkout", "-q", ".")
    ready.change("README.md", "conda", "Conda")
    assert "there are uncommitted changes" in refusal()
    ready.git("checkout", "-q", ".")
    ready.git("tag", f"v{__version__}", "HEAD~1")
    assert f"the tag v{__version__} is another commit" in refusal()
    assert ready.release("--upload").returncode == 2


def relative_links(text: str) -> list[str]:
    """The targets of links that lead nowhere on PyPI."""
    targets = re.findall(r"\]\(([^)]*)\)|(?:src|href)=[\"']([^\"']*)|^\[[^\]]+\]:\s*(\S+)", text, re.MULTILINE)
    return [found for each in targets if not re.match(r"https?://|#|mailto:", found := "".join(each))]


def test_the_readme_that_is_published_has_no_relative_links(tmp_path: Path) -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(relative_links(text)) > 20

    def published(*words: str) -> str:
        path = tmp_path / "README.md"
        path.write_text(text, encoding="utf-8")
        subprocess.run([sys.executable, REPOSITORY / "scripts" / "readme.py", path, *words], check=True)
        return path.read_text(encoding="utf-8")

    alone, site = published(), published("--site", "https://docs.example.org/c/")
    assert relative_links(alone) == relative_links(site) == []
    assert "[" not in re.sub(r"\[[^\]]*\]\(https?:[^)]*\)", "", alone.partition("How-to:")[2])
    where = dict(re.findall(r"\[`?([\w ]+)`?\]\(https://docs\.example\.org/c/([^)]*)\)", site))
    for label, path in {"index": "reference/commands/index.html", "a web page": "how-to/web-page.html"}.items():
        assert where[label] == path
        assert (REPOSITORY / "docs" / path).with_suffix(".md").is_file()
    assert "![" not in alone
    assert "(https://docs.example.org/c/search.png)" in site


@pytest.mark.long
def test_two_clones_build_the_same_and_it_installs_with_pip_uv_and_pipx(tmp_path: Path) -> None:
    first = Clone(tmp_path / "first")
    done = first.release()
    assert done.returncode == 0, done.stderr
    steps = [
        line.removeprefix("== ").split(" conda2wheel_wasm")[0] for line in done.stdout.splitlines() if line.startswith("== ")
    ]
    assert steps[-4:] == ["pip install", "pip install", "uv tool install", "pipx install"]
    assert f"git tag -a v{__version__}" in done.stdout
    assert "Nothing was uploaded" in done.stdout
    built = sorted((first.folder / "dist").iterdir())
    stem = f"conda2wheel_wasm-{__version__}"
    assert [each.name for each in built] == [f"conda2wheel-{__version__}-notes.md", f"{stem}-py3-none-any.whl", f"{stem}.tar.gz"]
    sums = dict(line.split()[::-1] for line in done.stdout.splitlines() if re.fullmatch(r"[0-9a-f]{64}  dist/.*", line))
    assert sums == {f"dist/{each.name}": hashlib.sha256(each.read_bytes()).hexdigest() for each in built[1:]}
    with zipfile.ZipFile(built[1]) as wheel:
        metadata = wheel.read(f"{stem}.dist-info/METADATA").decode()
    assert "Getting started" in metadata
    assert relative_links(metadata) == []
    notes = built[0].read_text(encoding="utf-8")
    assert notes.startswith(f"# conda2wheel {__version__}\n\n")
    assert "\n### Added\n" in notes
    assert "## Unreleased" not in notes
    # Another clone of that commit, with files of its own beside it, at another time and with another umask.
    second = tmp_path / "a" / "second"
    clone(first.folder, second)
    (second / "converter" / "conda2wheel" / "stray.py").write_text("x = 1\n")
    subprocess.run(["git", "tag", f"v{__version__}"], cwd=second, check=True)
    again = subprocess.run(
        ["sh", "-c", "umask 027; exec ./scripts/release --try --no-install"],
        cwd=second,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert "git tag" not in again.stdout
    for each in built[1:]:
        assert (second / "dist" / each.name).read_bytes() == each.read_bytes()
