"""`conda2wheel audit`: stdout, stderr and exit status for all kinds of inputs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conda2wheel import audit, repair
from conda2wheel.abi import symbols
from conda2wheel.abi.platforms import for_pyodide, parse
from tests.helpers import command, conda, handmade, shapes, zig
from tests.helpers.foreign import Foreign

CLI = [sys.executable, "-m", "conda2wheel", "audit"]
TAG = "cp313-cp313-pyemscripten_2025_0_wasm32"
SUFFIX = zig.suffix("313")
PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
SHARED = "extern int shared(void);"


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return command.run("audit", *arguments, cwd=cwd)


def results_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The results of the one document on stdout."""
    document = json.loads(done.stdout)
    assert document.keys() == {"schema", "results"}
    assert document["schema"] == 1
    results: list[dict[str, Any]] = document["results"]
    return results


@cache
def answering(name: str, expression: str = "42", declarations: str = "", needed: tuple[str, ...] = ()) -> bytes:
    code = zig.extension(name, {"go": zig.integer(expression)}, declarations=declarations)
    return zig.side_module(name, code, needed=needed, rpath=["$ORIGIN"] if needed else []).read_bytes()


@cache
def library(number: int) -> bytes:
    return zig.shared_library("libshared.so", f"int shared(void) {{ return {number}; }}", exports=["shared"]).read_bytes()


def wheel(folder: Path, name: str, files: Mapping[str, conda.Content], tag: str = TAG, **options: Any) -> Path:
    return Foreign(tag, files, name=name, **options).write(folder)


def good(folder: Path, name: str = "good", tag: str = TAG) -> Path:
    return wheel(folder, name, {f"{name}/_x{SUFFIX}": answering("_x")}, tag)


def bad(folder: Path, name: str = "bad") -> Path:
    """A wheel that ends the interpreter when it calls nope()."""
    return wheel(folder, name, {f"{name}/_x{SUFFIX}": answering("_x", "nope()", "extern int nope(void);")})


def user(folder: Path, name: str = "user", more: Mapping[str, conda.Content] | None = None) -> Path:
    """A wheel that imports shared() from libshared.so."""
    module = answering("_u", "shared()", SHARED, ("libshared.so",))
    return wheel(folder, name, {f"{name}/_u{SUFFIX}": module, **(more or {})})


def damaged(folder: Path, name: str = "truncated-1.0-py3-none-any.whl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(b"PK\x03\x04 and no more")
    return path


def test_good_wheels_are_a_line_each_and_the_pyodides_in_which_they_run(tmp_path: Path) -> None:
    paths = [good(tmp_path), good(tmp_path, "other")]
    done = run(paths[0])
    assert (done.returncode, done.stdout) == (0, f"{paths[0]}: runs on Pyodide 0.29.5\n")
    where = "in Pyodide 0.28.3, 0.29.5 (-v shows the matrix)"
    assert done.stderr == f"conda2wheel: {paths[0].name} runs {where}\n"
    done = run(*paths)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert done.stderr == f"conda2wheel: 2 wheels run {where}\nconda2wheel: 2 run\n"


def test_neighbours_of_one_verdict_share_a_row_of_the_matrix(tmp_path: Path) -> None:
    shown = run(bad(tmp_path)).stderr
    rows = re.findall(r"^  (\d\S+(?: to \S+)?) .*?(runs except|does not load)\b", shown, re.MULTILINE)
    assert rows == [
        (f"{symbols.known()[0]} to 0.27.7", "does not load"),
        ("0.28.3 to 0.29.5", "runs except"),
        (f"314.0.7 to {symbols.known()[-1]}", "does not load"),
    ]


def test_a_good_wheel_has_its_matrix_with_v(tmp_path: Path) -> None:
    path = good(tmp_path)
    done = run(path, "-v")
    assert done.returncode == 0
    assert done.stdout == f"{path}: runs on Pyodide 0.29.5\n"
    rows = re.findall(r"^  (\d\S+) +(\S+) +(runs|does not load)\b", done.stderr, re.MULTILINE)
    assert [row[0] for row in rows] == list(symbols.known())
    assert [row[0] for row in rows if row[2] == "runs"] == ["0.28.3", "0.29.5"]
    assert max(map(len, done.stderr.splitlines())) <= 130


def test_a_fatal_finding_names_the_symbol_and_is_status_1(tmp_path: Path) -> None:
    path = bad(tmp_path)
    done = run(path)
    assert done.returncode == 1
    assert done.stdout == f"{path}: runs on Pyodide 0.29.5 except for bad/_x{SUFFIX} (nope)\n"
    assert "unresolved-symbol  imports function nope" in done.stderr
    assert f"in bad/_x{SUFFIX}" in done.stderr


def test_fail_on_sets_the_severity_from_which_on_the_exit_status_is_1(tmp_path: Path) -> None:
    unloadable = answering("_x", "nope", "extern int nope;")
    unstable = "PyUnstable_InterpreterFrame_GetLine"  # is not in the limited API
    beyond = answering("_x", f"{unstable}(0)", f"extern int {unstable}(void *);")
    paths = {
        "load": wheel(tmp_path, "load", {f"load/_x{SUFFIX}": unloadable}),
        "fatal": bad(tmp_path, "fatal"),
        "suspicious": wheel(tmp_path, "stable", {"stable/_x.abi3.so": beyond}, TAG.replace("cp313-cp313", "cp313-abi3")),
        "none": good(tmp_path),
    }
    severities = ["load", "fatal", "suspicious", "none"]
    for place, severity in enumerate(severities[:3]):
        status = {name: run(path, "--fail-on", severity).returncode for name, path in paths.items()}
        assert status == {name: int(severities.index(name) <= place) for name in severities}
    shown = [run(path).stdout.removeprefix(f"{path}: ") for path in paths.values()]
    assert shown == [
        "does not load on Pyodide 0.29.5 (1 load)\n",
        f"runs on Pyodide 0.29.5 except for fatal/_x{SUFFIX} (nope)\n",
        "runs on Pyodide 0.29.5 (1 suspicious)\n",
        "runs on Pyodide 0.29.5\n",
    ]
    verdicts = [result["verdict"] for path in paths.values() for result in results_of(run(path, "--json"))]
    assert verdicts == ["does-not-load", "runs-except", "runs", "runs"]
    assert run(paths["none"], "--fail-on", "note").returncode == 2


def test_a_folder_stands_for_its_wheels_and_a_damaged_one_stops_none(tmp_path: Path) -> None:
    paths = [good(tmp_path), damaged(tmp_path), wheel(tmp_path, "pure", {"pure.py": ""}, "py3-none-any", purelib=True)]
    (tmp_path / "notes.txt").write_text("no wheel")
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{paths[0]}: runs on Pyodide 0.29.5",
        f"{paths[2]}: nothing native in it, runs in any Pyodide whose Python it admits",
    ]
    errors = done.stderr.splitlines()
    assert errors[1:] == [
        f"conda2wheel: {paths[0].name} runs in Pyodide 0.28.3, 0.29.5 (-v shows the matrix)",
        "conda2wheel: 2 run, 1 cannot be read",
    ]
    assert errors[0].startswith(f"conda2wheel: error: corrupt-archive: {paths[1]}: ")
    assert "Traceback" not in done.stderr
    results = results_of(run(tmp_path, "--json"))
    assert [(each["source"], each["status"], each["ok"]) for each in results] == [
        (str(paths[0]), "audited", True),
        (str(paths[2]), "audited", True),
        (str(paths[1]), "refused", False),
    ]


@pytest.mark.parametrize("kind", ["empty folder", "folder of texts", "text", "nothing", "wheel of nothing"])
def test_an_input_without_wheels_is_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    if "folder" in kind:
        path.mkdir()
        if "texts" in kind:
            (path / "a.txt").write_text("text")
    elif kind == "text":
        path.write_text("text")
    elif kind == "wheel of nothing":
        path = tmp_path / "x-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w"):
            pass
    done = run(path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("conda2wheel: error: ")
    assert str(path) in line
    if "folder" in kind:
        assert "no wheels in it" in line
    (result,) = results_of(run(path, "--json"))
    assert (result["status"], result["ok"]) == ("failed" if kind == "nothing" else "refused", False)


def test_json_is_one_document_with_the_keys_of_the_manual(tmp_path: Path) -> None:
    paths = [bad(tmp_path), damaged(tmp_path)]
    done = run(*paths, "--json")
    assert done.returncode == 1
    audited, refused = results_of(done)
    (manual,) = re.findall(r"## audit `(\{[^`]*\})`", " ".join(PAGE.split()))
    keys: list[str] = []
    for key, value in {**audited, "warnings": [{"code": "", "message": "", "file": None}]}.items():
        keys += [key, *(value[0] if isinstance(value, list) and isinstance(value[0], dict) else ())]
    assert re.findall(r'"(\w+)"', manual.replace(' "audited"', "")) == keys
    assert (audited["source"], audited["status"], audited["ok"]) == (str(paths[0]), "audited", False)
    assert (audited["kind"], audited["platform"], audited["pyodide"], audited["modules"]) == (
        "wheel",
        "pyemscripten_2025_0_wasm32",
        "0.29.5",
        1,
    )
    (finding,) = audited["findings"]
    assert (finding["code"], finding["severity"], finding["symbol"]) == ("unresolved-symbol", "fatal", "nope")
    rows = {row["pyodide"]: row for row in audited["matrix"]}
    assert list(rows) == list(symbols.known())
    for pyodide, row in rows.items():
        platform = for_pyodide(pyodide)
        assert platform is not None
        assert (row["platform"], row["runs"]) == (platform.tag, False)
        assert row["tagged"] == (platform.name == "pyemscripten_2025_0")
    assert rows["314.0.7"]["code"] == "wrong-python"
    assert refused.keys() >= {"source", "status", "code", "message", "hint", "wheel", "seconds"}
    assert (refused["status"], refused["code"], refused["ok"]) == ("refused", "corrupt-archive", False)
    assert done.stderr.splitlines() == [f"conda2wheel: error: corrupt-archive: {refused['message']} ({refused['hint']})"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("x.whl", "--platform", "9.9.9"),
        ("x.whl", "--platform", "linux_x86_64"),
        ("x.whl", "--find-links", "nowhere"),
        ("x.whl", "--libdir", "nowhere"),
        ("x.whl", "--json", "--sarif", "-"),
        ("x.whl", "--max-size", "much"),
        ("x.whl", "--nonsense"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_status_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    if len(arguments) > 2:
        assert arguments[-2] in done.stderr


@pytest.mark.parametrize(
    ("platform", "pyodide", "status"),
    [
        ("pyemscripten_2025_0_wasm32", "0.29.5", 0),
        ("pyodide_2025_0_wasm32", "0.29.5", 0),
        ("0.28.3", "0.28.3", 0),
        ("pyemscripten_2026_0_wasm32", "314.0.7", 1),
        ("0.27.7", "0.27.7", 1),
    ],
)
def test_the_platform_is_a_tag_or_a_version(platform: str, pyodide: str, status: int, tmp_path: Path) -> None:
    row = parse(platform)
    assert row is not None
    done = run(good(tmp_path), "--platform", platform, "--json")
    assert done.returncode == status
    (result,) = results_of(done)
    assert (result["pyodide"], result["platform"], result["warnings"]) == (pyodide, row.tag, [])
    assert [finding["code"] for finding in result["findings"]] == ["wrong-python"] * status


def test_an_unknown_version_is_represented_by_another_of_its_platform_with_a_warning(tmp_path: Path) -> None:
    path = good(tmp_path)
    done = run(path, "--platform", "0.29.4")
    assert done.returncode == 0
    assert done.stdout == f"{path}: runs on Pyodide 0.29.5\n"
    assert done.stderr.count("[other-pyodide]") == 1


def test_a_platform_that_no_pyodide_has_is_status_1_and_has_a_matrix(tmp_path: Path) -> None:
    done = run(good(tmp_path, tag="cp313-cp313-emscripten_3_1_73_wasm32"))
    assert done.returncode == 1
    assert "no Pyodide has emscripten_3_1_73_wasm32; as a build for another it runs on Pyodide 0.28.3, 0.29.5" in done.stdout
    assert "[no-pyodide]" in done.stderr


def test_a_wheel_for_two_platforms_must_run_on_both(tmp_path: Path) -> None:
    tag = "cp313-abi3-pyemscripten_2025_0_wasm32.pyemscripten_2026_0_wasm32"
    path = wheel(tmp_path, "two", {"two/_x.abi3.so": answering("_x")}, tag)
    result = audit(path)
    assert (result.ok, result.pyodide) == (True, "314.0.7")
    assert [warning.code for warning in result.warnings] == ["several-platforms"]
    assert run(path).stdout == f"{path}: runs on Pyodide 0.29.5, 314.0.7\n"
    # What only one of them lacks is told.
    tag = TAG.replace("cp313-cp313", "cp313-abi3") + ".pyemscripten_2026_0_wasm32"
    path = wheel(tmp_path, "three", {f"three/_x{SUFFIX}": answering("_x")}, tag)
    (finding,) = audit(path).findings
    assert (finding.code, finding.message.endswith(" (in Pyodide 314.0.7)")) == ("wrong-python", True)
    assert run(path).stdout == f"{path}: does not load on Pyodide 314.0.7 (wrong-python); runs on Pyodide 0.29.5\n"


def test_a_side_module_in_a_wheel_for_any_system_is_a_finding_that_names_the_tags(tmp_path: Path) -> None:
    lib = zig.shared_library("libx.so", "int x_answer(void) { return 42; }", exports=["x_answer"])
    new = zig.shared_library(
        "libnew.so",
        "extern void *sqlite3_libversion(void);\nvoid *(*pointer)(void) = sqlite3_libversion;",
        exports=["pointer"],
    )
    path = wheel(tmp_path, "some", {"some/libx.so": lib, "some/libnew.so": new}, "py3-none-any")
    done = run(path, "--fail-on", "suspicious")
    assert done.returncode == 1
    (finding,) = audit(path).findings
    assert (finding.code, finding.severity, finding.module) == ("any-tag", "suspicious", "some/libx.so")
    assert "0.29.5 load it" in finding.message
    assert finding.hint == "repair it with --platform pyemscripten_2026_0_wasm32"
    path = wheel(tmp_path, "old", {"old/libx.so": lib}, "py3-none-any")
    (finding,) = audit(path).findings
    tags = [f"pyemscripten_{year}_0_wasm32" for year in (2024, 2025, 2026)]
    assert finding.hint == f"repair it with --platform {' --platform '.join(tags)}"
    repaired = repair(path, out=tmp_path / "out", platform=tags)
    assert repaired.filename == f"old-1.0-py3-none-{'.'.join(tags)}.whl"
    assert audit(repaired.wheel).findings == ()
    stable = wheel(tmp_path, "stable", {"stable/_x.abi3.so": answering("_x")}, "cp313-abi3-any")
    assert (
        audit(stable).findings[0].hint
        == "repair it with --platform pyemscripten_2025_0_wasm32 --platform pyemscripten_2026_0_wasm32"
    )
    bare = wheel(tmp_path, "bare", {"bare/_x.so": answering("_x")}, "py3-none-any")
    assert audit(bare).findings[0].hint.startswith("repair it with one of --platform pyemscripten_2024_0_wasm32 ")
    # Where other systems have libraries of their own, the tag may be right.
    assert audit(wheel(tmp_path, "all", {"all/libx.so": lib, "all/x.dll": b"MZ"}, "py3-none-any")).findings == ()


def test_a_platform_that_tags_do_not_name_follows_from_the_suffixes(tmp_path: Path) -> None:
    result = audit(good(tmp_path, tag="cp313-cp313-linux_wasm32"))
    assert (result.ok, result.pyodide) == (True, "0.29.5")
    assert [warning.code for warning in result.warnings] == ["platform-from-interpreter"]


def test_libraries_of_find_links_are_found(tmp_path: Path) -> None:
    path = user(tmp_path)
    alone = audit(path)
    assert [finding.code for finding in alone.findings] == ["missing-library", "unresolved-symbol"]
    wheel(tmp_path / "beside", "provider", {"libshared.so": library(1)})
    done = run(path, "--find-links", tmp_path / "beside", "--json")
    (result,) = results_of(done)
    assert (done.returncode, result["source"], result["findings"]) == (0, str(path), [])  # only what was asked about
    # ... as it does when both are asked about, but not a build for another platform
    assert [each["ok"] for each in results_of(run(path, tmp_path / "beside", "--json"))] == [True, True]
    wheel(tmp_path / "other", "provider", {"libshared.so": library(1)}, "cp314-cp314-pyemscripten_2026_0_wasm32")
    assert run(path, "--find-links", tmp_path / "other").returncode == 1


def test_find_links_are_wheels_and_folders_of_them(tmp_path: Path) -> None:
    path = user(tmp_path)
    provider = wheel(tmp_path / "beside", "provider", {"libshared.so": library(1)})
    assert run(path, "--find-links", provider).returncode == 0
    provider.write_bytes(b"PK")
    in_folder, named = run(path, "--find-links", provider.parent), run(path, "--find-links", provider)
    assert (in_folder.returncode, "[find-links-skipped]" in in_folder.stderr) == (1, True)
    assert (named.returncode, named.stdout, "error: corrupt-archive: " in named.stderr) == (1, "", True)
    address = run(path, "--find-links", "https://example.org/w.whl")
    assert (address.returncode, "an address; give wheels" in address.stderr) == (2, True)


def test_excluded_libraries_are_taken_to_be_there(tmp_path: Path) -> None:
    """What is missing because of them is no finding; what has nothing to do with them is, and so is what is found and wrong."""
    path = user(tmp_path)
    done = run(path, "--exclude", "libsh*", "--json")
    (result,) = results_of(done)
    assert (done.returncode, result["ok"], result["findings"]) == (0, True, [])
    assert [each["code"] for each in result["warnings"]] == ["excluded-library"]
    (other,) = results_of(run(path, "--exclude", "libother*", "--json"))
    assert [each["code"] for each in other["findings"]] == ["missing-library", "unresolved-symbol"]
    assert [each["code"] for each in other["warnings"]] == ["exclude-unused"]
    lacking = zig.shared_library("libshared.so", "int another(void) { return 1; }", exports=["another"])
    wheel(tmp_path / "beside", "provider", {"libshared.so": lacking.read_bytes()})
    seen = run(path, "--exclude", "libsh*", "--find-links", tmp_path / "beside")
    assert (seen.returncode, "unresolved-symbol" in seen.stderr) == (1, True)


def test_a_pattern_that_fits_one_of_several_wheels_is_used(tmp_path: Path) -> None:
    needing, alone = user(tmp_path), wheel(tmp_path, "alone", {"libown.so": library(1)})
    used = run(needing, alone, "--exclude", "libsh*")
    assert (used.returncode, "[exclude-unused]" in used.stderr) == (0, False)
    unused = run(needing, alone, "--exclude", "libsh*", "--exclude", "libtypo*")
    assert (unused.returncode, unused.stderr.count("exclude-unused"), "libtypo*" in unused.stderr) == (0, 1, True)


def test_another_library_of_the_same_name_in_find_links_is_a_finding(tmp_path: Path) -> None:
    path = user(tmp_path, more={"user/libshared.so": library(1)})
    assert audit(path).findings == ()
    wheel(tmp_path / "beside", "provider", {"libshared.so": library(2)})
    done = run(path, "--find-links", tmp_path / "beside")
    assert done.returncode == 0
    assert "(1 suspicious)" in done.stdout
    assert "library-clash" in done.stderr


def test_find_links_skips_unreadable_wheels_and_older_builds_of_an_input(tmp_path: Path) -> None:
    path = user(tmp_path, more={"user/libshared.so": library(1)})
    beside = tmp_path / "beside"
    damaged(beside)
    wheel(beside, "user", {"libshared.so": library(2)}, version="0.9")  # cannot be installed beside itself
    result = audit(path, find_links=[beside])
    assert result.findings == ()
    assert [(warning.code, Path(warning.file or "").name) for warning in result.warnings] == [
        ("find-links-skipped", "truncated-1.0-py3-none-any.whl")
    ]


def test_a_single_module_is_audited_for_every_pyodide_with_the_libraries_in_its_folder(tmp_path: Path) -> None:
    module = tmp_path / f"_u{SUFFIX}"
    module.write_bytes(answering("_u", "shared()", SHARED, ("libshared.so",)))
    without = run(module)
    assert without.returncode == 1
    assert without.stdout == f"{module}: loads on no Pyodide that is known\n"
    (tmp_path / "libshared.so").write_bytes(library(1))
    beside = run(module)
    assert beside.returncode == 0
    assert beside.stdout == f"{module}: runs on Pyodide 0.28.3, 0.29.5\n"
    assert run(module, "--platform", "0.27.7").returncode == 1
    unnamed = tmp_path / "module.wasm"  # what it is, its first bytes say
    unnamed.write_bytes(answering("_x"))
    result = audit(unnamed, "314.0.7")
    assert (result.kind, result.ok, result.modules) == ("module", True, 1)


def test_a_package_is_audited_as_the_wheel_that_convert_would_write(tmp_path: Path) -> None:
    package = shapes.package({"demo/__init__.py": "", f"demo/_demo{SUFFIX}": shapes.extension()})
    result = audit(package)
    assert (result.kind, result.ok, result.pyodide, result.platform) == (
        "package",
        True,
        "0.29.5",
        "pyemscripten_2025_0_wasm32",
    )
    needing = answering("_u", "shared()", SHARED, ("libshared.so",))
    package = shapes.package({"demo/__init__.py": "", f"demo/_u{SUFFIX}": needing})
    assert [finding.code for finding in audit(package).findings] == ["missing-library", "unresolved-symbol"]
    done = run(package, "--libdir", conda.assemble("libshared", "1", {"lib/libshared.so": library(1)}, depends=shapes.ABI[:1]))
    assert done.returncode == 0, done.stderr
    pure = audit(shapes.package(dict(shapes.MODULE), noarch="python"))
    assert (pure.kind, pure.ok, pure.modules, pure.matrix) == ("package", True, 0, ())


def test_a_package_that_convert_refuses_is_audited_with_its_files_as_they_are() -> None:
    package = conda.assemble("libshared", "1", {"lib/libshared.so": library(1)}, depends=shapes.ABI[:1])
    done = run(package)
    assert done.returncode == 0
    assert "runs on Pyodide 0.22.1" in done.stdout
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("conda2wheel: warning: ")]
    assert "[not-converted]" in warning
    assert "not-python" in warning


def test_v_shows_each_place_and_each_reason_in_full(tmp_path: Path) -> None:
    modules = {f"many/_m{n}{SUFFIX}": answering(f"_m{n}", "nope()", "extern int nope(void);") for n in range(5)}
    path = wheel(tmp_path, "many", modules)
    short, full = run(path), run(path, "-v")
    assert short.stdout == full.stdout
    assert "and 2 more" in short.stderr
    assert f"_m4{SUFFIX}" not in short.stderr
    assert all(place in full.stderr for place in modules)
    assert "…" not in full.stderr


def test_a_bug_is_one_line_shown_with_v_and_stops_no_other_input(tmp_path: Path) -> None:
    paths = [str(good(tmp_path)), str(good(tmp_path, "other"))]
    code = (
        "import sys\n"
        "import conda2wheel.commands.audit as audit\n"
        "whole = audit._audit_subject\n"
        "def broken(subject, *rest):\n"
        "    if 'good' in subject.source: raise KeyError('oops')\n"
        "    return whole(subject, *rest)\n"
        f"audit._audit_subject = broken; sys.argv = ['conda2wheel', 'audit', *{paths!r}, *sys.argv[1:]]\n"
        "from conda2wheel.cli import main; main()"
    )
    for options in ((), ("-v",)):
        done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stdout == f"{paths[1]}: runs on Pyodide 0.29.5\n"
        assert f"error: internal: {paths[0]}: KeyError: 'oops'" in done.stderr
        assert ("Traceback" in done.stderr) == bool(options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("options", [("--json",), ("--sarif", "-")])
def test_a_result_that_cannot_be_written_is_one_line(options: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [*CLI, str(good(tmp_path)), *options]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["conda2wheel: error: cannot write the result: No space left on device"]


def test_a_symbol_with_control_characters_stays_on_its_line(tmp_path: Path) -> None:
    name = "lost\n\x1b[2J"
    data = handmade.module([("env", name, ">")], {"PyInit__odd": ">i"})
    files: conda.Files = {f"lib/python3.13/site-packages/_odd{zig.suffix('313')}": data}
    depends = ("emscripten-abi >=4,<5.0a0", "python_abi 3.13.* *_cp313")
    source = conda.assemble("odd", "1.0", files, string="py313h1234567_0", depends=depends)
    for done in (command.run("convert", source, "-o", tmp_path), run(source, "--platform", "0.29.5")):
        assert "lost\\x0a\\x1b[2J" in done.stdout + done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert len(done.stdout.splitlines()) == 1
