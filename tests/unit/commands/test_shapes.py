"""Whole conversions of the odd shapes that were seen in 577 real packages (facts: sections 6 and 9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import conda, installed, real, shapes
from tests.helpers.conda import Content
from tests.helpers.shapes import ABI, MODULE, SUFFIX, dist_info, extension, in_site, made, package, refused

PLATFORM = "pyemscripten_2025_0_wasm32"
NATIVE = f"cp313-cp313-{PLATFORM}"


def native(name: str, module: str) -> dict[str, Content]:
    return {f"{name}/__init__.py": "x = 1\n", f"{name}/{module}{SUFFIX}": extension(module)}


def test_cffi_1_15_1_whose_dist_info_says_1_15_0(tmp_path: Path) -> None:
    top: dict[str, Content] = {"top_level.txt": "_cffi_backend\ncffi\n"}
    info = dist_info("cffi-1.15.0", "Requires-Dist: pycparser", more=top)
    files: dict[str, Content] = {f"_cffi_backend{SUFFIX}": extension("_cffi_backend"), "cffi/__init__.py": "x = 1\n", **info}
    cffi = package(files, name="cffi", version="1.15.1", string="h8d97ea7_2", number=2)  # a build string that names no Python
    wheel = made(cffi, tmp_path)
    assert wheel.result.filename == f"cffi-1.15.1-{NATIVE}.whl"
    assert wheel.result.requires == ("pycparser",)
    assert "version-mended" in wheel.codes


def test_kiwisolver_whose_dist_info_says_0_0_0(tmp_path: Path) -> None:
    info = dist_info("kiwisolver-0.0.0", "Requires-Python: >=3.10", more={"licenses/LICENSE": "BSD\n"})
    wheel = made(package({**native("kiwisolver", "_cext"), **info}, name="kiwisolver", version="1.4.9"), tmp_path)
    assert wheel.result.filename == f"kiwisolver-1.4.9-{NATIVE}.whl"
    assert wheel.metadata["Requires-Python"] == ">=3.10"


def test_pillow_whose_dist_info_is_unknown(tmp_path: Path) -> None:
    info = dist_info(
        "UNKNOWN-10.1.0", "Summary: UNKNOWN", "Home-page: UNKNOWN", "License: UNKNOWN", more={"top_level.txt": "PIL\n"}
    )
    about = {"summary": "Imaging", "license": "HPND"}
    wheel = made(package({**native("PIL", "_imaging"), **info}, name="pillow", version="10.1.0", about=about), tmp_path)
    assert wheel.result.filename == f"pillow-10.1.0-{NATIVE}.whl"
    assert (wheel.metadata["Name"], wheel.metadata["Summary"], wheel.metadata["License-Expression"]) == (
        "pillow",
        "Imaging",
        "HPND",
    )


PKG_INFO = shapes.core("kiwisolver", "1.3.2", "Summary: A fast solver", "Requires-Python: >=3.7", "License: BSD", body="Text\n")


def test_kiwisolver_1_3_2_with_an_egg_info_folder(tmp_path: Path) -> None:
    egg = "kiwisolver-1.3.2-py3.13-unknown-wasm32.egg-info"
    files: dict[str, Content] = {
        f"{egg}/PKG-INFO": PKG_INFO,
        f"{egg}/SOURCES.txt": "setup.py\n",
        f"{egg}/dependency_links.txt": "\n",
        f"{egg}/top_level.txt": "kiwisolver\n",
        f"{egg}/requires.txt": "numpy>=1\n\n[test]\npytest\n\n[:python_version < '3.8']\ntyping\n",
    }
    wheel = made(package({**native("kiwisolver", "_cext"), **files}, name="kiwisolver", version="1.3.2"), tmp_path)
    assert wheel.result.filename == f"kiwisolver-1.3.2-{NATIVE}.whl"
    assert wheel.fields("Requires-Dist") == ["numpy>=1", "pytest ; extra == 'test'", "typing ; (python_version < '3.8')"]
    assert wheel.fields("Provides-Extra") == ["test"]
    assert wheel.metadata["Requires-Python"] == ">=3.7"
    assert wheel.described == {"METADATA", "WHEEL", "RECORD", "top_level.txt"}


def test_an_egg_info_that_is_one_file_needs_conda_for_its_requirements(tmp_path: Path) -> None:
    files: dict[str, Content] = {"kiwisolver-1.3.2-py3.13.egg-info": PKG_INFO}
    depends = ["python", *ABI, "typing_extensions >=4"]
    kiwi = package({**native("kiwisolver", "_cext"), **files}, name="kiwisolver", version="1.3.2", depends=depends)
    wheel = made(kiwi, tmp_path)
    assert wheel.metadata["Summary"] == "A fast solver"
    assert wheel.fields("Requires-Dist") == ["typing-extensions>=4"]
    assert "no-metadata" not in wheel.codes


def test_kiwisolver_1_3_2_with_nothing_at_all(tmp_path: Path) -> None:
    depends = ["python", "emscripten-abi >=4.0.9,<4.0.10", "zlib"]
    kiwi = package(native("kiwisolver", "_cext"), name="kiwisolver", version="1.3.2", string="hbf4eec8_3", depends=depends)
    wheel = made(kiwi, tmp_path)
    assert wheel.result.filename == f"kiwisolver-1.3.2-{NATIVE}.whl"
    assert wheel.metadata["Requires-Python"] == "==3.13.*"
    assert {"no-metadata"} <= wheel.codes


def test_what_an_installation_left_and_a_stale_record_are_gone(tmp_path: Path) -> None:
    wheel = made(package({**MODULE, **dist_info("demo-1.0", more={"uv_cache.json": "{}", "RECORD.jws": "{}"})}), tmp_path)
    assert wheel.described == {"METADATA", "WHEEL", "RECORD", "top_level.txt"}
    record = wheel.read("RECORD")
    assert b"gone" not in record
    assert b"../" not in record
    assert not [name for name, data in wheel.members.items() if b"/home/runner" in data]


def test_what_upstreams_backend_put_into_dist_info_stays(tmp_path: Path) -> None:
    more: dict[str, Content] = {"sboms/demo.cyclonedx.json": "{}", "zip-safe": "\n", "namespace_packages.txt": "ns\n"}
    wheel = made(package({**MODULE, **dist_info("demo-1.0", more=more)}), tmp_path)
    assert wheel.described == {"METADATA", "WHEEL", "RECORD", "top_level.txt", *more}


def test_only_metadata_is_left_of_a_dist_info(tmp_path: Path) -> None:
    files = in_site({**MODULE, "demo-1.0.dist-info/METADATA": shapes.core("demo", "1.0", "Requires-Dist: six")})
    wheel = made(installed.empack_targz("demo", "1.0", "pyhd8ed1ab_0", files), tmp_path)
    assert wheel.result.filename == "demo-1.0-py3-none-any.whl"
    assert wheel.result.requires == ("six",)


@pytest.mark.parametrize("missing", ["METADATA", "WHEEL", "RECORD"])
def test_a_dist_info_that_lost_a_file_is_enough(missing: str, tmp_path: Path) -> None:
    info = dist_info("demo-1.0")
    del info[f"demo-1.0.dist-info/{missing}"]
    wheel = made(package({**MODULE, f"demo/_demo{SUFFIX}": extension(), **info}), tmp_path)
    assert wheel.result.filename == f"demo-1.0-{NATIVE}.whl"


def test_numpy_shaped(tmp_path: Path) -> None:
    entry = "[array_api]\nnumpy = numpy\n\n[console_scripts]\nf2py = numpy.f2py.f2py2e:main\nnumpy-config = numpy:main\n"
    files: dict[str, Content] = {
        "numpy/__init__.py": "x = 1\n",
        f"numpy/_core/_multiarray_umath{SUFFIX}": extension("_multiarray_umath"),
        "numpy/_core/include/numpy/arrayobject.h": "#define X\n",
        "numpy/_core/lib/libnpymath.a": b"!<arch>\n",
        "numpy/__pycache__/__init__.cpython-313.pyc": b"pyc",
        **dist_info("numpy-2.4.4", more={"entry_points.txt": entry, "LICENSE.txt": "BSD\n"}),
    }
    outside: dict[str, Content] = {
        "bin/f2py": "#!/opt/bin/python3.13\n", "bin/numpy-config": "#!/opt/bin/python3.13\n", "lib/pkgconfig/numpy.pc": "x",
        "etc/conda/test-files/numpy/0/run.py": "x",
    }  # fmt: skip
    numpy = package(files, name="numpy", version="2.4.4", string="py313hcf5bae3_0", outside=outside)
    wheel = made(numpy, tmp_path, ignore=["W010"])
    assert wheel.result.filename == f"numpy-2.4.4-{NATIVE}.whl"
    assert wheel.contents == {
        "numpy/__init__.py",
        f"numpy/_core/_multiarray_umath{SUFFIX}",
        "numpy/_core/include/numpy/arrayobject.h",
        "numpy/_core/lib/libnpymath.a",
    }
    assert wheel.fields("License-File") == ["LICENSE.txt"]


def test_a_namespace_of_many_packages(tmp_path: Path) -> None:
    files = {f"sage/libs/_gmp{SUFFIX}": extension("_gmp"), **dist_info("passagemath_gmp-1.0"), "sage/libs/all.py": "x = 1\n"}
    wheel = made(package(files, name="passagemath-gmp", string="np23py313h1a2f9be_1", number=1), tmp_path)
    assert wheel.contents == {f"sage/libs/_gmp{SUFFIX}", "sage/libs/all.py"}
    assert wheel.result.filename == f"passagemath_gmp-1.0-{NATIVE}.whl"


def test_ipython_that_is_pure_in_an_arch_package(tmp_path: Path) -> None:
    info = dist_info("ipython-9.4.0", 'Requires-Dist: pexpect>4.3; sys_platform != "emscripten"', tag="py3-none-any")
    depends = ["python", "backcall", "pexpect", "pickleshare", *ABI]
    outside: dict[str, Content] = {"share/man/man1/ipython.1": ".TH\n"}
    ipython = package(
        {"IPython/__init__.py": "x = 1\n", **info}, name="ipython", version="9.4.0", depends=depends, outside=outside
    )
    wheel = made(ipython, tmp_path)
    assert wheel.result.filename == "ipython-9.4.0-py3-none-any.whl"
    assert wheel.result.requires == ('pexpect>4.3; sys_platform != "emscripten"',)  # upstream's, not conda's
    assert wheel.codes == {"requirement-differs", "patched"}
    assert "ipython-9.4.0.data/data/share/man/man1/ipython.1" in wheel.contents


def test_a_metapackage_is_refused(tmp_path: Path) -> None:
    meta = conda.assemble("matplotlib", "3.10.9", {}, noarch="generic", depends=["matplotlib-base ==3.10.9 np23py313h2ca9bdc_0"])
    refused(meta, tmp_path / "out", "metapackage", "matplotlib-base")


def test_a_distribution_without_modules_is_a_wheel_all_the_same(tmp_path: Path) -> None:
    info = dist_info(
        "demo-1.0", "Requires-Dist: other", more={"RECORD": "demo-1.0.dist-info/METADATA,,\n", "top_level.txt": "\n"}
    )
    wheel = made(package(info, depends=["python"]), tmp_path, ignore=["W007", "W008"])
    assert wheel.contents == set()
    assert wheel.result.requires == ("other",)


def test_an_empty_module_and_files_of_all_sorts(tmp_path: Path) -> None:
    files: dict[str, Content] = {"demo/__init__.py": "", "demo/ünïcode.txt": "x", "demo/with space.txt": "y", "demo/,.txt": "z"}
    assert made(package({**files, **dist_info("demo-1.0")}), tmp_path).contents == set(files)


def test_a_timestamp_of_another_world_is_no_crash(tmp_path: Path) -> None:
    odd = conda.edit(
        package({**MODULE, **dist_info("demo-1.0")}), "info/index.json", lambda index: {**index, "timestamp": 10**17}
    )
    made(odd, tmp_path)


def test_old_platform_linux_in_the_index_says_nothing(tmp_path: Path) -> None:
    old = package({**MODULE, f"demo/_demo{SUFFIX}": extension(), **dist_info("demo-1.0")})
    wheel = made(conda.edit(old, "info/index.json", lambda index: {**index, "platform": "linux"}), tmp_path)
    assert wheel.result.platform == PLATFORM


@pytest.mark.parametrize("name", ["msgpack", "contourpy"])
def test_a_real_wheel_comes_back_from_its_conda_package(name: str, tmp_path: Path) -> None:
    upstream = real.pypi_wheel(name)
    wheel = made(real.as_conda(upstream), tmp_path, ignore=["W002"])
    assert wheel.result.filename == upstream.name
    assert not wheel.result.vendored
