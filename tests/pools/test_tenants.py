"""The limits of tenants."""

from __future__ import annotations

import math

from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.pools.tenants import TenantLimits


class TenantLimitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limits = TenantLimits(
            {"t": {"instances": 2, "ram": math.inf}, "v": {"cores": math.inf}}
        )
        self.heard = 0
        self.unsubscribe = self.limits.subscribe(self.hear)

    def hear(self) -> None:
        self.heard += 1

    def test_of(self) -> None:
        """Infinite limits are none; requests without a tenant have none."""
        self.assertEqual(self.limits.of("t"), {"instances": 2})
        self.assertIsNone(self.limits.of("u"))
        self.assertIsNone(self.limits.of("v"))
        self.assertIsNone(self.limits.of(None))
        self.assertIsNone(TenantLimits().of("t"))

    def test_new_limits(self) -> None:
        """Other limits are told to everyone, the same ones to nobody."""
        self.limits.limits = dict(self.limits.limits)
        self.assertEqual(self.heard, 0)
        self.limits.limits = {"t": {"instances": 5}}
        self.assertEqual(self.heard, 1)
        self.unsubscribe()
        self.limits.limits = {}
        self.assertEqual(self.heard, 1)
