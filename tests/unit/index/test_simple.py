"""An index of static files that installers take: pip and uv choose and verify from it over HTTP."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from conda2wheel import convert
from conda2wheel.index.simple import IndexFile, Project, index_file, pages, write_index
from tests.helpers.shapes import dist_info, package


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Wheels of two projects, one in two versions, with their index."""
    root = tmp_path / "index"
    for name, version in (("demo", "1.0"), ("demo", "1.10"), ("Other.Thing", "2.0")):
        source = package(
            {f"{name.lower().replace('.', '_')}.py": "x = 1\n", **dist_info(f"{name}-{version}", "Requires-Python: >=3.9, <4")},
            name=name.lower(),
            version=version,
            noarch="python",
            depends=["python"],
        )
        convert(source, out=root / "wheels")
    write_index(root, sorted((root / "wheels").glob("*.whl")))
    return root


@pytest.fixture
def served(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple/"
    server.shutdown()
    server.server_close()


def pip(served: str, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--isolated", "download", "--index-url", served, "--no-cache-dir", "--no-deps"]
    command += ["--disable-pip-version-check", "--dest", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_pip_takes_the_newest_that_it_asked_for(served: str, tmp_path: Path) -> None:
    done = pip(served, tmp_path / "got", "demo", "other-thing")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "got").iterdir()} == {
        "demo-1.10-py3-none-any.whl",
        "other_thing-2.0-py3-none-any.whl",
    }
    assert ".whl.metadata" in done.stdout  # PEP 658: the metadata alone first


def test_uv_resolves_from_it(served: str) -> None:
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--index-url", served, "--no-cache", "--quiet"]
    command += ["--generate-hashes", "--no-header", "--no-annotate"]
    done = subprocess.run(command, input="demo<1.5\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "demo==1.0" in done.stdout


def test_a_file_that_is_not_what_the_index_says_is_refused_by_pip(served: str, folder: Path, tmp_path: Path) -> None:
    wheel = folder / "wheels" / "demo-1.10-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b"x")
    done = pip(served, tmp_path / "got", "demo")
    assert done.returncode != 0
    assert "hash" in done.stderr.lower()


def test_the_json_says_what_the_html_says(folder: Path) -> None:
    page = json.loads((folder / "simple" / "demo" / "index.json").read_text())
    assert (page["name"], page["versions"], page["meta"]) == ("demo", ["1.0", "1.10"], {"api-version": "1.1"})
    assert "project-status" not in page
    html = (folder / "simple" / "demo" / "index.html").read_text()
    for file in page["files"]:
        wheel = (folder / "simple" / "demo" / file["url"]).resolve()
        metadata = wheel.with_name(f"{wheel.name}.metadata").read_bytes()
        assert file["hashes"] == {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
        assert (file["size"], file["yanked"], file["requires-python"]) == (wheel.stat().st_size, False, ">=3.9, <4")
        assert file["core-metadata"] == {"sha256": hashlib.sha256(metadata).hexdigest()}
        assert Metadata.from_email(metadata).name == "demo"
        assert f'href="{file["url"]}#sha256={file["hashes"]["sha256"]}"' in html
        assert 'data-requires-python="&gt;=3.9, &lt;4"' in html
    root = json.loads((folder / "simple" / "index.json").read_text())
    assert root["projects"] == [{"name": "demo"}, {"name": "other-thing"}]


def test_yanked_files_times_and_states_are_told() -> None:
    file = IndexFile("d-1-py3-none-any.whl", "../d.whl", "0" * 64, 3, "1", "1" * 64, uploaded=1000000000.0, yanked='bad "one"')
    attested = replace(file, yanked="", provenance="https://host/d.provenance")
    project = Project("d", (file, attested), "deprecated", "use <e>")
    told = project.json()
    assert told["meta"] == {"api-version": "1.4"}
    assert Project("d", (attested,)).json()["meta"] == {"api-version": "1.3"}
    assert [each.get("provenance") for each in told["files"]] == [None, "https://host/d.provenance"]
    assert [each["yanked"] for each in told["files"]] == ['bad "one"', True]
    assert told["files"][0]["upload-time"] == "2001-09-09T01:46:40Z"
    assert told["project-status"] == {"status": "deprecated", "reason": "use <e>"}
    html = project.html()
    assert 'data-yanked="bad &quot;one&quot;"' in html
    assert 'data-yanked=""' in html
    assert html.count('data-provenance="https://host/d.provenance"') == 1
    assert '<meta name="pypi:project-status-reason" content="use &lt;e&gt;">' in html


def test_whole_addresses_are_written_where_the_folders_own_is_known(folder: Path) -> None:
    write_index(folder, sorted((folder / "wheels").glob("*.whl")), "https://example.org/sets/one/")
    page = json.loads((folder / "simple" / "demo" / "index.json").read_text())
    assert page["files"][0]["url"] == "https://example.org/sets/one/wheels/demo-1.0-py3-none-any.whl"
    assert f'href="{page["files"][0]["url"]}#sha256=' in (folder / "simple" / "demo" / "index.html").read_text()


def test_the_root_page_is_written_last(folder: Path) -> None:
    _, entry, _ = index_file(next((folder / "wheels").glob("demo-1.0*.whl")), "../x")
    assert list(pages([Project("demo", (entry,))]))[-2:] == ["index.json", "index.html"]
