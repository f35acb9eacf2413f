"""Providers that are no longer configured, in this process and the next."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import ConnectionLoss
from twisted.internet.defer import Deferred

from nodepool_tx.config.schema import UnavailableProvider
from nodepool_tx.store import paths
from tests.reload_stage import ReloadTestCase, ScriptedService, config, provider


class RemovalTests(ReloadTestCase):
    """Providers that are no longer configured."""

    def setUp(self) -> None:
        super().setUp()
        self.applied(provider("a"), provider("b"))
        self.old: ScriptedService = self.service("a")

    def test_drains(self) -> None:
        """A removed provider gives its nodes up; when that is done it is gone."""
        self.successResultOf(self.apply(provider("b")))
        self.assertEqual(self.diary, ["drain a/1"])
        self.assertEqual(self.pools(), ["b/main"])
        self.assertTrue(self.ownerships.of("a").held)
        self.old.drained.callback(None)
        self.settle()
        self.assertEqual(self.diary[1:], ["stop a/1", "stopped a/1"])
        self.assertEqual(sorted(self.reloader.services()), ["b"])
        self.assertEqual(self.inspector.dump(f"{paths.owner_lock('a')}/"), {})
        self.assertEqual(self.inspector.dump(f"{paths.DRAINING}/"), {})

    def test_noted_before_it_begins(self) -> None:
        """That it drains is in ZooKeeper before the first node can go."""
        noted: list[bool] = []
        drain = self.old.drain

        def look() -> Deferred[None]:
            noted.append(self.inspector.stat(paths.draining("a")) is not None)
            return drain()

        self.patch(self.old, "drain", look)
        self.apply(provider("b"))
        self.assertEqual(noted, [True])

    def test_knows_its_own_registrations(self) -> None:
        """When it begins to drain its registrations are still there, to be told from others'."""
        known = []
        drain = self.old.drain

        def look() -> Deferred[None]:
            known.append(self.registry.get("a", "main"))
            return drain()

        self.patch(self.old, "drain", look)
        self.apply(provider("b"))
        self.assertEqual([pool is not None for pool in known], [True])

    def test_other_reloads_meanwhile(self) -> None:
        """While it drains, other reloads go on as usual and leave it alone."""
        self.apply(provider("b"))
        self.diary.clear()
        self.apply(provider("b", 2))
        self.apply(provider("b", 2), provider("c"))
        self.assertEqual([entry for entry in self.diary if "a/" in entry], [])
        self.assertEqual(self.running(), ["a/1", "b/2", "c/1"])
        self.assertNotIn("a", self.reloader.reports[-1].plan.removed)

    def test_configured_again_while_it_drains(self) -> None:
        """Configured again, it is replaced like any other, and is not noted any more."""
        self.apply(provider("b"))
        self.old.idling = Deferred()
        self.diary.clear()
        for_again = self.apply(provider("a"), provider("b"))
        self.assertEqual(self.diary, ["build a/1", "idle a/1"])
        self.old.idling.callback(None)
        self.settle()
        self.successResultOf(for_again)
        self.assertEqual(
            self.diary[2:], ["in flight done a/1", "stop a/1", "stopped a/1", "start a/1"]
        )
        self.assertIs(self.service("a"), self.built[-1])
        self.assertEqual(self.inspector.dump(f"{paths.DRAINING}/"), {})
        self.assertEqual(self.pools(), ["a/main", "b/main"])
        self.assertTrue(self.ownerships.of("a").held)
        self.old.drained.callback(None)
        self.settle()
        self.assertEqual(self.running(), ["a/1", "b/1"])

    def test_drained_while_it_is_configured_again(self) -> None:
        """That it has drained just then takes nothing away from its successor."""
        self.apply(provider("b"))
        self.old.idling = Deferred()
        applied = self.apply(provider("a", 2), provider("b"))
        self.old.drained.callback(None)
        self.settle()
        self.old.idling.callback(None)
        self.settle()
        self.successResultOf(applied)
        self.assertEqual(self.running(), ["a/2", "b/1"])
        self.assertTrue(self.ownerships.of("a").held)
        self.assertEqual(self.reloader.reports[-1].rolled_back, {})

    def test_configured_again_while_it_leaves(self) -> None:
        """A successor waits for one that has drained and is about to leave."""
        self.apply(provider("b"))
        self.old.stopping = Deferred()
        self.old.drained.callback(None)
        self.settle()
        self.assertEqual(self.diary[-1], "stop a/1")
        applied = self.apply(provider("a", 2), provider("b"))
        self.assertNotIn("start a/2", self.diary)
        self.old.stopping.callback(None)
        self.settle()
        self.successResultOf(applied)
        self.assertEqual(self.running(), ["a/2", "b/1"])
        self.assertEqual(self.pools(), ["a/main", "b/main"])
        self.assertTrue(self.ownerships.of("a").held)

    def test_configured_again_in_vain(self) -> None:
        """If its successor cannot start it goes on draining to the end."""
        self.apply(provider("b"))
        self.script.starting["a/2"] = ValueError("no")
        self.apply(provider("a", 2), provider("b"))
        self.flushLoggedErrors(ValueError)
        self.assertEqual(self.running(), ["a/1", "b/1"])
        self.assertEqual(list(self.inspector.dump(f"{paths.DRAINING}/")), [paths.draining("a")])
        self.assertNotIn("a/main", self.pools())
        self.old.drained.callback(None)
        self.settle()
        self.assertEqual(sorted(self.reloader.services()), ["b"])
        self.assertEqual(self.inspector.dump(f"{paths.DRAINING}/"), {})

    def test_removed_during_its_replacement(self) -> None:
        """Removed while it is being replaced, the successor drains when it has started."""
        self.old.idling = Deferred()
        self.apply(provider("a", 2), provider("b"))
        self.apply(provider("b"))
        self.old.idling.callback(None)
        self.settle()
        self.assertEqual(self.diary[-2:], ["start a/2", "drain a/2"])
        self.service("a").drained.callback(None)
        self.settle()
        self.assertEqual(sorted(self.reloader.services()), ["b"])

    def test_removed_and_back_before_it_was_noted(self) -> None:
        """One that is removed and configured again at once does not drain."""
        self.reloader.apply(config(provider("b")))
        self.reloader.apply(config(provider("a"), provider("b")))
        self.settle()
        self.assertEqual(self.running(), ["a/1", "b/1"])
        self.assertNotIn("drain a/1", self.diary)
        self.assertEqual(self.inspector.dump(f"{paths.DRAINING}/"), {})

    def test_stop_while_it_drains(self) -> None:
        """Stopping does not wait for nodes that are in use."""
        self.apply(provider("b"))
        self.successResultOf(self.reloader.stop())
        self.old.drained.callback(None)
        self.settle()
        self.assertIs(self.service("a"), self.old)

    def test_note_is_lost(self) -> None:
        """It drains also when that cannot be noted, or is not known to be."""
        self.inspector.fail_next("create", ConnectionLoss(), client=self.client)
        self.apply(provider("b"))
        self.assertIn("drain a/1", self.diary)
        self.old.drained.callback(None)
        self.settle()
        self.assertEqual(sorted(self.reloader.services()), ["b"])

    def test_noted_later(self) -> None:
        """If ZooKeeper is away, that it drains is noted as soon as it is back."""
        self.inspector.suspend(self.client)
        self.apply(provider("b"))
        self.assertIn("drain a/1", self.diary)
        self.assertFalse(self.ledger.settled)
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(list(self.inspector.dump(f"{paths.DRAINING}/")), [paths.draining("a")])
        self.assertTrue(self.ledger.settled)

    def test_strike_is_lost(self) -> None:
        """What could not be struck from the ledger is struck as soon as that is possible."""
        for happened in (False, True):
            self.applied(provider("a"), provider("b"))
            self.apply(provider("b"))
            stage = self.inspector.lose_reply_next if happened else self.fail_next
            stage("delete", path=paths.draining("a"), client=self.client)
            self.service("a").drained.callback(None)
            self.settle()
            self.assertEqual(sorted(self.reloader.services()), ["b"])
            self.assertEqual(self.inspector.dump(f"{paths.DRAINING}/"), {})

    def test_noted_again_before_the_strike_was_made_good(self) -> None:
        """A strike that is made good later does not take a newer note away."""
        self.apply(provider("b"))
        self.inspector.suspend(self.client)
        self.apply(provider("a"), provider("b"))
        self.inspector.resume(self.client)
        self.reloader.apply(config(provider("b")))
        self.settle()
        self.assertEqual(self.running(), ["a/1", "b/1"])
        self.assertEqual(list(self.inspector.dump(f"{paths.DRAINING}/")), [paths.draining("a")])

    def fail_next(self, op: str, **where: Any) -> object:
        return self.inspector.fail_next(op, ConnectionLoss(), **where)

    def test_driver_becomes_unavailable(self) -> None:
        """A provider whose driver is exchanged for one we do not have drains."""
        self.apply(UnavailableProvider(name="a", driver="azure"), provider("b"))
        self.assertEqual(self.diary, ["drain a/1"])


class RestartTests(ReloadTestCase):
    """Providers that an earlier process began to empty."""

    def setUp(self) -> None:
        super().setUp()
        self.applied(provider("a"), provider("b"))
        self.apply(provider("b"))
        self.done(self.reloader.stop())
        self.done(self.providers.stopService())
        self.done(self.client.close())
        self.built.clear()
        self.diary.clear()
        self.start_process()

    def test_goes_on(self) -> None:
        """It is emptied by the next process, which knows nothing else of it."""
        self.apply(provider("b"))
        self.done(self.reloader.resume_drains())
        self.assertEqual(
            self.diary, ["build b/1", "start b/1", "build a/-1", "start a/-1", "drain a/-1"]
        )
        self.service("a").drained.callback(None)
        self.settle()
        self.assertEqual(sorted(self.reloader.services()), ["b"])
        self.assertEqual(self.inspector.dump(f"{paths.DRAINING}/"), {})

    def test_configured_again(self) -> None:
        """If it is configured again, that is all there is to say of it."""
        self.apply(provider("a"), provider("b"))
        self.done(self.reloader.resume_drains())
        self.assertEqual(self.running(), ["a/1", "b/1"])
        self.assertEqual(self.inspector.dump(f"{paths.DRAINING}/"), {})

    def test_configured_again_later(self) -> None:
        """Configured again while the next process empties it, it is replaced."""
        self.apply(provider("b"))
        self.done(self.reloader.resume_drains())
        self.apply(provider("a", 2), provider("b"))
        self.assertEqual(self.running(), ["a/2", "b/1"])
        self.assertEqual(self.inspector.dump(f"{paths.DRAINING}/"), {})

    def test_cannot_be_built_or_started(self) -> None:
        """One that cannot be emptied does not keep others from it."""
        for name in ("no-driver", "no-start", "fine"):
            self.inspector.create(paths.draining(name), b'{"driver": "scripted"}')
        self.script.building["no-driver/-1"] = ValueError("no driver")
        self.script.starting["no-start/-1"] = ValueError("no start")
        self.apply(provider("b"))
        self.done(self.reloader.resume_drains())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertEqual(self.running(), ["a/-1", "b/1", "fine/-1"])

    def test_rubbish_in_the_ledger(self) -> None:
        """An entry that cannot be read is left alone."""
        self.inspector.create(paths.draining("x"), b"rubbish")
        self.apply(provider("b"))
        self.done(self.reloader.resume_drains())
        self.assertEqual(self.running(), ["a/-1", "b/1"])
