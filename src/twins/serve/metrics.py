"""What a server tells Prometheus."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.metrics_core import Metric

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where the processes of a server leave their numbers for one another
ROUTES = ("/", "/models", "/predict", "/attention", "/healthz", "/readyz", "/metrics", "/openapi.json")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters, gauges and histograms of one server, in a registry of its own.

    Of several `replica` servers behind one address, each says which it is, as another may be asked the next time.
    """

    def __init__(self, replica: str | None = None) -> None:
        self.registry, self.replica = CollectorRegistry(), replica
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("twins_requests", "requests, by route and status", ("route", "status"), **own)
        self.seconds = Histogram("twins_request_seconds", "from the first byte of a request's headers to the last of "
                                 "the answer", ("route",), buckets=_SECONDS, **own)  # fmt: skip
        self.images = Counter("twins_images", "images that were predicted", ("model",), **own)
        self.bytes = Counter("twins_received_bytes", "bytes of bodies that were received", **own)
        self.batch = Histogram("twins_batch_images", "images that went through the network together", ("model",),
                               buckets=_IMAGES, **own)  # fmt: skip
        self.network = Histogram("twins_network_seconds", "of a batch", ("model",), buckets=_SECONDS, **own)
        self.queue = Gauge("twins_queued_images", "accepted images that have no answer yet", ("model",),
                           multiprocess_mode="livesum", **own)  # fmt: skip

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """A request that has its answer; `status` 0 is one whose client has gone."""
        route = path if path in ROUTES else "page" if path.startswith("/page/") else "other"
        self.requests.labels(route, str(status) if status else "gone").inc()
        self.seconds.labels(route).observe(seconds)

    def add_batch(self, model: str, images: int, seconds: float) -> None:
        """A batch that went through a network."""
        self.images.labels(model).inc(images)
        self.batch.labels(model).observe(images)
        self.network.labels(model).observe(seconds)

    def exposition(self) -> bytes:
        """In Prometheus' text format; of all processes where there are several."""
        if self.replica is not None:
            return generate_latest(_Labelled(self.registry, {"replica": self.replica}))
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self.registry)
        of_all = CollectorRegistry()
        multiprocess.MultiProcessCollector(of_all)
        return generate_latest(of_all)


class _Labelled(CollectorRegistry):
    """The same with labels that all samples have."""

    def __init__(self, registry: CollectorRegistry, labels: dict[str, str]) -> None:
        super().__init__()
        self.labelled, self.labels = registry, labels

    def collect(self) -> Iterator[Metric]:
        for family in self.labelled.collect():
            family.samples = [sample._replace(labels={**sample.labels, **self.labels}) for sample in family.samples]
            yield family
