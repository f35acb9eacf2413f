"""How much of a cloud is ours is known ahead of every question."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import (
    NODE_ID,
    PROVIDER_NAME,
    Instance,
    InstanceState,
)
from nodepool_tx.providers.cloud.memory import MemoryAdapter, MemoryCloud, Timing
from nodepool_tx.providers.cloud.polling import Poller
from nodepool_tx.providers.cloud.quota import ProviderQuota, used_by_others

NEEDS = {"instances": 1, "cores": 4}


class UsedByOthersTests(SynchronousTestCase):
    """Who uses the account."""

    def test_others(self) -> None:
        """All but our known nodes: people's servers, other providers', and leaked ones."""

        def server(needs: Any = NEEDS, **metadata: str) -> Instance:
            state = InstanceState.ACTIVE
            return Instance(external_id="s", state=state, resources=needs, metadata=metadata)

        ours = {PROVIDER_NAME: "cloud"}
        listed = [
            server(**ours, **{NODE_ID: "1"}),
            server(**ours, **{NODE_ID: "2"}),
            server(**ours),
            server(**{PROVIDER_NAME: "other", NODE_ID: "1"}),
            server(),
            server(needs=None),
        ]
        used = used_by_others(listed, "cloud", {"1"}.__contains__)
        self.assertEqual(used, {"instances": 5, "cores": 16})


class QuotaTests(SynchronousTestCase):
    """The quota of an account in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cloud = MemoryCloud(self.clock, quota={"instances": 10, "cores": 40})
        adapter = MemoryAdapter(self.cloud)
        poller = Poller(self.clock, adapter.list_instances, 5)
        self.known: set[str] = set()
        self.quota = ProviderQuota(
            self.clock,
            "cloud",
            adapter.quota,
            poller.next_listing,
            self.known.__contains__,
            chance=lambda: 0,
        )
        self.woken = 0
        self.quota.subscribe(self.wake)

    def wake(self) -> None:
        self.woken += 1

    def start(self) -> None:
        self.quota.start()
        self.clock.advance(0)
        self.addCleanup(self.quota.stop)

    def test_unknown_at_first(self) -> None:
        """Before the cloud has answered there is nothing to say."""
        self.assertIsNone(self.quota.limits)
        self.assertIsNone(self.quota.describe().read)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_less_what_others_use(self) -> None:
        """What is ours is what others leave; what the quota does not name is not limited."""
        self.cloud.add_unmanaged(needs=NEEDS)
        self.start()
        self.assertEqual(self.quota.limits, {"instances": 9, "cores": 36})
        status = self.quota.describe()
        self.assertEqual((status.others, status.read), (NEEDS, 0))
        self.assertEqual(self.woken, 1)

    def test_others_use_more_than_there_is(self) -> None:
        """There is never less than nothing."""
        self.cloud.add_unmanaged(needs={"instances": 1, "cores": 100})
        self.start()
        self.assertEqual(self.quota.limits, {"instances": 9, "cores": 0})

    def test_read_again(self) -> None:
        """It is read again after five minutes, and who listens is told of changes only."""
        self.start()
        self.clock.advance(299)
        self.assertEqual(self.cloud.calls["quota"], 1)
        self.clock.advance(1)
        self.assertEqual((self.cloud.calls["quota"], self.woken), (2, 1))
        self.cloud.quota["cores"] = 80
        self.clock.advance(300)
        self.assertEqual((self.quota.limits, self.woken), ({"instances": 10, "cores": 80}, 2))

    def test_never_twice_at_a_time(self) -> None:
        """Wishes to read again during a reading are met by one more after it."""
        self.cloud.timing = Timing(answer=2)
        self.start()
        for _ in range(10):
            self.quota.invalidate()
        self.assertEqual(self.cloud.calls["quota"], 1)
        self.clock.pump([1] * 20)
        self.assertEqual(self.cloud.calls["quota"], 2)
        self.quota.invalidate()
        self.assertEqual(self.cloud.calls["quota"], 3)

    def test_errors_keep_the_last_value(self) -> None:
        """A reading that fails changes no limit, is shown, and tried again later each time."""
        self.start()
        self.cloud.fail_next("quota", CloudError("down"), times=3)
        self.quota.invalidate()
        self.assertEqual(self.quota.limits, {"instances": 10, "cores": 40})
        self.assertEqual(self.quota.trouble, "the quota cannot be read: down")
        for wait, calls in ((1, 2), (1, 3), (3, 3), (1, 4), (7, 4), (1, 5)):
            self.clock.advance(wait)
            self.assertEqual(self.cloud.calls["quota"], calls)
        self.clock.advance(5)
        self.assertIsNone(self.quota.trouble)

    def test_a_refusal(self) -> None:
        """After the cloud refused, nothing is asked for until a pause has passed."""
        self.start()
        self.woken = 0
        self.quota.refused({"instances": 1, "cores": 4}, "Quota exceeded")
        self.assertEqual(
            self.quota.refusal,
            "the cloud refused cores 4, instances 1 for its quota: Quota exceeded",
        )
        self.assertEqual(self.quota.limits, {"instances": 10, "cores": 40})
        self.assertEqual(self.quota.describe().refused_until, 15)
        self.assertEqual((self.woken, self.cloud.calls["quota"]), (1, 2))
        self.clock.advance(15)
        self.assertIsNone(self.quota.refusal)
        self.assertEqual(self.woken, 2)

    def test_a_deletion_ends_it(self) -> None:
        """When something was deleted there may be room at once; else nothing changes."""
        self.start()
        self.woken = 0
        self.quota.freed()
        self.assertEqual(self.woken, 0)
        self.quota.refused(NEEDS)
        self.quota.freed()
        self.assertIsNone(self.quota.refusal)
        self.assertEqual(self.woken, 2)

    def test_pauses_grow(self) -> None:
        """Each refusal holds for longer; after a long time without one it begins anew."""
        pauses = []
        for _ in range(7):
            for _ in range(5):
                # Five were asked for at the same time.
                self.quota.refused(NEEDS)
            until = self.quota.describe().refused_until
            assert until is not None
            pauses.append(until - self.clock.seconds())
            self.clock.advance(pauses[-1])
        self.assertEqual(pauses, [15, 30, 60, 120, 240, 480, 600])
        self.clock.advance(601)
        self.quota.refused(NEEDS)
        self.assertEqual(self.quota.describe().refused_until, self.clock.seconds() + 15)
        self.quota.freed()

    def test_stopping(self) -> None:
        """Nothing is left to run, whatever it was doing; and it can be started again."""
        self.cloud.timing = Timing(answer=2)
        for steps in range(6):
            self.quota.start()
            self.clock.pump([1] * steps)
            self.quota.refused(NEEDS)
            stopped: Deferred[None] = self.quota.stop()
            self.successResultOf(stopped)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unsubscribing(self) -> None:
        """Who does not want to hear any more does not; twice is as good as once."""
        remove = self.quota.subscribe(lambda: self.assertTrue(False))
        remove()
        remove()
        self.start()
