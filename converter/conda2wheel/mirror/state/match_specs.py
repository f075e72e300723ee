"""Match specs over the mirror's packages. Names may be patterns (`passagemath-*`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from conda2wheel.conda.parsing import InvalidSpecError, package_record, parse_match_spec
from conda2wheel.errors import Failed
from conda2wheel.mirror.state.model import ChannelPackage

if TYPE_CHECKING:
    from rattler import MatchSpec


def parse_pattern(text: str) -> MatchSpec:
    """Parse a match spec whose name may be a pattern. Raises `InvalidSpecError`."""
    return parse_match_spec(text, exact_names_only=False)


class MatchSpecs:
    """Parsed match specs.

    Args:
        texts: the match specs.

    Raises:
        Failed: "usage" for an invalid match spec.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._specs: list[MatchSpec] = []
        for text in texts:
            try:
                self._specs.append(parse_pattern(text))
            except InvalidSpecError as error:
                raise Failed("usage", f"{text[:200]!r} is no match spec: {error}", "quote it: 'numpy >=2'") from None

    def fit(self, packages: Sequence[ChannelPackage]) -> list[bool]:
        """For each package, whether one of the specs matches it. A package that conda cannot parse matches none."""
        found = []
        for package in packages:
            try:
                record = package_record(package.name, package.version, package.build, package.build_number, package.subdir)
            except InvalidSpecError:
                found.append(False)
                continue
            found.append(any(spec.matches(record) for spec in self._specs))
        return found
