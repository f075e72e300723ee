"""The library as its users import it: in a fresh process, whatever was imported before, from threads and from workers."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from conda2wheel import Converted, Refused, convert
from tests.helpers import conda

ORDERS = [
    "from conda2wheel import convert, inspect, Refused",
    "import conda2wheel; conda2wheel.convert; conda2wheel.inspect; from conda2wheel import convert, inspect, Refused",
    "import conda2wheel.commands.convert, conda2wheel.cli; from conda2wheel import convert, inspect, Refused",
    "import conda2wheel.commands.convert; import conda2wheel.commands.inspect; from conda2wheel import convert, inspect, Refused",
    "from conda2wheel.commands.convert import convert; from conda2wheel import inspect, Refused",
    "from conda2wheel import *; from conda2wheel import Refused",
]


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
