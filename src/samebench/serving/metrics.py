"""What Prometheus is told."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

ADDRESSES = {"/", "/predict", "/health", "/metrics", "/openapi.json"}
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counters of one server."""

    def __init__(self, name: str, examples: str, labels: Iterable[str]) -> None:
        """Know every category from the start, so that one that never comes is told as 0.

        `name` begins the name of each series, `examples` is in that of the answers by category.
        """
        disable_created_metrics()  # type: ignore[no-untyped-call] # a third series for each count, which nobody reads
        self.registry = CollectorRegistry()
        self._requests = Counter(f"{name}_requests", "Answers.", ["path", "status"], registry=self.registry)
        self._seconds = Histogram(
            f"{name}_request_seconds", "From head to answer.", ["path"], buckets=SECONDS, registry=self.registry
        )
        answers = Counter(f"{name}_{examples}", "Answers by category.", ["category"], registry=self.registry)
        self._answers = {label: answers.labels(label) for label in labels}

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count an answer; addresses that there are not are one."""
        address = path if path in ADDRESSES else "other"
        self._requests.labels(address, status).inc()
        self._seconds.labels(address).observe(seconds)

    def count_refusal(self, status: int) -> None:
        """Count an answer to what was no whole request."""
        self._requests.labels("none", status).inc()

    def count_answer(self, category: str | None) -> None:
        """Count an answer of this category, if it is one that there is."""
        if category in self._answers:
            self._answers[category].inc()

    def text(self) -> bytes:
        """All of them in Prometheus' format."""
        return generate_latest(self.registry)
