"""What cannot become a wheel says why, with the right word; and everything that can is not turned away."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.channels.open import open_package
from conda2wheel.commands.convert import convert
from conda2wheel.conda.classify import refuse_unless_python
from conda2wheel.errors import Refused
from tests.helpers import conda, installed, real, zig
from tests.helpers.signals_of_files import object_file

SITE = "lib/python3.13/site-packages"
MODULE: conda.Files = {f"{SITE}/mod.py": "x = 1\n"}
TEST_FILES: conda.Files = {"etc/conda/test-files/demo/0/test.py": "import demo", "share/info/dir": "x"}

# Facts of emscripten-forge/recipes, main branch, August 2026: the classes "python-core" and "xeus", and what depends on pyjs.
INTERPRETERS = (
    "python",
    "libpython",
    "pyjs",
    "pyjs-rt",
    "pyjs-dev",
    "xeus-python",
    "xeus-pywrap",
    "xeus-cpp",
    "xeus-haskell",
    "xeus-javascript",
    "xeus-lfortran",
    "xeus-lua",
    "xeus-nelson",
    "xeus-ocaml",
    "xeus-octave",
    "xeus-shakespearelang",
    "xeus-sqlite",
    "fps-kernel-web-worker",
    "httpx2-jsfetch",
    "requests-wasm-polyfill",
)
# ... and names of the class "python", which begin like those or depend on something like them.
PYTHON = (
    "aiohttp",
    "astropy-base",
    "awkward-cpp",
    "xeus-python-shell",
    "xeus-python-shell-lite",
    "python-duckdb",
    "python-xxhash",
    "pythran",
    "ipython",
    "pyjsparser",
    "polars-runtime-32",
    "bilby.cython",
    "argon2_cffi_bindings",
)


@pytest.mark.parametrize("name", INTERPRETERS)
def test_what_is_bound_to_another_main_module_is_an_interpreter(name: str) -> None:
    refused(package(MODULE, name=name), "interpreter", f"{name} has no wheel")


@pytest.mark.parametrize("spec", ["pyjs", "pyjs >=4.0.5", "pyjs>=4", "pyjs ==4.0.6 h1_0", "pyjs-rt >=4.0.6", "pyjs[version='4']"])
def test_what_depends_on_pyjs_is_an_interpreters(spec: str) -> None:
    refused(package(MODULE, depends=["python", spec]), "interpreter", "another main module than Pyodide's")


@pytest.mark.parametrize("spec", ["pyjsparser", "pyjs-other >=1", "xeus-python-shell"])
def test_what_only_sounds_like_pyjs_is_no_interpreter(spec: str) -> None:
    assert convert(package(MODULE, depends=[spec]), dry_run=True).platform == "any"


@pytest.mark.parametrize(
    "files", [{"lib/python3.13/turtle.py": "x = 1\n"}, {"lib/python3.13/tkinter/__init__.py": "", "bin/idle": ""}]
)
def test_a_part_of_the_standard_library_belongs_to_the_interpreter(files: conda.Files) -> None:
    refused(package(files), "interpreter", "only modules of CPython's standard library")


@pytest.mark.parametrize("name", PYTHON)
def test_python_packages_are_not_turned_away(name: str) -> None:
    result = convert(package({**MODULE, f"{SITE}/{name}-1.0.dist-info/METADATA": metadata(name)}, name=name), dry_run=True)
    assert result.platform == "any"


@pytest.mark.parametrize("files", [{}, TEST_FILES])
def test_a_package_without_files_of_its_own_is_a_metapackage(files: conda.Files) -> None:
    depends = ["matplotlib-base ==3.10.9 py313_0", "tornado"]
    refused(
        package(files, depends=depends, name="matplotlib"),
        "metapackage",
        "it only depends on matplotlib-base ==3.10.9 py313_0, tornado",
    )
    refused(package(files, name="emscripten-abi"), "metapackage", r"no files of its own \(leave it out")


def test_a_metapackage_of_a_conda_meta_record_alone_is_one() -> None:
    refused(installed.empack_targz("matplotlib", "3.10.9", "pyh_0", {}), "metapackage", "no files")


def test_a_package_that_empack_emptied_stands_for_no_interpreter() -> None:
    """widgetsnbextension 4.0.14, as the JupyterLite site of photonics-project/notebooks has it: a record and nothing else."""
    record = {"depends": ["python >=3.9"]}
    emptied = installed.empack_targz("widgetsnbextension", "4.0.14", "pyhd8ed1ab_0", {}, record=record)
    refused(emptied, "metapackage", r"no files of its own \(empack leaves files out")
    marker = installed.empack_targz("emscripten-abi", "3.1.73", "h267e887_10", {})
    refused(marker, "metapackage", r"no files of its own \(leave it out\)")


def test_a_metapackage_does_not_stand_for_what_every_package_depends_on() -> None:
    """matplotlib 3.10.3 of emscripten-forge-dev."""
    depends = ["python", "matplotlib-base ==3.10.3 np22py313h3e6ff68_1", "python_abi 3.13.* *_cp313"]
    stands = r"it only depends on matplotlib-base ==3\.10\.3 np22py313h3e6ff68_1 \(convert"
    refused(package({}, depends=depends, name="matplotlib"), "metapackage", stands)


@pytest.mark.parametrize(
    "files",
    [
        {"bin/sqlite3.js": "x", "bin/sqlite3.wasm": b"\0asm"},
        {"bin/tool.mjs": "x"},
        {"sbin/tool.wasm": b"\0asm"},
        {"libexec/tool/run": "x"},
        {"bin/tool.js": "x", "lib/libtool.so": b"\0asm", "lib/libtool.a": b"!<arch>\n", "include/tool.h": ""},
    ],
)
def test_a_command_line_program_is_executable(files: conda.Files) -> None:
    refused(package({**files, **TEST_FILES}), "executable", "which Pyodide cannot start")


@pytest.mark.parametrize(
    "files",
    [
        {"lib/libz.a": b"!<arch>\n", "include/zlib.h": "", "lib/pkgconfig/zlib.pc": "", "share/man/man3/zlib.3": ""},
        {"include/xsimd/xsimd.hpp": "", "lib/cmake/xsimd/xsimdConfig.cmake": ""},
        {"share/cmake/tl/x.cmake": "", "include/deep/without-suffix": ""},
        {"lib/thing.o": b"\0asm"},
    ],
)
def test_libraries_for_the_linker_are_static(files: conda.Files) -> None:
    refused(package(files), "static-library", "already linked into|only static libraries")


def test_a_shared_library_without_python_says_where_to_give_it() -> None:
    library = zig.shared_library("libone.so", "int one(void) { return 1; }", exports=["one"])
    source = package(
        {"lib/libone.so.1.2": library, "lib/libone.so": conda.Link("libone.so.1.2"), "include/one.h": ""}, name="one"
    )
    assert "--libdir" in refused(source, "not-python", "a shared library without Python code").hint


@pytest.mark.parametrize(
    "files",
    [
        {"lib/R/library/askpass/R/askpass": "x", "lib/R/library/askpass/DESCRIPTION": "x"},
        {"lib/R/library/pkgconfig/R/pkgconfig": "x", "lib/R/library/pkgconfig/DESCRIPTION": "x"},
        {"lib/R/library/cpp11/include/cpp11.hpp": "x", "lib/R/library/cpp11/libs/cpp11.so": b"\0asm\1\0\0\0"},
        {"lib/R/library/tool/exec/run.sh": "x", "bin/tool.js": "x"},
    ],
)
def test_a_package_for_r_is_called_so(files: conda.Files) -> None:
    refused(package(files), "not-python", "is a package for R")


@pytest.mark.parametrize("kind", ["object", "archive", "elf"])
def test_what_is_only_named_so_is_not_offered_as_a_library(kind: str) -> None:
    library = object_file() if kind == "object" else {"archive": b"!<arch>\n", "elf": b"\x7fELF" + bytes(60)}[kind]
    source = package({"lib/libone.so": library, "include/one.h": ""}, name="one")
    words = {"object": "WebAssembly object file", "archive": "ar archive", "elf": "for another system: .*ELF"}[kind]
    assert "--libdir" not in refused(source, "not-python", words).hint


@pytest.mark.parametrize(
    "files",
    [
        {"share/proj/proj.db": "x"},
        {"bin/script": "#!/bin/sh\n"},
        {"lib/python3.13/site-packages/README.txt": ""},
        {"share/site-packages/x.py": ""},
        {"etc/conda/test-files-of-mine": ""},
    ],
)
def test_what_has_nothing_for_site_packages_is_not_python(files: conda.Files) -> None:
    refused(package(files), "not-python", "nothing for site-packages")


def test_modules_of_the_standard_library_alone_are_an_interpreter() -> None:
    refused(package({"lib/python3.13/os.py": ""}), "interpreter", "standard library")


@pytest.mark.parametrize("path", [f"{SITE}/x.py", "site-packages/x.py", "lib/python3.9/site-packages/x.py"])
def test_one_file_in_site_packages_is_enough(path: str) -> None:
    noise: conda.Files = {"bin/tool.js": "x", "lib/libtool.a": b"!<arch>\n", "share/x": "y"}
    assert convert(package({path: "", **noise}), dry_run=True).platform == "any"


def test_site_packages_of_a_free_threaded_python_are_python() -> None:
    refuse_unless_python(open_package(package({"lib/python3.14t/site-packages/x.py": "", "bin/tool.js": ""})))


# jupyterlite-xeus-python's packages that cannot become wheels; all others can.
XEUS = {
    "emscripten-abi": "metapackage",
    "python": "interpreter",
    "requests-wasm-polyfill": "interpreter",
    "xeus-lite": "metapackage",  # empack left nothing of it
    "xeus-python": "interpreter",
    "xeus-python-shell": "metapackage",  # depends on xeus-python-shell-raw, which has the code
}


@pytest.mark.parametrize("version", sorted(real.XEUS))
def test_emscripten_forges_own_packages_are_told_apart(version: str) -> None:
    found: dict[str, str] = {}
    for path in sorted(real.xeus(version).glob("*.tar.gz")):
        if path.name == "python_data.tar.gz":
            continue
        try:
            convert(path, dry_run=True)
        except Refused as error:
            found[installed.split(path)[0]] = error.code
    assert found == XEUS


def metadata(name: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"


def package(files: conda.Files, *, name: str = "demo", depends: list[str] | None = None) -> Path:
    return conda.assemble(name, "1.0", files, depends=depends or [])


def refused(source: Path, code: str, words: str) -> Refused:
    with pytest.raises(Refused, match=words) as caught:
        convert(source, dry_run=True)
    assert caught.value.code == code
    caught.match(code)
    return caught.value
