"""Match specs over the mirror's packages: names may be patterns (`passagemath-*`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from conda2wheel.errors import Failed
from conda2wheel.mirror.state.model import ChannelPackage

if TYPE_CHECKING:
    from rattler import MatchSpec

_NAME_END = re.compile(r"[\s<>=!~\[]")


def depends_name(spec: str) -> str:
    """The name in one of `depends`.

    >>> depends_name("conda-forge::numpy >=2,<3")
    'numpy'
    """
    return _NAME_END.split(spec.strip().rpartition("::")[2], maxsplit=1)[0].lower()


class MatchSpecs:
    """Some match specs, read once."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Raises `Failed` (usage) for what is no match spec."""
        from rattler import MatchSpec
        from rattler.exceptions import InvalidMatchSpecError

        self._specs: list[MatchSpec] = []
        for text in texts:
            try:
                self._specs.append(MatchSpec(text, exact_names_only=False))
            except InvalidMatchSpecError as error:
                raise Failed("usage", f"{text!r} is no match spec: {error}", "quote it: 'numpy >=2'") from None

    def __bool__(self) -> bool:
        return bool(self._specs)

    def fit(self, packages: Sequence[ChannelPackage]) -> list[bool]:
        """For each package, whether one of the specs fits it. What conda itself cannot read fits none."""
        from rattler import BuildString, PackageRecord
        from rattler.exceptions import InvalidPackageNameError, InvalidVersionError

        found = []
        for each in packages:
            try:
                build = BuildString(each.build)
                record = PackageRecord(each.name, each.version, build, each.build_number, each.subdir)
            except (InvalidPackageNameError, InvalidVersionError, ValueError):
                found.append(False)
                continue
            found.append(any(spec.matches(record) for spec in self._specs))
        return found
