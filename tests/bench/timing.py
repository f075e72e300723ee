"""Times of several works by turns: what disturbs one disturbs the others, too, so that their ratios hold on a busy machine."""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MOST_ROUNDS, BUDGET = 7, 20.0  # rounds of one comparison, and the seconds that they may take together


@dataclass(frozen=True)
class Times:
    """Each round's seconds of the clock and of the processor, child processes' included."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds of the clock."""
        return statistics.median(self.wall)

    @property
    def processor(self) -> float:
        """The median of the processor's seconds."""
        return statistics.median(self.cpu)

    def json(self) -> dict[str, list[float]]:
        """Both lists, in seconds."""
        return {"wall": [round(each, 5) for each in self.wall], "cpu": [round(each, 5) for each in self.cpu]}

    @classmethod
    def of(cls, document: Mapping[str, list[float]]) -> Times:
        """What `json` gave."""
        return cls(tuple(document["wall"]), tuple(document["cpu"]))


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, the least and the most of them."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def ratio(one: Times, other: Times, clock: str = "wall") -> Ratio:
    """How many times the other's time one takes, round by round."""
    each = [mine / theirs for mine, theirs in zip(getattr(one, clock), getattr(other, clock), strict=True) if theirs]
    return Ratio(statistics.median(each), min(each), max(each)) if each else Ratio(0.0, 0.0, 0.0)


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processor that one call takes."""
    cpu, wall = _processor(), time.perf_counter()
    work()
    return time.perf_counter() - wall, _processor() - cpu


def by_turns(works: Mapping[str, Callable[[], object]], rounds: int | None = None, budget: float = BUDGET) -> dict[str, Times]:
    """Measure each work once a round.

    Args:
        works: by name.
        rounds: how many; None: 7, or the odd number that the first of them leaves time for.
        budget: seconds that the rounds may take then.
    """
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    names = list(works)
    done, wanted = 0, rounds
    while wanted is None or done < wanted:
        gc.collect()  # of what earlier rounds left
        for name in names if done % 2 == 0 else reversed(names):  # none always comes after the same one
            measured[name].append(measure(works[name]))
        done += 1
        if wanted is None:
            taken = sum(each[0][0] for each in measured.values())
            possible = min(MOST_ROUNDS, int(budget / taken)) if taken else MOST_ROUNDS
            wanted = max(3 if taken < budget else 1, possible - (possible + 1) % 2)
    return {name: Times(tuple(wall for wall, _ in each), tuple(cpu for _, cpu in each)) for name, each in measured.items()}


def _processor() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime
