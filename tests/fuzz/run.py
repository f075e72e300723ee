"""Run one target under atheris, in a process that ends with it: `python -m tests.fuzz.run TARGET FOLDER [LIBFUZZER-OPTION]...`.

In FOLDER are `corpus/` (inputs that reached something new), `finding-*` (inputs that are findings), `findings.json` (their
signatures, which are not reported again), and `count` (the number of inputs, eight bytes), which also a crash leaves there.
"""

from __future__ import annotations

import json
import mmap
import random
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.model import Target


def main(name: str, folder: Path, options: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    target = _load(name)
    counter = _Counter(folder / "count")
    known: dict[str, int] = _known(folder)

    def one(data: bytes) -> None:
        counter.add()
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
            print(f"FINDING {name}: {found}: {place}", file=sys.stderr, flush=True)

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


def _load(name: str) -> Target:
    """Import the target with its modules instrumented. Those that atheris itself has imported stay as they are."""
    import atheris

    from tests.fuzz import INSTRUMENTED

    with atheris.instrument_imports(include=["conda2wheel", *INSTRUMENTED], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    target: Target = TARGETS[name]
    return target


def _known(folder: Path) -> dict[str, int]:
    path = folder / "findings.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


class _Counter:
    """A number in a file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), 8)

    def add(self) -> None:
        self._map[:8] = (int.from_bytes(self._map[:8], "little") + 1).to_bytes(8, "little")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
