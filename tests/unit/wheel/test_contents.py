"""Packages of which modules are missing, and modules that belong to another main module than Pyodide's."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import convert
from conda2wheel.channels.open import open_package
from conda2wheel.wheel.contents import require_complete
from conda2wheel.wheel.layout import plan_layout
from tests.helpers.conda import Content
from tests.helpers.shapes import MODULE, SUFFIX, dist_info, extension, made, package, refused

TAG = "py3-none-any"
CODE = {"demo/__init__.py": "", "demo/_internal.py": ""}


def recorded(*paths: str, **more: Content) -> dict[str, Content]:
    """A dist-info whose RECORD lists these paths with a hash."""
    rows = "".join(f"{path},sha256=AAAA,4\n" for path in (*paths, "demo-1.0.dist-info/METADATA"))
    return dist_info("demo-1.0", tag=TAG, more={"RECORD": rows, **more})


def egg(*tops: str) -> dict[str, Content]:
    """An egg-info with these names in its top_level.txt."""
    folder = "demo-1.0-py3.13.egg-info"
    core = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
    return {f"{folder}/PKG-INFO": core, f"{folder}/top_level.txt": "".join(f"{top}\n" for top in tops)}


def told(files: dict[str, Content], tmp_path: Path) -> list[tuple[str, str | None]]:
    result = convert(package(files), out=tmp_path, dry_run=True)
    return [(warning.message, warning.file) for warning in result.warnings if warning.code == "incomplete"]


def test_modules_that_record_lists_and_the_package_lacks_are_counted_and_named(tmp_path: Path) -> None:
    """As empack leaves pip: without its _vendor."""
    gone = [f"demo/_vendor/{name}.py" for name in ("__init__", "one", "two/__init__", "two/three")]
    ((message, file),) = told({**CODE, **recorded(*CODE, *gone, "demo/lost.py")}, tmp_path)
    assert "RECORD lists 5 modules" in message
    assert "demo/_vendor/, demo/lost.py" in message
    assert file == "demo-1.0.dist-info/RECORD"


@pytest.mark.parametrize(
    "paths",
    [
        ["demo/tests/__init__.py", "demo/tests/test_one.py", "test/x.py", "demo/conftest.py", "demo/test_two.py"],
        ["demo/gone.pyi", "demo/__pycache__/x.cpython-313.pyc", "demo/table.csv", "demo/include/x.h", "demo/py.typed"],
        ["../../../bin/demo.py", "/etc/demo.py", "demo/not-a-module.py"],
        ["demo/_demo.cpython-313-x86_64-linux-gnu.so"],  # renamed by the build
    ],
    ids=["tests", "no modules", "outside", "another suffix"],
)
def test_what_is_sound_has_no_warning(paths: list[str], tmp_path: Path) -> None:
    assert told({**CODE, f"demo/_demo{SUFFIX}": extension(), **recorded(*CODE, *paths)}, tmp_path) == []


def test_rows_without_a_hash_count_where_nothing_to_import_is_left(tmp_path: Path) -> None:
    listing = dist_info(
        "demo-1.0", tag=TAG, more={"RECORD": "demo/__init__.py,,\ndemo/_x.cpython-313.so\ndemo-1.0.dist-info/RECORD,,\n"}
    )
    refused(
        package({**listing, "demo/table.csv": ""}), tmp_path / "out", "incomplete", "RECORD lists 2 modules .* nothing to import"
    )
    assert told({**MODULE, **listing}, tmp_path) == []


def test_what_a_recipe_excludes_is_not_missing() -> None:
    whole = open_package(package({**CODE, **recorded(*CODE)}))
    left = tuple(file for file in whole.files if not file.path.endswith("_internal.py"))
    layout = plan_layout(type(whole)(whole.source, left, whole.index))
    assert require_complete(whole, layout) == ()


def test_without_record_the_names_in_top_level_txt_count(tmp_path: Path) -> None:
    """As empack leaves setuptools 75: pkg_resources alone."""
    ((message, _),) = told({**MODULE, **egg("demo", "other", "_optional")}, tmp_path)
    assert message.startswith("top_level.txt lists 1 module that the package does not have: other")
    assert told({"demo.py": "", **egg("demo", "_optional")}, tmp_path) == []
    assert told({f"_demo{SUFFIX}": extension(), **egg("_demo")}, tmp_path) == []


@pytest.mark.parametrize(
    "metadata", [recorded("demo/__init__.py", "demo/_vendor/x.py"), egg("demo")], ids=["RECORD", "top_level"]
)
def test_a_package_of_which_no_module_is_left_is_refused(metadata: dict[str, Content], tmp_path: Path) -> None:
    error = refused(package({"demo/table.csv": "1\n", **metadata}), tmp_path / "out", "incomplete", "nothing to import is left")
    assert "empack" in error.hint


def test_metadata_alone_is_no_proof(tmp_path: Path) -> None:
    """Metapackages and stubs have nothing to import."""
    stubs: dict[str, Content] = {"demo-stubs/__init__.pyi": "x: int\n", **recorded("demo-stubs/__init__.pyi")}
    assert made(package(stubs), tmp_path, ignore=["W010", "W006"]).codes == set()


@pytest.mark.parametrize(
    "files",
    [
        {"demo.py": "import pyjs\n"},
        {"demo/__init__.py": '"""A demo."""\nfrom __future__ import annotations\nfrom pyjs.core import js\n'},
        {
            "demo/__init__.py": "from ._one import x\n",
            "demo/_one.py": "import os, demo._two\n",
            "demo/_two.py": "import pyjs as p\n",
        },
        {"demo/__init__.py": "from . import _one\n", "demo/_one.py": "import pyjs\n"},
        {"demo.py": "import pyjs\n", "other.py": "from demo import x\n"},
    ],
)
def test_a_package_that_begins_with_pyjs_is_bound_to_another_main_module(files: dict[str, Content], tmp_path: Path) -> None:
    refused(package({**files, **recorded(*files)}), tmp_path / "out", "interpreter", "begins with an import of pyjs")


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import pyjs\nexcept ImportError:\n    pyjs = None\n",
        "def f():\n    import pyjs\n",
        "import sys\nif sys.platform == 'linux':\n    import pyjs\n",
        "import pyjsparser\n# import pyjs\n",
        "import pyjs is no Python\n",
    ],
)
def test_a_guarded_import_binds_nothing(text: str, tmp_path: Path) -> None:
    files: dict[str, Content] = {"demo/__init__.py": text}
    assert made(package({**files, **recorded(*files)}), tmp_path, ignore=["W006"]).codes == set()


def test_modules_that_only_some_need_are_a_warning_and_a_namesake_is_none(tmp_path: Path) -> None:
    files: dict[str, Content] = {**MODULE, "demo/lite.py": "import pyjs\n", "demo/more.py": "from demo import lite\n"}
    wheel = made(package({**files, **recorded(*files)}), tmp_path, ignore=["W006"])
    assert wheel.told("other-main-module") == {"demo/lite.py"}
    own: dict[str, Content] = {"pyjs/__init__.py": "", "pyjs/x.py": "import pyjs\n"}
    assert made(package({**own, **recorded(*own)}), tmp_path / "own", ignore=["W006"]).codes == set()
