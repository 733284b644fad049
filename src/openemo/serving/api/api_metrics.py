"""Figures for Prometheus: requests of this process, and from the database what all processes share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from openemo.serving.api.job_store import JobStore

__all__ = ["ApiMetrics"]

_SUMS: Final = {
    "accepted": ("openemo_videos_accepted", "Jobs that were accepted."),
    "completed": ("openemo_videos_completed", "Videos that were made."),
    "failed": ("openemo_videos_failed", "Jobs that failed."),
    "frames": ("openemo_frames", "Frames of the videos that were made."),
    "video_seconds": ("openemo_video_seconds", "Length of the videos that were made."),
    "work_seconds": ("openemo_work_seconds", "Time that the videos took."),
}
_SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class ApiMetrics:
    """All figures of a server."""

    def __init__(self, store: JobStore) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Jobs(store))
        self._requests = Counter(
            "openemo_requests", "Requests.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "openemo_request_seconds",
            "Time until a request was answered, to its end.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _Jobs(Collector):
    """Read when somebody asks."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("openemo_videos_open", "Jobs that are not over.", labels=["status"])
        for status, count in self._store.num_open().items():
            jobs.add_metric([status], count)
        yield jobs
        yield GaugeMetricFamily("openemo_workers", "Workers that are ready.", value=self._store.num_workers())
        found = self._store.counters()
        for name, (metric, text) in _SUMS.items():
            yield CounterMetricFamily(metric, text, value=found.get(name, 0.0))

    def describe(self) -> list[Metric]:
        return []  # without it, registering would ask the database
