"""`lock`: pyodide-lock.json and pylock.toml of wheels that are at hand, or of a bundle that is made for it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.pylock import Pylock

from conda2wheel import Failed, Locked, Refused, lock
from conda2wheel.abi.platforms import for_pyodide, parse
from conda2wheel.index.locks import lock_files
from conda2wheel.index.pyodide_lock import LockEntry
from conda2wheel.pyodide.lock import read_runtime, runtime_of_platform
from tests.helpers import command, sets
from tests.helpers.foreign import Foreign

P25 = "pyemscripten_2025_0_wasm32"


def wheel(folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any") -> Path:
    return Foreign(tag, {f"{name}.py": "one = 1\n"}, name=name, version=version).write(folder)


def pylock(found: Locked) -> Pylock:
    made = Pylock.from_dict(tomllib.loads(found.files[1].read_text(encoding="utf-8")))
    made.validate()
    return made


def rows(found: Locked) -> dict[str, dict[str, Any]]:
    document: dict[str, Any] = json.loads(found.files[0].read_text())
    return dict(document["packages"])


def selected(found: Locked, pyodide: str) -> dict[str, str]:
    """What an installer in that Pyodide takes, with its path or URL, by packaging's own selection."""
    row = for_pyodide(pyodide)
    assert row is not None
    here = runtime_of_platform(row, pyodide)
    chosen = pylock(found).select(environment=dict(here.markers), tags=list(here.tags))  # type: ignore[arg-type]
    return {package.name: str(getattr(file, "path", None) or getattr(file, "url", None)) for package, file in chosen}


def test_wheels_of_any_builder_are_locked_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    native = wheel(folder, "native", tag=f"cp313-cp313-{P25}")
    older = wheel(folder, "native", "0.9", tag="cp313-cp313-pyodide_2025_0_wasm32")
    wheel(folder, "pure")
    wheel(folder, "other", tag="cp314-cp314-pyemscripten_2026_0_wasm32")
    found = lock([folder], pyodide="0.28")
    assert (found.pyodide, found.platform, found.files[0].parent) == ("0.28.3", P25, folder)
    assert selected(found, "0.29.3") == {"native": native.name, "pure": "pure-1.0-py3-none-any.whl"}
    assert {name: row["file_name"] for name, row in rows(found).items()} == selected(found, "0.28.3")
    assert set(found.left_out) == {older.name, "other-1.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl"}
    assert found.unsatisfied == ()
    [entry] = [each for each in pylock(found).packages if each.name == "native"]
    assert entry.wheels
    assert (entry.wheels[0].size, entry.wheels[0].hashes["sha256"]) == (native.stat().st_size, rows(found)["native"]["sha256"])


def test_paths_are_relative_to_the_lock_files_and_urls_are_whole(tmp_path: Path) -> None:
    made = wheel(tmp_path / "wheels", "pure")
    found = lock([made], out=tmp_path / "locks" / "here", pyodide="0.29")
    assert rows(found)["pure"]["file_name"] == f"../../wheels/{made.name}" == selected(found, "0.29.5")["pure"]
    whole = lock([made], out=tmp_path / "locks", url="https://example.org/w/", pyodide="0.29")
    assert rows(whole)["pure"]["file_name"] == f"https://example.org/w/{made.name}" == selected(whole, "0.29.5")["pure"]


def test_an_empty_folder_does_not_hide_the_package_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = sets.indexed(tmp_path / "channel", [sets.native("numeric", "2.4.0")])
    for name in ("numeric", "nothing"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert rows(lock(["numeric"], out=tmp_path / "set", channels=[channel]))["numeric"]["version"] == "2.4.0"
    for source, more in (("nothing", ", and as a match spec: "), ("./numeric", "")):
        with pytest.raises(Failed) as caught:
            lock([source], out=tmp_path / "other", channels=[channel])
        assert caught.value.code == "not-found"
        assert f"{source}: has no wheels or packages{more}" in caught.value.message


def test_the_pyodide_follows_from_the_wheels(tmp_path: Path) -> None:
    assert lock([wheel(tmp_path / "a", "a", tag=f"cp313-cp313-{P25}")], out=tmp_path).pyodide == "0.29.5"
    assert lock([wheel(tmp_path / "b", "b")], out=tmp_path).pyodide == "314.0.7"
    several = wheel(tmp_path / "c", "c", tag=f"cp312-abi3-{P25}.pyemscripten_2026_0_wasm32")
    assert lock([several, tmp_path / "b"], out=tmp_path).pyodide == "314.0.7"
    with pytest.raises(Failed, match="no Pyodide takes all of them"):
        lock([tmp_path / "a", wheel(tmp_path / "d", "d", tag="cp314-cp314-pyemscripten_2026_0_wasm32")], out=tmp_path)


def test_requires_python_stands_at_each_package_and_the_environment_at_the_file(tmp_path: Path) -> None:
    made = Foreign("py3-none-any", {"m.py": ""}, name="m", told=()).write(tmp_path)
    entry = LockEntry.of_file(made, made.name, "0" * 64, "3.13")
    here = runtime_of_platform(parse("0.29.5"))  # type: ignore[arg-type]
    data = lock_files([LockEntry(**{**vars(entry), "requires_python": ">=3.9"})], here, merge=False).pylock
    document = tomllib.loads(data.decode())
    assert document["packages"][0]["requires-python"] == ">=3.9"
    assert document["environments"] == ['sys_platform == "emscripten" and python_version == "3.13"']
    assert "requires-python" not in document  # uv would compare it with the interpreter that it runs on


def test_pyodides_own_packages_are_in_both_files_where_their_address_is_known(tmp_path: Path) -> None:
    numpy = {"version": "2.2.5", "file_name": "numpy-2.2.5-cp313-cp313-pyemscripten_2025_0_wasm32.whl", "sha256": "1" * 64}
    blas = {"version": "0.3.26", "file_name": "libopenblas-0.3.26.zip", "sha256": "2" * 64, "depends": []}
    packages = {"numpy": {**numpy, "depends": ["libopenblas"], "name": "numpy"}, "libopenblas": {**blas, "name": "libopenblas"}}
    info = {"abi_version": "2025_0", "arch": "wasm32", "platform": "emscripten_4_0_9", "python": "3.13.2"}
    (tmp_path / "pyodide-lock.json").write_text(json.dumps({"info": info, "packages": packages}))
    here = read_runtime("0.29.5", tmp_path)
    user = LockEntry("user", "1.0", "user-1.0-py3-none-any.whl", "user-1.0-py3-none-any.whl", "0" * 64, ("numpy>=2",))
    merged = lock_files([user], here, merge=True, own="https://example.org/pyodide/")
    found = tomllib.loads(merged.pylock.decode())["packages"]
    assert [each["name"] for each in found] == ["numpy", "user"]
    assert found[0]["wheels"][0]["url"] == f"https://example.org/pyodide/{numpy['file_name']}"
    assert [each.message for each in merged.warnings] == ["pylock.toml has nothing for libopenblas of Pyodide itself"]
    [warning] = lock_files([user], here, merge=True).warnings
    assert "libopenblas, numpy of Pyodide itself; the URL of the folder that has them is --pyodide-url" in warning.message


def test_a_bundle_is_made_of_packages_and_has_both_files(tmp_path: Path) -> None:
    channel = sets.indexed(tmp_path / "channel", [sets.native("numeric", "2.4.0"), sets.native("picky", requires=["numeric<3"])])
    (tmp_path / "requirements.txt").write_text("picky\nnumeric>=2\n")
    found = lock([tmp_path / "requirements.txt"], out=tmp_path / "set", pyodide="0.28", channels=[channel])
    assert (set(rows(found)), found.pyodide) == ({"numeric", "picky"}, "0.28.3")
    assert set(selected(found, "0.28.3").values()) == {path.name for path in found.folder.glob("*.whl")}
    assert rows(found)["picky"]["depends"] == ["numeric"]
    assert json.loads(found.files[0].read_text())["info"]["version"] == "0.28.3"


def test_what_cannot_be_locked_is_an_error(tmp_path: Path) -> None:
    native, pure = wheel(tmp_path, "native", tag=f"cp313-cp313-{P25}"), wheel(tmp_path, "pure")
    with pytest.raises(Refused, match=r"its tags do not fit Pyodide 314\.0\.7"):
        lock([native], out=tmp_path / "out", pyodide="314")
    assert not (tmp_path / "out").exists()
    done = command.run("lock", native.name, pure.name, "--pyodide", "314", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "pyodide-lock.json\npylock.toml\n")
    assert f"error: unknown-abi: {native.name} is not locked" in done.stderr
    for words, why in ((["--pyodide", "9"], "no version of Pyodide"), (["numeric"], "no wheel, beside wheels")):
        done = command.run("lock", pure.name, *words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in " ".join(done.stderr.replace("│", " ").split())
    with pytest.raises(Failed, match="no such file"):
        lock([tmp_path / "gone-1.0-py3-none-any.whl"])
