"""Circles in what packages depend on, opened: Pyodide's loadPackage waits for ever where a package waits for itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def acyclic(depends: Mapping[str, Collection[str]]) -> tuple[dict[str, set[str]], tuple[tuple[str, str], ...]]:
    """The same without circles, and the pairs (who, what) that were cut. Names that are no keys depend on nothing.

    Who depends on a member of a circle from outside depends on all of its members afterwards, so that they still come together;
    within it, those that come first by name are left without the later ones.

    >>> opened, cut = acyclic({"a": ["b"], "b": ["a"], "c": ["a"]})
    >>> {name: sorted(others) for name, others in opened.items()}, cut
    ({'a': [], 'b': ['a'], 'c': ['a', 'b']}, (('a', 'b'),))
    """
    reached = {name: _reachable(name, depends) for name in depends}
    circle = {name: {other for other in reached[name] if name in reached.get(other, ())} | {name} for name in depends}
    result: dict[str, set[str]] = {}
    cut = []
    for name in depends:
        result[name] = set()
        for other in sorted(depends[name]):
            if other not in circle[name]:
                result[name] |= circle.get(other, {other})
            elif other < name:
                result[name].add(other)
            elif other != name:
                cut.append((name, other))
    return result, tuple(sorted(cut))


def _reachable(name: str, depends: Mapping[str, Collection[str]]) -> set[str]:
    found: set[str] = set()
    queue = list(depends[name])
    while queue:
        other = queue.pop()
        if other not in found:
            found.add(other)
            queue += depends.get(other, ())
    return found
