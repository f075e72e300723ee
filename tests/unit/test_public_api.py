"""The library as its users import it: in a fresh process, whatever was imported before, from threads and from workers."""

from __future__ import annotations

import inspect
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from inspect import isfunction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import conda2wheel
from conda2wheel import Converted, Failed, LibraryIndex, Limits, RecipeBook, Refused, bundle_specs, convert, convert_each
from conda2wheel.pyodide import check_wheels
from tests.helpers import conda

ORDERS = [
    "from conda2wheel import convert, inspect, Refused",
    "import conda2wheel; conda2wheel.convert; conda2wheel.inspect; from conda2wheel import convert, inspect, Refused",
    "import conda2wheel.commands.convert, conda2wheel.cli; from conda2wheel import convert, inspect, Refused",
    "import conda2wheel.commands.convert; import conda2wheel.commands.inspect; from conda2wheel import convert, inspect, Refused",
    "from conda2wheel.commands.convert import convert; from conda2wheel import inspect, Refused",
    "from conda2wheel import *; from conda2wheel import Refused",
]


def exported() -> dict[str, Any]:
    return {name: getattr(conda2wheel, name) for name in conda2wheel.__all__}


def named_in(hint: Any) -> Iterator[str]:
    """The names of this package's classes in an annotation."""
    for each in (hint, get_origin(hint)):
        # What bundle.lock consists of stays in the room of bundles.
        if isinstance(each, type) and re.match(r"conda2wheel\.(?!bundle\.(lockfile|requirements))", each.__module__):
            yield each.__name__
    for argument in get_args(hint):
        yield from named_in(argument)


@pytest.mark.parametrize("name", [name for name, value in exported().items() if isfunction(value) or is_dataclass(value)])
def test_everything_in_a_public_signature_and_result_is_exported_and_documented(name: str) -> None:
    value = exported()[name]
    public = {field.name for field in fields(value) if field.repr} if is_dataclass(value) else None
    written = {each: hint for each, hint in value.__annotations__.items() if public is None or each in public}
    hints = get_type_hints(SimpleNamespace(__annotations__=written), vars(sys.modules[value.__module__]), exported())
    used = {each for hint in hints.values() for each in named_in(hint)}
    assert used - exported().keys() == set()
    assert inspect.getdoc(value)


def test_names_that_are_not_there_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        conda2wheel.nothing  # noqa: B018
    assert set(conda2wheel.__all__) <= set(dir(conda2wheel))


def test_the_library_is_silent_and_its_log_has_what_happened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("conda2wheel").handlers)
    with caplog.at_level(logging.INFO):
        result = convert(demo(), out=tmp_path)
    assert [each.getMessage() for each in caplog.records] == [f"{demo()}: built {result.filename}"]
    assert tuple(capfd.readouterr()) == ("", "")


def test_progress_is_called_before_each_step(tmp_path: Path) -> None:
    lines: list[str] = []
    wheel = convert(demo(), out=tmp_path, progress=lines.append).filename
    steps = [f"opening {demo()}", f"linking {wheel}", f"auditing {wheel}", f"writing {wheel}"]
    assert lines == steps
    lines.clear()
    assert [outcome.error for outcome in convert_each([demo()], dry_run=True, progress=lines.append)] == [None]
    assert lines == steps[:-1]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("level", 0),
        ("pins", "pip"),
        ("platform", "0.99"),
        ("allow", ["not-python"]),
        ("libdirs", ["nowhere"]),
        ("recipes", ["nowhere"]),
    ],
)
def test_wrong_keyword_values_are_one_type_of_error(keyword: str, value: Any, tmp_path: Path) -> None:
    for call in (lambda **given: convert(demo(), **given), lambda **given: list(convert_each([demo()], **given))):
        with pytest.raises(Failed) as caught:
            call(out=tmp_path / "dist", **{keyword: value})
        assert caught.value.code in ("usage", "not-found")
        assert caught.value.hint
    assert not (tmp_path / "dist").exists()


def test_what_calls_share_can_be_given_to_each(tmp_path: Path) -> None:
    libraries, recipes = LibraryIndex([], Limits()), RecipeBook()
    single = convert(demo(), out=tmp_path / "one", libdirs=libraries, recipes=recipes)
    (several,) = convert_each([demo()], out=tmp_path / "two", libdirs=libraries, recipes=recipes)
    assert several.converted is not None
    assert several.converted.sha256 == single.sha256


def demo(version: str = "1.0") -> Path:
    about = {"license": "MIT", "summary": "a demo"}
    return conda.assemble("demo", version, {"site-packages/demo.py": "x = 1\n"}, noarch="python", string="pyh1_0", about=about)


@pytest.mark.parametrize("order", ORDERS)
def test_the_functions_are_functions_whatever_was_imported_before(order: str, tmp_path: Path) -> None:
    code = (
        f"{order}\n"
        f"result = convert({str(demo())!r}, out={str(tmp_path)!r})\n"
        "import conda2wheel\n"
        "assert conda2wheel.convert is convert and conda2wheel.inspect is inspect\n"
        "print(result.filename, inspect(str(result.wheel)).kind)\n"
        "try: convert('nothing.conda')\n"
        "except Refused: pass\n"
        "except conda2wheel.Failed as error: print(error.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "demo-1.0-py3-none-any.whl wheel\nnot-found\n"


def test_threads_and_worker_processes_give_the_same_bytes_and_pass_refusals_on(tmp_path: Path) -> None:
    source = demo()
    library = conda.assemble("zlib", "1.3", {"lib/libz.a": "!<arch>\n"})
    with ThreadPoolExecutor(4) as threads, ProcessPoolExecutor(2) as workers:
        pools = [pool.submit(_one, source, tmp_path / str(n)) for pool in (threads, workers) for n in range(4)]
        assert len({future.result().sha256 for future in pools}) == 1
        with pytest.raises(Refused) as caught:
            workers.submit(_one, library, tmp_path).result()
    assert (caught.value.code, bool(caught.value.hint)) == ("static-library", True)


def _one(source: Path, out: Path) -> Converted:
    return convert(source, out=out)


def test_keywords_that_do_not_exist_are_type_errors(tmp_path: Path) -> None:
    given: dict[str, Any] = {"nonsense": 1}
    with pytest.raises(TypeError, match="nonsense"):
        convert(demo(), **given)
    with pytest.raises(TypeError, match="nonsense"):
        list(convert_each([demo()], **given))
    with pytest.raises(TypeError, match="nonsense"):
        bundle_specs(["demo"], out=tmp_path / "set", **given)
    with pytest.raises(TypeError, match="nonsense"):
        check_wheels([], **given)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda: list(conda2wheel.convert_each("demo.conda")),
        lambda: list(conda2wheel.audit_each("demo.whl")),
        lambda: list(conda2wheel.repair_each("demo.whl")),
        lambda: conda2wheel.convert("demo.conda", libdirs="pkgs"),
        lambda: conda2wheel.convert("demo.conda", channels="emscripten-forge-4x"),
        lambda: conda2wheel.convert("demo.conda", recipes="recipes"),
        lambda: conda2wheel.convert("demo.conda", allow="missing-library"),
        lambda: conda2wheel.audit("demo.whl", find_links="dist"),
        lambda: conda2wheel.verify("demo.whl", "demo.conda"),
        lambda: conda2wheel.bundle_specs("numpy"),
    ],
)
def test_one_text_where_a_list_is_wanted_is_not_taken_letter_by_letter(call: Callable[[], object]) -> None:
    with pytest.raises(conda2wheel.Failed, match="one text where a list is wanted") as caught:
        call()
    assert caught.value.code == "usage"
