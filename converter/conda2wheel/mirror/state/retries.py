"""Retry rules: when a failed item is tried again, by its class of failure. They are the rows of retry.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class RetryRule:
    """A row of retry.toml.

    Attributes:
        base: the pause before the second try in seconds.
        factor: the growth of the pause with every further try.
        longest: the limit of the pause.
        tries: the number of tries after which a package is quarantined.
        why: an explanation of the class of failure.
    """

    base: float
    factor: float
    longest: float
    tries: int
    why: str

    def pause(self, attempts: int) -> float:
        """Seconds between the failure of try number `attempts` (from 1) and the next try."""
        return float(min(self.base * self.factor ** min(attempts - 1, 50), self.longest))


@cache
def retries() -> dict[str, RetryRule]:
    """All rules, by class of failure."""
    rows = tomllib.loads(files(__package__).joinpath("retry.toml").read_text(encoding="utf-8"))
    return {name: RetryRule(**row) for name, row in rows.items()}


def retry_of(code: str | None) -> RetryRule:
    """The rule of a class of failure; that of "internal" for a class without one."""
    return retries().get(code or "", retries()["internal"])


def longest_pause() -> float:
    """The longest pause of all rules in seconds. A longer one is the effect of a clock that was set back."""
    return max(row.longest for row in retries().values())
