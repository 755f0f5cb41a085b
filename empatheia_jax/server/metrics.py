"""Numbers for a monitor, in Prometheus' format. None of them holds what anybody said."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 13, 21, 34, 60)


class Metrics:
    """The server's numbers; `state` gives those of the engine when a monitor asks."""

    def __init__(self, state: Callable[[], Mapping[str, float]]):
        self.registry = CollectorRegistry()
        self.registry.register(_State(state))
        self.replies = Counter(
            "empatheia_replies", "Replies by how they ended.", ["interface", "end"], registry=self.registry
        )
        self.refusals = Counter(
            "empatheia_refusals", "Requests refused, by status.", ["status"], registry=self.registry
        )
        self.tokens = Counter("empatheia_tokens", "Tokens written.", registry=self.registry)
        self.speed = Histogram(
            "empatheia_tokens_per_second",
            "Tokens a second of each reply's text.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
            registry=self.registry,
        )
        self.first = {
            name: Histogram(
                f"empatheia_first_{name}_seconds",
                f"Seconds from a request to its first {name}.",
                buckets=_SECONDS,
                registry=self.registry,
            )
            for name in ("text", "sound", "frame")
        }

    def ended(self, interface: str, end: str, timings: Mapping[str, float]) -> None:
        """Counts a reply with its timings (`events.Done`)."""
        self.replies.labels(interface, end).inc()
        for name, histogram in self.first.items():
            if f"first_{name}" in timings:
                histogram.observe(timings[f"first_{name}"])
        tokens = timings.get("tokens", 0)
        self.tokens.inc(tokens)
        took = timings.get("text", 0) - timings.get("wait", 0)
        if tokens and took > 0:
            self.speed.observe(tokens / took)

    def text(self) -> bytes:
        """What a monitor reads."""
        return generate_latest(self.registry)


class _State:
    def __init__(self, state: Callable[[], Mapping[str, float]]):
        self.state = state

    def collect(self) -> Iterator[Metric]:
        with contextlib.suppress(RuntimeError):  # the engine is closing
            for name, value in self.state().items():
                yield GaugeMetricFamily(
                    f"empatheia_engine_{name}", f"The engine's {name.replace('_', ' ')}.", value=value
                )
