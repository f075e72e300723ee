"""Atom feeds (RFC 4287): the builds of a package, and the newest changes of a channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from conda2wheel.files.escape import printable
from conda2wheel.index.pages.catalogue import CataloguePackage, PackageCatalogue

MOST = 50  # entries
NEVER = 0.0
LATEST = 253402300800  # the year 10000


@dataclass(frozen=True)
class FeedEntry:
    """An entry: what identifies it for ever, its title, its text, when it changed, and the address that it leads to."""

    identity: str
    title: str
    text: str
    updated: float
    address: str


def package_feed(package: CataloguePackage, base: str = "") -> str:
    """The feed of a package's builds, newest first. `base` is the address of the pages' top, "" where it is not known."""
    entries = [
        FeedEntry(
            identity=f"urn:sha256:{build.sha256}",
            title=f"{package.name} {build.version} ({build.build})",
            text=build.wheel.filename if build.wheel is not None else f"{build.status}: {build.message or 'no wheel'}",
            updated=build.built or NEVER,
            address=f"{base}packages/{package.name}/" if base else "./",
        )
        for build in package.builds
    ]
    return _feed(f"{package.name} for Pyodide", f"urn:conda2wheel:package:{package.name}", entries, "feed.xml")


def channel_feed(catalogue: PackageCatalogue, base: str = "") -> str:
    """The feed of what the channels got and lost, newest first."""
    entries = [
        FeedEntry(
            identity=f"urn:conda2wheel:{each.kind}:{each.name}:{each.version}:{each.build}:{int(each.when)}",
            title=f"{each.name} {each.version} is {'new' if each.kind == 'new' else 'gone'}",
            text=f"{each.name}-{each.version}-{each.build}",
            updated=each.when,
            address=f"{base}packages/{each.name}/",
        )
        for each in catalogue.changes
        if each.name in catalogue.by_name and catalogue.by_name[each.name].page is not None
    ]
    name = ", ".join(channel.rstrip("/").rpartition("/")[2] for channel in catalogue.channels)
    return _feed(f"Changes of {name}", f"urn:conda2wheel:channel:{name}", entries, "feed.xml")


def _feed(title: str, identity: str, entries: Sequence[FeedEntry], own: str) -> str:
    entries = entries[:MOST]
    updated = max((each.updated for each in entries), default=NEVER)
    head = (
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<title>{_text(title)}</title>\n<id>{_text(identity.replace(' ', ''))}</id>\n<updated>{_moment(updated)}</updated>\n"
        f'<link rel="self" href="{own}"/>\n<author><name>conda2wheel</name></author>\n'
    )
    return head + "".join(_entries(entries)) + "</feed>\n"


def _entries(entries: Iterable[FeedEntry]) -> Iterable[str]:
    for each in entries:
        yield (
            f"<entry>\n<title>{_text(each.title)}</title>\n<id>{_text(each.identity)}</id>\n"
            f"<updated>{_moment(each.updated)}</updated>\n"
            f'<link href="{_text(each.address)}"/>\n<content type="text">{_text(each.text)}</content>\n</entry>\n'
        )


def moment(seconds: float | None) -> datetime | None:
    """A time that a package says; None for one that no calendar has."""
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and 0 <= seconds < LATEST else None


def _moment(seconds: float) -> str:
    return (moment(seconds) or datetime.fromtimestamp(NEVER, UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(text: str) -> str:
    return escape(printable(text))
