"""The launcher starts WASI programs in wasmtime: arguments, environment, streams, status, folders, compiled code."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from conda2wheel.programs.template import launcher as template
from tests.helpers import wasi


def programs(folder: Path, files: Mapping[str, bytes], argv0: str | None = None) -> ModuleType:
    """The launcher of a package with these WASI programs, as a wheel has it."""
    binaries = folder / "programs" / "prefix" / "bin"
    binaries.mkdir(parents=True)
    rows = {}
    for name, data in files.items():
        (binaries / f"{name}.wasm").write_bytes(data)
        rows[name] = {"kind": "wasi", "file": f"bin/{name}.wasm", "sha256": name.ljust(64, "0"), "argv0": argv0 or name}
    table = {"schema": 1, "distribution": "demo", "version": "1.0", "programs": rows}
    (folder / "programs" / "programs.json").write_text(json.dumps(table))
    target = folder / "programs" / "launcher.py"
    shutil.copy(template.__file__, target)
    spec = importlib.util.spec_from_file_location("launcher_of_a_wheel", target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("CONDA2WHEEL_PROGRAMS_CACHE", str(cache))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return cache


def test_arguments_environment_and_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRUIT", "fig")
    monkeypatch.setenv("TMPDIR", "/var/elsewhere")
    started = programs(tmp_path, {"args": wasi.arguments(), "env": wasi.environment(), "three": wasi.status(3)})
    assert started.run("args", ["one", "", "zwei drei", "ä"]) == 0
    assert capfd.readouterr().out == "args\0one\0\0zwei drei\0ä\0"
    assert started.run("env", []) == 0
    variables = capfd.readouterr().out.split("\0")
    assert {"FRUIT=fig", "TMPDIR=/tmp", f"PWD={Path.cwd()}"} <= set(variables)
    assert started.run("three", []) == 3


def test_a_trap_is_one_line_and_a_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert programs(tmp_path, {"bad": wasi.trap()}).run("bad", []) == 134
    out, err = capfd.readouterr()
    assert (out, err) == ("", "bad: wasm `unreachable` instruction executed (WebAssembly trap in main)\n")


def test_files_of_the_working_directory_and_of_what_arguments_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in.txt").write_text("inside\n")
    Path("../secret.txt").write_text("secret\n")
    # The folders of a run: the working directory twice, those of arguments, /tmp, /prefix.
    started = programs(
        tmp_path,
        {"show": wasi.show("in.txt"), "leave": wasi.show("../secret.txt"), "named": wasi.show("secret.txt", 5)},
    )
    assert started.run("show", []) == 0
    assert capfd.readouterr().out == "inside\n"
    for names in ([], ["secret.txt"], ["--", "-I.."], [str(tmp_path / "none" / "x")]):
        assert started.run("leave", names) != 0
        assert started.run("named", names) != 0
    for names in (["../secret.txt"], ["--from=../secret.txt"], [f"-I{tmp_path}"], ["--", str(tmp_path / "new.txt")]):
        assert started.run("named", names) == 0
    monkeypatch.setenv("CONDA2WHEEL_DIRS", str(tmp_path))
    assert started.run("named", []) == 0
    assert capfd.readouterr().out == "secret\n" * 5


def test_its_own_files_are_there_and_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    writing = wasi.module(
        """(call $proc_exit (call $path_open (i32.const 6) (i32.const 0) (i32.const 256) (i32.const 3)
        (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 12)))""",
        data="new",
    )
    started = programs(tmp_path, {"data": wasi.show("share/x", 6), "writes": writing})
    share = tmp_path / "programs" / "prefix" / "share"
    share.mkdir()
    (share / "x").write_text("data\n")
    assert started.run("data", []) == 0
    assert capfd.readouterr().out == "data\n"
    assert started.run("writes", []) != 0
    assert not (tmp_path / "programs" / "prefix" / "new").exists()


def test_compiled_code_is_kept_for_this_user_alone(tmp_path: Path, own_cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    started = programs(tmp_path, {"args": wasi.arguments()})
    assert started.run("args", []) == 0
    (kept,) = own_cache.rglob("*.bin")
    assert kept.parent.name == "demo-1.0"
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    first = kept.read_bytes()
    stamp = kept.stat().st_mtime_ns
    assert started.run("args", []) == 0
    assert kept.stat().st_mtime_ns == stamp
    # Damaged anywhere, cut off, or somebody else's: compiled anew.
    for spoiled in (first[:-1], first[: len(first) // 2] + b"\xff" + first[len(first) // 2 + 1 :], b""):
        kept.write_bytes(spoiled)
        assert started.run("args", []) == 0
        assert kept.read_bytes()[:36] == first[:36]
    kept.chmod(0o666)
    assert started._read_cache(str(kept)) is None
    kept.chmod(0o600)
    kept.parent.chmod(0o777)
    assert started._read_cache(str(kept)) is None
    assert capfd.readouterr().out == "args\0" * 5


def test_without_a_cache_that_can_be_written_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    started = programs(tmp_path, {"args": wasi.arguments()})
    Path("file").write_text("")
    for value in (str(Path("file").resolve()), "", "relative"):
        monkeypatch.setenv("CONDA2WHEEL_PROGRAMS_CACHE", value)
        assert started.run("args", []) == 0
    assert capfd.readouterr().out == "args\0" * 3
    assert os.listdir() == ["file"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["x", "sub/x", "./sub", "-o", "x", "--out=x", "s/a/b/", "none/../x"], ["none/.."]),
        (["/"], ["/"]),
        (["/pattern", "-e/pattern"], []),
        ([".."], [".."]),
        (["../x", "../x"], [".."]),
        (["-I..", "--sysroot=../..", "@../rsp", "if=../in"], ["..", "../.."]),
        (["-o../out"], [".."]),
        (["--", "-I..", "--x=../y", "../z"], [".."]),
    ],
)
def test_what_arguments_name(arguments: list[str], named: list[str]) -> None:
    Path("sub").mkdir()
    Path("none").mkdir()
    given, granted = template.folders(arguments, os.getcwd())
    assert given == arguments
    assert [each.guest for each in granted if each.guest not in (".", os.getcwd())] == named


def test_windows_paths_have_slashes(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "sep", "\\")
        found = [template.posix(path) for path in ("C:\\data\\x", "sub\\x", "\\\\server\\share")]
    assert found == ["/C:/data/x", "sub/x", "//server/share"]


def test_what_is_missing_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    started = programs(tmp_path, {"args": wasi.arguments(), "damaged": b"\0asm\1\0\0\0\xff"})
    assert started.run("other", []) == 2
    assert started.run("args", ["\udcff"]) == 2
    assert started.run("damaged", []) == 2
    monkeypatch.setenv("CONDA2WHEEL_DIRS", "/does/not/exist")
    assert started.run("args", []) == 2
    monkeypatch.setitem(__import__("sys").modules, "wasmtime", None)
    monkeypatch.delenv("CONDA2WHEEL_DIRS")
    assert started.run("args", []) == 2
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["other", "args", "damaged", "args", "args"]
    assert "pip install wasmtime" in lines[-1]
