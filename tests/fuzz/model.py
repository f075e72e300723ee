"""What a fuzz target is, and what counts as a finding beside a crash of the process."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from conda2wheel.errors import Conda2WheelError
from conda2wheel.results import error_json
from tests.fuzz.mutate import Mutator
from tests.helpers.rooms import PACKAGE

SECONDS = 10  # of processor time for one input
MEMORY = 1024  # MiB for the whole process
_VARYING = re.compile(r"['\"0-9\[({]")  # where a message begins to tell of one input


class FindingError(AssertionError):
    """A property that an input violates."""


@dataclass(frozen=True)
class Target:
    """A reader, or a public function.

    Attributes:
        name: What `./scripts/fuzz` calls it.
        what: What it reads, for `--list` and the documentation.
        run: Reads one input, and checks what it gives. `Refused` and `Failed` may escape, nothing else but `allowed`.
        seeds: The inputs to begin with.
        mutate: Changes an input and keeps its structure.
        allowed: Further exceptions that the reader documents.
        size: The largest input in bytes.
        minute: About how many inputs are tried in a minute.
    """

    name: str
    what: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutator
    allowed: tuple[type[Exception], ...] = ()
    size: int = 64 << 10
    minute: int = 10_000

    def check(self, data: bytes) -> None:
        """Run one input. Raises whatever is a finding."""
        started = time.process_time()
        try:
            self.run(data)
        except Conda2WheelError as error:
            check_error(error)
        except self.allowed:
            pass
        taken = time.process_time() - started
        if taken > SECONDS:
            raise FindingError(f"{taken:.1f} s of processor time for {len(data)} bytes")


def check_error(error: Conda2WheelError) -> None:
    """An error is a verdict or an accident, no bug, and can be written down."""
    require(error.code != "internal", f"internal: {error.message}")
    check_json(error_json("source", error, 0.0))


def check_json(document: object) -> None:
    """A document is JSON of Unicode characters, which other programs can read."""
    text = json.dumps(document, allow_nan=False, ensure_ascii=False)
    text.encode("utf-8")


def require(holds: bool, why: str) -> None:
    """Raise `FindingError` if a property does not hold."""
    if not holds:
        raise FindingError(why)


def signature(error: BaseException) -> str:
    """The exception and the innermost line of the package that it went through: the same fault, whatever the input."""
    place, inside, trace = "", False, error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE) or not inside:
            inside |= path.is_relative_to(PACKAGE)
            place = f"{path.name}:{trace.tb_lineno} {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    about = f" ({_VARYING.split(str(error))[0][:60].strip()})" if isinstance(error, FindingError) else ""
    return f"{type(error).__name__}{about} in {place}"
