"""The templates' environment: autoescape, and filters that make texts, times and addresses of untrusted origin fit for a page."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from conda2wheel.errors import Failed
from conda2wheel.files.escape import format_size, printable
from conda2wheel.index.pages.details import web_address
from conda2wheel.index.pages.feeds import moment

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@cache
def environment() -> Environment:
    """The templates, with autoescape. Raises `Failed` (dependency) where Jinja2 is missing."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise Failed("dependency", "the pages need Jinja2", "pip install 'conda2wheel-wasm[serve]'") from None
    made = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "size": format_size,
        "iso": _iso,
        "line": _line,
        "text": _text,
        "web": web_address,
        "quoted": quote,
        "svg": _svg,
        "number": lambda value: f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"),
    }
    return made


def _iso(seconds: float | None) -> str:
    found = moment(seconds)
    return "" if found is None else f"{found:%Y-%m-%d}"


def _line(text: str | None) -> str:
    """A text of a package as one line of visible characters."""
    return printable(" ".join((text or "").split()))


def _text(text: str | None) -> str:
    """A text of a package with its lines, and visible characters in them."""
    lines = (text or "").replace("\r\n", "\n").expandtabs().split("\n")
    return "\n".join(printable(line) for line in lines)


def _svg(drawing: str) -> Markup:
    """A drawing of `drawings`, which escapes all texts in it, for the inside of a page."""
    from markupsafe import Markup

    return Markup(drawing)  # noqa: S704
