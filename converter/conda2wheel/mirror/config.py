"""The configuration of a mirror: a TOML file, of which all mistakes are reported together, each with its line.

`mirror.toml` beside this file is the commented template that `mirror init` writes. It is valid without changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from conda2wheel.abi.choice import forced_platforms
from conda2wheel.abi.platforms import TAG_FORMS, TagForm, whole_version
from conda2wheel.conda.names import is_valid_name
from conda2wheel.errors import Failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.toml import Problem, check_table, invalid_document, parse_duration, parse_size, read_toml, suggestion
from conda2wheel.mirror.state.match_specs import parse_pattern
from conda2wheel.mirror.state.model import ItemKey, with_tuples
from conda2wheel.mirror.store.open import FLAT
from conda2wheel.net.urls import is_base, is_path, is_secure, is_url
from conda2wheel.options import ALLOWABLE, DEFAULT_LEVEL, PINS, Options, Pins, tag_form
from conda2wheel.recipes.model import RecipeBook

PackageClass = Literal["python", "maybe", "programs"]
CLASSES: tuple[PackageClass, ...] = get_args(PackageClass)
NotifyWhen = Literal["always", "attention"]
WHENS: tuple[NotifyWhen, ...] = get_args(NotifyWhen)
AUTO = "auto"
HINT = "`conda2wheel mirror init` writes a commented configuration"
_BYTES = ("size", "member_size", "path_bytes")
SECTIONS: dict[str, dict[str, type]] = {
    "channel": {"urls": list, "platforms": list},
    "select": {"include": list, "exclude": list, "classes": list, "versions": int, "builds": int},
    "convert": {
        "recipes": list,
        "tags": str,
        "compat_tags": bool,
        "pins": str,
        "isolate": bool,
        "provided": bool,
        "bridge": bool,
        "allow": list,
        "strict": bool,
        "level": int,
    },
    "share": {"libraries": list, "prefix": str},
    "work": {"workers": int, "memory": str, "timeout": str, "retries": int, "check": str},
    "output": {"store": str, "url": str, "flat": bool, "pages": bool, "pypi": str, "keep": int, "grace": str},
    "state": {"path": str},
    "limits": {
        "members": int,
        "size": str,
        "member_size": str,
        "ratio": int,
        "depth": int,
        "path_bytes": str,
        "aliases": int,
        "entries": int,
    },
    "notify": {"command": list, "webhook": str, "when": str, "metrics": str},
    "schedule": {"note": str},
}
OF_OTHERS = ("serve",)  # a table of the same file that another command reads: conda2wheel.serve.config
_MINIMUM = {("work", "workers"): 0, ("work", "retries"): 0, ("select", "versions"): 0, ("select", "builds"): 0}  # else 1


@dataclass(frozen=True)
class SelectConfig:
    """The table [select]: which packages are mirrored.

    Attributes:
        include: match specs; without any, all packages.
        exclude: match specs.
        classes: what may be converted: "python", "maybe" (repodata do not say), and of these also "programs".
        versions: the number of the newest versions of each name; 0 for all.
        builds: the number of the newest builds of each version; 0 for all.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    classes: tuple[PackageClass, ...] = ("python", "maybe")
    versions: int = 0
    builds: int = 1


@dataclass(frozen=True)
class ConvertConfig:
    """[convert]: the arguments of `conda2wheel.convert` of the same names. `recipes` are folders."""

    recipes: tuple[Path, ...] = ()
    tags: TagForm | None = "both"
    pins: Pins = "metadata"
    isolate: bool = True
    provided: bool = True
    bridge: bool = True
    allow: tuple[str, ...] = ()
    strict: bool = False
    level: int = DEFAULT_LEVEL


@dataclass(frozen=True)
class ShareConfig:
    """The table [share]: libraries of the channel that have wheels of their own, which other wheels require.

    Attributes:
        libraries: conda names; "auto" for every library package that two projects need; none: each wheel brings its libraries.
        prefix: what the names of their projects begin with.
    """

    libraries: tuple[str, ...] | Literal["auto"] = ()
    prefix: str = "shared-"


@dataclass(frozen=True)
class WorkConfig:
    """The table [work]: how items are converted.

    Attributes:
        workers: the number of processes; 0 for one a core.
        memory: the bytes that each item may use.
        timeout: the seconds that each item may use.
        retries: the number of failures after which an item is quarantined; 0 for the number of its class.
        check: "no", "yes" or a Pyodide version.
    """

    workers: int = 0
    memory: int = 4 << 30
    timeout: float = 1800.0
    retries: int = 0
    check: str = "no"


@dataclass(frozen=True)
class OutputConfig:
    """The table [output]: where the index is written, and what of it stays.

    Attributes:
        store: what `open_store` opens: a folder's absolute path, `flat:` and a folder's absolute path, or a bucket's URL.
        url: the address that the store has, for whole addresses in the pages of the index; None for relative ones.
        flat: whether the folder has real files alone, without links and generations.
        pages: whether the index has pages for people, which need Jinja2.
        pypi: the address of the simple pages of PyPI, or of another index, with which the pages compare; None for no comparison.
        keep: the number of generations that stay.
        grace: the seconds for which the wheel of a package that is gone stays in the index, yanked.
    """

    store: str
    url: str | None = None
    flat: bool = False
    pages: bool = False
    pypi: str | None = None
    keep: int = 5
    grace: float = 30 * 86400.0


@dataclass(frozen=True)
class NotifyConfig:
    """[notify]: a command and an https URL that receive the report of a run, and when; `metrics` is a file for Prometheus."""

    command: tuple[str, ...] = ()
    webhook: str | None = None
    when: NotifyWhen = "attention"
    metrics: Path | None = None


@dataclass(frozen=True)
class MirrorConfig:
    """The whole configuration.

    `path` is its file, `state` the SQLite file. `recipes` are the conversion recipes, built-in and from its folders, at the time
    of loading, each as (conda name, document as JSON); workers on any machine convert with these.
    """

    path: Path
    channels: tuple[str, ...]
    state: Path
    output: OutputConfig
    recipes: tuple[tuple[str, str], ...] = ()
    platforms: tuple[str, ...] = ("auto",)
    select: SelectConfig = SelectConfig()
    convert: ConvertConfig = ConvertConfig()
    share: ShareConfig = ShareConfig()
    work: WorkConfig = WorkConfig()
    limits: Limits = field(default_factory=Limits)
    notify: NotifyConfig = NotifyConfig()
    note: str = ""

    def key(self, package: str, name: str, platform: str) -> ItemKey:
        """The key of the work item of a package (its sha256 and conda name) and one of `platforms`."""
        from conda2wheel import __version__

        return ItemKey(package, __version__, self.digest_of(name), platform)

    def digest_of(self, name: str) -> str:
        """Return a digest of what else the bytes of a package's wheel depend on, in 16 hexadecimal digits.

        It covers [convert], SOURCE_DATE_EPOCH, and the recipes for the package's conda name.
        """
        return self._digests.get(name.lower(), self._digests[""])

    @property
    def options_digest(self) -> str:
        """A digest of all packages' options; it changes with any recipe."""
        return _digest(sorted(self._digests.items()))

    def recipes_for(self, name: str) -> tuple[str, ...]:
        """The recipes for a conda name, as JSON. Of those that match a version the last one applies."""
        return tuple(document for package, document in self.recipes if package == name.lower())

    @cached_property
    def _digests(self) -> dict[str, str]:
        """Digests by conda name of the packages with recipes, and "" for all others."""
        options = {key: value for key, value in self.options().json().items() if key not in ("platform", "recipe")}
        names = {"", *(package for package, _ in self.recipes)}
        return {name: _digest([options, self.recipes_for(name)]) for name in names}

    def options(self, platform: str = "auto") -> Options:
        """The conversion options of [convert] for a platform, with SOURCE_DATE_EPOCH of this process."""
        table = self.convert
        return Options.of(
            platform,
            table.allow,
            table.tags,
            level=table.level,
            isolate=table.isolate,
            provided=table.provided,
            bridge=table.bridge,
            pins=table.pins,
            strict=table.strict,
            programs=None if "programs" in self.select.classes else False,
        )


def template() -> str:
    """The commented configuration that `mirror init` writes."""
    return files(__package__).joinpath("mirror.toml").read_text(encoding="utf-8")


def load(path: str | Path) -> MirrorConfig:
    """Read a configuration.

    Raises:
        Failed: "usage" with `FILE:LINE: what` for every mistake, "not-found", "unreadable".
    """
    return read_config(path)[0]


def read_config(
    path: str | Path, more: Callable[[Mapping[str, Any]], Iterable[Problem]] = lambda _: ()
) -> tuple[MirrorConfig, dict[str, Any]]:
    """Read a configuration and its document, as `load`; `more` yields the mistakes in the tables of other commands."""
    path = Path(path)
    if not path.is_file():
        raise Failed("not-found", f"{path}: no such file", HINT)
    text, document = read_toml(path)
    if problems := [*_mistakes(document), *more(document)]:
        raise invalid_document(path, text, problems, HINT)
    try:
        return from_document(path, document), document
    except Failed as error:
        if error.code == "not-found":
            message = error.message.removeprefix("--recipes ")
            raise invalid_document(path, text, [Problem(("convert", "recipes"), message)], HINT) from None
        raise


def from_document(path: Path, document: Mapping[str, Any]) -> MirrorConfig:
    """The configuration of a document without mistakes, which stands at `path`. Raises `Failed` (not-found) for recipes."""
    config = _config(path.absolute(), document)
    book = RecipeBook(config.convert.recipes)
    return replace(config, recipes=tuple((each.package, json.dumps(each.document, sort_keys=True)) for each in book.recipes))


def _config(path: Path, document: Mapping[str, Any]) -> MirrorConfig:
    base = path.parent
    table: dict[str, dict[str, Any]] = {name: dict(document.get(name, {})) for name in SECTIONS}
    for section, key in (("work", "memory"), *(("limits", key) for key in _BYTES)):
        if key in table[section]:
            table[section][key] = parse_size(table[section][key])
    for section, key in (("work", "timeout"), ("output", "grace")):
        if key in table[section]:
            table[section][key] = parse_duration(table[section][key])
    if "size" in table["limits"]:
        table["limits"]["download"] = table["limits"]["size"]  # an archive is smaller than its contents
    if "metrics" in table["notify"]:
        table["notify"]["metrics"] = base / Path(table["notify"]["metrics"]).expanduser()
    store = table["output"]["store"]
    if "compat_tags" in table["convert"]:
        table["convert"]["tags"] = tag_form(None, table["convert"].pop("compat_tags"))
    recipes = tuple(base / Path(folder).expanduser() for folder in table["convert"].pop("recipes", ()))
    return MirrorConfig(
        path=path,
        channels=tuple(_channel(base, channel) for channel in table["channel"]["urls"]),
        platforms=tuple(table["channel"].get("platforms", ["auto"])),
        select=SelectConfig(**with_tuples(table["select"])),
        convert=ConvertConfig(recipes=recipes, **with_tuples(table["convert"])),
        share=ShareConfig(**with_tuples(table["share"])),
        work=WorkConfig(**table["work"]),
        output=replace(OutputConfig(**table["output"]), store=_store(base, store, table["output"].get("flat", False))),
        state=base / Path(table["state"].get("path", "mirror.sqlite")).expanduser(),
        limits=replace(Limits(), **table["limits"]),
        notify=NotifyConfig(**with_tuples(table["notify"])),
        note=table["schedule"].get("note", ""),
    )


def _store(base: Path, store: str, flat: bool) -> str:
    """What `open_store` opens: a folder's path is relative to the configuration."""
    if is_url(store):
        return store
    folder = str(base / Path(store).expanduser())
    return FLAT + folder if flat else folder


def _channel(base: Path, channel: str) -> str:
    """Resolve a channel's folder relative to the configuration; names and URLs stay."""
    return str(base / Path(channel).expanduser()) if is_path(channel) else channel


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _mistakes(document: Mapping[str, Any]) -> Iterator[Problem]:
    mistakes: list[Problem] = []
    for name, value in document.items():
        if name in OF_OTHERS:
            continue
        if name not in SECTIONS:
            mistakes.append(Problem((name,), f"there is no [{name}]; {suggestion(name, SECTIONS)}"))
        else:
            mistakes += check_table((name,), value, f"[{name}]", _allowed(name, value))
    for section, key in (("channel", "urls"), ("output", "store")):
        table = document.get(section, {})
        if isinstance(table, dict) and not table.get(key):
            mistakes.append(Problem((section, key) if key in table else (section,), f"[{section}] has no {key}"))
    output = document.get("output", {})
    if isinstance(output, dict) and output.get("flat") is True and is_url(str(output.get("store", ""))):
        mistakes.append(Problem(("output", "flat"), "flat is for a store in a folder; a bucket has no links"))
    if {"tags", "compat_tags"} <= {*document.get("convert", ())}:
        mistakes.append(Problem(("convert", "compat_tags"), "compat_tags is the older name of tags; write one of the two"))
    yield from mistakes
    reported = {tuple(each.keys) for each in mistakes}
    for name, value in document.items():
        for key, each in value.items() if isinstance(value, dict) and name in SECTIONS else ():
            if (name, key) not in reported:
                yield from (Problem((name, key), why, item) for why, item in _values(name, key, each))


def _allowed(section: str, table: Any) -> dict[str, type]:
    """The keys of a table with their types. [share] libraries is a list of texts, or the text "auto"."""
    if section == "share" and isinstance(table, dict) and isinstance(table.get("libraries"), str):
        return {**SECTIONS[section], "libraries": str}
    return SECTIONS[section]


def _values(section: str, key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Check a value of the right type; yields (reason, the wrong element of a list)."""
    name = f"{section}.{key}"
    if isinstance(value, int) and not isinstance(value, bool):
        minimum = _MINIMUM.get((section, key), 1)
        if value < minimum or (key == "level" and value > 12):
            yield f"{key} is {value}; it is {'1 to 12' if key == 'level' else f'{minimum} or more'}", ""
    choices = {
        "convert.pins": PINS,
        "convert.tags": TAG_FORMS,
        "notify.when": WHENS,
        "select.classes": CLASSES,
        "convert.allow": sorted(ALLOWABLE),
    }
    for text in (value if isinstance(value, list) else [value]) if name in choices else ():
        if text not in choices[name]:
            yield f"{key} has {text!r}; {suggestion(text, choices[name])}", text
    for text in value if name in ("select.include", "select.exclude") else ():
        if (why := _spec_error(text)) is not None:
            yield f"{text!r} is no match spec: {why}", text
    if name in ("work.memory", "work.timeout", "output.grace", *(f"limits.{each}" for each in _BYTES)):
        yield from ((why, "") for why in _unparsable(value, parse_duration if key in ("timeout", "grace") else parse_size))
    for text in value if name == "channel.platforms" else ():
        try:
            forced_platforms(text)
        except Failed as error:
            yield f"{error.message}; {error.hint}", text
    if name == "share.libraries" and isinstance(value, str) and value != AUTO:
        yield f'libraries is {value!r}; it is "auto" or a list of conda names', ""
    if name == "share.prefix" and not is_valid_name(f"{value}x"):
        yield f"prefix is {value!r}; a distribution's name cannot begin so", ""
    if name == "channel.platforms" and not value:
        yield 'platforms is empty; write ["auto"]', ""
    if name == "work.check" and value not in ("no", "yes") and whole_version(value) is None:
        yield f"check is {value!r}; it is no, yes or a Pyodide version or series", ""
    if name == "output.url" and not is_base(value):
        yield "url is not the http or https address of a folder", ""
    if name == "output.pypi" and not is_secure(value):
        yield "pypi is not an https URL", ""
    if name == "notify.webhook" and not is_secure(value):
        yield "webhook is not an https URL", ""


def _unparsable(text: str, parse: Any) -> Iterator[str]:
    try:
        if not parse(text):
            yield f"{text!r} must be more than zero"
    except ValueError as error:
        yield str(error)


def _spec_error(text: str) -> str | None:
    try:
        parse_pattern(text)
    except ValueError as error:
        return str(error)
    return None
