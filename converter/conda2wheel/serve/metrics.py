"""Counters, gauges and durations of the service, in Prometheus' text format 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

PREFIX = "conda2wheel_serve"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)  # seconds
Gauge = Callable[[], Mapping[tuple[tuple[str, str], ...], float]]  # values by labels, at the time of reading


class ServiceMetrics:
    """What happened since the start. For the service's one event loop."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._sent: Counter[str] = Counter()
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._gauges: dict[str, tuple[str, Gauge]] = {}
        self._help: dict[str, str] = {}

    def request(self, route: str, method: str, status: int, seconds: float, sent: int) -> None:
        """Count a request that was answered."""
        self._requests[route, method, status] += 1
        buckets = self._buckets.get(route)
        if buckets is None:
            buckets = self._buckets[route] = [0] * (len(BOUNDS) + 1)
        buckets[bisect_left(BOUNDS, seconds)] += 1
        self._sums[route] = self._sums.get(route, 0.0) + seconds
        self._sent[route] += sent

    def declare(self, name: str, meaning: str) -> None:
        """Name a counter for `count`."""
        self._help[name] = meaning

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter that is declared."""
        self._counts[name, tuple(sorted(labels.items()))] += 1

    def gauge(self, name: str, meaning: str, values: Gauge) -> None:
        """Name a gauge, whose values are computed when they are read."""
        self._gauges[name] = meaning, values

    def text(self) -> str:
        """All of it."""
        lines = [*_head("requests_total", "counter", "Requests that were answered.")]
        for (route, method, status), number in sorted(self._requests.items()):
            lines.append(_sample("requests_total", {"route": route, "method": method, "status": str(status)}, number))
        lines += _head("request_seconds", "histogram", "Seconds from a request to the end of its answer.")
        for route, buckets in sorted(self._buckets.items()):
            total = 0
            for bound, number in zip([*map(str, BOUNDS), "+Inf"], buckets, strict=True):
                total += number
                lines.append(_sample("request_seconds_bucket", {"route": route, "le": bound}, total))
            lines.append(_sample("request_seconds_sum", {"route": route}, self._sums[route]))
            lines.append(_sample("request_seconds_count", {"route": route}, total))
        lines += _head("sent_bytes_total", "counter", "Bytes of answers, without their heads.")
        lines += [_sample("sent_bytes_total", {"route": route}, number) for route, number in sorted(self._sent.items())]
        for name, meaning in self._help.items():
            lines += _head(name, "counter", meaning)
            lines += [_sample(name, dict(labels), n) for (each, labels), n in sorted(self._counts.items()) if each == name]
        for name, (meaning, values) in self._gauges.items():
            lines += _head(name, "gauge", meaning)
            lines += [_sample(name, dict(labels), number) for labels, number in sorted(values().items())]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, meaning: str) -> Iterable[str]:
    return f"# HELP {PREFIX}_{name} {meaning}", f"# TYPE {PREFIX}_{name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{PREFIX}_{name}{{{inside}}} {value!r}" if inside else f"{PREFIX}_{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
