"""Sets of real packages: PyPI's own binaries, repacked as emscripten-forge builds packages, in a channel, back in a Pyodide."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.bundle.build import bundle_locked, bundle_specs
from tests.helpers import real, sets
from tests.helpers.installers import micropip_from, pip_from
from tests.helpers.serve import served
from tests.unit.bundle.test_bundle import contents

pytestmark = [pytest.mark.runtime, pytest.mark.long]  # test_bundle_runs has the same promises with small packages
SCRIPT = """
import msgpack, pymupdf
assert msgpack.unpackb(msgpack.packb({"a": [1, 2.5, None]})) == {"a": [1, 2.5, None]}
document = pymupdf.open()
document.new_page().insert_text((72, 72), "bundled")
again = pymupdf.open(stream=document.tobytes(), filetype="pdf")
try:
    msgpack.unpackb(b"\\xc1")
except msgpack.FormatError:
    pass
else:
    raise AssertionError("nothing was raised")
again[0].get_text().strip()
"""


def test_real_packages_come_out_of_a_set_and_work(tmp_path: Path) -> None:
    names = ["msgpack", "pymupdf", "contourpy"]
    channel = sets.indexed(tmp_path / "channel", [real.as_conda(real.pypi_wheel(name)) for name in names])
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "pymupdf.toml").write_text(
        'package = "pymupdf"\nwhy = "its METADATA requires what built and tested it"\n[requires]\ndrop = ["pipcl", "pytest"]\n'
    )
    result = bundle_specs(names, channels=[channel], out=tmp_path / "set", recipes=[recipes])
    assert {wheel.name.lower(): wheel.version for wheel in result.wheels} == {name: real.WHEELS[name].version for name in names}
    assert [each.requirement for each in result.lock.external] == ["numpy>=2.0"]  # contourpy's, which this channel has not
    with served(result.folder, negotiate=False) as site:
        answer = micropip_from(f"{site.url}simple", ["msgpack", "pymupdf"], "0.29.5", script=SCRIPT)
        assert (answer.errors, answer.refused, answer.result) == ((), (), "bundled"), "".join(answer.errors)
        found = pip_from(f"{site.url}simple/", ["msgpack", "pymupdf"], platform=result.lock.target, python="3.13")
        assert found.ok, found.said
    again = bundle_locked(result.folder / "bundle.lock", out=tmp_path / "again")
    assert contents(again.folder) == contents(result.folder)
