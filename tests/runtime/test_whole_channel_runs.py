"""Wheels made of the packages of the whole channel are no dummies: their modules load, call their libraries, and catch."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import convert
from conda2wheel.pyodide import check_wheels
from tests.helpers import channel4x
from tests.helpers.served import serve

pytestmark = pytest.mark.runtime

SCRIPTS = {
    "kiwisolver": "from kiwisolver import _cext as module\nassert module.value() == 42  # thrown and caught in C++\n",
    # One instance of libhdf5, which the module NEEDs as libhdf5.so and libhdf5_hl as libhdf5.so.310: H5open() is 1, then 2.
    "h5py": "from h5py import h5f as module\nassert module.value() == (1 + 1) + 2, 'two libhdf5'\n",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_package_of_the_channel_runs_in_pyodide(name: str, tmp_path: Path) -> None:
    channel = channel4x.shared_channel()
    with serve(channel.root) as server:
        made = convert(name, channels=[server.url], out=tmp_path)
        convert("numpy", channels=[server.url], out=tmp_path)  # h5py requires it
    assert made.wheel is not None
    script = tmp_path / "script.py"
    script.write_text(f"{SCRIPTS[name]}print(module.build().split()[:2])\n")
    (checked,) = check_wheels([made.wheel], pyodide="0.29.5", find_links=[tmp_path], script=script)
    assert checked.ok, checked.json()
    assert checked.script is not None
    assert checked.script.stdout == f"{[name, made.version]}\n"
