"""What Prometheus is told: counts in memory that the workers of a server share."""

import math
import mmap
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

ADDRESSES = ("/", "/predict", "/health", "/metrics", "/openapi.json", "other", "none")
PLACES = {address: place for place, address in enumerate(ADDRESSES)}
STATUSES = 600  # each below it has a place
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counts of one server. Each worker adds to its own row, and `text` tells the sums of all."""

    def __init__(self, name: str, examples: str, labels: Iterable[str], *, workers: int = 1) -> None:
        """Know every category from the start, so that one that never comes is told as 0.

        `name` begins the name of each series, `examples` is in that of the answers by category.
        """
        self.name, self.examples = name, examples
        self.labels = {label: place for place, label in enumerate(labels)}
        self.worker = 0  # a process that is forked from this one sets its own
        self._requests = _shared(workers, len(ADDRESSES), STATUSES)
        self._buckets = _shared(workers, len(ADDRESSES), len(SECONDS) + 1)
        self._seconds = _shared(workers, len(ADDRESSES))
        self._answers = _shared(workers, len(self.labels))
        self._lock = threading.Lock()  # between the threads of this process

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count an answer; addresses that there are not are one."""
        place = PLACES.get(path, PLACES["other"])
        with self._lock:
            self._requests[self.worker, place, status] += 1
            self._buckets[self.worker, place, bisect_left(SECONDS, seconds)] += 1
            self._seconds[self.worker, place] += seconds

    def count_refusal(self, status: int) -> None:
        """Count an answer to what was no whole request."""
        with self._lock:
            self._requests[self.worker, PLACES["none"], status] += 1

    def count_answer(self, category: str | None) -> None:
        """Count an answer of this category, if it is one that there is."""
        if category in self.labels:
            with self._lock:
                self._answers[self.worker, self.labels[category]] += 1

    def text(self) -> bytes:
        """All of them in Prometheus' format."""
        return generate_latest(self)  # it asks `collect` alone

    def collect(self) -> Iterator[Metric]:
        """The sums of all workers."""
        requests = CounterMetricFamily(f"{self.name}_requests", "Answers.", labels=["path", "status"])
        counts = self._requests.sum(0)
        for place, status in np.argwhere(counts):
            requests.add_metric([ADDRESSES[place], str(status)], counts[place, status])
        yield requests
        seconds = HistogramMetricFamily(f"{self.name}_request_seconds", "From head to answer.", labels=["path"])
        buckets, sums = self._buckets.sum(0).cumsum(1), self._seconds.sum(0)
        for place in np.flatnonzero(buckets[:, -1]):
            bounds = zip((*map(str, SECONDS), "+Inf"), buckets[place].tolist(), strict=True)
            seconds.add_metric([ADDRESSES[place]], list(bounds), float(sums[place]))
        yield seconds
        answers = CounterMetricFamily(f"{self.name}_{self.examples}", "Answers by category.", labels=["category"])
        for label, count in zip(self.labels, self._answers.sum(0).tolist(), strict=True):
            answers.add_metric([label], count)
        yield answers


def _shared(*shape: int) -> NDArray[np.float64]:
    """Zeros that this process shares with those that are forked from it; reading and writing one of them is atomic."""
    count = math.prod(shape)
    return np.frombuffer(mmap.mmap(-1, max(1, 8 * count)), np.float64, count).reshape(shape)
