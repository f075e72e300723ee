"""What of a plan and its results goes into the index, and what becomes of what was in it before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from conda2wheel._version import __version__
from conda2wheel.mirror.plan.tasks import Plan
from conda2wheel.mirror.publish.generation import Entry
from conda2wheel.mirror.state.model import Done, Key, Package


def entries_of(plan: Plan, results: Mapping[Key, Done]) -> Iterator[Entry]:
    """Every wheel that there is of what is wanted."""
    for key, package in plan.wanted.items():
        done = results.get(key)
        if done is not None and done.wheel is not None:
            yield Entry(done.wheel, package)


class Fates:
    """Why a wheel that was in the index is yanked; None where it stays, since what shall take its place was not made yet."""

    def __init__(self, plan: Plan, results: Mapping[Key, Done]) -> None:
        """`results` is `State.results(plan.wanted)`."""
        self._left = {package.sha256: why for package, why in plan.left}
        self._verdicts: dict[str, Done] = {}
        self._open: set[tuple[str, str, str]] = set()
        self._wanted = {package.sha256 for package in plan.wanted.values()}
        for key, package in plan.wanted.items():
            done = results.get(key)
            if done is None or done.status == "failed":
                self._open.add(_version(package))
            else:
                self._verdicts[package.sha256] = done

    def __call__(self, package: Package) -> str | None:
        """A `publish.Fate`."""
        if _version(package) in self._open:
            return None
        if (why := self._left.get(package.sha256)) is not None:
            return f"no longer mirrored: {why}"
        verdict = self._verdicts.get(package.sha256)
        if verdict is not None and verdict.status == "refused":
            return f"conda2wheel {__version__} refuses it: {verdict.code}"
        if package.sha256 in self._wanted:
            return "another wheel was made of it"
        return f"no longer in {package.channel}"


def _version(package: Package) -> tuple[str, str, str]:
    return package.subdir, package.name, package.version
