"""From one configuration to the next, with services whose every step the test holds."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import ProviderConfig, UnavailableProvider
from nodepool_tx.reload import ANNOUNCE_AFTER
from nodepool_tx.reload_plan import ReloadPlan, plan_reload
from nodepool_tx.store import paths
from tests.reload_stage import ReloadTestCase, ScriptedService, config, provider


class PlanTests(SynchronousTestCase):
    def test_each_kind(self) -> None:
        """Providers are compared by name, and by whether their configurations are equal."""
        running = {p.name: p for p in (provider("same"), provider("new"), provider("gone"))}
        wanted = config(
            provider("same"),
            provider("new", 2),
            provider("more"),
            UnavailableProvider(name="cloud", driver="azure"),
        )
        plan = plan_reload(running, wanted)
        self.assertEqual(
            plan,
            ReloadPlan(
                kept=("same",),
                replaced=("new",),
                added=("more",),
                removed=("gone",),
                unavailable=("cloud",),
            ),
        )
        self.assertFalse(plan.changes_nothing)

    def test_nothing(self) -> None:
        """Equal configurations change nothing, in whatever order."""
        one, two = provider("one"), provider("two")
        plan = plan_reload({"one": one, "two": two}, config(provider("two"), provider("one")))
        self.assertTrue(plan.changes_nothing)
        self.assertEqual(plan.kept, ("one", "two"))

    def test_driver_becomes_unavailable(self) -> None:
        """A provider that is given a driver we do not have is given up."""
        wanted = config(UnavailableProvider(name="one", driver="azure"))
        plan = plan_reload({"one": provider("one")}, wanted)
        self.assertEqual((plan.removed, plan.unavailable), (("one",), ("one",)))


class ReplacementTests(ReloadTestCase):
    def test_first_configuration(self) -> None:
        """The first configuration is applied as any other."""
        self.apply(provider("a"), provider("b"))
        self.assertEqual(self.diary, ["build a/1", "start a/1", "build b/1", "start b/1"])
        self.assertEqual(self.pools(), ["a/main", "b/main"])
        (report,) = self.reloader.reports
        self.assertEqual(report.plan.added, ("a", "b"))
        self.assertEqual(report.rolled_back, {})

    def test_order(self) -> None:
        """Idle, then in-flight work done, then stopped, then the successor starts."""
        self.applied(provider("a"))
        old = self.service("a")
        old.idling, old.stopping = Deferred(), Deferred()
        applied = self.apply(provider("a", 2))
        self.assertEqual(self.diary, ["build a/2", "idle a/1"])
        self.clock.advance(1.0)
        old.idling.callback(None)
        self.settle()
        self.assertEqual(self.diary[2:], ["in flight done a/1", "stop a/1"])
        self.assertEqual(self.running(), [])
        self.assertNoResult(applied)
        old.stopping.callback(None)
        self.settle()
        self.assertEqual(self.diary[4:], ["stopped a/1", "start a/2"])
        self.successResultOf(applied)
        self.assertIs(self.service("a"), self.built[-1])

    def test_equal_configuration(self) -> None:
        """A provider whose configuration is equal is not touched."""
        self.applied(provider("a"), provider("b"))
        before = self.service("a")
        self.apply(provider("b", 2), provider("a"))
        self.assertIs(self.service("a"), before)
        self.assertEqual([entry for entry in self.diary if "a/" in entry], [])
        self.assertEqual(self.reloader.reports[-1].plan.kept, ("a",))

    def test_nothing_changed(self) -> None:
        """An equal configuration builds nothing at all."""
        self.applied(provider("a"))
        self.apply(provider("a"))
        self.assertEqual(self.diary, [])
        self.assertTrue(self.reloader.reports[-1].plan.changes_nothing)

    def test_providers_are_independent(self) -> None:
        """A provider that takes long holds up no other: not to replace, add or remove it."""
        self.applied(provider("slow"), provider("quick"), provider("gone"))
        slow = self.service("slow")
        slow.idling = Deferred()
        applied = self.apply(provider("slow", 2), provider("quick", 2), provider("new"))
        self.assertNoResult(applied)
        self.assertEqual(self.running(), ["gone/1", "new/1", "quick/2"])
        self.assertIn("drain gone/1", self.diary)
        self.assertEqual(self.pools(), ["new/main", "quick/main", "slow/main"])
        slow.idling.callback(None)
        self.settle()
        self.successResultOf(applied)
        self.assertEqual(self.running(), ["gone/1", "new/1", "quick/2", "slow/2"])

    def test_tenant_limits(self) -> None:
        """The limits of tenants are those of the new configuration from the start."""
        limits = FrozenMapping({"t": FrozenMapping({"instances": 3.0})})
        self.applied(provider("a"))
        self.service("a").idling = Deferred()
        self.apply(provider("a", 2), tenant_resource_limits=limits)
        self.assertIs(self.limits.of("t"), limits["t"])

    def test_unavailable_drivers(self) -> None:
        """A driver that is not available is reported, and stops nobody else."""
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.apply(provider("a"), UnavailableProvider(name="cloud", driver="azure"))
        self.assertEqual(self.running(), ["a/1"])
        (event,) = [e for e in events if e.get("driver") == "azure"]
        self.assertEqual((event["provider"], event["log_level"].name), ("cloud", "error"))
        self.assertEqual(self.reloader.reports[-1].plan.unavailable, ("cloud",))


class RegistrationTests(ReloadTestCase):
    """What others see of the pools meanwhile."""

    def test_never_absent(self) -> None:
        """A pool that stays is registered without a moment's absence, under one id."""
        self.applied(provider("a", 1, "main other"))
        before = {path: pool.id for path, pool in self.components().items()}
        events: list[str] = []
        self.done(
            self.stranger.watch(
                f"{paths.COMPONENTS}/pool",
                lambda event: events.append(f"{event.kind.value} {event.path}"),
                recursive=True,
            )
        )
        old = self.service("a")
        old.idling, old.stopping = Deferred(), Deferred()
        self.apply(provider("a", 2, "main other"))
        old.idling.callback(None)
        self.settle()
        old.stopping.callback(None)
        self.settle()
        self.assertEqual({path: pool.id for path, pool in self.components().items()}, before)
        self.assertEqual(sorted(events), sorted(f"changed {path}" for path in before))

    def test_pools_that_go_and_come(self) -> None:
        """A pool that is no longer configured is taken off when its successor runs."""
        self.applied(provider("a", 1, "one two"))
        self.apply(provider("a", 2, "two three"))
        self.assertEqual(self.pools(), ["a/three", "a/two"])

    def test_not_before_the_successor_runs(self) -> None:
        """Until then it stays, for the old service may have to go on."""
        self.applied(provider("a", 1, "one two"))
        old = self.service("a")
        old.idling = Deferred()
        self.apply(provider("a", 2, "two"))
        self.assertEqual(self.pools(), ["a/one", "a/two"])
        old.idling.callback(None)
        self.settle()
        self.assertEqual(self.pools(), ["a/two"])

    def test_rolled_back(self) -> None:
        """After a roll-back the registrations are the old ones."""
        self.applied(provider("a", 1, "one two"))
        before = self.components()
        self.script.starting["a/2"] = ValueError("no")
        self.apply(provider("a", 2, "two three"))
        self.flushLoggedErrors(ValueError)
        after = self.components()
        self.assertEqual({p.id for p in before.values()} - {p.id for p in after.values()}, set())
        self.assertEqual(self.pools(), ["a/one", "a/two"])
        self.assertEqual(
            {frozenset(pool.supported_labels) for pool in after.values()}, {frozenset({"a-1"})}
        )

    def test_ownership_is_kept(self) -> None:
        """A provider that is replaced is not left to another launcher in between."""
        self.applied(provider("a"))
        (contender,) = self.inspector.dump(f"{paths.owner_lock('a')}/").keys()
        old = self.service("a")
        old.stopping = Deferred()
        self.apply(provider("a", 2))
        old.stopping.callback(None)
        self.settle()
        self.assertEqual(list(self.inspector.dump(f"{paths.owner_lock('a')}/")), [contender])

    def test_ownership_survives_anothers_drain(self) -> None:
        """One that is being replaced keeps its ownership when another one has drained."""
        self.applied(provider("a"), provider("gone"))
        held = self.ownerships.of("a")
        old = self.service("a")
        old.stopping = Deferred()
        self.apply(provider("a", 2))
        self.service("gone").drained.callback(None)
        self.settle()
        old.stopping.callback(None)
        self.settle()
        self.assertIs(self.ownerships.of("a"), held)
        self.assertTrue(held.held)


class FailureTests(ReloadTestCase):
    """Successors that cannot be, and services that misbehave."""

    def test_cannot_be_built(self) -> None:
        """If the successor cannot be built the old service never notices."""
        self.applied(provider("a"), provider("b"))
        before = self.service("a")
        self.script.building["a/2"] = ValueError("no such thing")
        self.apply(provider("a", 2), provider("b", 2))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIs(self.service("a"), before)
        self.assertEqual(self.running(), ["a/1", "b/2"])
        self.assertNotIn("idle a/1", self.diary)
        self.assertEqual(
            self.reloader.reports[-1].rolled_back, {"a": "it cannot be built: no such thing"}
        )

    def test_cannot_start(self) -> None:
        """If it cannot start it is taken out, and the old service is resumed."""
        self.applied(provider("a"))
        before = self.service("a")
        self.script.starting["a/2"] = ValueError("no")
        self.apply(provider("a", 2))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(
            self.diary,
            [
                "build a/2",
                "idle a/1",
                "in flight done a/1",
                "stop a/1",
                "stopped a/1",
                "start a/2",
                "stop a/2",
                "stopped a/2",
                "start a/1",
                "resume a/1",
            ],
        )
        self.assertIs(self.service("a"), before)
        self.assertEqual(self.reloader.reports[-1].rolled_back, {"a": "it cannot start: no"})
        self.assertTrue(self.ownerships.of("a").held)

    def test_tried_again(self) -> None:
        """The next reload tries it again, with an equal configuration, too."""
        self.applied(provider("a"))
        self.script.starting["a/2"] = ValueError("no")
        self.apply(provider("a", 2))
        self.flushLoggedErrors(ValueError)
        self.script.starting.clear()
        self.apply(provider("a", 2))
        self.assertEqual(self.running(), ["a/2"])
        self.assertEqual(self.reloader.reports[-1].plan.replaced, ("a",))

    def test_new_one_cannot_start(self) -> None:
        """A new provider that cannot start leaves nothing behind."""
        self.script.starting["a/1"] = ValueError("no")
        self.apply(provider("a"), provider("b"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.running(), ["b/1"])
        self.assertEqual(self.pools(), ["b/main"])
        self.assertEqual(self.inspector.dump(f"{paths.owner_lock('a')}/"), {})
        self.script.starting.clear()
        self.apply(provider("a"), provider("b"))
        self.assertEqual(self.running(), ["a/1", "b/1"])

    def test_has_anothers_name(self) -> None:
        """A driver whose service claims another provider's name takes nothing away from it."""
        self.applied(provider("a"))
        before = self.service("a")
        build = self.build

        def confused(config: ProviderConfig) -> ScriptedService:
            service = build(config)
            service.setName("a")
            return service

        self.patch(self.reloader, "_build", confused)
        self.apply(provider("a"), provider("b"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIs(self.service("a"), before)
        self.assertEqual(self.running(), ["a/1"])
        self.assertIn("b", self.reloader.reports[-1].rolled_back)

    def test_cannot_start_and_cannot_stop(self) -> None:
        """Even one that cannot be stopped either makes way for the old one."""
        self.applied(provider("a"))
        self.script.starting["a/2"] = ValueError("no")
        self.script.stopping["a/2"] = ValueError("neither")
        self.apply(provider("a", 2))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertEqual(self.running(), ["a/1"])

    def test_old_one_stops_badly(self) -> None:
        """An old service that was idle and stops badly does not keep its successor out."""
        failing: Deferred[None] = Deferred()
        failing.errback(ValueError("later"))
        for error in (ValueError("at once"), failing):
            self.applied(provider("a"))
            self.service("a").stopping = error
            self.apply(provider("a", 2))
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
            self.assertEqual(self.running(), ["a/2"])
            self.assertEqual(self.reloader.reports[-1].rolled_back, {})

    def test_old_one_cannot_be_idled(self) -> None:
        """An old service that may still write is not replaced, and others are."""
        failing: Deferred[None] = Deferred()
        failing.errback(ValueError("later"))
        for error in (ValueError("at once"), failing):
            self.applied(provider("a"), provider("b"))
            before = self.service("a")
            before.idling = error
            self.apply(provider("a", 2), provider("b", 2))
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
            self.assertIs(self.service("a"), before)
            self.assertEqual(self.running(), ["a/1", "b/2"])
            self.assertIn("cannot be idled", self.reloader.reports[-1].rolled_back["a"])
            before.idling = None

    def test_failure_does_not_end_the_reload_early(self) -> None:
        """A provider that fails does not end the wait for one that takes long."""
        self.applied(provider("bad"), provider("slow"))
        self.service("bad").idling = ValueError("no")
        slow = self.service("slow")
        slow.idling = Deferred()
        applied = self.apply(provider("bad", 2), provider("slow", 2))
        self.assertNoResult(applied)
        self.assertTrue(self.reloader.running)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        slow.idling.callback(None)
        self.settle()
        self.successResultOf(applied)
        self.assertEqual(self.running(), ["bad/1", "slow/2"])

    def test_slow_reload_says_so(self) -> None:
        """A reload that takes long says again and again what it waits for."""
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.applied(provider("a"), provider("b"))
        slow = self.service("a")
        slow.idling = Deferred()
        slow.tasks = (("checking node 7", 0.0),)
        self.apply(provider("a", 2), provider("b", 2))
        for _ in range(3):
            self.clock.advance(ANNOUNCE_AFTER)
        said = [e for e in events if e["log_level"].name == "warn"]
        self.assertEqual([e["waiting"] for e in said], ["a: checking node 7"] * 3)
        self.assertEqual([e["seconds"] for e in said], [10.0, 20.0, 30.0])
        slow.idling.callback(None)
        self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_status_that_raises(self) -> None:
        """A service that cannot even tell what it does does not break the reload."""
        self.applied(provider("a"))
        slow = self.service("a")
        slow.idling = Deferred()
        self.patch(slow, "status", lambda: 1 / 0)
        applied = self.apply(provider("a", 2))
        self.clock.advance(ANNOUNCE_AFTER)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        slow.idling.callback(None)
        self.settle()
        self.successResultOf(applied)
        self.assertEqual(self.running(), ["a/2"])

    def test_without_a_connection(self) -> None:
        """Reloads do not wait for ZooKeeper to come back."""
        self.applied(provider("a"), provider("b"))
        self.inspector.suspend(self.client)
        self.successResultOf(self.apply(provider("a", 2), provider("c")))
        self.assertEqual(self.running(), ["a/2", "b/1", "c/1"])
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.pools(), ["a/main", "c/main"])


class ManyReloadsTests(ReloadTestCase):
    """Reloads that come while one is under way."""

    def setUp(self) -> None:
        super().setUp()
        self.applied(provider("a"))
        self.old = self.service("a")
        self.old.idling = Deferred()

    def test_runs_once_afterwards(self) -> None:
        """Of those that come meanwhile only the last is applied, when the first is done."""
        first = self.apply(provider("a", 2))
        later = [self.apply(provider("a", n)) for n in (3, 4, 5)]
        self.assertEqual(self.diary, ["build a/2", "idle a/1"])
        self.old.idling.callback(None)  # type: ignore[union-attr]
        self.settle()
        for one in (first, *later):
            self.successResultOf(one)
        built = [entry for entry in self.diary if entry.startswith("build")]
        self.assertEqual(built, ["build a/2", "build a/5"])
        self.assertEqual(self.running(), ["a/5"])

    def test_who_waits_hears_of_the_last(self) -> None:
        """Who asked first hears when what they asked for, or something later, is in force."""
        first = self.apply(provider("a", 2))
        self.old.idling.callback(None)  # type: ignore[union-attr]
        self.apply(provider("a", 3))
        self.settle()
        self.successResultOf(first)
        self.assertEqual(self.running(), ["a/3"])

    def test_back_again(self) -> None:
        """A change that is taken back meanwhile leads back, one after the other."""
        self.apply(provider("a", 2))
        self.apply(provider("a", 1))
        self.old.idling.callback(None)  # type: ignore[union-attr]
        self.settle()
        self.assertEqual(self.running(), ["a/1"])
        self.assertIsNot(self.service("a"), self.old)

    def test_stop_during_a_reload(self) -> None:
        """The reload under way ends at once, without what it waited for, and starts nothing."""
        applied = self.apply(provider("a", 2))
        self.apply(provider("a", 3))
        self.assertNoResult(applied)
        self.successResultOf(self.reloader.stop())
        self.successResultOf(applied)
        self.old.idling.callback(None)  # type: ignore[union-attr]
        self.settle()
        self.assertNotIn("start a/2", self.diary)
        self.assertNotIn("build a/3", self.diary)
        self.assertIs(self.service("a"), self.old)

    def test_reload_after_stop(self) -> None:
        """After that no configuration is applied."""
        self.successResultOf(self.reloader.stop())
        self.successResultOf(self.apply(provider("b")))
        self.assertEqual(self.diary, [])
