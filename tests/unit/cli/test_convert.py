"""`conda2wheel convert` and `inspect`: stdout, stderr, exit status and files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.helpers import command, conda, judges, killed, zig
from tests.helpers.cache import REPOSITORY
from tests.helpers.systems import IS_ROOT

CLI = [sys.executable, "-m", "conda2wheel"]
ABOUT = {"license": "MIT", "summary": "a demo"}


run = command.run


def demo(name: str = "demo", version: str = "1.0") -> Path:
    return conda.assemble(name, version, {"site-packages/demo.py": "x = 1\n"}, noarch="python", string="pyh1_0", about=ABOUT)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The single error line of a command that did nothing."""
    lines = done.stderr.splitlines()
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("conda2wheel: error: ")
    assert "Traceback" not in done.stderr
    return lines[0]


def test_convert_prints_the_wheels_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    done = run("convert", demo(), demo("other"), "-o", tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [str(tmp_path / "demo-1.0-py3-none-any.whl"), str(tmp_path / "other-1.0-py3-none-any.whl")]
    for wheel in tmp_path.iterdir():
        judges.judge(wheel)


def test_the_output_folder_is_dist_by_default(tmp_path: Path) -> None:
    assert run("convert", demo(), cwd=tmp_path).stdout == "dist/demo-1.0-py3-none-any.whl\n"
    assert (tmp_path / "dist" / "demo-1.0-py3-none-any.whl").is_file()


def test_no_path_at_all_is_not_the_working_folder(tmp_path: Path) -> None:
    said = one_line(run("convert", "", cwd=conda.unpack(demo())))
    assert said == "conda2wheel: error: not-found: '': no such file (check the path)"


def test_json_is_one_document_of_the_contract(tmp_path: Path) -> None:
    missing = tmp_path / "missing.tar.bz2"
    library = conda.assemble("zlib", "1.3", {"lib/libz.a": "!<arch>\n"})
    done = run("convert", demo(), library, missing, "-o", tmp_path / "dist", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    converted, refused, failed = document["results"]
    keys = (
        "source status code message hint wheel filename sha256 platform name version requires vendored provided warnings seconds"
    )
    for result in document["results"]:
        assert set(keys.split()) <= result.keys()
        assert isinstance(result["seconds"], float)
    assert (converted["status"], converted["code"], converted["filename"]) == ("converted", None, "demo-1.0-py3-none-any.whl")
    assert converted["wheel"] == str(tmp_path / "dist" / "demo-1.0-py3-none-any.whl")
    assert len(converted["sha256"]) == 64
    assert (refused["status"], refused["code"], refused["wheel"]) == ("refused", "static-library", None)
    assert refused["message"]
    assert refused["hint"]
    assert (failed["status"], failed["code"]) == ("failed", "not-found")


def test_json_lists_vendored_libraries_and_warnings(tmp_path: Path) -> None:
    lib = zig.shared_library("libz.so", "int z(void) { return 1; }", exports=["z"])
    source = zig.extension("_m", {"f": zig.integer("z()")}, declarations="extern int z(void);")
    module = zig.side_module("_m", source, needed=[lib])
    needs = ["emscripten-abi >=4,<5.0a0", "python_abi 3.13.* *_cp313"]
    package = conda.assemble("pkg", "1.0", {f"lib/python3.13/site-packages/{module.name}": module}, depends=needs, about=ABOUT)
    brings = conda.assemble("zlib", "1.3", {"lib/libz.so": lib}, depends=needs[:1], licenses={"LICENSE": "zlib"})
    (result,) = json.loads(run("convert", package, "--libdir", brings, "-o", tmp_path, "--json").stdout)["results"]
    assert result["platform"] == "pyemscripten_2025_0_wasm32"
    (library,) = result["vendored"]
    assert library["name"].startswith("pkg.libs/libz-")
    assert library["from"] == "zlib-1.3-h1234567_0:lib/libz.so"
    assert library["needed_by"] == [module.name]
    assert {"code": "no-metadata", "file": "METADATA"}.items() <= result["warnings"][0].items()


def test_what_was_noticed_before_a_refusal_is_said_after_it(tmp_path: Path) -> None:
    lost: dict[str, conda.Content | None] = {
        "lib/libz.a": "!<arch>\n",
        "share/a": conda.Link("nowhere"),
        "share/b": conda.Link("nowhere"),
    }
    library = conda.repack(conda.assemble("zlib", "1.3", {"lib/libz.a": "!<arch>\n"}), lost)
    folded = run("convert", library, "-o", tmp_path).stderr.splitlines()
    assert [
        "error: static-library" in folded[0],
        *(line.endswith(" [link-left-out; -v shows all]") for line in folded[1:]),
    ] == [
        True,
        True,
    ]
    assert len(run("convert", library, "-o", tmp_path, "-v").stderr.splitlines()) == 3
    (result,) = json.loads(run("convert", library, "-o", tmp_path, "--json").stdout)["results"]
    assert [warning["file"] for warning in result["warnings"]] == ["share/a", "share/b"]


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    done = run("convert", demo(), "-o", tmp_path / "dist", "--dry-run", "--json")
    (result,) = json.loads(done.stdout)["results"]
    assert (done.returncode, result["wheel"], result["sha256"]) == (0, None, None)
    assert result["filename"] == "demo-1.0-py3-none-any.whl"
    assert not (tmp_path / "dist").exists()


def test_options_reach_the_wheel(tmp_path: Path) -> None:
    module = zig.side_module("_m", zig.extension("_m", {"f": zig.integer("1")}))
    files: conda.Files = {
        f"lib/python3.13/site-packages/{module.name}": module,
        "lib/python3.13/site-packages/pad.py": "# pad\n" * 9999,
    }
    both = datetime(2026, 1, 1, tzinfo=UTC)  # channels of two toolchains built cp313 then
    package = conda.assemble("pkg", "1.0", files, depends=["python_abi 3.13.* *_cp313"], about=ABOUT, when=both)
    assert "unknown-abi" in one_line(run("convert", package, "-o", tmp_path))
    sizes = {}
    for level in (1, 12):
        done = run("convert", package, "-o", tmp_path / str(level), "--platform", "0.29.5", "--compat-tags", "--level", level)
        wheel = Path(done.stdout.strip())
        assert wheel.name == "pkg-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.pyodide_2025_0_wasm32.whl"
        judges.judge(wheel)
        sizes[level] = wheel.stat().st_size
    assert sizes[12] < sizes[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert"],
        ["convert", "x", "--level", "13"],
        ["convert", "x", "--platform", "nonsense"],
        ["nonsense"],
        ["--nonsense"],
        ["convert", "x", "--max-size", "a lot"],
    ],
)
def test_a_wrong_command_line_is_status_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def damaged(kind: str, folder: Path) -> Path:
    """An input that is no package, or a damaged one."""
    whole = demo().read_bytes()
    zipped = conda.assemble("demo", "1.0", {"site-packages/demo.py": "x = 1\n"}, noarch="python", archive="conda").read_bytes()
    path = folder / "demo-1.0-pyh1_0.tar.bz2"
    contents = {
        "truncated": whole[: len(whole) // 2],
        "truncated conda": zipped[: len(zipped) // 2],
        "corrupted": whole[:200] + bytes(b ^ 0x55 for b in whole[200:260]) + whole[260:],
        "corrupted conda": zipped[:300] + bytes(b ^ 0x55 for b in zipped[300:360]) + zipped[360:],
        "empty": b"",
        "text": b"hello, I am a text file\n",
        "wheel": _wheel(),
        "gzip of nothing": b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0",
    }
    if kind == "directory":
        path.mkdir()
    elif kind == "unreadable":
        (folder / "file").write_text("")
        return folder / "file" / "demo-1.0-pyh1_0.tar.bz2"
    elif kind != "missing":
        path.write_bytes(contents[kind])
    return path


def _wheel() -> bytes:
    import io

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("demo-1.0.dist-info/WHEEL", "")
    return stream.getvalue()


@pytest.mark.parametrize("command", ["convert", "inspect"])
@pytest.mark.parametrize(
    "kind",
    [
        "truncated",
        "truncated conda",
        "corrupted",
        "corrupted conda",
        "empty",
        "text",
        "wheel",
        "gzip of nothing",
        "directory",
        "missing",
        "unreadable",
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(command: str, kind: str, tmp_path: Path) -> None:
    out = tmp_path / "dist"
    path = damaged(kind, tmp_path)
    line = one_line(run(command, path, *(["-o", out] if command == "convert" else [])))
    assert str(path) in line
    assert not out.exists()


def test_one_bad_source_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "empty.conda").write_bytes(b"")
    done = run("convert", tmp_path / "empty.conda", demo(), "-o", tmp_path / "dist")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [str(tmp_path / "dist" / "demo-1.0-py3-none-any.whl")]


@pytest.mark.skipif(not IS_ROOT, reason="only root can become a user who may not read the file")
def test_an_unreadable_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "secret.tar.bz2"
    path.write_bytes(demo().read_bytes())
    path.chmod(0o600)
    # A first conversion as root imports everything: the other user may not read this Python's own files either. What cannot be
    # seen, since its folder cannot be read, is looked for in channels, too.
    code = (
        "import os, sys, conda2wheel.channels.search\n"
        "from conda2wheel.cli import app, main\n"
        f"app(['convert', {str(demo())!r}, '-o', {str(tmp_path / 'first')!r}], standalone_mode=False)\n"
        "sys.stdout.flush(); os.setuid(65534); print('BORDER', file=sys.stderr)\n"
        f"sys.argv = ['conda2wheel', 'convert', {str(path)!r}]; main()"
    )
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    done.stdout, done.stderr = "", done.stderr.rpartition("BORDER\n")[2]
    assert "permission denied" in one_line(done).lower()


def test_a_killed_conversion_leaves_no_partial_wheel(tmp_path: Path) -> None:
    """SIGKILL before each step that touches the folder of the wheel: it is whole or not there."""
    package = demo()
    assert run("convert", package, "-o", tmp_path / "whole").returncode == 0
    (reference,) = (tmp_path / "whole").iterdir()
    for number in range(1, 99):
        out = tmp_path / str(number)
        command = killed.command(number, f"{out}*", "conda2wheel", "convert", package, "-o", out)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
        left = list(out.glob("*.whl"))
        assert all(path.read_bytes() == reference.read_bytes() for path in left)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert left == []
        assert run("convert", package, "-o", out).returncode == 0
        assert (out / reference.name).read_bytes() == reference.read_bytes()
    assert number > 3


def test_a_terminated_conversion_removes_its_temporary_files(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from conda2wheel.files import writing; from conda2wheel.cli import main\n"
        "real = os.fsync\n"
        "def fsync(fd): os.kill(os.getpid(), signal.SIGTERM); real(fd)\n"
        "writing.os.fsync = fsync\n"
        f"sys.argv = ['conda2wheel', 'convert', {str(demo())!r}, '-o', {str(tmp_path / 'dist')!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGTERM
    assert list((tmp_path / "dist").iterdir()) == []


def test_inspect_shows_a_package_a_wheel_and_a_module(tmp_path: Path) -> None:
    module = zig.side_module("_m", zig.extension("_m", {"f": zig.integer("1")}), needed=["libz.so"], rpath=["$ORIGIN"])
    needs = ["emscripten-abi >=4,<5.0a0", "python_abi 3.13.* *_cp313"]
    package = conda.assemble("pkg", "1.0", {f"lib/python3.13/site-packages/{module.name}": module}, depends=needs, about=ABOUT)
    wheel = Path(run("convert", demo(), "-o", tmp_path).stdout.strip())
    done = run("inspect", package, wheel, module, "--json")
    assert done.returncode == 0
    results = json.loads(done.stdout)["results"]
    assert [result["kind"] for result in results] == ["package", "wheel", "module"]
    assert results[0]["wheel"] == "pkg-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl"
    assert results[0]["evidence"] == ["depends on emscripten-abi >=4,<5.0a0"]
    assert results[1]["tags"] == ["py3-none-any"]
    for result in (results[0], results[2]):
        (found,) = result["modules"]
        assert (found["needed"], found["runtime_path"], found["init_functions"]) == (["libz.so"], ["$ORIGIN"], ["PyInit__m"])
    text = run("inspect", package, wheel, module).stdout
    for word in ("libz.so", "$ORIGIN", "pyemscripten_2025_0_wasm32", "py3-none-any"):
        assert word in text


def test_a_prefix_stands_for_its_packages(tmp_path: Path) -> None:
    from tests.helpers import installed

    prefix = installed.prefix(tmp_path / "env", [demo(), demo("other")], location=str(tmp_path / "env"))
    done = run("convert", prefix, "-o", tmp_path / "dist")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == [
        "demo-1.0-py3-none-any.whl",
        "other-1.0-py3-none-any.whl",
    ]


def test_help_and_version() -> None:
    assert run("--version").stdout.startswith("conda2wheel ")
    assert all(command in run("--help").stdout for command in ("convert", "inspect", "check"))


def test_the_shell_completes_commands() -> None:
    script = Path(sys.executable).with_name("conda2wheel")
    asked = {"_CONDA2WHEEL_COMPLETE": "complete_bash", "COMP_WORDS": "conda2wheel con", "COMP_CWORD": "1"}
    done = subprocess.run([script], env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["convert"]


def test_a_bug_is_an_internal_error_with_a_traceback_under_v(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import conda2wheel.commands.convert as command\n"
        "def broken(*a, **k): raise KeyError('oops')\n"
        f"command.convert_source = broken; sys.argv = ['conda2wheel', 'convert', *{[str(demo())]!r}, *sys.argv[1:]]\n"
        "from conda2wheel.cli import main; main()"
    )
    quiet = subprocess.run([sys.executable, "-c", code, "-o", str(tmp_path)], capture_output=True, text=True, check=False)
    assert "internal: " in one_line(quiet)
    loud = subprocess.run([sys.executable, "-c", code, "-o", str(tmp_path), "-v"], capture_output=True, text=True, check=False)
    assert "Traceback" in loud.stderr
    assert loud.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_result_that_cannot_be_written_is_one_line(options: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [*CLI, "convert", str(demo()), "-o", str(tmp_path), *options]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "warning" not in line]
    assert errors == ["conda2wheel: error: cannot write the result: No space left on device"]


def test_a_mistyped_libdir_is_an_error_even_if_no_library_is_needed(tmp_path: Path) -> None:
    done = run("convert", demo(), "--libdir", tmp_path / "nowhere", "-o", tmp_path / "dist")
    assert done.returncode == 2
    assert "nowhere: no such file or folder" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_inspect_gives_the_verdict_that_convert_gives() -> None:
    package = conda.assemble("python", "3.13.1", {"lib/python3.13/os.py": "", "bin/python3.13": "\0asm"})
    told = json.loads(run("inspect", package, "--json").stdout)["results"][0]
    assert (told["refused"], json.loads(run("convert", package, "--json").stdout)["results"][0]["code"]) == ("interpreter",) * 2


def test_a_mistyped_file_name_says_that_there_is_no_such_file() -> None:
    line = one_line(run("convert", "nonexist", "--channel", "http://127.0.0.1:9/none"))
    assert "nonexist: no such file here" in line


@pytest.mark.parametrize("words", ["check W.whl --pyodide 9", "check W.whl --pyodide 0.99", "convert P.conda --platform 0.99"])
def test_a_version_that_no_pyodide_has_is_a_wrong_command_line(words: str) -> None:
    done = run(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "0.29.5" in done.stderr
