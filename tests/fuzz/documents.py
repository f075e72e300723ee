"""Targets: configurations and lock files: TOML and JSON that people, Pyodide and earlier runs wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conda2wheel.bundle.lockfile import BundleLock, read_bundle_lock
from conda2wheel.channels.contents import PackageContents
from conda2wheel.cli.search import _lines
from conda2wheel.files.json_text import json_text
from conda2wheel.index.pages.catalogue import PackageCatalogue
from conda2wheel.index.pages.ranking import SearchQuery, search, search_json
from conda2wheel.index.pyodide_lock import LockEntry, merged_lock, standalone_lock
from conda2wheel.mirror.config import load, template
from conda2wheel.mirror.publish.generation import GENERATIONS, MANIFEST, POINTER, current, read_generation
from conda2wheel.mirror.store.folder import FolderStore
from conda2wheel.options import Options
from conda2wheel.pyodide.lock import read_runtime
from conda2wheel.recipes.model import builtin, read_recipe
from conda2wheel.serve.config import load as load_service
from conda2wheel.serve.tokens import SCOPES, TokenFolder
from conda2wheel.wheel.provenance import summarize
from tests.fuzz import textfiles
from tests.fuzz.model import Target, require
from tests.fuzz.mutate import Mutator, either, files, json_document, lines, plain, tokens
from tests.fuzz.work import scratch
from tests.helpers.catalogues import small


def _run_mirror_toml(data: bytes) -> None:
    with scratch() as folder:
        (folder / "mirror.toml").write_bytes(data)
        config = load(folder / "mirror.toml")
        json.dumps(config.options().json(), allow_nan=False)
        _ = (config.options_digest, config.recipes_for("numpy"), config.digest_of("numpy"))


def _mirror_seeds() -> Iterator[bytes]:
    yield template().encode()
    # every key of the template, by taking the comment sign from its line
    yield "\n".join(
        line.removeprefix("# ") if " = " in line and line[2:3].islower() else line for line in template().split("\n")
    ).encode()


def _run_serve_toml(data: bytes) -> None:
    with scratch() as folder:
        (folder / "mirror.toml").write_bytes(data)
        load_service(folder / "mirror.toml")


def _serve_seeds() -> Iterator[bytes]:
    rows = 'host = "127.0.0.1"\nport = 8000\nurl = "https://host/x"\ntokens = "keys"\nopen = ["read"]\nrate = "10/minute"\n'
    yield f'{template()}\n[serve]\n{rows}jobs = 3\nupload = "5M"\nwait = "30s"\nproxies = ["127.0.0.1"]\nlog = "json"\n'.encode()
    yield f"{template()}\n[serve]\nport = 1\n".encode()


def _run_recipe_toml(data: bytes) -> None:
    with scratch() as folder:
        path = folder / "demo.toml"
        path.write_bytes(data)
        recipe = read_recipe(path)
        require(recipe.package == "demo", "a recipe of another package")
        json.dumps(dict(recipe.document), allow_nan=False)


def _recipe_seeds() -> Iterator[bytes]:
    for path in sorted(builtin().glob("*.toml"))[:12]:
        text = path.read_text(encoding="utf-8")
        yield text.replace(f'package = "{path.stem}"', 'package = "demo"').encode()


def _lock_row(version: str, *depends: str) -> dict[str, Any]:
    return {
        "version": version,
        "file_name": f"x-{version}.whl",
        "sha256": "1" * 64,
        "depends": list(depends),
        "imports": [],
        "name": "x",
    }


def _run_pyodide_lock(data: bytes) -> None:
    with scratch() as folder:
        (folder / "pyodide-lock.json").write_bytes(data)
        runtime = read_runtime("0.29.5", folder)
        _ = (runtime.python_version, runtime.platform, runtime.tags, runtime.markers, runtime.closure(["numpy", "scipy"]))
        entry = LockEntry(
            "numpy", "2.4", "numpy-2.4-py3-none-any.whl", "x", "0" * 64, ("scipy>=1", "foo ; extra == 'x'"), ("numpy",)
        )
        for lock in (standalone_lock([entry], runtime), merged_lock([entry], runtime)):
            json.loads(lock.data)


def _lock_seeds() -> Iterator[bytes]:
    info = {"abi_version": "2025_0", "arch": "wasm32", "platform": "emscripten_4_0_9", "python": "3.13.2", "version": "0.29.5"}
    rows = {"numpy": _lock_row("2.2"), "scipy": _lock_row("1.14", "numpy", "libx")}
    yield json.dumps({"info": info, "packages": rows}).encode()


def _run_bundle_lock(data: bytes) -> None:
    with scratch() as folder:
        path = folder / "bundle.lock"
        path.write_bytes(data)
        lock = read_bundle_lock(path)
        path.write_text(lock.text(), encoding="utf-8")
        require(read_bundle_lock(path).text() == lock.text(), "bundle.lock changes when it is written")


def _bundle_seeds() -> Iterator[bytes]:
    full = json.loads(BundleLock(("numpy",), ("emscripten-forge-4x",), Options.of()).text())
    yield json.dumps(full).encode()
    url = "https://host/noarch/x-1.0-0.conda"
    package: dict[str, Any] = {
        "name": "x",
        "version": "1.0",
        "build": "0",
        "subdir": "noarch",
        "url": url,
        "sha256": "0" * 64,
        "depends": [],
    }
    package |= {"channel": "https://host", "size": 1}
    step = {"package": package, "libraries": [package], "recipe": None, "notes": [], "names": {"a": "b"}}
    yield json.dumps({**full, "packages": [step], "libraries": [package]}).encode()


def _run_mirror_state(data: bytes) -> None:
    """The pointer and a generation's manifest, as they lie in a store, and the rows of the cache of contents."""
    found = {each.path: each.content for each in textfiles.read(data)}
    with scratch() as folder:
        for path, content in (
            (POINTER, found.get("pointer", b"")),
            (f"{GENERATIONS}/000001-x/{MANIFEST}", found.get("manifest", b"")),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        store = FolderStore(Path(folder))
        current(store)
        read_generation(store, "000001-x")
    try:
        row = json.loads(found.get("contents", b"{}"))
        contents = PackageContents.from_json(row)
    except (ValueError, KeyError, TypeError, RecursionError):  # what its one caller takes for a damaged row
        return
    require(PackageContents.from_json(contents.json()) == contents, "contents change when they are written")


def _state_seeds() -> Iterator[bytes]:
    pointer = {"schema": 1, "generation": "000001-x", "sha256": "0", "since": 1.0, "previous": None, "withdrawn": []}
    manifest = {"digest": "x", "created": 1.0, "parent": None, "entries": [], "files": {"a": "b"}, "state": {}}
    contents = PackageContents.of(["lib/libz.so", "site-packages/x-1.0.dist-info/METADATA"], {"weak": ["x >=1"]}).json()
    documents = {"pointer": pointer, "manifest": manifest, "contents": contents}
    yield textfiles.write(textfiles.TextFile(name, json.dumps(value).encode()) for name, value in documents.items())


def _run_provenance(data: bytes) -> None:
    """The provenance as `inspect` shows it."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        facts, changed = summarize(document)
        str(facts)
        str(changed)


def _provenance_seeds() -> Iterator[bytes]:
    from tests.fuzz.commands import converted, provenance_of

    yield provenance_of(converted())


def _run_catalogue(data: bytes) -> None:
    """A catalogue out of a store or from a server, as `conda2wheel search` reads and shows it."""
    catalogue = PackageCatalogue.parse(data)
    text = json.dumps(catalogue.json())
    require(json.dumps(PackageCatalogue.parse(text).json()) == text, "a catalogue changes when it is written")
    for query in (SearchQuery(), SearchQuery("scipy x", sort="-updated"), SearchQuery(pyodide="0.29.5", lacks="pyodide,pypi")):
        found = search(catalogue, query)
        require(all(line.isprintable() for line in _lines(catalogue, found)), "a line with a control character")
        json.loads(json_text(search_json(catalogue, query, 50, 0)))


def _catalogue_seeds() -> Iterator[bytes]:
    document = small().json()
    for package in document["packages"][:4]:
        yield json.dumps({**document, "packages": [package]}).encode()


def _run_token(data: bytes) -> None:
    """A token's file as the service and `serve token list` read it."""
    with scratch() as folder:
        (folder / f"{'0' * 12}.json").write_bytes(data)
        tokens = TokenFolder(folder)
        for moment in (0.0, 1.9e9):
            found = tokens.find(_TOKEN, moment)
            require(found is None or not found.expired(moment), "an expired token")
        for token in tokens.tokens():
            json.dumps(token.json(), allow_nan=False)
            require(token.name.isprintable() and set(token.scopes) <= set(SCOPES), "a token of another form")


def _token_seeds() -> Iterator[bytes]:
    digest = hashlib.sha256(_TOKEN.encode()).hexdigest()
    for expires in (None, 2e9, 1.0):
        row = {"name": "nightly", "scopes": ["read", "upload"], "created": 1.8e9, "expires": expires, "sha256": digest}
        yield json.dumps(row).encode()


def _any_json(_: str) -> Mutator:
    return json_document


TOML: Mutator = either(lines, lines, tokens, plain)
_TOKEN = f"c2w_{'0' * 12}_{'x' * 43}"
TARGETS = [
    Target("catalogue", "catalogue.json, and searches in it", _run_catalogue, _catalogue_seeds, json_document, minute=4_000),
    Target("token", "the file of a token of the service", _run_token, _token_seeds, json_document, minute=30_000),
    Target("mirror-toml", "mirror.toml", _run_mirror_toml, _mirror_seeds, TOML, size=16 << 10, minute=30_000),
    Target("serve-toml", "[serve] of mirror.toml", _run_serve_toml, _serve_seeds, TOML, size=16 << 10, minute=10_000),
    Target("recipe-toml", "conversion recipes", _run_recipe_toml, _recipe_seeds, TOML, size=16 << 10, minute=45_000),
    Target(
        "pyodide-lock",
        "pyodide-lock.json, and lock files made of it",
        _run_pyodide_lock,
        _lock_seeds,
        json_document,
        minute=15_000,
    ),
    Target("bundle-lock", "bundle.lock", _run_bundle_lock, _bundle_seeds, json_document, minute=40_000),
    Target(
        "mirror-state",
        "a mirror's pointer and manifests, the cache of contents",
        _run_mirror_state,
        _state_seeds,
        files(_any_json),
        minute=70_000,
    ),
    Target(
        "provenance", "conda2wheel.json of a wheel, for inspect", _run_provenance, _provenance_seeds, json_document, minute=85_000
    ),
]
