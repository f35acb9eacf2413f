"""What a tenant may still have."""

from __future__ import annotations

import math

from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.pools.tenants import TenantLimits, exceeded, needs


class ExceededTests(SynchronousTestCase):
    def test_up_to_the_limit(self) -> None:
        """A limit can be used up, and not more."""
        self.assertEqual(exceeded({"instances": 3}, {"instances": 1}, {"instances": 2}), ())
        self.assertEqual(
            exceeded({"instances": 3}, {"instances": 2}, {"instances": 2}), ("instances",)
        )

    def test_what_is_not_needed(self) -> None:
        """A resource that is over its limit is no obstacle to who needs none of it."""
        self.assertEqual(exceeded({"cores": 4}, {"cores": 8}, {"instances": 1}), ())

    def test_what_is_not_limited(self) -> None:
        """A resource without a limit, or with an infinite one, is never too much."""
        limits = {"instances": math.inf}
        self.assertEqual(exceeded(limits, {}, {"instances": 10**6, "ram": 10**6}), ())

    def test_nothing_allowed(self) -> None:
        """A limit of 0 allows nothing."""
        self.assertEqual(exceeded({"instances": 0}, {}, {"instances": 1}), ("instances",))

    def test_all_are_told(self) -> None:
        """Every resource that is short is named, in order."""
        limits = {"ram": 1, "cores": 1}
        self.assertEqual(exceeded(limits, {"cores": 1}, {"cores": 1, "ram": 2}), ("cores", "ram"))

    def test_needs(self) -> None:
        """A request needs an instance for each label."""
        self.assertEqual(needs(["a", "b", "a"]), {"instances": 3})


class TenantLimitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limits = TenantLimits({"t": {"instances": 2}})
        self.heard: list[str | None] = []
        self.unsubscribe = self.limits.subscribe(self.heard.append)

    def test_of(self) -> None:
        """Tenants without limits, and requests without a tenant, have none."""
        self.assertEqual(self.limits.of("t"), {"instances": 2})
        self.assertIsNone(self.limits.of("u"))
        self.assertIsNone(self.limits.of(None))
        self.assertIsNone(TenantLimits().of("t"))

    def test_promises_add_up(self) -> None:
        """What several requests are about to get counts together until each is settled."""
        self.limits.promise("t", {"instances": 1})
        self.limits.promise("t", {"instances": 2})
        self.assertEqual(self.limits.promised("t"), {"instances": 3})
        self.limits.settle("t", {"instances": 1}, given=True)
        self.assertEqual(self.limits.promised("t"), {"instances": 2})
        self.limits.settle("t", {"instances": 2}, given=True)
        self.assertEqual(self.limits.promised("t"), {})
        self.assertEqual(self.heard, [])

    def test_what_was_not_given_is_free_again(self) -> None:
        """Who waits for a tenant's limit hears when something was not given after all."""
        self.limits.promise("t", {"instances": 1})
        self.limits.settle("t", {"instances": 1}, given=False)
        self.assertEqual(self.limits.promised("t"), {})
        self.assertEqual(self.heard, ["t"])

    def test_no_tenant(self) -> None:
        """Requests without a tenant are not counted."""
        self.limits.promise(None, {"instances": 1})
        self.limits.settle(None, {"instances": 1}, given=False)
        self.assertEqual(self.heard, [])

    def test_request_for_nothing(self) -> None:
        """A request that needs nothing leaves nothing behind, whoever settles first."""
        self.limits.promise("t", {"instances": 0})
        self.limits.promise("t", {"instances": 0})
        self.limits.settle("t", {"instances": 0}, given=True)
        self.limits.settle("t", {"instances": 0}, given=True)
        self.assertEqual(self.limits.promised("t"), {})

    def test_new_limits(self) -> None:
        """Other limits are told to everyone, the same ones to nobody."""
        self.limits.limits = {"t": {"instances": 2}}
        self.assertEqual(self.heard, [])
        self.limits.limits = {"t": {"instances": 5}}
        self.assertEqual(self.heard, [None])
        self.unsubscribe()
        self.limits.limits = {}
        self.assertEqual(self.heard, [None])
