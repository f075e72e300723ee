"""Libraries that wheels share, in real Pyodides: one instance serves all of them, exceptions included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.pyodide import check_wheels
from conda2wheel.pyodide.report import Installer
from tests.helpers import clash, trials
from tests.helpers.common import shared
from tests.unit.link.test_linker import library, python

pytestmark = pytest.mark.runtime

PYODIDES = [
    pytest.param("0.28.3", "313", id="0.28.3", marks=pytest.mark.long),
    pytest.param("0.29.5", "313", id="0.29.5"),
    pytest.param("314.0.7", "314", id="314.0.7", marks=pytest.mark.long),
]
PARTS = {"one": 7, "two": 8}
SHARED = ("state", "state_at_first", "state_by_pointer", "set", "tally")  # what differs where one instance serves two
ANSWERS = [name for name in clash.CALLS if name not in SHARED]
SCRIPT = """
import one._one as one, two._two as two
one.set(), two.set()
print([module.state() for module in (one, two)], [module.state_by_pointer() for module in (one, two)])
one.set()
print([module.state() for module in (one, two)], [module.tally() for module in (one, two, one)])
print(ascii([[getattr(module, name)() for name in {names}] for module in (one, two)]))
"""


def packages(py: str) -> tuple[list[Path], Path]:
    """Two that use one C++ library, the second of which needs the first; and the library's."""
    users = [
        python(
            {f"{name}/{module.name}": module, f"{name}/__init__.py": ""},
            name=name,
            py=py,
            depends=("one",) if name == "two" else (),
        )
        for name, number in PARTS.items()
        for module in [clash.shapes_user(f"_{name}", number, py)]
    ]
    return users, library("libshapes", {"lib/libshapes.so": clash.shapes(3)}, py=py)


@pytest.mark.parametrize("installer", ["loadPackage", pytest.param("micropip", marks=pytest.mark.long)])
@pytest.mark.parametrize(("pyodide", "py"), PYODIDES)
def test_one_instance_serves_all_wheels(pyodide: str, py: str, installer: Installer, tmp_path: Path) -> None:
    """Private state, data, pointers, virtual tables, casts, and exceptions that cross from the library to either user and from
    a user into the library."""
    users, libshapes = packages(py)
    found = shared(tmp_path / "shared", users, [libshapes], pyodide=pyodide, tags="both")
    assert found.wheel is not None
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(names=ANSWERS))
    answers = [[clash.shapes_answers(3, number)[name] for name in ANSWERS] for number in PARTS.values()]
    last = found.users[1].wheel
    assert last is not None
    links = [tmp_path / "shared"]
    (checked,) = check_wheels([last], pyodide=pyodide, find_links=links, installer=installer, script=script)
    assert checked.ok, checked.json()
    assert checked.script is not None
    state, tally, told = checked.script.stdout.splitlines()
    assert state == "[8, 8] [8, 8]"
    assert tally.startswith("[7, 7] ")
    assert len(set(ast.literal_eval(tally.partition("] ")[2]))) == 3, tally
    assert told == ascii(answers)


def test_without_sharing_each_wheel_has_its_own(tmp_path: Path) -> None:
    """The other way to be right: no wheel changes the state of another's library."""
    users, libshapes = packages("313")
    results = [convert(package, out=tmp_path, libdirs=[libshapes]) for package in users]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(names=ANSWERS))
    assert results[1].wheel is not None
    (checked,) = check_wheels([results[1].wheel], find_links=[tmp_path], script=script)
    assert checked.ok, checked.json()
    assert checked.script is not None
    assert checked.script.stdout.splitlines()[0] == "[7, 8] [7, 8]"


def test_load_package_takes_addresses_in_the_order_of_dependence_only(tmp_path: Path) -> None:
    """It reads no Requires-Dist; a user that comes before its libraries does not load, and does not later either."""
    users, libshapes = packages("313")
    found = shared(tmp_path, users, [libshapes])
    assert found.wheel is not None
    common, one, _ = (str(each.wheel) for each in (found.wheel, *found.users))
    code = "import one._one\nresult = one._one.version()"
    right, wrong = trials.played(
        "0.29.5",
        [
            {"name": "right", "wheels": [common, one], "code": code, "alone": True},
            {"name": "wrong", "wheels": [one], "code": code},
        ],
    )
    assert right["value"] == "3"
    assert "Failed to find dynamic library" in (wrong["load"] or "")
