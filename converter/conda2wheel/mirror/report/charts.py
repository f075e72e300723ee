"""Small SVG charts for the report's page, without scripts or styles of their own; classes give the colours (`report.css`).

Every chart also has its numbers as text, for screen readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

RUNS = 60  # as many as can be distinguished


def share(parts: Mapping[str, float]) -> str:
    """A bar, divided among classes in the order given."""
    total = sum(parts.values()) or 1
    x = 0.0
    bars = []
    for name, value in parts.items():
        width = 100 * value / total
        if width:
            bars.append(f'<rect class="{escape(name)}" x="{x:.3f}" y="0" width="{width:.3f}" height="10"/>')
        x += width
    words = ", ".join(f"{value:g} {name}" for name, value in parts.items())
    return f'<svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{escape(words)}">' + (
        "".join(bars) + "</svg>"
    )


def bar(value: float, most: float, name: str) -> str:
    """A bar whose length is the value's share of `most`. It stands beside its number, so screen readers skip it."""
    width = 100 * value / most if most else 0
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{escape(name)}" x="0" y="0" width="{width:.3f}" height="10"/></svg>'
    )


def history(runs: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """A column for each of the last `RUNS` runs, given as (name, numbers by class), the newest at the right."""
    runs = runs[-RUNS:]
    most = max((sum(numbers.values()) for _, numbers in runs), default=0) or 1
    width = 600 / max(len(runs), 12)
    columns = []
    for position, (name, numbers) in enumerate(runs):
        y = 120.0
        parts = []
        for kind, value in numbers.items():
            height = 120 * value / most
            y -= height
            if height:
                parts.append(
                    f'<rect class="{escape(kind)}" x="{position * width + 1:.2f}" y="{y:.2f}" '
                    f'width="{width - 2:.2f}" height="{height:.2f}"/>'
                )
        words = ", ".join(f"{value:g} {kind}" for kind, value in numbers.items())
        columns.append(f"<g><title>{escape(f'{name}: {words}')}</title>{''.join(parts)}</g>")
    label = f"{len(runs)} runs, from {runs[0][0]} to {runs[-1][0]}" if runs else "no runs"
    return (
        f'<svg class="history" viewBox="0 0 600 120" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{''.join(columns)}</svg>"
    )
