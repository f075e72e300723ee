"""The mirror's pages: details beside wheels, and a catalogue of what the channel has and what became of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.index.pages.details import SUFFIX, read_details
from conda2wheel.mirror.config import load
from conda2wheel.mirror.publish.catalogue import details_in, put_details
from conda2wheel.mirror.publish.publisher import publish
from conda2wheel.mirror.publish.pypi import OtherIndex
from conda2wheel.mirror.publish.rollback import gc
from conda2wheel.mirror.run import rebuild
from conda2wheel.mirror.state.mirror_state import MirrorState
from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.worker import describe, put_wheel
from tests.helpers import mirror_index, sets
from tests.helpers.mirror_runs import Mirror, small_mirror
from tests.helpers.serve import served


def test_details_of_a_converted_wheel(tmp_path: Path) -> None:
    made = convert(sets.native("uses", calls="deep", needed=["libdeep.so"]), out=tmp_path / "out", libdirs=[library(tmp_path)])
    assert made.wheel is not None
    found = read_details(made.wheel)
    details = found.details
    assert {row.pyodide: row.verdict for row in details.verdicts if row.tagged} == {"0.28.3": "runs", "0.29.5": "runs"}
    assert [(each.kind, each.source, each.needed_by) for each in details.libraries] == [
        ("vendored", "deep 1.0", ("uses/_c.cpython-313-wasm32-emscripten.so",))
    ]
    assert [(each.name, each.version, each.linkage, each.license) for each in details.components] == [
        ("deep", "1.0", "shared", "Zlib")
    ]
    assert (details.license, details.modules) == ("MIT", 2)
    assert json.loads(found.sbom or b"")["bomFormat"] == "CycloneDX"
    assert json.loads(found.provenance or b"")["command"] == "convert"


def library(folder: Path) -> Path:
    target = folder / "deep"
    target.mkdir()
    made = sets.shared("deep", "libdeep.so", "deep", 7)
    (target / made.name).write_bytes(made.read_bytes())
    return target


def test_details_are_read_once_and_leave_with_their_wheel(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    made = convert(sets.pure("one"), out=tmp_path / "out")
    assert made.wheel is not None
    assert made.sha256 is not None
    wheel, metadata = describe(made, made.wheel, made.sha256)
    put_wheel(store, wheel, made.wheel, metadata)
    first = details_in(store)(wheel)
    assert first.details is not None
    assert first.provenance
    marked = json.loads(store.get(f"{wheel.blob}{SUFFIX}") or b"") | {"summary": "read from the store"}
    store.put(f"{wheel.blob}{SUFFIX}", json.dumps(marked).encode())
    again = details_in(store)(wheel).details
    assert again is not None
    assert again.summary == "read from the store"
    for damaged in (b"no JSON", b"[]", json.dumps(marked | {"judged_by": ["0.1"]}).encode()):
        store.put(f"{wheel.blob}{SUFFIX}", damaged)
        assert details_in(store)(wheel).details == first.details

    other = mirror_index.put(store, mirror_index.entry("stays"))
    publish(store, other, {}, now=1e9, grace=0)
    assert gc(store, keep=1, grace=-1e9).blobs >= 4
    assert not [info for info in store.list("blobs") if "/one-" in info.path]
    assert put_details(store, wheel).details is None  # the wheel is gone


@pytest.mark.long
def test_a_run_publishes_pages_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    with small_mirror(tmp_path) as mirror:
        geos = [sets.shared("geosy", "libgeosy.so", "geosy_next", 100)]
        geos.append(sets.native("shapes-one", depends=["geosy"], calls="geosy_next", needed=("libgeosy.so",)))
        mirror.add(*geos)
        text = mirror.path.read_text(encoding="utf-8")
        mirror.path.write_text(text.replace("[output]", "[output]\npages = true"), encoding="utf-8")
        report = mirror.run()
        assert report.problem is None
        store = mirror.store
        catalogue = json.loads(store.get("catalogue.json") or b"")
        states = {each["name"]: each["state"] for each in catalogue["packages"]}
        assert states["shapes-one"] == states["one"] == states["numpy"] == "runs"
        assert states["geosy"] == states["r-arrow"] == "refused"
        assert b"libgeosy" in (store.get("packages/shapes-one/needed.svg") or b"")
        assert store.get("pyodide/0.29.5/pyodide.mjs")
        assert "micropip" in " ".join(info.path for info in store.list("pyodide/0.28.3"))
        again = mirror.run()
        assert (again.generation, again.exit_status) == (report.generation, 0)
        rebuilt(mirror)
        assert mirror.run().generation == report.generation
        without_details(mirror)
        assert mirror.run().generation == report.generation  # read again, to the same bytes


def rebuilt(mirror: Mirror) -> None:
    config = load(mirror.path)
    config.state.unlink()
    rebuild(config, mirror.store, lambda _: None)
    MirrorState.open(config.state).close()


def without_details(mirror: Mirror) -> None:
    mirror.store.delete([info.path for info in mirror.store.list("blobs") if info.path.endswith(SUFFIX)])


def test_another_index_is_asked_once_a_week_and_silence_is_no_answer(tmp_path: Path) -> None:
    site, store = tmp_path / "site", open_store(str(tmp_path / "store"))
    for name, files in {
        "numpy": ("numpy-2-cp313-cp313-manylinux_2_28_x86_64.whl", "numpy-2-cp314-cp314-pyemscripten_2026_0_wasm32.whl"),
        "six": ("six-1-py2.py3-none-any.whl", "six-1.tar.gz"),
        "old": ("old-1-py2-none-any.whl", "not a wheel.whl"),
    }.items():
        (site / "simple" / name).mkdir(parents=True)
        lines = "".join(f'<a href="../{each}#sha256=0">{each}</a><br>\n' for each in files)
        (site / "simple" / name / "index.html").write_text(f"<!DOCTYPE html><html><body>{lines}</body></html>")
    projects = ["numpy", "six", "old", "absent"]
    with served(site) as index:
        first = OtherIndex(f"{index.url}simple/", 1e9).tags(store, projects)
        assert first == {"numpy": ("pyemscripten_2026_0_wasm32",), "six": ("any",), "old": (), "absent": ()}
        asked = len(index.asked)
        assert OtherIndex(f"{index.url}simple", 1e9 + 6 * 86400).tags(store, projects) == first
        assert len(index.asked) == asked == 4
        assert OtherIndex(f"{index.url}simple", 1e9 + 8 * 86400).tags(store, ["six"]) == {"six": ("any",)}
        assert len(index.asked) == 5
        (site / "simple" / "six" / "index.html").write_bytes(b"")
        assert OtherIndex(f"{index.url}simple", 2e9).tags(store, ["six"]) == {"six": ()}
    store.put("pypi.json", b"[damaged")
    assert OtherIndex(index.url, 2e9).tags(store, []) == {}


def test_the_configuration_has_no_pages_unless_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    for line, expected in (("", False), ("pages = true\n", True), ("pages = false\n", False)):
        path.write_text(f'[channel]\nurls = ["x"]\n[output]\nstore = "s"\n{line}')
        assert load(path).output.pages is expected
