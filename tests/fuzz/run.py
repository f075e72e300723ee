"""Run targets under atheris: `python -m tests.fuzz.run` imports everything instrumented, once, and forks for each request.

A request is a line of JSON, `{"name", "folder", "options"}`; the answer is the status with which that process ended. In the
folder are `corpus/` (inputs that reached something new), `finding-*` (inputs that are findings), `findings.json` (their
signatures, which are not reported again), and `count` (the number of inputs and the milliseconds of processor time, which also a
crash leaves there).
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import random
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.model import Target


def fuzz(target: Target, folder: Path, options: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    counter = Counter(folder / "count")
    known: dict[str, int] = _known(folder)

    def one(data: bytes) -> None:
        try:
            target.check(data)
        except Exception as error:  # noqa: BLE001 - it is a finding
            from tests.fuzz.model import signature

            found = signature(error)
            known[found] = known.get(found, 0) + 1
            if known[found] > 1:
                return
            (folder / "findings.json").write_text(json.dumps(known, indent=2), encoding="utf-8")
            place = folder / f"finding-{len(known)}"
            place.write_bytes(data)
            place.with_suffix(".txt").write_text(
                f"{found}\n{traceback.format_exc()}", encoding="utf-8", errors="backslashreplace"
            )
            print(f"FINDING {target.name}: {found}: {place}", file=sys.stderr, flush=True)
        finally:
            counter.add()

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        dice = random.Random(seed)  # noqa: S311 - repeatable, not secret

        def change(part: bytes) -> bytes:
            return bytes(atheris.Mutate(part or b"\0", max(len(part) + 64, 64)))

        try:
            new = target.mutate(data, dice, change)
        except Exception:  # noqa: BLE001 - zipfile cannot write what this input asks for, say
            new = b""
        return new if 0 < len(new) <= size else change(data[: max(size - 64, 1)])[:size]

    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], one, custom_mutator=mutate)
    atheris.Fuzz()


def _targets() -> dict[str, Target]:
    """Import the targets with their modules instrumented. Those that atheris itself has imported stay as they are."""
    import atheris

    from tests.fuzz import INSTRUMENTED

    names = ["conda2wheel", *INSTRUMENTED]
    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=names, enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    return dict(TARGETS)


def _known(folder: Path) -> dict[str, int]:
    path = folder / "findings.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


class Counter:
    """Two numbers in a file: inputs, and milliseconds of processor time since the first of this process."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(16))
        with path.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), 16)
        self._before = self._read(8)
        self._began = time.process_time()

    def add(self) -> None:
        """Count an input."""
        spent = int((time.process_time() - self._began) * 1000)
        self._map[:16] = b"".join(each.to_bytes(8, "little") for each in (self._read(0) + 1, self._before + spent))

    def _read(self, at: int) -> int:
        return int.from_bytes(self._map[at : at + 8], "little")


def serve() -> None:
    """Fork for each request until there is none."""
    targets = _targets()
    requests, answers = os.fdopen(os.dup(0), closefd=True), os.dup(1)
    os.dup2(2, 1)
    for line in iter(requests.readline, ""):
        child = os.fork()
        if child == 0:
            requests.close()
            os.close(answers)
            request = json.loads(line)
            log = os.open(f"{request['folder']}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            fuzz(targets[request["name"]], Path(request["folder"]), request["options"])
        _, status = os.waitpid(child, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    serve()
