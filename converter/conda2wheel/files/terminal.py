"""A console of rich for text of untrusted origin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from conda2wheel.files.escape import printable_lines


class PlainConsole(Console):
    """A console that shows strings as they are: no markup, no emoji codes, no highlighting, and controls are escaped.

    Strings are escaped before a table is laid out. What comes from another renderable is escaped when it is drawn.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text, without markup."""
        return super().render_str(printable_lines(text), **{**options, "markup": False, "emoji": False, "highlight": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything; only rich's own control codes stay codes."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                yield segment._replace(text=printable_lines(segment.text))
