"""When what failed is tried again, by its class: rows of retry.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class RetryRule:
    """`base` seconds until the second try, `factor` times as many until each further one, `longest` at most; `tries` until a
    package is put aside; `why`, for people."""

    base: float
    factor: float
    longest: float
    tries: int
    why: str

    def pause(self, attempts: int) -> float:
        """Seconds from the failure of try number `attempts` (from 1) to the next."""
        return float(min(self.base * self.factor ** min(attempts - 1, 50), self.longest))


@cache
def retries() -> dict[str, RetryRule]:
    """By class of failure."""
    rows = tomllib.loads(files(__package__).joinpath("retry.toml").read_text(encoding="utf-8"))
    return {name: RetryRule(**row) for name, row in rows.items()}


def retry_of(code: str | None) -> RetryRule:
    """The row of a class; of "internal" for one that has none."""
    return retries().get(code or "", retries()["internal"])


def longest_pause() -> float:
    """Seconds: nothing waits longer, so what seems to is the work of a clock that went back."""
    return max(row.longest for row in retries().values())
