"""What of a plan and its results goes into the index, and what becomes of what was in it before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from conda2wheel._version import __version__
from conda2wheel.mirror.plan.tasks import MirrorPlan
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult


def entries_of(plan: MirrorPlan, results: Mapping[ItemKey, ItemResult]) -> Iterator[IndexEntry]:
    """Every wheel that there is of what is wanted."""
    for key, package in plan.wanted.items():
        done = results.get(key)
        if done is not None and done.wheel is not None:
            yield IndexEntry(done.wheel, package)


class YankReasons:
    """Why a wheel that was in the index is yanked; None where it stays, since what shall take its place was not made yet."""

    def __init__(self, plan: MirrorPlan, results: Mapping[ItemKey, ItemResult]) -> None:
        """`results` is `MirrorState.results(plan.wanted)`."""
        self._left = {package.sha256: why for package, why in plan.left}
        self._verdicts: dict[str, ItemResult] = {}
        self._open: set[tuple[str, str, str]] = set()
        self._wanted = {package.sha256 for package in plan.wanted.values()}
        for key, package in plan.wanted.items():
            done = results.get(key)
            if done is None or done.status == "failed":
                self._open.add(_version(package))
            else:
                self._verdicts[package.sha256] = done

    def __call__(self, package: ChannelPackage) -> str | None:
        """A `publish.YankReason`."""
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


def _version(package: ChannelPackage) -> tuple[str, str, str]:
    return package.subdir, package.name, package.version
