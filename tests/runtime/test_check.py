"""`conda2wheel check` in a real Pyodide: every way in which a wheel can disappoint is a result, and none is a traceback."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from conda2wheel.cli.check import check
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.terminal import PlainConsole
from conda2wheel.net.cache import cache_folder
from conda2wheel.net.download import FileRequests
from conda2wheel.net.npm import NpmPackage
from conda2wheel.net.urls import Address
from conda2wheel.pyodide import Checked, CheckOptions, check_each, check_wheels, fetch, pyodide_for
from conda2wheel.pyodide.check import pyodides_for
from conda2wheel.pyodide.lock import LockedPackage, Runtime
from conda2wheel.pyodide.node import find_node
from conda2wheel.pyodide.report import table
from conda2wheel.pyodide.wheelfile import modules, open_wheel
from tests.helpers import cache, clocks
from tests.helpers.engine_modules import engine_modules, packaged_node

pytestmark = pytest.mark.runtime

PYODIDE = "0.29.5"


def make(
    folder: Path, name: str, files: dict[str, str | bytes], *, version: str = "1.0", tag: str = "py3-none-any", fields: str = ""
) -> Path:
    """A wheel with these files, and no more ceremony than the loaders ask for."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{fields}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def from_pypi(name: str, version: str, python: str, platform: str) -> Path:
    """A real wheel, downloaded once."""
    folder = cache.root() / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    pattern = f"{name}-{version}-*{platform}.whl"
    if not list(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]
        command += [str(folder), "--python-version", python, "--platform", platform, f"{name}=={version}"]
        subprocess.run(command, check=True)
    return next(folder.glob(pattern))


def run(*wheels: Path, **options: object) -> list[Checked]:
    return check_wheels(wheels, **{"pyodide": PYODIDE, **options})  # type: ignore[arg-type]


@pytest.mark.cold
def test_a_good_wheel_is_imported_and_its_noise_is_not_taken_for_news(tmp_path: Path) -> None:
    noise = 'print(\'{"event":"fatal","error":"I am not the protocol"}\\n{"event":"done"}\')\n'
    wheel = make(tmp_path, "good", {"good/__init__.py": noise + "import sys\nprint('x' * 99999, file=sys.stderr)\n"})
    [result] = run(wheel)
    assert result.ok
    assert result.crash is None
    assert [(module.name, module.ok) for module in result.modules] == [("good", True)]
    assert result.installed == (wheel.name,)
    assert (result.pyodide, result.platform) == (PYODIDE, "pyemscripten_2025_0")
    assert result.json()["modules"][0]["error"] is None


def test_a_wheel_with_nothing_to_import_does_not_pass_unless_a_script_does(tmp_path: Path) -> None:
    wheel = make(tmp_path, "empty", {"empty/table.csv": "1\n"})
    [result] = run(wheel)
    assert (result.ok, result.unharmed, result.install_errors) == (False, True, ())
    assert [warning.code for warning in result.warnings] == ["no-modules"]
    assert result.line().startswith("FAILED")
    script = tmp_path / "script.py"
    script.write_text("print('ran')\n")
    assert run(wheel, script=script)[0].ok


@pytest.mark.parametrize(
    ("python", "platform", "pyodide"),
    [
        pytest.param("3.13", "pyemscripten_2025_0_wasm32", "0.29.5", marks=pytest.mark.long),
        ("3.14", "pyemscripten_2026_0_wasm32", "314.0.7"),
    ],
)
@pytest.mark.cold
def test_a_real_wheel_runs_in_the_pyodide_that_its_tag_names(python: str, platform: str, pyodide: str, tmp_path: Path) -> None:
    script = tmp_path / "use.py"
    script.write_text("import msgpack\nprint(msgpack.unpackb(msgpack.packb([1, 'a'])))\nprint('end', end='')\n")
    [result] = check_wheels([from_pypi("msgpack", "1.2.4", python, platform)], script=script)
    assert result.ok, result.json()
    assert result.pyodide == pyodide
    assert not result.warnings
    assert result.script is not None
    assert result.script.stdout.splitlines() == ["[1, 'a']", "end"]


@pytest.mark.parametrize(
    "pyodide", [pytest.param("0.22.1", marks=pytest.mark.long), "0.24.1", pytest.param("0.27.7", marks=pytest.mark.long)]
)
def test_old_pyodides_answer_too(pyodide: str, tmp_path: Path) -> None:
    wheel = make(tmp_path, "old", {"old_good.py": "", "old_bad.py": "raise ValueError('no')"})
    [result] = run(wheel, pyodide=pyodide)
    assert [(module.name, module.error) for module in result.modules] == [("old_bad", "ValueError: no"), ("old_good", None)]


def test_each_module_gets_a_verdict_though_others_kill_the_interpreter(tmp_path: Path) -> None:
    wheel = make(
        tmp_path,
        "deadly",
        {
            "m1_raises.py": "def deep():\n    return 1 / 0\ndeep()\n",
            "m2_exits.py": "import os\nprint('farewell', flush=True)\nos._exit(3)\n",
            "m3_leaves.py": "import js\njs.process.exit(4)\n",
            "m4_good.py": "",
            "m5_aborts.py": "import os\nos.abort()\n",
            "m6_system_exit.py": "raise SystemExit(5)\n",
            "m7_good.py": "",
        },
    )
    [result] = run(wheel)
    assert not result.ok
    reasons = {module.name[:2]: (module.ok, module.crash and module.crash.reason) for module in result.modules}
    assert reasons == {
        "m1": (False, None),
        "m2": (False, "fatal"),
        "m3": (False, "exit"),
        "m4": (True, None),
        "m5": (False, "fatal"),
        "m6": (False, None),
        "m7": (True, None),
    }
    assert result.crash is not None
    assert "farewell" in result.crash.last_words
    raised = result.modules[0]
    assert raised.error == "ZeroDivisionError: division by zero"
    assert raised.traceback is not None
    assert "return 1 / 0" in raised.traceback
    assert "try_import" not in raised.traceback
    assert "status 4" in (result.modules[2].error or "")


LOOPS = """
import itertools, pyodide_js
print("round", flush=True)
pyodide_js.mountNodeFS("/outside", {folder!r})
with open("/outside/rounds", "wb", buffering=0) as rounds:
    for number in itertools.count():
        rounds.seek(0)
        rounds.write(str(number).encode())
"""


def test_an_import_without_end_is_ended_and_the_rest_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    clock = clocks.Leaping(outside / "rounds", clocks.PATIENCE * 2 / 3)  # after two it is too late, after one it is not
    monkeypatch.setattr("conda2wheel.pyodide.node.time", clock)
    wheel = make(tmp_path, "loops", {"a_loops.py": LOOPS.format(folder=str(outside)), "b_good.py": ""})
    [result] = run(wheel, timeout=clocks.PATIENCE)
    assert result.crash is not None
    assert result.crash.reason == "timeout"
    assert "round" in result.crash.last_words
    assert [(module.name, module.ok) for module in result.modules] == [("a_loops", False), ("b_good", True)]


def test_a_start_that_never_comes_is_an_install_error_and_no_endless_retry(tmp_path: Path) -> None:
    [result] = run(make(tmp_path, "slow", {"slow.py": "", "slower.py": ""}), timeout=0.001)
    assert not result.ok
    assert result.crash is not None
    assert result.crash.reason == "timeout"
    assert len(result.install_errors) == 1
    assert [module.ok for module in result.modules] == [False, False]


def test_requirements_come_from_find_links_and_what_is_nowhere_is_a_warning(tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    make(links, "helper", {"helper.py": "version = 1"}, version="1.0")
    make(links, "helper", {"helper.py": "import deeper\nversion = 2"}, version="2.0", fields="Requires-Dist: Deeper\n")
    make(links, "helper", {"helper.py": "version = 3"}, version="3.0")
    make(links, "helper", {"helper.py": "version = 2.5"}, version="2.5", tag="cp312-cp312-pyemscripten_2024_0_wasm32")
    make(links, "deeper", {"deeper.py": ""}, fields="Requires-Dist: user\n")  # a cycle
    (links / "not a wheel.whl").write_bytes(b"")
    fields = (
        "Requires-Dist: helper<3\n"
        "Requires-Dist: nowhere>=7\n"
        "Requires-Dist: linux-only; sys_platform == 'linux'\n"
        "Requires-Dist: extra-only; extra == 'more'\n"
        "Requires-Dist: here-too; sys_platform == 'emscripten' and platform_machine == 'wasm32'\n"
    )
    wheel = make(tmp_path, "user", {"user.py": "import helper\nassert helper.version == 2\n"}, fields=fields)
    [result] = run(wheel, find_links=[links])
    assert result.ok, result.json()
    assert result.installed == ("deeper-1.0-py3-none-any.whl", "helper-2.0-py3-none-any.whl", wheel.name)
    assert [(w.code, w.message) for w in result.warnings] == [
        ("missing-requirement", "nowhere>=7"),
        ("missing-requirement", 'here-too; sys_platform == "emscripten" and platform_machine == "wasm32"'),
    ]


def test_a_requirement_may_be_another_wheel_of_the_call_and_a_missing_one_fails_the_import_that_needs_it(tmp_path: Path) -> None:
    base = make(tmp_path, "base", {"base.py": ""})
    fields = "Requires-Dist: base\nRequires-Dist: gone\n"
    user = make(tmp_path, "user", {"a_user.py": "import base", "b_lost.py": "import gone"}, fields=fields)
    first, second = run(base, user)
    assert first.ok
    assert second.installed == (base.name, user.name)
    assert [(module.name, module.error) for module in second.modules] == [
        ("a_user", None),
        ("b_lost", "ModuleNotFoundError: No module named 'gone'"),
    ]
    assert not second.ok
    assert [(warning.code, warning.message) for warning in second.warnings] == [("missing-requirement", "gone")]


def test_a_failing_script_is_a_failure_with_its_traceback(tmp_path: Path) -> None:
    wheel = make(tmp_path, "space", {"space/inner/__init__.py": "", "space/inner/deep.py": "", "space/alone.py": ""})
    script = tmp_path / "fails.py"
    script.write_text("import asyncio\nprint('before')\nawait asyncio.sleep(0)\nraise KeyError('lost')\n")
    [result] = run(wheel, script=script)
    assert [module.name for module in result.modules] == ["space.alone", "space.inner"]
    assert all(module.ok for module in result.modules)
    assert not result.ok
    assert result.script is not None
    assert result.script.stdout == "before\n"
    assert result.script.error == "KeyError: 'lost'"
    assert "raise KeyError('lost')" in (result.script.traceback or "")


def test_a_script_that_kills_the_interpreter_is_blamed_and_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "kills.py"
    script.write_text("import js\nprint('last words', flush=True)\njs.process.exit(0)\n")
    [result] = run(make(tmp_path, "calm", {"calm.py": ""}), script=script)
    assert result.modules[0].ok
    assert result.crash is not None
    assert result.crash.reason == "exit"
    assert "last words" in result.crash.last_words
    assert result.script is not None
    assert not result.script.ok


def test_a_module_that_cannot_be_loaded_and_a_tag_that_does_not_fit_are_told(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"native.cpython-313-wasm32-emscripten.so": b"not wasm", "pure.py": ""}
    wheel = make(tmp_path, "native", files, tag="cp313-cp313-pyemscripten_2026_0_wasm32")
    [result] = run(wheel)
    assert [warning.code for warning in result.warnings] == ["tag-mismatch"]
    assert result.unfit == ("tag-mismatch",)
    assert len(result.install_errors) == 1
    assert "native.cpython-313-wasm32-emscripten.so" in result.install_errors[0]
    assert {module.name: module.ok for module in result.modules} == {"native": False, "pure": True}


def test_a_wheel_for_another_python_does_not_pass_though_its_fallback_runs(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "fall/__init__.py": "try:\n    from fall import _fast\nexcept ImportError:\n    _fast = None\n",
        "fall/_fast.cpython-312-wasm32-emscripten.so": b"\0asm\1\0\0\0",
    }
    wheel = make(tmp_path, "fall", files, tag="cp312-cp312-pyodide_2024_0_wasm32")
    [result] = run(wheel)
    assert (result.ok, result.unfit) == (False, ("tag-mismatch",))
    assert result.line().endswith(", tag-mismatch)")


def test_a_crash_is_told_once(tmp_path: Path) -> None:
    script = tmp_path / "kills.py"
    script.write_text("import js\nprint('last words', flush=True)\njs.process.exit(3)\n")
    [result] = run(make(tmp_path, "calm", {"calm.py": ""}), script=script)
    shown = io.StringIO()
    console = PlainConsole(file=shown, width=200)
    console.print(table([result]))
    for detail in result.details():
        console.print(detail)
    assert shown.getvalue().count("last words") == 1
    assert shown.getvalue().count("node ended with status 3") == 1


def test_named_imports_replace_the_wheels_own(tmp_path: Path) -> None:
    wheel = make(tmp_path, "named", {"named/__init__.py": "", "named/sub.py": "", "other.py": "1/0"})
    [result] = run(wheel, imports=["named.sub", "json"])
    assert result.ok
    assert [module.name for module in result.modules] == ["named.sub", "json"]


def test_micropip_is_the_lock_files_or_none(tmp_path: Path) -> None:
    """PyPI's micropip differs from the lock file's digest in every Pyodide measured: then its CDN has to be reachable."""
    wheel = make(tmp_path, "picked", {"picked.py": ""})
    [result] = run(wheel, installer="micropip")
    assert result.crash is None
    kept = {file.name for file in (cache_folder() / "packages" / PYODIDE).iterdir()}
    if result.ok:
        assert any(name.startswith("micropip-") for name in kept)
    else:
        assert any(error.startswith("micropip: ") for error in result.install_errors)
        assert [warning.code for warning in result.warnings] == ["not-from-pypi"]
        assert [module.error for module in result.modules] == ["not tried: micropip could not be loaded"]
        assert not any(name.startswith("micropip-") for name in kept)


def test_a_cached_package_that_the_lock_file_does_not_vouch_for_is_thrown_away(tmp_path: Path) -> None:
    packages = {"micropip": LockedPackage("micropip", "1", "micropip-1-py3-none-any.whl", "0" * 64, ())}
    runtime = Runtime("0.29.5", tmp_path, "3.13.2", "4.0.9", "2025_0", packages)
    folder = fetch.package_cache(runtime, tmp_path)
    (folder / "micropip-1-py3-none-any.whl").write_bytes(b"tampered with")
    fetch.package_cache(runtime, tmp_path)
    assert list(folder.iterdir()) == []


def test_a_damaged_download_is_refused_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "damaged.tgz"
    damaged.write_bytes(b"\x1f\x8b not what npm promised")
    package = NpmPackage("pyodide", PYODIDE, Address(damaged.as_uri()), "sha512-")
    monkeypatch.setattr(fetch, "npm_package", lambda *_: package)
    monkeypatch.setattr(FileRequests, "get", lambda _self, _url, out, _max: out.write(damaged.read_bytes()))
    with pytest.raises(Failed, match=r"damaged") as caught:
        check_wheels([make(tmp_path, "any", {"a.py": ""})], pyodide=PYODIDE, cache=tmp_path / "cache")
    assert caught.value.code == "network"
    assert [path.name for path in (tmp_path / "cache" / "pyodide").iterdir()] == [f".users-of-{PYODIDE}"]  # a file lock's


@pytest.mark.parametrize(
    "name", ["package/../../evil", "elsewhere/evil", "/package/evil", "package/..\\evil", "package/C:evil", "package/nul.js"]
)
def test_an_archive_that_points_outside_is_not_unpacked(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name))
    (tmp_path / "out").mkdir()
    with pytest.raises(Failed, match="does not belong there"):
        fetch.unpack(tmp_path / "bad.tgz", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_pyodide_follows_from_the_tag_or_the_company_or_requires_python(tmp_path: Path) -> None:
    native = open_wheel(make(tmp_path, "n", {"n.py": ""}, tag="cp312-cp312-pyodide_2024_0_wasm32"))
    pure = open_wheel(make(tmp_path, "p", {"p.py": ""}))
    bounded = open_wheel(make(tmp_path, "b", {"b.py": ""}, fields="Requires-Python: >=3.10,<3.14\n"))
    assert pyodide_for(native) == "0.27.7"
    assert pyodide_for(pure, [pure, native]) == "0.27.7"
    assert pyodide_for(pure) == "314.0.7"
    assert pyodide_for(bounded) == "0.29.5"
    exact = open_wheel(make(tmp_path, "e", {"e.py": ""}, tag="cp312-none-any"))
    assert pyodide_for(exact) == "0.27.7"
    several = open_wheel(make(tmp_path, "s", {"s.py": ""}, tag="cp312-abi3-pyodide_2024_0_wasm32.pyemscripten_2025_0_wasm32"))
    assert pyodides_for(several) == ("0.27.7", "0.29.5")
    for tag in ("cp313-cp313-emscripten_3_1_73_wasm32", "cp313-cp313-manylinux_2_28_x86_64"):
        foreign = open_wheel(make(tmp_path, "f", {"f.py": ""}, tag=tag))
        with pytest.raises(Refused) as caught:
            pyodide_for(foreign)
        assert caught.value.code == "unknown-abi"
        assert "--pyodide" in caught.value.hint


def test_modules_are_found_where_a_user_would_import_them(tmp_path: Path) -> None:
    wheel = make(
        tmp_path,
        "many",
        {
            "pkg/__init__.py": "",
            "pkg/sub/__init__.py": "",
            "native/__init__.abi3.so": b"",
            "fast.cpython-313-wasm32-emscripten.so": b"",
            "foreign.cpython-312-wasm32-emscripten.so": b"",
            "stable.abi3.so": b"",
            "plain.so": b"..PyInit_plain..",
            "libplain.so": b"\0asm",
            "ns/deep/real/__init__.py": "",
            "ns/data/readme.txt": "",
            "many.libs/libz.so": b"PyInit_libz",
            "many-1.0.data/scripts/tool.py": "",
            "pkg-stubs/__init__.pyi": "",
            "not-a-name.py": "",
            "class.py": "",
        },
    )
    expected = ("fast", "native", "ns.deep.real", "pkg", "plain", "stable")
    assert modules(open_wheel(wheel), "3.13") == expected


def test_no_node_and_an_old_node_are_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no program") as caught:
        find_node({"CONDA2WHEEL_NODE": str(tmp_path / "none")})
    assert caught.value.code == "dependency"
    assert "conda2wheel-wasm[check]" in caught.value.hint
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v16.20.2\n")
    old.chmod(0o755)
    with pytest.raises(Failed, match=r"v16\.20\.2, which is too old"):
        find_node({"CONDA2WHEEL_NODE": str(old)})


def test_the_command_line_says_bad_input_in_one_line_and_checks_the_rest(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(check)
    (tmp_path / "broken-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 no more")
    (tmp_path / "notes.txt").write_text("not a wheel")
    bad = [str(tmp_path / name) for name in ("broken-1.0-py3-none-any.whl", "notes.txt", "missing-1.0-py3-none-any.whl")]
    good = make(tmp_path, "fine", {"fine.py": ""})
    answer = CliRunner().invoke(app, [*bad, str(good), "--pyodide", PYODIDE, "--json"])
    assert answer.exit_code == 1
    assert [line.split(": ")[:3] for line in answer.stderr.splitlines()] == [
        ["conda2wheel", "error", "corrupt-archive"],
        ["conda2wheel", "error", "corrupt-archive"],
        ["conda2wheel", "error", "not-found"],
        ["conda2wheel", "2 refused, 1 failed, 1 passed"],
    ]
    document = json.loads(answer.stdout)
    assert document["schema"] == 1
    assert [entry["ok"] for entry in document["results"]] == [False, False, False, True]

    script = tmp_path / "script.py"
    script.write_text("print('seen from outside')")
    answer = CliRunner().invoke(app, [str(good), "--pyodide", PYODIDE, "--run", str(script)])
    assert answer.exit_code == 0
    assert answer.stdout == f"ok {good.name} (Pyodide {PYODIDE}, 1 of 1 modules)\n"
    assert "seen from outside" in answer.stderr  # what a script prints is shown
    assert "│ fine-1.0 " in answer.stderr  # of the name what fits beside an error on a line
    gone = str(tmp_path / "gone.py")
    for option in (["--pyodide", "../x"], ["--pyodide", "9"], ["--find-links", gone], ["--run", gone]):
        assert CliRunner().invoke(app, [str(good), *option]).exit_code == 2


def test_a_refused_wheel_does_not_keep_the_others_from_their_verdict(tmp_path: Path) -> None:
    foreign = make(tmp_path, "foreign", {"f.py": ""}, tag="cp313-cp313-manylinux_2_28_x86_64")
    good = make(tmp_path, "good", {"good.py": ""}, fields="Requires-Python: <3.14\n")
    (_, first), (_, second) = check_each([foreign, good], CheckOptions())
    assert isinstance(first, Refused)
    assert isinstance(second, Checked)
    assert second.ok


def test_a_wheel_that_needs_a_newer_node_says_which(tmp_path: Path) -> None:
    (needy,) = (each for each in engine_modules() if each.name == "page_size")  # of no node
    wheel = make(tmp_path, "needy", {"needy/__init__.py": "raise ImportError('no library')", "needy/libneedy.so": needy.data})
    [result] = run(wheel)
    assert not result.ok
    version = subprocess.run([find_node().path, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    lack = {"wheel": wheel.name, "module": "needy/libneedy.so", "feature": "custom-page-sizes", "needs": None}
    assert result.json()["engine"] == {"node": version.removeprefix("v"), "lacks": [lack]}
    assert any("needs a memory with pages of its own size, which node" in line for line in result.details())


@pytest.mark.long
def test_typed_references_run_from_node_22_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (typed,) = (each for each in engine_modules() if each.name == "typed_parameter")
    script = "import ctypes, typed, os; ctypes.CDLL(os.path.dirname(typed.__file__) + '/libtyped.so')"
    wheel = make(tmp_path, "typed", {"typed/__init__.py": "", "typed/libtyped.so": typed.data})
    run_file = tmp_path / "run.py"
    run_file.write_text(script)
    outcomes = {}
    for version in ("20.18.0", "24.19.0"):
        monkeypatch.setenv("CONDA2WHEEL_NODE", str(packaged_node(version)))
        [result] = run(wheel, pyodide="314.0.7", script=run_file)
        outcomes[version] = (result.ok, [(each.feature, each.since) for each in result.lacking])
    assert outcomes == {"20.18.0": (False, [("typed-references", "22")]), "24.19.0": (True, [])}
