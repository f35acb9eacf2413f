"""What a cloud provider says about a request: launches, breakers, quotas, images."""

from __future__ import annotations

import attrs

from nodepool_tx.model import RequestState
from nodepool_tx.pools.explaining import Effect, PoolExplanation, Rule
from nodepool_tx.providers.cloud.errors import CloudError, OverQuota
from nodepool_tx.providers.cloud.service import CloudProviderService
from tests.providers.cloud.test_lifecycle import LifecycleTestCase


class InsightTests(LifecycleTestCase):
    service: CloudProviderService

    def setUp(self) -> None:
        super().setUp()
        # Another pool, so that what this one declines does not fail.
        self.other = self.world.launcher("l2")

    def ask(self, *labels: str) -> str:
        request = self.world.request(*labels or ("small",), state=RequestState.REQUESTED)
        self.world.settle()
        return request.id

    def explained(self, request_id: str) -> PoolExplanation:
        (found,) = self.service.explain(request_id)
        return found

    def rules(self, request_id: str) -> dict[str, Rule]:
        return {rule.name: rule for rule in self.explained(request_id).rules}

    def test_a_launch_under_way(self) -> None:
        """Its attempt, what it is about, and for how long."""
        self.service = self.provide()
        request_id = self.ask()
        self.world.wait(10)
        found = self.explained(request_id)
        self.assertEqual(found.rules[0].name, "in-hand")
        self.assertEqual(found.verdict, "nodes are being made: 0 of 1 are there (1 building)")
        (node,) = found.nodes
        self.assertRegex(
            node.words,
            r"^building for \d+ s, for this request; attempt 1 of 3 here, "
            r"waiting for its server, for \d+ s in all$",
        )
        self.world.wait(60)

    def test_the_last_error(self) -> None:
        """Why the attempt before failed."""
        self.service = self.provide()
        self.world.cloud.fail_next("create", CloudError("the moon is in the way"))
        request_id = self.ask()
        self.world.wait(10)
        (node,) = self.explained(request_id).nodes
        self.assertIn("attempt 2 of 3 here", node.words)
        self.assertTrue(
            node.words.endswith("; the last attempt that failed: the moon is in the way")
        )
        self.world.wait(60)

    def test_why_it_was_given_up(self) -> None:
        """Why the last attempt of all failed, when the launch is over."""
        self.service = self.provide()
        self.world.cloud.fail_next("create", CloudError("the moon is in the way"), times=9)
        request_id = self.ask()
        self.world.wait(120)
        self.assertRegex(
            self.explained(request_id).verdict, r"node \d+ is failed: the moon is in the way$"
        )

    def test_a_breaker(self) -> None:
        """Since when it is open, after how many failures, and when the next try is."""
        self.service = self.provide()
        self.world.cloud.fail_next("create", CloudError("no"), times=3)
        first = self.ask()
        self.world.wait(30)
        self.assertEqual(self.state_of(first), RequestState.FAILED)
        request_id = self.ask()
        found = self.explained(request_id)
        self.assertRegex(
            found.verdict,
            r"^label small in zone zone-1 is left alone after 3 failures in a row, the last: no; "
            r"for \d+ s, next try in \d+ s$",
        )
        rule = self.rules(request_id)["breaker"]
        self.assertIs(rule.effect, Effect.WAITS)
        assert rule.since is not None
        self.assertLess(rule.since, self.world.clock.seconds())
        self.assertGreater(rule.since, self.world.clock.seconds() - 60)
        self.assertIs(self.rules(request_id)["label"].effect, Effect.PASSED)
        self.world.wait(200)
        self.assertEqual(self.state_of(request_id), RequestState.FULFILLED)

    def test_the_quota_and_what_others_use(self) -> None:
        """The limit is what others leave of the quota."""
        self.world.cloud.quota = {"instances": 3}
        self.world.cloud.add_unmanaged()
        self.world.cloud.add_unmanaged()
        self.service = self.provide()
        self.world.wait(10)
        first = self.ask()
        self.world.wait(60)
        self.assertEqual(self.state_of(first), RequestState.FULFILLED)
        request_id = self.ask()
        self.assertEqual(
            self.explained(request_id).verdict,
            "waits for 1 instances of provider cloud's limit of 1: 1 used, 1 needed",
        )
        self.assertRegex(
            self.rules(request_id)["cloud-quota"].words,
            r"^the cloud's quota is 3 instances; others use 2 instances of it \(read .+ ago\)$",
        )

    def test_a_refusal(self) -> None:
        """What the cloud refused, and when it is asked again."""
        self.service = self.provide()
        self.world.cloud.fail_next("create", OverQuota("cores"))
        first = self.ask()
        self.world.wait(4)
        request_id = self.ask()
        found = self.explained(request_id)
        self.assertIn("for its quota: cores; asked again in ", found.verdict)
        self.assertEqual(self.rules(request_id)["refusal"].effect, Effect.WAITS)
        self.world.wait(200)
        self.assertEqual(self.state_of(first), RequestState.FULFILLED)

    def test_an_image_that_is_missing(self) -> None:
        """The request is declined for it, and that is remembered."""
        self.world.cloud.missing_images.add("debian")
        self.service = self.provide()
        request_id = self.ask()
        self.world.wait(5)
        self.assertEqual(self.state_of(request_id), RequestState.FAILED)
        rules = self.rules(request_id)
        self.assertIn(
            "label small cannot be made: the image debian is not there", rules["declined"].words
        )

    def test_a_label_that_cannot_be_had(self) -> None:
        """As a rule, before anything was declined."""
        self.world.cloud.missing_images.add("debian")
        self.service = self.provide()
        self.world.wait(5)
        rules = {rule.name: rule for rule in self.service._insight.rules("main", ["small"])}
        self.assertIs(rules["label"].effect, Effect.REFUSED)
        self.assertIs(rules["breaker"].effect, Effect.PASSED)
        rules = {rule.name: rule for rule in self.service._insight.rules("main", ["unknown"])}
        self.assertEqual(rules["label"].words, "there is no label unknown here")

    def test_max_concurrency(self) -> None:
        """One is being made, the other waits for its place."""
        self.service = self.provide(max_concurrency=1)
        first, second = self.ask(), self.ask()
        self.world.wait(5)
        self.assertEqual(self.explained(first).rules[0].name, "in-hand")
        self.assertEqual(
            self.explained(second).verdict, "max-concurrency: 1 of 1 requests are being worked on"
        )
        self.world.wait(100)
        self.assertEqual(self.state_of(second), RequestState.FULFILLED)

    def test_disabled_labels(self) -> None:
        """They are configured, and not offered."""
        pool_labels = frozenset({"small"})
        self.service = self.provide("small", "large")
        (pool,) = self.service.config.pools
        self.assertEqual(self.service._insight.disabled("main"), set())
        config = attrs.evolve(
            self.service.config, pools=(attrs.evolve(pool, labels=pool_labels),), name="other"
        )
        service = self.launcher.provide(config)
        self.assertEqual(service._insight.disabled("main"), {"large"})
        self.assertEqual(service._insight.disabled("no such pool"), ())
