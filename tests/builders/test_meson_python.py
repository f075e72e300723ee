"""meson-python, meson and ninja from PyPI cross-build an extension module, which runs in Pyodide after `repair`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conda2wheel.pyodide import check_wheels
from tests.helpers import command, conda, emcc, judges, zig
from tests.helpers.tools import ROOT, environment, newer_python, tools

pytestmark = [pytest.mark.long, pytest.mark.runtime]

TOOLS = ("meson-python==0.22.1", "meson==1.12.1", "ninja==1.13.0")
PYTHONS = {"3.12": ("3.1.58", "0.27.7"), "3.13": ("4.0.9", "0.29.5"), "3.14": ("5.0.3", "314.0.7")}
MESON = """
project('demo', 'c', version: '1.0')
py = import('python').find_installation(pure: false)
count = meson.get_compiler('c').find_library('count', dirs: get_option('native'))
py.install_sources('demo/__init__.py', subdir: 'demo')
shared_module('_x.SUFFIX', 'x.c', name_prefix: '', name_suffix: 'so', dependencies: count,
              install: true, install_dir: py.get_install_dir() / 'demo')
"""
PYPROJECT = """
[build-system]
build-backend = "mesonpy"
requires = ["meson-python"]

[project]
name = "demo"
version = "1.0"
"""


def cross_file() -> str:
    """The one of the manual."""
    text = (ROOT / "docs" / "how-to" / "cibuildwheel.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```ini\n(\[binaries\].*?)```", text, re.DOTALL)
    return str(found)


def test_a_module_of_meson_python_is_repaired_and_runs(tmp_path: Path) -> None:
    python = newer_python()
    done = subprocess.run(
        [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, check=True
    )
    version = done.stdout.decode().strip()
    emscripten, pyodide = PYTHONS[version]
    suffix = zig.suffix(version.replace(".", ""))[1:]
    chain = zig.chain()
    native = tmp_path / "native"
    conda.lay(native, {"libcount.so": chain.count, "libbase.so": chain.base})
    source = zig.extension("_x", {"bump": zig.integer("count_bump()")}, declarations="extern int count_bump(void);")
    files = {"demo/__init__.py": "", "x.c": source, "python.h": zig.HEADER.read_text(), "pyproject.toml": PYPROJECT}
    files |= {
        "meson.build": MESON.replace("SUFFIX", suffix.removesuffix(".so")),
        "meson_options.txt": "option('native', type: 'string')",
    }
    conda.lay(tmp_path / "project", files)
    # What the cross-build environment of pyodide-build has: CPython's own description of the target.
    told = {
        "EXT_SUFFIX": f".{suffix}",
        "SOABI": suffix.removesuffix(".so"),
        "VERSION": version,
        "LDVERSION": version,
        "ABIFLAGS": "",
    }
    told |= {"MACHDEP": "emscripten", "MULTIARCH": "wasm32-emscripten", "LIBDIR": "/"}
    conda.lay(tmp_path / "target", {"_sysconfigdata__emscripten_wasm32-emscripten.py": f"build_time_vars = {told}"})
    conda.lay(tmp_path, {"emscripten.ini": cross_file()})
    emcc.program(tmp_path / "bin")
    site = tools(*TOOLS, python=python)
    ar = tmp_path / "bin" / "emar"
    ar.write_text(f'#!/bin/sh\nexec "{shutil.which("ar") or "ar"}" "$@"\n')
    ar.chmod(0o755)
    there = environment(site, tmp_path / "target", first=[tmp_path / "bin", python.parent])
    there |= {
        "EMCC_VERSION": emscripten,
        "EMCC_EXPORTS": "PyInit__x",
        "_PYTHON_SYSCONFIGDATA_NAME": "_sysconfigdata__emscripten_wasm32-emscripten",
        "_PYTHON_HOST_PLATFORM": f"emscripten-{emscripten}-wasm32",
    }
    (tmp_path / "dist").mkdir()
    settings = {"setup-args": [f"--cross-file={tmp_path / 'emscripten.ini'}", f"-Dnative={native}"]}
    build = f"import mesonpy; mesonpy.build_wheel({str(tmp_path / 'dist')!r}, {settings!r})"
    made = subprocess.run(
        [str(python), "-c", build], capture_output=True, text=True, check=False, cwd=tmp_path / "project", env=there
    )
    assert made.returncode == 0, made.stdout + made.stderr
    (built,) = (tmp_path / "dist").glob(f"demo-1.0-*-emscripten_{emscripten.replace('.', '_')}_wasm32.whl")
    repaired = command.run("repair", built, "-o", tmp_path / "wheelhouse", "--libdir", native)
    assert repaired.returncode == 0, repaired.stderr
    wheel = Path(repaired.stdout.strip())
    judges.judge(wheel)
    script = tmp_path / "script.py"
    script.write_text("import demo._x as x; print(x.bump(), x.bump())")
    (checked,) = check_wheels([wheel], pyodide=pyodide, script=script)
    assert checked.script is not None
    assert (checked.ok, checked.script.stdout) == (True, "1 2\n")
