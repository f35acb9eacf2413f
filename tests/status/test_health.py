"""When the launcher counts as ready, and its loops as healthy."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.application.service import MultiService

from nodepool_tx.periodic import Periodic
from nodepool_tx.providers.interface import Loop
from nodepool_tx.status.health import GRACE, MISSED_ROUNDS, Health, all_started, loops_of
from tests.web.stage import WebTestCase


class HealthTests(WebTestCase):
    """With loops that a test turns."""

    def setUp(self) -> None:
        super().setUp()
        self.last: float | None = None
        self.farm = attrs.evolve(self.farm, loops=lambda: (Loop("test sweep", 60.0, self.last),))
        self.health = Health(self.farm)
        self.serve()

    def loop(self, name: str = "test sweep") -> dict[str, Any]:
        loops: list[dict[str, Any]] = self.health.ready()["loops"]
        return next(loop for loop in loops if loop["name"] == name)

    def test_before_the_configuration(self) -> None:
        """Without a configuration nothing is ready, but the process lives."""
        self.assertFalse(all_started(self.farm))
        self.assertEqual(self.get("/ready").status, 503)
        answer = self.get("/health/ready")
        self.assertEqual((answer.status, answer.json["ready"]), (503, False))
        self.assertIn("no configuration is in force yet", answer.json["reasons"])
        self.assertEqual(self.get("/health/live").json, {"live": True})

    def test_ready(self) -> None:
        """With all providers started and ZooKeeper current it is ready."""
        self.bring()
        self.assertEqual(self.get("/ready").text, "OK")
        answer = self.get("/health/ready")
        self.assertEqual((answer.status, answer.json["reasons"]), (200, []))
        names = {loop["name"] for loop in answer.json["loops"]}
        self.assertIn("full look at provider rack", names)

    def test_without_zookeeper(self) -> None:
        """Out of touch with ZooKeeper it is not ready, and is again afterwards."""
        self.bring()
        self.inspector.suspend(self.client)
        self.clock.advance(0.1)
        found = self.health.ready()
        self.assertEqual((found["ready"], found["zookeeper"]), (False, "suspended"))
        self.inspector.resume(self.client)
        self.wait(5)
        self.assertTrue(self.health.ready()["ready"])

    def test_a_provider_that_is_missing(self) -> None:
        """A configured provider that does not run keeps it from being ready."""
        self.bring()
        rack: Any = self.reloader.services()["rack"]
        self.done(rack.disownServiceParent())
        self.assertEqual(self.health.ready()["reasons"], ["provider rack is not started"])
        self.assertFalse(all_started(self.farm))

    def test_ages(self) -> None:
        """A loop is healthy as long as its last success is not too old."""
        self.bring()
        self.last = self.clock.seconds()
        self.assertEqual(self.loop()["last_success_age"], 0)
        self.clock.advance(MISSED_ROUNDS * 60 + GRACE)
        self.assertTrue(self.loop()["healthy"])
        self.clock.advance(1)
        self.assertFalse(self.loop()["healthy"])
        found = self.health.ready()
        self.assertEqual(found["reasons"], ["test sweep does not succeed"])
        self.last = self.clock.seconds()
        self.assertTrue(self.health.ready()["ready"])

    def test_never_yet(self) -> None:
        """A loop that never succeeded has its time from when it was first looked at."""
        self.bring()
        self.assertEqual((self.loop()["last_success_age"], self.loop()["healthy"]), (None, True))
        self.clock.advance(MISSED_ROUNDS * 60 + GRACE + 1)
        self.assertFalse(self.loop()["healthy"])
        # It succeeded, and its provider was replaced by a new one since.
        self.last = self.clock.seconds()
        self.assertTrue(self.loop()["healthy"])
        self.last = None
        self.assertTrue(self.loop()["healthy"])

    def test_providers_decide_nothing(self) -> None:
        """A provider's loop that fails is shown, and keeps nobody from being ready."""
        self.bring()
        self.last = self.clock.seconds()
        rack: Any = self.reloader.services()["rack"]
        rack._everything.last_success = self.clock.seconds() - 10_000
        found = self.health.ready()
        self.assertFalse(self.loop("full look at provider rack")["healthy"])
        self.assertTrue(found["ready"])

    def test_all_loops(self) -> None:
        """The loops of a service are those of everything below it."""

        async def work() -> None:
            """Succeed."""

        inner, outer = MultiService(), MultiService()
        inner.setServiceParent(outer)
        Periodic(self.clock, "one", 1.0, work).setServiceParent(outer)
        Periodic(self.clock, "two", 2.0, work).setServiceParent(inner)
        self.assertEqual(
            {loop.name: loop.interval for loop in loops_of(outer)}, {"one": 1.0, "two": 2.0}
        )
        self.bring()
        names = {loop["name"] for loop in self.health.ready()["loops"]}
        self.assertLessEqual(
            {"sweep of provider cloud", "reading the quota of provider cloud"}, names
        )
