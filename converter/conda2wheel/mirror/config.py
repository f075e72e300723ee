"""The configuration of a mirror: one TOML, checked as a whole, every mistake told with its line.

`mirror.toml` beside this file is the commented template that `mirror init` writes, and it is valid as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from conda2wheel.abi.choice import forced_platform
from conda2wheel.errors import Failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.toml import Problem, check_table, invalid_document, parse_duration, parse_size, read_toml, suggestion
from conda2wheel.mirror.state.model import ItemKey
from conda2wheel.net.download import is_secure, is_url
from conda2wheel.options import ALLOWABLE, DEFAULT_LEVEL, PINS, Options, Pins
from conda2wheel.recipes.model import RecipeBook

PackageClass = Literal["python", "maybe"]
CLASSES: tuple[PackageClass, ...] = get_args(PackageClass)
NotifyWhen = Literal["always", "attention"]
WHENS: tuple[NotifyWhen, ...] = get_args(NotifyWhen)
HINT = "`conda2wheel mirror init` writes a commented one"
_BYTES = ("size", "member_size")
SECTIONS: dict[str, dict[str, type]] = {
    "channel": {"urls": list, "platforms": list},
    "select": {"include": list, "exclude": list, "classes": list, "versions": int, "builds": int},
    "convert": {
        "recipes": list,
        "compat_tags": bool,
        "pins": str,
        "isolate": bool,
        "provided": bool,
        "allow": list,
        "level": int,
    },
    "work": {"workers": int, "memory": str, "timeout": str, "retries": int, "check": str},
    "output": {"store": str, "keep": int, "grace": str},
    "state": {"path": str},
    "limits": {"members": int, "size": str, "member_size": str, "ratio": int},
    "notify": {"command": list, "webhook": str, "when": str, "metrics": str},
    "schedule": {"note": str},
}
_LEAST = {("work", "workers"): 0, ("work", "retries"): 0, ("select", "versions"): 0, ("select", "builds"): 0}  # else 1


@dataclass(frozen=True)
class SelectConfig:
    """Which packages: `include` and `exclude` are match specs (no include: all); `versions` and `builds` how many of the newest
    of each name, and of each version and variant, 0 for all."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    classes: tuple[PackageClass, ...] = CLASSES
    versions: int = 0
    builds: int = 1


@dataclass(frozen=True)
class ConvertConfig:
    """As the arguments of `conda2wheel.commands.convert` of the same names; `recipes` are folders."""

    recipes: tuple[Path, ...] = ()
    compat_tags: bool = True
    pins: Pins = "metadata"
    isolate: bool = True
    provided: bool = True
    allow: tuple[str, ...] = ()
    level: int = DEFAULT_LEVEL


@dataclass(frozen=True)
class WorkConfig:
    """`workers`: processes, 0 for one a core. For each item: `memory` in bytes, `timeout` in seconds. `retries`: attempts until
    it is put aside, 0 for what its class of failure has. `check`: "no", "yes" or a Pyodide version."""

    workers: int = 0
    memory: int = 4 << 30
    timeout: float = 1800.0
    retries: int = 0
    check: str = "no"


@dataclass(frozen=True)
class OutputConfig:
    """Where to: `store` a folder (absolute) or a bucket's URL; `keep` generations; `grace` in seconds."""

    store: str
    keep: int = 5
    grace: float = 30 * 86400.0


@dataclass(frozen=True)
class NotifyConfig:
    """Who is told at the end: a command's words, a webhook's URL, and when; `metrics` is a file for Prometheus."""

    command: tuple[str, ...] = ()
    webhook: str | None = None
    when: NotifyWhen = "attention"
    metrics: Path | None = None


@dataclass(frozen=True)
class MirrorConfig:
    """All of it. `path` is the file, `state` the SQLite file; `recipes` the conversion recipes as they were when it was loaded,
    ours and its folders', each as (conda name, document as JSON): workers convert with these, wherever they are."""

    path: Path
    channels: tuple[str, ...]
    state: Path
    output: OutputConfig
    recipes: tuple[tuple[str, str], ...] = ()
    platforms: tuple[str, ...] = ("auto",)
    select: SelectConfig = SelectConfig()
    convert: ConvertConfig = ConvertConfig()
    work: WorkConfig = WorkConfig()
    limits: Limits = field(default_factory=Limits)
    notify: NotifyConfig = NotifyConfig()
    note: str = ""

    def key(self, package: str, name: str, platform: str) -> ItemKey:
        """The work item for a package (its sha256 and its conda name) and one of `platforms`."""
        from conda2wheel import __version__

        return ItemKey(package, __version__, self.digest_of(name), platform)

    def digest_of(self, name: str) -> str:
        """What, beside the package and the platform, the bytes of the wheel of a conda package depend on: [convert],
        SOURCE_DATE_EPOCH, and the recipes that there are for this very name. 16 hex digits."""
        return self._digests.get(name.lower(), self._digests[""])

    @property
    def options_digest(self) -> str:
        """The same for all packages together: a change of any recipe changes it."""
        return _digest(sorted(self._digests.items()))

    def recipes_for(self, name: str) -> tuple[str, ...]:
        """The recipes that there are for a conda name, as JSON; the last one that fits a version holds."""
        return tuple(document for package, document in self.recipes if package == name.lower())

    @cached_property
    def _digests(self) -> dict[str, str]:
        """By name of those that have recipes, and "" for all others."""
        options = {key: value for key, value in self.options().json().items() if key not in ("platform", "recipe")}
        names = {"", *(package for package, _ in self.recipes)}
        return {name: _digest([options, self.recipes_for(name)]) for name in names}

    def options(self, platform: str = "auto") -> Options:
        """[convert] for a platform, as `convert` sees it."""
        asked = self.convert
        return Options.of(platform, asked.compat_tags, asked.level, asked.isolate, asked.provided, asked.allow, asked.pins)


def template() -> str:
    """The commented configuration to begin with."""
    return files(__package__).joinpath("mirror.toml").read_text(encoding="utf-8")


def load(path: str | Path) -> MirrorConfig:
    """Read a configuration. Raises `Failed`: usage, with `FILE:LINE: what` of all that is wrong; unreadable; not-found for a
    folder of recipes."""
    path = Path(path)
    if not path.is_file():
        raise Failed("not-found", f"{path}: no such file", HINT)
    text, document = read_toml(path)
    if problems := list(_complaints(document)):
        raise invalid_document(path, text, problems, HINT)
    try:
        config = _config(path.absolute(), document)
        book = RecipeBook(config.convert.recipes)
    except Failed as error:
        if error.code == "not-found":
            message = error.message.removeprefix("--recipes ")
            raise invalid_document(path, text, [Problem(("convert", "recipes"), message)], HINT) from None
        raise
    return replace(config, recipes=tuple((each.package, json.dumps(each.document, sort_keys=True)) for each in book.recipes))


def _config(path: Path, document: Mapping[str, Any]) -> MirrorConfig:
    here = path.parent
    table: dict[str, dict[str, Any]] = {name: dict(document.get(name, {})) for name in SECTIONS}
    for section, key in (("work", "memory"), *(("limits", key) for key in _BYTES)):
        if key in table[section]:
            table[section][key] = parse_size(table[section][key])
    for section, key in (("work", "timeout"), ("output", "grace")):
        if key in table[section]:
            table[section][key] = parse_duration(table[section][key])
    if "size" in table["limits"]:
        table["limits"]["download"] = table["limits"]["size"]  # what is packed is smaller than what it unpacks to
    if "metrics" in table["notify"]:
        table["notify"]["metrics"] = here / Path(table["notify"]["metrics"]).expanduser()
    store = table["output"]["store"]
    recipes = tuple(here / Path(folder).expanduser() for folder in table["convert"].pop("recipes", ()))
    return MirrorConfig(
        path=path,
        channels=tuple(_place(here, channel) for channel in table["channel"]["urls"]),
        platforms=tuple(table["channel"].get("platforms", ["auto"])),
        select=SelectConfig(**_frozen(table["select"])),
        convert=ConvertConfig(recipes=recipes, **_frozen(table["convert"])),
        work=WorkConfig(**table["work"]),
        output=replace(OutputConfig(**table["output"]), store=store if is_url(store) else str(here / Path(store).expanduser())),
        state=here / Path(table["state"].get("path", "mirror.sqlite")).expanduser(),
        limits=replace(Limits(), **table["limits"]),
        notify=NotifyConfig(**_frozen(table["notify"])),
        note=table["schedule"].get("note", ""),
    )


def _frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _place(here: Path, channel: str) -> str:
    """A channel that is a folder, from this file; names and URLs stay."""
    return str(here / Path(channel).expanduser()) if channel.startswith((".", "/", "~")) else channel


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _complaints(document: Mapping[str, Any]) -> Iterator[Problem]:
    wrong: list[Problem] = []
    for name, value in document.items():
        if name not in SECTIONS:
            wrong.append(Problem((name,), f"there is no [{name}]; {suggestion(name, SECTIONS)}"))
        else:
            wrong += check_table((name,), value, f"[{name}]", SECTIONS[name])
    for section, key in (("channel", "urls"), ("output", "store")):
        table = document.get(section, {})
        if isinstance(table, dict) and not table.get(key):
            wrong.append(Problem((section, key) if key in table else (section,), f"[{section}] has no {key}"))
    yield from wrong
    typed = {tuple(each.keys) for each in wrong}
    for name, value in document.items():
        for key, each in value.items() if isinstance(value, dict) and name in SECTIONS else ():
            if (name, key) not in typed:
                yield from (Problem((name, key), why, item) for why, item in _values(name, key, each))


def _values(section: str, key: str, value: Any) -> Iterator[tuple[str, str]]:
    """(why, the wrong text of a list) of a value that has the right type."""
    at = f"{section}.{key}"
    if isinstance(value, int) and not isinstance(value, bool):
        least = _LEAST.get((section, key), 1)
        if value < least or (key == "level" and value > 12):
            yield f"{key} is {value}; it is {'1 to 12' if key == 'level' else f'{least} or more'}", ""
    choices = {"convert.pins": PINS, "notify.when": WHENS, "select.classes": CLASSES, "convert.allow": sorted(ALLOWABLE)}
    for text in (value if isinstance(value, list) else [value]) if at in choices else ():
        if text not in choices[at]:
            yield f"{key} has {text!r}; {suggestion(text, choices[at])}", text
    for text in value if at in ("select.include", "select.exclude") else ():
        if (why := _no_spec(text)) is not None:
            yield f"{text!r} is no match spec: {why}", text
    if at in ("work.memory", "limits.size", "limits.member_size", "work.timeout", "output.grace"):
        yield from ((why, "") for why in _unreadable(value, parse_duration if key in ("timeout", "grace") else parse_size))
    for text in value if at == "channel.platforms" else ():
        try:
            forced_platform(text)
        except Failed as error:
            yield f"{error.message}; {error.hint}", text
    if at == "channel.platforms" and not value:
        yield 'platforms is empty; write ["auto"]', ""
    if at == "work.check" and value not in ("no", "yes") and not value[:1].isdigit():
        yield f"check is {value!r}; it is no, yes or a version of Pyodide", ""
    if at == "notify.webhook" and not is_secure(value):
        yield "webhook is no https URL", ""


def _unreadable(text: str, read: Any) -> Iterator[str]:
    try:
        if not read(text):
            yield f"{text!r} is nothing"
    except ValueError as error:
        yield str(error)


def _no_spec(text: str) -> str | None:
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    try:
        MatchSpec(text, exact_names_only=False)
    except InvalidMatchSpecError as error:
        return str(error)
    return None
