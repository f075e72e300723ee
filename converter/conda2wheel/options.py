"""The options of `convert` and `repair`, as one value that is recorded in the wheel, so that `verify` can replay it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict, Unpack

from conda2wheel.abi.choice import PlatformChoice, forced_platforms
from conda2wheel.abi.platforms import TAG_FORMS, Platform, TagForm, compressed_tags
from conda2wheel.conda.names import Names
from conda2wheel.errors import Failed, require_several
from conda2wheel.recipes.model import Recipe, from_document

Pins = Literal["metadata", "conda"]
PINS: tuple[Pins, ...] = ("metadata", "conda")
DEFAULT_LEVEL = 6  # of libdeflate
LATEST_EPOCH = 253402300799  # 9999-12-31, the last day that a bill of materials can have
# Refusals that a user may turn into warnings. Every other refusal leaves nothing that could be written as a wheel.
ALLOWABLE = frozenset({"abi-conflict", "missing-library", "signature-mismatch", "unresolved-symbol"})


class OptionKeywords(TypedDict, total=False):
    """Those arguments of `Options` that need no check of their own."""

    level: int
    isolate: bool
    provided: bool
    bridge: bool
    pins: Pins
    strict: bool
    exclude: tuple[str, ...]
    add_needed: tuple[str, ...]
    programs: bool | None


@dataclass(frozen=True)
class Options:
    """What the bytes of a wheel depend on beside its packages.

    Attributes:
        platforms: the platforms, oldest first; none to determine one by evidence.
        tags: which names of the platform the wheel's tag has. None: those of PEP 783; `repair` leaves a tag that has them.
        level: the level of compression, 1 to 12.
        isolate: whether the symbols of vendored libraries are renamed.
        provided: whether libraries that Pyodide provides are left out.
        allow: the refusal codes that become warnings.
        pins: the source of version limits, one of `PINS`.
        strict: whether a wheel is refused of which a part does not run.
        recipe: the conversion recipe of the package.
        bridge: whether modules with longjmp of the JavaScript kind get an unwinding bridge.
        epoch: SOURCE_DATE_EPOCH in seconds; None if it is not set.
        names: the PyPI names of dependencies that come from their own dist-info and not from the tables, by conda name.
        exclude: patterns of NEEDED libraries that stay out of the wheel.
        add_needed: NEEDED entries that are added, as `[MODULE:]LIBRARY`.
        programs: whether the programs of a package are brought along; None: of a package that has nothing for Python.
    """

    platforms: tuple[Platform, ...] = ()
    tags: TagForm | None = None
    level: int = DEFAULT_LEVEL
    isolate: bool = True
    provided: bool = True
    allow: frozenset[str] = frozenset()
    pins: Pins = "metadata"
    strict: bool = False
    recipe: Recipe | None = None
    epoch: int | None = None
    names: Names = field(default_factory=dict, hash=False)
    bridge: bool = True
    exclude: tuple[str, ...] = ()
    add_needed: tuple[str, ...] = ()
    programs: bool | None = None

    def __post_init__(self) -> None:
        for each in self.add_needed:
            if not library_of(each) or "/" in library_of(each):
                raise Failed("usage", f"--add-needed {each}: no file name of a library", "such as libz.so, or _core*.so:libz.so")
        if not 1 <= self.level <= 12:
            raise Failed("usage", f"level {self.level}: libdeflate has levels 1 to 12", "give one of them")
        if self.tags not in (None, *TAG_FORMS):
            raise Failed("usage", f"tags {self.tags!r}: unknown", f"one of {', '.join(TAG_FORMS)}")
        if self.pins not in PINS:
            raise Failed("usage", f"pins {self.pins!r}: unknown", f"one of {', '.join(PINS)}")

    @classmethod
    def of(
        cls,
        platform: PlatformChoice = "auto",
        allow: Iterable[str] = (),
        tags: TagForm | None = None,
        compat_tags: bool | None = None,
        **choices: Unpack[OptionKeywords],
    ) -> Options:
        """Return the options of a caller, with SOURCE_DATE_EPOCH of this process. Raises `Failed` (usage) for a wrong value."""
        form = tag_form(tags, compat_tags)
        rows = forced_platforms(platform)
        return cls(platforms=rows, tags=form, allow=check_allow(allow), epoch=source_date_epoch(), **choices)

    def json(self) -> dict[str, Any]:
        """Return the options as `conda2wheel.json` records them; those of `repair` alone only where they are given."""
        lists = {"exclude": list(self.exclude), "add_needed": list(self.add_needed)}
        return {
            "platform": compressed_tags(self.platforms) or "auto",
            "compat_tags": self.tags == "both",
            **({} if self.tags in (None, "both") else {"tags": self.tags}),
            "level": self.level,
            "isolate": self.isolate,
            "provided": self.provided,
            "bridge": self.bridge,
            "allow": sorted(self.allow),
            "pins": self.pins,
            "strict": self.strict,
            "recipe": dict(self.recipe.document) if self.recipe else None,
            "source_date_epoch": self.epoch,
            "names": dict(self.names),
            **{key: value for key, value in lists.items() if value},
            # Of a wheel it says whether there are programs (`prepare_package`): a wheel without any has no such key.
            **({} if self.programs is False else {"programs": self.programs}),
        }

    @classmethod
    def from_json(cls, document: Any) -> Options:
        """Read what `json` returned.

        Raises:
            ValueError: no version of conda2wheel wrote it.
            Failed: usage, for a platform or a code that this version does not know.
        """
        if not isinstance(document, Mapping):
            raise ValueError("no options")  # noqa: TRY004 - the document is wrong, not an argument
        newer = (document.get(key, False) for key in ("strict", "bridge"))  # wheels of earlier versions do not have them
        flags = [*newer, *(document.get(key) for key in ("compat_tags", "isolate", "provided"))]
        level, epoch, allow = document.get("level"), document.get("source_date_epoch"), document.get("allow")
        pins = next((each for each in PINS if each == document.get("pins")), None)
        names, programs = document.get("names", {}), document.get("programs", False)
        lists = [document.get(key, []) for key in ("exclude", "add_needed")]
        recipe = None if document.get("recipe") is None else from_document(dict(document["recipe"]))
        if not (
            all(isinstance(flag, bool) for flag in flags)
            and type(level) is int
            and (epoch is None or (type(epoch) is int and 0 <= epoch <= LATEST_EPOCH))
            and isinstance(allow, list)
            and all(isinstance(code, str) for code in allow)
            and pins is not None
            and programs in (True, False, None)
            and document.get("tags") in (None, *TAG_FORMS)
            and isinstance(names, dict)
            and all(name is None or isinstance(name, str) for name in names.values())
            and all(isinstance(each, list) and all(isinstance(text, str) for text in each) for each in lists)
        ):
            raise ValueError("this version does not write such options")
        strict, bridge, compat_tags, isolate, provided = map(bool, flags)
        tags = next((each for each in TAG_FORMS if each == document.get("tags")), "both" if compat_tags else None)
        platforms = forced_platforms(str(document.get("platform")))
        own = cls(platforms, tags, level, isolate, provided, check_allow(allow), pins, strict, recipe, epoch, names, bridge)
        exclude, add_needed = map(tuple, lists)
        return replace(own, exclude=exclude, add_needed=add_needed, programs=programs)

    def moment(self, own: float | None) -> float:
        """Return the time of a wheel's members, in seconds since 1970: SOURCE_DATE_EPOCH if it is set, else the input's own."""
        return float(self.epoch) if self.epoch is not None else own or 0.0


def tag_form(tags: TagForm | None, compat_tags: bool | None) -> TagForm | None:
    """Return `tags`, or what its older name `compat_tags` means. Raises `Failed` (usage) where the two contradict each other."""
    if compat_tags is None:
        return tags
    if tags is not None and compat_tags is not (tags == "both"):
        hint = "leave --compat-tags out, which is the older name of --tags both"
        raise Failed(
            "usage", f"--tags {tags} and {'--compat-tags' if compat_tags else '--no-compat-tags'} contradict each other", hint
        )
    return tags or ("both" if compat_tags else None)


def library_of(add_needed: str) -> str:
    """The library of `[MODULE:]LIBRARY`.

    >>> library_of("demo/_core*.so:libz.so"), library_of("libz.so")
    ('libz.so', 'libz.so')
    """
    return add_needed.rpartition(":")[2]


def source_date_epoch() -> int | None:
    """Return SOURCE_DATE_EPOCH, None where it is not set.

    Raises:
        Failed: usage. The specification of the variable has tools end with an error where it is malformed: a wheel with another
            time is not reproduced.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch:
        return None
    if not (epoch.isascii() and epoch.isdecimal()) or len(epoch) > len(str(LATEST_EPOCH)) or int(epoch) > LATEST_EPOCH:
        message = f"SOURCE_DATE_EPOCH is {epoch[:40]!r}; it is a number of seconds since 1970, {LATEST_EPOCH} at most"
        raise Failed("usage", message, "correct it, or unset it")
    return int(epoch)


def check_allow(allow: Iterable[str]) -> frozenset[str]:
    """Return the codes as a set. Raises `Failed` (usage) for a code that cannot be allowed."""
    require_several("allow", allow)
    codes = frozenset(allow)
    if unknown := sorted(codes - ALLOWABLE):
        raise Failed(
            "usage", f"--allow {', '.join(unknown)}: not a code that can be allowed", f"one of {', '.join(sorted(ALLOWABLE))}"
        )
    return codes
