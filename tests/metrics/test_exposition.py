"""``/metrics`` and the reactor's lag."""

from __future__ import annotations

import gzip
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from nodepool_tx.metrics.exposition import MetricsResource
from nodepool_tx.metrics.lag import INTERVAL, ReactorLag


class ResourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry = CollectorRegistry()
        self.counter = Counter("farm_things", "Things.", ["kind"], registry=self.registry)
        for number in range(50):
            self.counter.labels(f"kind {number}").inc(number)
        self.work: list[tuple[Callable[[], bytes], Deferred[bytes]]] = []
        self.cancelled: list[object] = []
        self.resource = MetricsResource(self.registry, self.offload)

    def offload(self, work: Callable[[], bytes]) -> Deferred[bytes]:
        answer: Deferred[bytes] = Deferred(self.cancelled.append)
        self.work.append((work, answer))
        return answer

    def get(self, **headers: str) -> DummyRequest:
        """A request, whose answer is not written yet."""
        request = DummyRequest([b"metrics"])
        for name, value in headers.items():
            request.requestHeaders.setRawHeaders(name.replace("_", "-"), [value])
        self.resource.render(request)
        return request

    def done(self) -> None:
        """The work elsewhere ends."""
        work, answer = self.work.pop()
        answer.callback(work())

    def header(self, request: DummyRequest, name: str) -> str | None:
        return (request.responseHeaders.getRawHeaders(name) or [None])[0]

    def test_text(self) -> None:
        """Everything in the registry, in the classic format."""
        request = self.get()
        self.done()
        body = b"".join(request.written)
        (family,) = text_string_to_metric_families(body.decode())
        self.assertEqual(len(family.samples), 50)
        self.assertIn("text/plain", self.header(request, "Content-Type") or "")
        self.assertEqual(self.header(request, "Content-Length"), str(len(body)))
        self.assertEqual(request.finished, 1)

    def test_of_one_moment(self) -> None:
        """What is told is how things were when it was asked, not when it was written."""
        request = self.get()
        self.counter.labels("kind 7").inc(1000)
        self.done()
        (family,) = text_string_to_metric_families(b"".join(request.written).decode())
        values = {sample.labels["kind"]: sample.value for sample in family.samples}
        self.assertEqual(values["kind 7"], 7)

    def test_open_metrics(self) -> None:
        """A client that prefers OpenMetrics gets that."""
        request = self.get(accept="application/openmetrics-text; version=1.0.0")
        self.done()
        body = b"".join(request.written).decode()
        self.assertTrue(body.endswith("# EOF\n"))
        (family,) = open_metrics_families(body)
        self.assertEqual(len(family.samples), 50)
        self.assertIn("openmetrics", self.header(request, "Content-Type") or "")

    def test_compressed(self) -> None:
        """Large answers are compressed for those who take that."""
        request = self.get(accept_encoding="gzip, deflate")
        self.done()
        self.assertEqual(self.header(request, "Content-Encoding"), "gzip")
        self.assertIn(b"farm_things_total", gzip.decompress(b"".join(request.written)))

    def test_gone(self) -> None:
        """Nothing is written to a client that is gone."""
        request = self.get()
        request.processingFailed(Failure(ConnectionDone()))
        self.assertEqual(len(self.cancelled), 1)
        self.assertEqual((request.written, request.finished), ([], 0))

    def test_failed(self) -> None:
        """A mistake of ours is logged, and answered with 500."""
        request = self.get()
        _, answer = self.work.pop()
        answer.errback(ZeroDivisionError())
        self.assertEqual((request.responseCode, request.finished), (500, 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_only_get(self) -> None:
        """Nothing can be changed here."""
        request = DummyRequest([b"metrics"])
        request.method = b"POST"
        with self.assertRaises(Exception) as raised:
            self.resource.render(request)
        self.assertEqual(type(raised.exception).__name__, "UnsupportedMethod")


class SlowClock(Clock):
    """A clock whose calls come late."""

    late = 0.0

    def callLater(self, delay: float, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        return super().callLater(delay + self.late, *args, **kwargs)  # type: ignore[arg-type]


class LagTests(SynchronousTestCase):
    def test_lag(self) -> None:
        """How late a timed call was is seen, time and again, until the service stops."""
        clock, registry = SlowClock(), CollectorRegistry()
        lag = ReactorLag(clock, registry)
        lag.startService()
        clock.advance(INTERVAL)
        clock.late = 0.2
        clock.advance(INTERVAL)
        clock.late = 0.0
        clock.advance(INTERVAL + 0.2)
        self.assertEqual(self.count(registry, "0.001"), 2)
        self.assertEqual(self.count(registry, "0.1"), 2)
        self.assertEqual(self.count(registry, "0.25"), 3)
        lag.stopService()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_delayed_calls(self) -> None:
        """What the reactor is still to call is counted when it is asked for."""
        clock, registry = Clock(), CollectorRegistry()
        ReactorLag(clock, registry)
        clock.callLater(1, str)
        call = clock.callLater(2, str)
        name = "nodepool_reactor_delayed_calls"
        self.assertEqual(registry.get_sample_value(name), 2)
        call.cancel()
        self.assertEqual(registry.get_sample_value(name), 1)

    def count(self, registry: CollectorRegistry, bound: str) -> float | None:
        return registry.get_sample_value("nodepool_reactor_lag_seconds_bucket", {"le": bound})
