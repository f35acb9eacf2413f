"""What keeps failing is left alone for a while, and tried again by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.providers.cloud.breaker import Breakers
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)


class BreakersTests(SynchronousTestCase):
    """Breakers of one provider with labels a, b and c and zones x and y."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.breakers = Breakers(self.clock, "cloud", chance=lambda: 0)
        self.woken = 0
        self.breakers.subscribe(self.wake)
        self.addCleanup(self.breakers.stop)

    def wake(self) -> None:
        self.woken += 1

    def failing(
        self,
        label: str = "a",
        zone: str | None = "x",
        times: int = 1,
        error: Exception | None = None,
    ) -> None:
        for _ in range(times):
            self.breakers.begin(label, zone).failed(error or CloudError("no host"))

    def refuses(self, label: str = "a", *zones: str | None) -> bool:
        return self.breakers.objection(label, zones or ["x"]) is not None

    def test_closed(self) -> None:
        """Nothing is said against what has not failed, or not often enough."""
        self.assertFalse(self.refuses())
        self.failing(times=2)
        self.assertFalse(self.refuses())
        self.assertEqual((self.breakers.describe(), self.clock.getDelayedCalls()), ((), []))

    def test_a_label_in_a_zone(self) -> None:
        """Three failures in a row open a label in a zone, and nothing else."""
        self.failing(times=3)
        self.assertEqual(
            self.breakers.objection("a", ["x"]),
            "label a in zone x is left alone after 3 failures in a row, the last: no host",
        )
        self.assertEqual(self.breakers.usable_zones("a", ["x", "y"]), ("y",))
        self.assertFalse(self.refuses("a", "x", "y"))
        self.assertFalse(self.refuses("b"))
        self.failing(zone="y", times=3)
        self.assertTrue(self.refuses("a", "x", "y"))
        self.assertEqual(self.woken, 2)

    def test_a_success_between_failures(self) -> None:
        """Only failures in a row count."""
        for _ in range(5):
            self.failing(times=2)
            self.breakers.begin("a", "x").succeeded()
        self.assertFalse(self.refuses())

    def test_half_open(self) -> None:
        """When its time is over all are told, one attempt is let through, and closes it."""
        self.failing(zone=None, times=3)
        self.clock.advance(59)
        self.assertTrue(self.refuses("a", None))
        self.woken = 0
        self.clock.advance(1)
        self.assertEqual(self.woken, 1)
        self.assertFalse(self.refuses("a", None))
        probe = self.breakers.begin("a", None)
        self.assertTrue(self.refuses("a", None))
        self.assertTrue(self.breakers.describe()[0].probing)
        probe.succeeded()
        self.assertFalse(self.refuses("a", None))
        self.assertEqual((self.woken, self.breakers.describe()), (2, ()))

    def test_times_double(self) -> None:
        """A probe that fails opens it for twice as long, up to ten minutes."""
        self.failing(times=3)
        pauses = []
        for _ in range(6):
            (open_,) = self.breakers.describe()
            pauses.append(open_.until - self.clock.seconds())
            self.clock.advance(pauses[-1])
            self.failing()
        self.assertEqual(pauses, [60, 120, 240, 480, 600, 600])
        self.assertEqual(open_.since, 0)

    def test_a_probe_that_is_abandoned(self) -> None:
        """Another attempt may be the one that decides."""
        self.failing(times=3)
        self.clock.advance(60)
        for end in (
            lambda attempt: attempt.abandoned(),
            lambda attempt: attempt.failed(OverQuota("full")),
            lambda attempt: attempt.failed(RetryLater("busy")),
        ):
            self.woken = 0
            probe = self.breakers.begin("a", "x")
            self.assertTrue(self.refuses())
            end(probe)
            self.assertFalse(self.refuses())
            self.assertEqual(self.woken, 1)

    def test_an_attempt_ends_once(self) -> None:
        """What is told of an attempt after its end is not heard."""
        for attempt in [self.breakers.begin("a", "x") for _ in range(3)]:
            attempt.abandoned()
            attempt.failed(CloudError("late"))
        self.assertFalse(self.refuses())
        for attempt in [self.breakers.begin("a", "x") for _ in range(3)]:
            attempt.failed(CloudError("no host"))
            attempt.succeeded()
        self.assertTrue(self.refuses())

    def test_only_one_decides(self) -> None:
        """Neither one begun too early nor one begun after the probe stands for it."""
        self.failing(times=3)
        early = self.breakers.begin("a", "x")
        self.assertFalse(self.breakers.describe()[0].probing)
        self.clock.advance(60)
        probe, late = self.breakers.begin("a", "x"), self.breakers.begin("a", "x")
        early.failed(CloudError("early"))
        late.failed(CloudError("late"))
        (open_,) = self.breakers.describe()
        self.assertEqual((open_.probing, open_.until), (True, 60))
        probe.failed(CloudError("no host"))
        (open_,) = self.breakers.describe()
        self.assertEqual((open_.probing, open_.until), (False, 180))

    def test_attempts_that_were_under_way(self) -> None:
        """Of attempts begun before it opened, failures change nothing and a success closes it."""
        attempts = [self.breakers.begin("a", "x") for _ in range(10)]
        for attempt in attempts[:9]:
            attempt.failed(CloudError("no host"))
        (open_,) = self.breakers.describe()
        self.assertEqual((open_.until, open_.failures), (60, 9))
        attempts[9].succeeded()
        self.assertFalse(self.refuses())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_invalid_configuration(self) -> None:
        """A label that cannot be made is left alone at once, in all zones."""
        self.failing(error=InvalidConfiguration("no such flavor"))
        self.assertEqual(
            self.breakers.objection("a", ["x", "y"]),
            "label a is left alone after a failure, the last: no such flavor",
        )
        self.assertEqual(self.breakers.usable_zones("a", ["x", "y"]), ())
        self.assertFalse(self.refuses("b"))

    def test_the_provider(self) -> None:
        """Ten failures in a row of several labels open the provider."""
        for n in range(10):
            self.assertFalse(self.refuses("c"))
            self.failing("ab"[n % 2], f"zone {n}")
        self.assertEqual(
            self.breakers.objection("c", ["x"]),
            "the whole provider is left alone after 10 failures in a row, the last: no host",
        )
        self.assertEqual(self.breakers.usable_zones("c", ["x"]), ())
        self.breakers.begin("c", "x").succeeded()
        self.assertFalse(self.refuses("c"))

    def test_one_label_does_not_open_the_provider(self) -> None:
        """However often one label fails the others are not blamed, until a second one fails."""
        self.failing("a", times=50)
        self.assertFalse(self.refuses("b"))
        self.failing("b")
        self.assertTrue(self.refuses("c"))

    def test_a_full_cloud_is_no_broken_one(self) -> None:
        """NoCapacity counts against label and zone, not against the provider."""
        for n in range(20):
            self.failing("ab"[n % 2], f"zone {n % 4}", error=NoCapacity("full"))
        self.assertFalse(self.refuses("c"))
        self.assertTrue(self.refuses("a", "zone 0"))

    def test_chance_shortens_pauses(self) -> None:
        """What opened together is not tried again together."""
        breakers = Breakers(self.clock, "cloud", chance=lambda: 1)
        self.addCleanup(breakers.stop)
        for _ in range(3):
            breakers.begin("a", "x").failed(CloudError("no host"))
        self.assertEqual(breakers.describe()[0].until, 48)

    def test_stopping(self) -> None:
        """Nothing is left to run, and nobody is told any more."""
        self.failing(times=3)
        self.failing("b", error=InvalidConfiguration("no such flavor"))
        self.breakers.stop()
        self.failing("c", times=3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_starting_again(self) -> None:
        """Who subscribes after a stop hears of what opened before or meanwhile."""
        self.failing(times=3)
        self.clock.advance(10)
        self.breakers.stop()
        self.failing("b", times=3)
        self.woken = 0
        self.breakers.subscribe(self.wake)
        self.clock.advance(50)
        self.assertEqual((self.woken, self.refuses("a"), self.refuses("b")), (1, False, True))
        self.clock.advance(10)
        self.assertEqual((self.woken, self.refuses("b")), (2, False))

    def test_unsubscribing(self) -> None:
        """Who does not want to hear any more does not; twice is as good as once."""
        remove = self.breakers.subscribe(lambda: self.assertTrue(False))
        remove()
        remove()
        self.failing(times=3)


ENDS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["x", "y"]),
        st.sampled_from(["fail", "full", "quota", "invalid", "succeed", "abandon", "wait"]),
    ),
    max_size=80,
)


@given(steps=ENDS)
def test_nothing_stays_open_for_ever(steps: list[tuple[str, str, str]]) -> None:
    """Whatever happened, after its time everything may be tried again, and a success closes all."""
    clock = Clock()
    breakers = Breakers(clock, "cloud")
    for label, zone, what in steps:
        attempt = breakers.begin(label, zone)
        if what == "succeed":
            attempt.succeeded()
            assert zone in breakers.usable_zones(label, ["x", "y"])
        elif what in ("abandon", "wait"):
            attempt.abandoned()
            clock.advance(30 if what == "wait" else 0)
        else:
            errors = {
                "fail": CloudError("no host"),
                "full": NoCapacity("full"),
                "quota": OverQuota("quota"),
                "invalid": InvalidConfiguration("flavor"),
            }
            attempt.failed(errors[what])
    clock.advance(601)
    for label in "ab":
        assert breakers.objection(label, ["x", "y"]) is None
        for zone in "xy":
            breakers.begin(label, zone).succeeded()
    assert breakers.describe() == ()
    assert clock.getDelayedCalls() == []
