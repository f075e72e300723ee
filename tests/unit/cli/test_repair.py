"""`conda2wheel repair`: stdout, stderr, exit status and files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from conda2wheel import Failed, Repaired
from conda2wheel.commands.repair import repair_each
from tests.helpers import zig
from tests.helpers.foreign import Foreign, unvendored
from tests.unit.cli.test_convert import one_line, run

TAG = "cp313-cp313-pyemscripten_2025_0_wasm32"
PURE = Foreign("py3-none-any", {"pure.py": "x = 1\n"}, name="pure", purelib=True)


def old(folder: Path) -> Path:
    """A wheel that needs nothing but its new tag."""
    module = zig.side_module("_x", zig.extension("_x", {"answer": zig.integer("42")}))
    return Foreign("cp313-cp313-pyodide_2025_0_wasm32", {f"pkg/{module.name}": module}).write(folder)


def test_one_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    needing = unvendored(zig.chain(), "313", "pyemscripten_2025_0_wasm32").write(tmp_path)
    damaged = tmp_path / "damaged-1.0-py3-none-any.whl"
    damaged.write_bytes(b"PK\3\4")
    done = run("repair", needing, damaged, tmp_path / "gone.whl", old(tmp_path), PURE.write(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [f"dist/pkg-1.0-{TAG}.whl", "dist/pure-1.0-py3-none-any.whl"]
    codes = [line.split(": ")[2] for line in done.stderr.splitlines() if line.startswith("conda2wheel: error: ")]
    assert codes == ["missing-library", "corrupt-archive", "not-found"]
    assert "retagged" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == [f"pkg-1.0-{TAG}.whl", "pure-1.0-py3-none-any.whl"]


def test_the_hint_for_a_package_is_convert(tmp_path: Path) -> None:
    package = tmp_path / "six-1.17.0-pyhd8ed1ab_0.conda"
    package.write_bytes(b"PK\3\4")
    said = one_line(run("repair", package, cwd=tmp_path))
    assert said.startswith(f"conda2wheel: error: corrupt-archive: {package}: not a wheel: ")
    assert said.endswith("(give a wheel; conda2wheel convert makes one of a package)")


def test_json_is_one_document(tmp_path: Path) -> None:
    done = run(
        "repair", old(tmp_path), PURE.write(tmp_path), tmp_path / "gone-1.0-py3-none-any.whl", "-o", tmp_path / "o", "--json"
    )
    assert done.returncode == 1
    results = json.loads(done.stdout)["results"]
    assert [result["status"] for result in results] == ["repaired", "copied", "failed"]
    assert [result["code"] for result in results] == [None, None, "not-found"]
    assert results[0].keys() == results[1].keys() == results[2].keys()


def test_all_done_is_0_and_quiet(tmp_path: Path) -> None:
    done = run("repair", PURE.write(tmp_path), "-o", tmp_path / "out", "-v")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out/pure-1.0-py3-none-any.whl\n")
    assert done.stderr == "pure-1.0-py3-none-any.whl: needed no change, copied\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--platform", "nonsense"], "neither auto, nor a platform tag"),
        (["--platform", "0.99"], "pyemscripten_2025_0_wasm32"),  # what it could be
        (["--libdir", "nowhere"], "no such file or folder"),
        (["--allow", "fake-dylib"], "not a code that can be allowed"),
        (["--max-size", "large"], "is not a size"),
        (["--nothing"], "No such option"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = run("repair", PURE.write(tmp_path), *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, said in done.stderr) == (2, "", True)
    assert not (tmp_path / "dist").exists()


def test_limits_are_enforced(tmp_path: Path) -> None:
    assert "too-large" in one_line(run("repair", PURE.write(tmp_path), "--max-members", "2", cwd=tmp_path))


def test_the_original_is_not_replaced(tmp_path: Path) -> None:
    chain = zig.chain()
    wheel = unvendored(chain, "313", "pyemscripten_2025_0_wasm32").write(tmp_path)
    before = wheel.read_bytes()
    libdirs = ["--libdir", chain.base.parent, "--libdir", chain.count.parent]
    done = run("repair", wheel, "-o", tmp_path, *libdirs)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "would replace it" in done.stderr
    assert wheel.read_bytes() == before
    assert run("repair", wheel, "-o", tmp_path / "out", *libdirs).returncode == 0


def test_two_builds_of_one_file_name_are_a_warning(tmp_path: Path) -> None:
    two = [old(tmp_path / "a"), old(tmp_path / "b")]
    (_, first), (_, second) = repair_each(two, out=tmp_path / "out")
    assert "replaced-wheel" not in str(first)
    assert "replaced-wheel" in str(second)


def test_a_bug_is_an_internal_error_and_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["conda2wheel.commands.repair"], "retag", lambda *_: 1 / 0)
    (_, broken), (_, fine) = repair_each([old(tmp_path), PURE.write(tmp_path)], out=tmp_path / "out")
    assert isinstance(broken, Failed)
    assert (broken.code, type(broken.__cause__)) == ("internal", ZeroDivisionError)
    assert isinstance(fine, Repaired)
