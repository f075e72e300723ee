"""Convert the packages of a set, each on the one road, with the libraries of the set at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from conda2wheel.abi.platforms import Platform
from conda2wheel.bundle.chosen import Chosen
from conda2wheel.bundle.lockfile import Step
from conda2wheel.bundle.shared_wheel import SharedLibraries
from conda2wheel.channels.downloads import Downloads
from conda2wheel.commands.convert import convert_package
from conda2wheel.conda.open import open_package
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.packagefile import Limits
from conda2wheel.link.channel_lookup import ChannelLibraries
from conda2wheel.link.common import Common
from conda2wheel.link.libraries import LibraryIndex
from conda2wheel.net.download import Wanted, redacted
from conda2wheel.options import Options
from conda2wheel.recipes.model import RecipeBook, from_document
from conda2wheel.results import Converted
from conda2wheel.wheel.name_sources import Surroundings
from conda2wheel.wheel.names import answer

# Refusals of packages that belong to a set and have no wheel: what depends on them needs none, or `missing-library` tells.
NO_WHEEL = ("not-python", "metapackage", "static-library", "executable")
FOUND = ("library-from-channel", "channel-skipped")  # warnings that a lock repeats, since with it nothing is looked up


@dataclass(frozen=True)
class Made:
    """A wheel of the set, and the step that makes it again."""

    step: Step
    wheel: Converted

    @property
    def project(self) -> str:
        """The normalised name."""
        return str(canonicalize_name(self.wheel.name))


@dataclass
class Workshop:
    """Conversions into one folder, each package once, however often it is asked for. `channels`: where NEEDED libraries are
    looked up that the set has not; none with a lock."""

    folder: Path
    options: Options
    book: RecipeBook
    limits: Limits
    downloads: Downloads
    libdirs: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    around: Surroundings = field(init=False)
    made: dict[str, Made] = field(default_factory=dict)  # by URL
    without: dict[str, Refused] = field(default_factory=dict)  # what has no wheel, by URL

    def __post_init__(self) -> None:
        self.around = Surroundings(self.libdirs, self.limits, self.downloads)

    def fetch(self, packages: Iterable[Chosen]) -> None:
        """Bring what is missing into the cache, several at a time."""
        wanted = [Wanted(each.url, each.sha256, each.size) for each in packages if each.sha256 and "://" in each.url]
        self.downloads.get([each for each in wanted if not each.url.startswith("file:")], self.limits.download)

    def convert(self, packages: Sequence[Chosen], libraries: Sequence[Chosen]) -> Iterator[Made]:
        """The wheels of those that have one. `libraries` are packages of the set that shared libraries may be in.

        Raises `Refused` for the first that cannot become a wheel, when all were tried; and `Failed`.
        """
        index = self._index(libraries)
        refused: list[tuple[Chosen, Refused]] = []
        for each in packages:
            if each.url not in self.made and each.url not in self.without:
                try:
                    self.made[each.url] = self._one(each, index)
                except Refused as error:
                    if error.code not in NO_WHEEL:
                        refused.append((each, error))
                    self.without[each.url] = error
            if each.url in self.made:
                yield self.made[each.url]
        if refused:
            (_, reason), *others = refused
            more = f" (refused too: {', '.join(f'{each.name}: {other.code}' for each, other in others)})" if others else ""
            raise Refused(reason.code, f"{reason.message}{more}", reason.hint)

    def again(self, steps: Sequence[Step], libraries: Sequence[Chosen]) -> Iterator[Made]:
        """The same wheels from a lock. Raises `Refused` and `Failed` as the road does."""
        index = self._index(libraries)
        for step in steps:
            yield self._replay(step, self._index((*libraries, *step.libraries)) if step.libraries else index)

    def share(
        self, name: str, platform: Platform, made: Sequence[Made], libraries: Sequence[Chosen]
    ) -> tuple[list[Made], Converted | None]:
        """The same wheels with what several of them would carry in a common wheel, and that wheel; None where nothing is shared.

        Raises `Failed` (usage) and `Refused` as `SharedLibraries` does.
        """
        shared = SharedLibraries(name, platform, self.options)
        index = self._index(libraries)
        own = {each.step.package.url: self._index((*libraries, *each.step.libraries)) for each in made if each.step.libraries}
        users = [each for each in made if each.wheel.vendored]
        for each in users:
            package, options = self._opened(each.step)
            shared.add(package, own.get(each.step.package.url, index), options)
        found = shared.finish(self.folder)
        if found is None:
            return list(made), None
        again = {each.project: self._replay(each.step, own.get(each.step.package.url, index), found[0]) for each in users}
        return [again.get(each.project, each) for each in made], found[1]

    def _index(self, libraries: Iterable[Chosen]) -> LibraryIndex:
        return LibraryIndex((*self.libdirs, *(each.place for each in libraries)), self.limits, downloads=self.downloads)

    def _opened(self, step: Step) -> tuple[CondaPackage, Options]:
        recipe = None if step.recipe is None else from_document(dict(step.recipe))
        package = open_package(step.package.place, self.limits, self.downloads)
        return package, replace(self.options, recipe=recipe, names=step.names)

    def _replay(self, step: Step, index: LibraryIndex, common: Common | None = None) -> Made:
        package, options = self._opened(step)
        wheel = convert_package(package, index, options, self.folder, common=common)
        notes = tuple(note for note in step.notes if note not in wheel.warnings)
        return Made(step, replace(wheel, warnings=(*wheel.warnings, *notes)))

    def _one(self, chosen: Chosen, index: LibraryIndex) -> Made:
        package = open_package(chosen.place, self.limits, self.downloads)
        recipe = self.book.find(package)
        looked = ChannelLibraries(self.around.listing(self.channels))
        named = self.around.names(package.depends, self.channels)
        package = replace(package, warnings=(*package.warnings, *named.warnings))
        options = replace(self.options, recipe=recipe, names=named.names)
        wheel = convert_package(package, index.with_channel(looked), options, self.folder)
        found = tuple(_located(url, other) for url, other in looked.opened.items())
        notes = tuple(warning for warning in wheel.warnings if warning.code in FOUND)
        return Made(Step(chosen, found, None if recipe is None else dict(recipe.told), notes, named.names), wheel)


def _located(url: str, package: CondaPackage) -> Chosen:
    """A package that was opened on the way."""
    index: Mapping[str, Any] = package.index
    return Chosen(
        name=package.name,
        version=package.version,
        build=package.build,
        subdir=package.subdir or "emscripten-wasm32",
        url=redacted(url),
        sha256=package.sha256,
        size=index.get("size") if isinstance(index.get("size"), int) else None,
        channel=redacted(package.channel or ""),
        depends=package.depends,
    )


def may_have_wheel(chosen: Chosen) -> bool:
    """Whether it is worth a try: not so for what says nothing of Python and is no distribution by its name."""
    return not chosen.is_library or answer(chosen.name).pypi is not None


def require_one_each(made: Iterable[Made]) -> None:
    """Raises `Failed` (conflict) where two packages of a set are one project: no index can offer both."""
    seen: dict[str, Made] = {}
    for each in made:
        other = seen.setdefault(each.project, each)
        if other is not each:
            both = f"{other.step.package.stem} and {each.step.package.stem}"
            raise Failed("conflict", f"{both} are both {each.project} on PyPI", "ask for one of them")
