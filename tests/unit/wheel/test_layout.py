"""Where a user finds the files of a package again, and which ones do not travel."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from conda2wheel.conda.package import CondaPackage
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.wheel.layout import plan_layout
from tests.helpers import conda, shapes
from tests.helpers.conda import Content, Link
from tests.helpers.shapes import MODULE, SITE, SUFFIX, dist_info, extension, library, made, package, refused

DATA = "demo-1.0.data/data"
SCRIPTS = "demo-1.0.data/scripts"
INFO = dist_info("demo-1.0")
PURE = dist_info("demo-1.0", tag="py3-none-any")
MAIN = "#!/usr/bin/env python3\nprint('hello')\n"
ENTRY = {"entry_points.txt": "[console_scripts]\ndemo = demo:main\n[demo.plugins]\ngs+https = demo:plugin\n"}


def test_modules_lie_at_the_root_and_the_rest_where_sys_prefix_is(tmp_path: Path) -> None:
    outside: dict[str, Content] = {
        "share/man/man1/demo.1": ".TH demo 1\n",
        "share/jupyter/kernels/demo/kernel.json": "{}",
        "etc/demo/demo.conf": "a = 1\n",
    }
    wheel = made(package({**MODULE, "demo/data/table.csv": "1,2\n", **INFO}, outside=outside), tmp_path)
    assert wheel.contents == {"demo/__init__.py", "demo/data/table.csv", *(f"{DATA}/{name}" for name in outside)}


def test_scripts_that_installers_make_are_not_doubled_and_others_run(tmp_path: Path) -> None:
    outside: dict[str, Content] = {
        "bin/demo": "#!/usr/bin/python3.13\nimport sys\nfrom demo import main\nsys.exit(main())\n",
        "bin/demo-tool": MAIN,
        "bin/demo.sh": "#!/bin/sh\necho python\n",
        "bin/short": "#!/usr/bin/env -S python3 -u",
        "bin/crlf": "#!/opt/node/bin/python\r\nprint(1)\r\n",
        "bin/perl": "#!/opt/python/bin/perl\n1;\n",
        "bin/long": "#!/bin/sh\n'''exec' /very/long/bin/python3.13 \"$0\" \"$@\"\n' '''\nprint('long')\n",
    }
    wheel = made(package({**MODULE, **dist_info("demo-1.0", more=dict(ENTRY))}, outside=outside), tmp_path)
    scripts = {name.rpartition("/")[2]: data for name, data in wheel.members.items() if name.startswith(SCRIPTS)}
    assert scripts == {
        "demo-tool": b"#!python\nprint('hello')\n",
        "demo.sh": b"#!/bin/sh\necho python\n",
        "short": b"#!python",
        "crlf": b"#!python\nprint(1)\r\n",
        "perl": b"#!/opt/python/bin/perl\n1;\n",
        "long": b"#!python\nprint('long')\n",
    }
    assert {wheel.modes[f"{SCRIPTS}/{name}"] for name in scripts} == {0o100755}
    assert wheel.read("entry_points.txt") == (b"[console_scripts]\ndemo = demo:main\n\n[demo.plugins]\ngs+https = demo:plugin\n")


def test_broken_lines_in_entry_points_do_not_cost_the_good_ones(tmp_path: Path) -> None:
    text = "lost = before:any group\n[console_scripts]\n# a comment\nnonsense\ndemo=demo:main [fast]\n"
    text += "bad name! = demo:x\n=y\n[empty]\n"
    wheel = made(package({**MODULE, **dist_info("demo-1.0", more={"entry_points.txt": text})}), tmp_path)
    assert wheel.read("entry_points.txt") == b"[console_scripts]\ndemo = demo:main [fast]\n"
    assert wheel.told("left-out") == {"entry_points.txt"}


def test_programs_that_pyodide_cannot_start_are_left_out_and_told(tmp_path: Path) -> None:
    outside: dict[str, Content] = {
        "bin/tool.js": "// program\n",
        "bin/tool.wasm": b"\0asm\1\0\0\0",
        "bin/plain": b"\0asm\1\0\0\0",
        "bin/shown": "#!/usr/bin/env node\n",
        "bin/elf": b"\x7fELF" + bytes(60),
        "libexec/helper": MAIN,
        "etc/conda/activate.d/demo.sh": "export DEMO=1\n",
    }
    wheel = made(package({**MODULE, **INFO}, outside=outside), tmp_path)
    assert wheel.contents == {"demo/__init__.py"}
    assert wheel.told("left-out") == set(outside)


@pytest.mark.parametrize("name", ["bin/.demo-post-link.sh", "bin/.demo-pre-unlink.bat", "etc/conda/deactivate.d/demo.sh"])
def test_scripts_that_conda_runs_are_told(name: str) -> None:
    files = tuple(PackageFile(path, BytesBlob(b"x = 1")) for path in (f"{SITE}/demo.py", name))
    layout = plan_layout(CondaPackage("demo", files, {"name": "demo", "version": "1.0"}))
    assert [item.origin for item in layout.placed] == [f"{SITE}/demo.py"]
    assert [warning.file for warning in layout.warnings] == [name]


def test_what_only_compilers_and_conda_need_stays_out(tmp_path: Path) -> None:
    outside: dict[str, Content] = dict.fromkeys(
        (
            "include/demo.h", "lib/libdemo.a", "lib/libdemo.la", "lib/cmake/demo/demo-config.cmake", "lib/pkgconfig/demo.pc",
            "share/pkgconfig/demo.pc", "etc/conda/test-files/demo/0/test.py", "share/info/dir",
            "lib/python3.13/__pycache__/x.pyc", "lib/python3.13/other/__pycache__/x.pyc",
        ),
        "x",
    )  # fmt: skip
    site: dict[str, Content] = {"demo/__pycache__/__init__.cpython-313.pyc": b"x", "demo/old.pyc": b"x", "demo/old.pyo": b"x"}
    eggs: dict[str, Content] = {"easy-install.pth": "./demo\n", "demo.egg-link": "/home/runner/demo\n"}
    wheel = made(package({**MODULE, **site, **eggs, **INFO}, outside=outside), tmp_path)
    assert wheel.contents == {"demo/__init__.py"}


def test_headers_and_static_libraries_inside_the_package_stay(tmp_path: Path) -> None:
    kept: dict[str, Content] = {
        "demo/_core/include/demo/arrayobject.h": "#define DEMO 1\n",
        "demo/_core/lib/libnpymath.a": b"!<arch>\n",
        "demo/_core/lib/npy-pkg-config/npymath.ini": "[meta]\n",
        "demo/_core/lib/pkgconfig/numpy.pc": "prefix=/\n",
        "demo/__init__.pxd": "cdef int x\n",
        "demo-nspkg.pth": "import sys\n",
    }
    wheel = made(package({**MODULE, **kept, **INFO}), tmp_path, ignore=["W010"])
    assert wheel.contents == {"demo/__init__.py", *kept}


def test_namespace_packages_get_no_init(tmp_path: Path) -> None:
    wheel = made(package({"ruamel/yaml/__init__.py": "x = 1\n", **dist_info("ruamel.yaml-1.0")}, name="ruamel.yaml"), tmp_path)
    assert wheel.contents == {"ruamel/yaml/__init__.py"}
    assert wheel.result.filename == "ruamel_yaml-1.0-py3-none-any.whl"


def test_files_in_the_interpreters_own_folder_are_told(tmp_path: Path) -> None:
    wheel = made(package({**MODULE, **INFO}, outside={"lib/python3.13/idlelib/demo.py": "x = 1\n"}), tmp_path)
    assert wheel.contents == {"demo/__init__.py"}
    assert wheel.told("left-out") == {"lib/python3.13/idlelib/demo.py"}


def test_packages_beside_site_packages_are_at_the_root_of_the_wheel(tmp_path: Path) -> None:
    """As robostack's ROS packages install: lib/pythonX.Y is on sys.path."""
    base = "lib/python3.13"
    outside: dict[str, Content] = {
        f"{base}/demo/__init__.py": "answer = 42\n",
        f"{base}/demo/msg/_one.py": "",
        f"{base}/demo/msg/one.idl": "struct One;\n",
        f"{base}/demo/_demo{SUFFIX}": extension(),
        f"{base}/demo-2.0-py3.13.egg-info/PKG-INFO": "Metadata-Version: 2.1\nName: demo\nVersion: 2.0\n",
        f"{base}/demo-2.0-py3.13.egg-info/top_level.txt": "demo\n",
        f"{base}/alone.py": "",
        f"{base}/demo/__pycache__/__init__.cpython-313.pyc": "x",
    }
    left: dict[str, Content] = {
        f"{base}/asyncio/extra.py": "",
        f"{base}/lib-dynload/_extra{SUFFIX}": extension(),
        f"{base}/config-3.13-wasm32-emscripten/x.py": "",
        f"{base}/_sysconfigdata__emscripten_wasm32-emscripten.py": "",
        f"{base}/sitecustomize.py": "",
        f"{base}/test/test_x.py": "",
        f"{base}/no-module/x.py": "",
        f"{base}/demo_data/table.csv": "1\n",
    }
    wheel = made(package({}, outside={**outside, **left}, name="ros-jazzy-demo", version="2.0"), tmp_path, ignore=["W002"])
    modules = {"demo/__init__.py", "demo/msg/_one.py", "demo/msg/one.idl", f"demo/_demo{SUFFIX}", "alone.py"}
    assert {name for name in wheel.contents if ".dist-info" not in name} == modules
    assert (wheel.result.name, str(wheel.result.filename).split("-")[2:4]) == ("demo", ["cp313", "cp313"])
    assert wheel.told("left-out") == {name for name in left if "lib-dynload" not in name}


def test_beside_and_in_site_packages_the_first_on_sys_path_wins(tmp_path: Path) -> None:
    outside: dict[str, Content] = {"lib/python3.13/demo/__init__.py": "first = 1\n"}
    wheel = made(package({**MODULE, "demo/second.py": "", **INFO}, outside=outside), tmp_path)
    assert wheel.contents == {"demo/__init__.py", "demo/second.py"}
    assert wheel.members["demo/__init__.py"] == b"first = 1\n"
    assert wheel.told("left-out") == {f"{SITE}/demo/__init__.py"}


def test_an_interpreter_keeps_its_folder_for_itself(tmp_path: Path) -> None:
    outside: dict[str, Content] = dict.fromkeys(("lib/python3.13/os.py", "lib/python3.13/extra/__init__.py"), "")
    wheel = made(package({**MODULE, **INFO}, outside=outside), tmp_path)
    assert wheel.contents == {"demo/__init__.py"}


def test_a_link_to_a_plain_file_becomes_a_copy(tmp_path: Path) -> None:
    outside: dict[str, Content] = {"share/demo/table": "t", "bin/one": MAIN, "bin/two": Link("one")}
    site: dict[str, Content] = {**MODULE, "demo/table": Link("../../../../share/demo/table"), **INFO}
    wheel = made(package(site, outside=outside), tmp_path, ignore=["W002"])
    assert wheel.contents == {
        "demo/__init__.py", "demo/table", f"{DATA}/share/demo/table", f"{SCRIPTS}/one", f"{SCRIPTS}/two",
    }  # fmt: skip
    assert wheel.members["demo/table"] == b"t"


def test_another_name_of_a_library_is_dropped_and_told(tmp_path: Path) -> None:
    user = shapes.library(8, ("libnumber.so.1",))
    site: dict[str, Content] = {
        **MODULE,
        f"demo/_demo{SUFFIX}": extension(),
        "demo/libnumber.so.1.2": library(),
        "demo/libnumber.so.1": Link("libnumber.so.1.2"),
        "demo/libuser.so": user,
        **INFO,
    }
    wheel = made(package(site), tmp_path)
    assert wheel.contents == {"demo/__init__.py", f"demo/_demo{SUFFIX}", "demo/libnumber.so.1.2", "demo/libuser.so"}
    assert wheel.told("alias-left-out") == {f"{SITE}/demo/libnumber.so.1"}
    assert b"libnumber.so.1.2" in wheel.members["demo/libuser.so"]  # the name that is left is the one that is NEEDED


def test_an_extension_module_that_has_two_names_keeps_both(tmp_path: Path) -> None:
    names = [f"demo/_demo{SUFFIX}", f"demo/_alias{SUFFIX}"]
    files: dict[str, Content] = {**MODULE, names[0]: extension(), names[1]: Link(f"_demo{SUFFIX}"), **INFO}
    assert made(package(files), tmp_path, ignore=["W002"]).contents == {"demo/__init__.py", *names}


def test_a_library_that_site_packages_only_links_to_is_in_the_wheel_once(tmp_path: Path) -> None:
    site: dict[str, Content] = {
        **MODULE,
        f"demo/_demo{SUFFIX}": extension(),
        "demo/libnumber.so": Link("../../../libnumber.so.1.2"),
        "demo/libnumber.so.1": Link("../../../libnumber.so.1.2"),
        **INFO,
    }
    wheel = made(
        package(site, outside={"lib/libnumber.so.1.2": library(), "lib/libnumber.so": Link("libnumber.so.1.2")}), tmp_path
    )
    assert wheel.contents == {"demo/__init__.py", f"demo/_demo{SUFFIX}", "demo/libnumber.so"}
    assert wheel.told("alias-left-out") == {f"{SITE}/demo/libnumber.so.1"}
    assert "unused-library" not in wheel.codes


def test_a_side_module_among_the_data_gives_the_wheel_a_platform(tmp_path: Path) -> None:
    plugin = library(9, ("libgone.so",))
    source = package({**MODULE, **INFO}, outside={"share/demo/plugin.so": plugin})
    refused(source, tmp_path / "refused", "missing-library", "libgone.so")  # Pyodide opens every .so when it loads a wheel
    wheel = made(source, tmp_path, allow=["missing-library"])
    assert wheel.result.filename == "demo-1.0-py3-none-pyemscripten_2025_0_wasm32.whl"
    assert wheel.told("not-linked") == {"share/demo/plugin.so"}


def test_noarch_packages_have_python_scripts_and_entry_points_in_link_json(tmp_path: Path) -> None:
    files: dict[str, Content] = {**shapes.in_site({**MODULE, **INFO}), "bin/tool": MAIN, "bin/demo": MAIN, "share/demo/x": "x"}
    noarch = conda.build("demo", "1.0", files, noarch="python", entry_points=["demo = demo.cli:main"], depends=["python >=3.9"])
    assert "python-scripts/tool" in conda.members(noarch)
    recipe = {name: None for name in conda.members(noarch) if name.startswith("info/recipe/")}
    wheel = made(conda.repack(noarch, recipe), tmp_path)
    assert wheel.result.filename == "demo-1.0-py3-none-any.whl"
    assert wheel.contents == {"demo/__init__.py", f"{SCRIPTS}/tool", f"{DATA}/share/demo/x"}
    assert wheel.members[f"{SCRIPTS}/tool"].startswith(b"#!python\n")
    assert wheel.read("entry_points.txt") == b"[console_scripts]\ndemo = demo.cli:main\n"


def test_two_interpreters_in_one_package_are_refused(tmp_path: Path) -> None:
    both = package(dict(MODULE), outside={"lib/python3.12/site-packages/demo/__init__.py": "x = 1\n"})
    refused(both, tmp_path / "out", "abi-conflict", "3.12 and 3.13")


def test_an_egg_folder_is_hoisted(tmp_path: Path) -> None:
    egg = "demo-1.0-py3.13-unknown-wasm32.egg"
    files: dict[str, Content] = {
        f"{egg}/demo/__init__.py": "x = 1\n",
        f"{egg}/demo/_demo{SUFFIX}": extension(),
        f"{egg}/EGG-INFO/PKG-INFO": shapes.core("Demo", "1.0", "Summary: Shows"),
        f"{egg}/EGG-INFO/SOURCES.txt": "setup.py\n",
        f"{egg}/EGG-INFO/not-zip-safe": "\n",
        f"{egg}/EGG-INFO/top_level.txt": "demo\n",
        f"{egg}/EGG-INFO/requires.txt": "numpy>=1\n",
        f"{egg}/EGG-INFO/entry_points.txt": "[console_scripts]\ndemo = demo:main\n",
        "other-2.0-py3.13.egg/other.py": "y = 1\n",
        "other-2.0-py3.13.egg/EGG-INFO/PKG-INFO": shapes.core("other", "2.0"),
        "easy-install.pth": f"./{egg}\n",
    }
    wheel = made(package(files, outside={"bin/demo": "#!/usr/bin/python\n# EASY-INSTALL-ENTRY-SCRIPT\n"}), tmp_path)
    assert wheel.contents == {"demo/__init__.py", f"demo/_demo{SUFFIX}"}
    assert wheel.described == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt"}
    assert wheel.fields("Requires-Dist") == ["numpy>=1"]
    assert wheel.told("several-distributions") == {"other-2.0-py3.13.egg"}


@pytest.mark.parametrize("alone", [True, False])
def test_a_zipped_egg_is_never_passed_off_as_a_wheel(alone: bool, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("demo/__init__.py", "x = 1\n")
    egg: dict[str, Content] = {"demo-1.0-py3.13.egg": stream.getvalue()}
    if alone:
        refused(package(egg), tmp_path / "out", "not-python", "a zipped egg")
    else:
        wheel = made(package({**egg, **MODULE, **INFO}), tmp_path)
        assert wheel.contents == {"demo/__init__.py"}
        assert wheel.told("left-out") == {f"{SITE}/demo-1.0-py3.13.egg"}


def test_bytecode_alone_is_nothing_to_convert(tmp_path: Path) -> None:
    refused(package({"demo/__pycache__/__init__.cpython-313.pyc": b"x"}), tmp_path / "out", "not-python", "bytecode")


OTHER: dict[str, Content] = {"other.py": "y = 1\n", "shared.py": "z = 1\n"}


def record(folder: str, *names: str) -> dict[str, Content]:
    return {"RECORD": "".join(f"{name},,\n" for name in (*names, f"{folder}.dist-info/METADATA"))}


def test_of_several_distributions_the_one_of_that_name_is_taken(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        **MODULE,
        **OTHER,
        **dist_info("Demo-1.0", more=record("Demo-1.0", "demo/__init__.py", "shared.py")),
        **dist_info("other-2.0", more=record("other-2.0", "other.py", "shared.py")),
    }
    wheel = made(package(files), tmp_path, ignore=["W009"])
    assert wheel.contents == {"demo/__init__.py", "shared.py"}
    assert wheel.told("several-distributions") == {"other-2.0.dist-info"}
    refused(package(files, name="third"), tmp_path / "out", "several-distributions", "demo, other")


@pytest.mark.parametrize("kind", ["top_level.txt", "installed-files.txt", "damaged RECORD"])
def test_the_files_of_another_distribution_go_without_a_record(kind: str, tmp_path: Path) -> None:
    others: dict[str, dict[str, Content]] = {
        "top_level.txt": dist_info("other-2.0", more={"RECORD": "", "top_level.txt": "other\n"}),
        "installed-files.txt": {
            "other-2.0-py3.13.egg-info/PKG-INFO": shapes.core("other", "2.0"),
            "other-2.0-py3.13.egg-info/installed-files.txt": "../other.py\nPKG-INFO\n",
        },
        "damaged RECORD": dist_info("other-2.0", more={"RECORD": '"' + "x" * 200_000, "top_level.txt": "other\n"}),
    }
    ours = dist_info("demo-1.0", more={"RECORD": ""})
    wheel = made(package({**MODULE, "other.py": "y = 1\n", **ours, **others[kind]}), tmp_path)
    assert wheel.contents == {"demo/__init__.py"}


def test_a_second_dist_info_of_the_same_project_costs_no_file(tmp_path: Path) -> None:
    stale = dist_info("demo-0.9", more=record("demo-0.9", "demo/__init__.py", "demo/old.py"))
    ours = dist_info("demo-1.0", more=record("demo-1.0", "demo/__init__.py"))
    wheel = made(package({**MODULE, "demo/old.py": "x = 1\n", **ours, **stale}), tmp_path)
    assert wheel.contents == {"demo/__init__.py", "demo/old.py"}
    assert "version-mended" not in wheel.codes


def test_vendored_distributions_deeper_down_do_not_count(tmp_path: Path) -> None:
    inner: dict[str, Content] = {f"demo/_vendor/{name}": content for name, content in dist_info("other-2.0").items()}
    wheel = made(package({**MODULE, "demo/_vendor/other.py": "y = 1\n", **inner, **PURE}), tmp_path, ignore=["W002"])
    assert "demo/_vendor/other-2.0.dist-info/METADATA" in wheel.contents
    assert not wheel.codes


def test_two_files_for_one_place_are_refused(tmp_path: Path) -> None:
    both = package({**MODULE, **INFO}, outside={"bin/tool": MAIN, "sbin/tool": MAIN + "1\n"})
    refused(both, tmp_path / "out", "corrupt-archive", "two different files")
