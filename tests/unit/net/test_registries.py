"""PyPI's and npm's registries, asked without pip and npm, where the settings of pip, uv and npm say."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packageurl.validate import DEFINITIONS_BY_TYPE

from conda2wheel.bundle.pypi import PyPIDownloader, PyPIWheel
from conda2wheel.channels.downloads import Downloads
from conda2wheel.errors import Failed, Refused
from conda2wheel.net.npm import download_package, npm_package
from conda2wheel.net.registry_settings import npm_registry, package_indexes
from conda2wheel.net.simple_index import PackageIndexClient
from conda2wheel.net.urls import secret_url
from tests.helpers.systems import IS_WINDOWS

TAGS = ("pyodide_2025_0_wasm32",)


@dataclass
class Registry:
    """A server of pages by path; what it was asked, with the Authorization header."""

    url: str
    pages: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def registry() -> Iterator[Registry]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, self.headers.get("Authorization")))
            page = found.pages.get(self.path)
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Length", str(len(page or b"")))
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Registry(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def wheel_bytes(name: str, version: str) -> bytes:
    with io.BytesIO() as out:
        with zipfile.ZipFile(out, "w") as archive:
            folder = f"{name}-{version}.dist-info"
            archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{folder}/RECORD", "")
        return out.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No settings but those of the test."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    empty = tmp_path / "empty.conf"
    empty.write_text("")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(empty))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("npm_config_userconfig", str(empty))
    monkeypatch.setenv("npm_config_globalconfig", str(empty))
    return monkeypatch


def project(server: Registry, name: str, files: dict[str, bytes], **more: object) -> None:
    """A page of PEP 691, and its files."""
    listed = [
        {"filename": file, "url": f"../../files/{file}", "hashes": {"sha256": digest(data)}, **more}
        for file, data in files.items()
    ]
    server.pages[f"/simple/{name}/"] = json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": listed}).encode()
    server.pages.update({f"/files/{file}": data for file, data in files.items()})


def test_the_newest_wheel_that_fits_is_chosen_as_pip_chooses(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [
        "six-1.15-py3-none-any.whl",
        "six-1.16-py2.py3-none-any.whl",
        "six-1.17rc1-py3-none-any.whl",
        "six-1.16-cp313-cp313-manylinux_2_28_x86_64.whl",
        "six-1.18-cp312-cp312-pyodide_2025_0_wasm32.whl",
        "six-1.19.tar.gz",
        "no wheel.whl",
    ]
    with registry() as server:
        clean.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        project(server, "six", {name: wheel_bytes("six", name.split("-")[1] if "-" in name else "0") for name in names})
        pypi = PyPIDownloader(TAGS, "3.13", Downloads(tmp_path / "cache"))
        wheel, path, _ = pypi.newest("Six>=1.10", tmp_path)
        assert (wheel.version, path.name) == ("1.16", "six-1.16-py2.py3-none-any.whl")
        assert wheel.sha256 == digest(path.read_bytes())
        assert pypi.newest("six<1.16", tmp_path)[0].version == "1.15"
        assert pypi.newest("six==1.17rc1", tmp_path)[0].version == "1.17rc1"
        with pytest.raises(Failed, match="no wheel that fits") as caught:
            pypi.newest("six>=1.18", tmp_path)
        assert caught.value.code == "not-found"
        with pytest.raises(Failed, match="no wheel that fits"):
            pypi.newest("nowhere", tmp_path)
        (tmp_path / "again").mkdir()
        server.pages.clear()
        assert pypi.exact(wheel, tmp_path / "again").read_bytes() == path.read_bytes()  # of the cache


def test_yanked_and_foreign_pythons_are_left_out(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with registry() as server:
        clean.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
        project(server, "a", {"a-2-py3-none-any.whl": wheel_bytes("a", "2")}, yanked="broken")
        project(server, "b", {"b-2-py3-none-any.whl": wheel_bytes("b", "2")}, **{"requires-python": ">=3.14"})
        pypi = PyPIDownloader(TAGS, "3.13", Downloads(tmp_path / "cache"))
        for wish in ("a", "b"):
            with pytest.raises(Failed, match="no wheel that fits"):
                pypi.newest(wish, tmp_path)
        assert pypi.newest("a==2", tmp_path)[0].version == "2"
        assert PyPIDownloader(TAGS, "3.14", Downloads(tmp_path / "cache")).newest("b", tmp_path)[0].version == "2"


def test_bytes_that_the_index_or_the_lock_does_not_promise_are_refused(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, good = "a-1-py3-none-any.whl", wheel_bytes("a", "1")
    with registry() as server:
        clean.setenv("UV_DEFAULT_INDEX", f"{server.url}/simple")
        project(server, "a", {name: good})
        server.pages[f"/files/{name}"] = good + b"more"
        pypi = PyPIDownloader(TAGS, "3.13", Downloads(tmp_path / "cache"))
        with pytest.raises(Refused, match="sha256") as caught:
            pypi.newest("a", tmp_path)
        assert caught.value.code == "corrupt-archive"
        with pytest.raises(Failed, match="another sha256 there"):
            pypi.exact(PyPIWheel("a", "1", name, "0" * 64), tmp_path)
        server.pages["/simple/a/"] = f'<a href="/files/{name}">{name}</a>'.encode()  # no hash: the lock's
        with pytest.raises(Refused, match="sha256"):
            pypi.exact(PyPIWheel("a", "1", name, digest(good)), tmp_path)


def test_pages_of_html_logins_further_indexes_and_folders_are_read(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    links, folder = tmp_path / "links", tmp_path / "files" / "simple" / "c"
    links.mkdir()
    folder.mkdir(parents=True)
    (links / "d-1-py3-none-any.whl").write_bytes(wheel_bytes("d", "1"))
    (folder / "index.html").write_text('<a href="../../c-1-py3-none-any.whl">c</a>')
    (tmp_path / "files" / "c-1-py3-none-any.whl").write_bytes(wheel_bytes("c", "1"))
    page = """<base href="/other/"><A HREF="x/a%2B1.whl#sha256=ab" data-requires-python="&gt;=3.9">a</A>
        <a data-yanked href="{0}/files/b.whl">b</a>"""
    with registry() as server:
        host = server.url.partition("//")[2]
        clean.setenv("PIP_INDEX_URL", f"http://me:secret@{host}/simple")
        clean.setenv("PIP_EXTRA_INDEX_URL", (tmp_path / "files" / "simple").as_uri())
        clean.setenv("PIP_FIND_LINKS", str(links))
        server.pages["/simple/a/"] = page.format(server.url).encode()
        with PackageIndexClient(package_indexes()) as client:
            found = {each.filename: each for each in client.files("a")}
            assert {name: (each.sha256, each.requires_python, each.yanked) for name, each in found.items()} == {
                "a+1.whl": ("ab", ">=3.9", False),
                "b.whl": (None, None, True),
                "d-1-py3-none-any.whl": (None, None, False),
            }
            assert secret_url(found["a+1.whl"].url) == f"http://me:secret@{host}/other/x/a%2B1.whl"
            assert secret_url(found["b.whl"].url) == f"http://me:secret@{host}/files/b.whl"
            assert "secret" not in str(found["b.whl"].url)
            assert "c-1-py3-none-any.whl" in {each.filename for each in client.files("c")}
        basic = "Basic " + base64.b64encode(b"me:secret").decode()
        assert {authorization for _, authorization in server.asked} == {basic}
        pypi = PyPIDownloader(TAGS, "3.13", Downloads(tmp_path / "cache"))
        assert pypi.newest("c", tmp_path)[0].filename == "c-1-py3-none-any.whl"
        assert pypi.newest("d", tmp_path)[0].filename == "d-1-py3-none-any.whl"


@pytest.mark.parametrize(
    "page",
    [
        b"{",
        b'{"files": 1}',
        b'{"files": [{"url": "x"}]}',
        b'{"files": [{"filename": "a.whl", "url": "file:///etc/passwd"}]}',
        b"[" * 9999,
    ],
)
def test_a_page_that_is_none_is_one_clear_line(page: bytes, clean: pytest.MonkeyPatch) -> None:
    with registry() as server:
        clean.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        server.pages["/simple/a/"] = page
        with PackageIndexClient(package_indexes()) as client:
            if page.startswith(b"[") or b"passwd" in page:
                assert client.files("a") == ()  # HTML without links; a link that is not opened
                return
            with pytest.raises(Failed) as caught:
                client.files("a")
        assert caught.value.code == "network"
        assert "\n" not in caught.value.message


def test_names_that_lead_out_of_the_folder_are_left_out(clean: pytest.MonkeyPatch) -> None:
    with registry() as server:
        clean.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        names = ["../a.whl", "..", "b\\a.whl", "c:a.whl", "fine.whl", "CON.whl"]
        files = [{"filename": each, "url": "/files/x"} for each in names]
        server.pages["/simple/a/"] = json.dumps({"files": files}).encode()
        with PackageIndexClient(package_indexes()) as client:
            assert [each.filename for each in client.files("a")] == ["fine.whl"]


def test_settings_come_from_the_environment_then_from_the_files_of_pip_and_uv(tmp_path: Path) -> None:
    config, home, name = tmp_path / "config", tmp_path / "home", "pip.ini" if IS_WINDOWS else "pip.conf"
    (config / "pip").mkdir(parents=True)
    (config / "uv").mkdir()
    (config / "pip" / name).write_bytes(
        b"\xef\xbb\xbf[global]\r\nindex-url = https://one.example/simple\r\nextra-index-url =\r\n  https://two.example/s\r\n  file:///three\r\n"
    )
    (config / "uv" / "uv.toml").write_text(
        '[[index]]\nurl = "https://four.example/s"\ndefault = true\n[[index]]\nurl = "https://five.example/s"\n'
    )
    base = {"APPDATA" if IS_WINDOWS else "XDG_CONFIG_HOME": str(config), "HOME": str(home), "XDG_CONFIG_DIRS": str(tmp_path)}

    def urls(**environ: str) -> list[str]:
        found = package_indexes({**base, **environ}).urls
        return [secret_url(each) for each in found]

    assert urls()[:3] == ["https://one.example/simple", "https://two.example/s", "file:///three"]
    assert urls(PIP_INDEX_URL="https://six.example")[0] == "https://six.example"
    assert urls(PIP_INDEX_URL="https://six.example", UV_INDEX="x=https://seven.example")[:2] == [
        "https://six.example",
        "https://seven.example",
    ]
    assert urls(PIP_NO_INDEX="1") == []
    (config / "pip" / name).unlink()
    assert urls(PIP_CONFIG_FILE=os.devnull) == ["https://four.example/s", "https://five.example/s"]
    bare = urls(PIP_CONFIG_FILE=os.devnull, UV_NO_CONFIG="1")
    assert bare == [f"{DEFINITIONS_BY_TYPE['pypi'].default_repository_url}/simple/"]
    (config / "pip" / name).write_text("this is no configuration")
    assert urls(UV_NO_CONFIG="1")


def test_a_package_of_npm_is_compared_with_its_integrity_and_asked_for_with_its_token(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = b"an archive"
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    with registry() as server:
        host = server.url.partition(":")[2]
        rc = tmp_path / ".npmrc"
        rc.write_text(f"; mine\nregistry={server.url}/npm\n{host}/npm/:_authToken=${{TOKEN}}\n")
        clean.setenv("npm_config_userconfig", str(rc))
        clean.setenv("TOKEN", "tk-1")
        default = DEFINITIONS_BY_TYPE["npm"].default_repository_url
        dist = {"tarball": f"{default}pyodide/-/pyodide-1.0.0.tgz", "integrity": integrity}
        server.pages["/npm/pyodide/1.0.0"] = json.dumps({"dist": dist}).encode()
        server.pages["/npm/pyodide/-/pyodide-1.0.0.tgz"] = data
        package = npm_package("pyodide", "1.0.0")
        assert download_package(package, tmp_path, 100).read_bytes() == data
        assert [authorization for _, authorization in server.asked] == ["Bearer tk-1"] * 2
        with pytest.raises(Failed, match="damaged") as caught:
            download_package(package, tmp_path, 100, "sha512-AAAA")
        assert caught.value.code == "network"
        server.pages["/npm/pyodide"] = json.dumps({"versions": {"2.0.0": {"dist": dist}}}).encode()
        assert npm_package("pyodide", "2.0.0").integrity == integrity
        for version, code in (("3.0.0", "not-found"),):
            with pytest.raises(Failed, match="has no pyodide@") as caught:
                npm_package("pyodide", version)
            assert caught.value.code == code
        server.pages["/npm/pyodide/4.0.0"] = b'{"dist": {}}'
        with pytest.raises(Failed, match="no integrity"):
            npm_package("pyodide", "4.0.0")


def test_npm_without_settings_has_its_own_registry(tmp_path: Path) -> None:
    found = npm_registry({"HOME": str(tmp_path), "PATH": ""})
    assert (secret_url(found.url), found.default) == (DEFINITIONS_BY_TYPE["npm"].default_repository_url, True)
    assert not npm_registry({"HOME": str(tmp_path), "NPM_CONFIG_REGISTRY": "https://npm.example/"}).default
