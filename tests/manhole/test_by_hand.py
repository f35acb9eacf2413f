"""What operators do by hand, and the reloads that come while they do."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.manhole import by_hand
from nodepool_tx.providers.interface import Phase
from tests.launcher_world import World
from tests.reload_stage import ReloadTestCase, provider
from tests.test_reload_property import HOSTS, Setup


class IdlingTests(ReloadTestCase):
    """Idling and reloads in every order: there is never more than one service at work."""

    def start(self, work: Coroutine[Any, Any, str]) -> Deferred[str]:
        started = Deferred.fromCoroutine(work)
        self.settle()
        return started

    def idle(self, name: str = "a") -> Deferred[str]:
        return self.start(by_hand.idle(self.reloader, name))

    def resume(self, name: str = "a") -> Deferred[str]:
        return self.start(by_hand.resume(self.reloader, name))

    def test_idle_and_resume(self) -> None:
        """One provider begins nothing more, and then goes on."""
        self.applied(provider("a"), provider("b"))
        self.assertIn("a is idle until", self.successResultOf(self.idle()))
        self.assertEqual(self.running(), ["b/1"])
        self.assertEqual(self.successResultOf(self.resume()), "a is active")
        self.assertEqual(self.running(), ["a/1", "b/1"])

    def test_idling_that_takes_long(self) -> None:
        """Who waits may go away: it stays idle, and is resumed when it is really idle."""
        self.applied(provider("a"))
        self.service("a").idling = hanging = Deferred[None]()
        waiting = self.idle()
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.running(), [])
        resumed = self.resume()
        self.assertNoResult(resumed)
        hanging.callback(None)
        self.settle()
        self.assertEqual(self.successResultOf(resumed), "a is active")

    def test_names_and_phases(self) -> None:
        """What cannot be done is said."""
        self.applied(provider("a"))
        self.assertIn("there are a", str(self.failureResultOf(self.idle("x"), KeyError)))
        self.assertIn("not idle but active", str(self.failureResultOf(self.resume(), RuntimeError)))

    def test_a_reload_replaces_it(self) -> None:
        """The new service is at work, as it knows nothing of the idling."""
        self.applied(provider("a"))
        self.successResultOf(self.idle())
        self.successResultOf(self.apply(provider("a", 2)))
        self.assertEqual(self.running(), ["a/2"])

    def test_a_reload_that_does_not_concern_it(self) -> None:
        """It stays idle."""
        self.applied(provider("a"))
        self.successResultOf(self.idle())
        self.successResultOf(self.apply(provider("a"), provider("b")))
        self.assertEqual(self.running(), ["b/1"])
        self.successResultOf(self.resume())
        self.assertEqual(self.running(), ["a/1", "b/1"])

    def test_a_reload_removes_it(self) -> None:
        """It is emptied all the same, and then it is gone."""
        self.applied(provider("a"), provider("b"))
        service = self.service("a")
        self.successResultOf(self.idle())
        self.apply(provider("b"))
        self.assertEqual(service.phase, Phase.DRAINING)
        service.drained.callback(None)
        self.settle()
        self.assertNotIn("a", self.reloader.services())
        self.assertEqual(service.phase, Phase.STOPPED)

    def test_a_reload_removes_it_while_it_is_being_idled(self) -> None:
        """It is emptied as soon as it is idle; that it was configured again is noticed."""
        self.applied(provider("a"), provider("b"))
        service = self.service("a")
        service.idling = hanging = Deferred[None]()
        waiting = self.idle()
        self.apply(provider("b"))
        self.assertEqual(service.phase, Phase.IDLE)
        hanging.callback(None)
        self.settle()
        self.successResultOf(waiting)
        self.assertEqual(service.phase, Phase.DRAINING)
        service.idling = None
        self.successResultOf(self.apply(provider("a", 2), provider("b")))
        self.assertEqual(self.running(), ["a/2", "b/1"])

    def test_resuming_is_refused_during_a_reload(self) -> None:
        """That reload counts on the old service staying idle."""
        self.applied(provider("a"))
        self.service("a").idling = hanging = Deferred[None]()
        idling = self.idle()
        reload = self.apply(provider("a", 2))
        self.assertNoResult(reload)
        self.assertEqual([what for what, _ in self.reloader.tasks()], ["reload of provider a"])
        refused = self.failureResultOf(self.resume(), RuntimeError)
        self.assertIn("a reload is replacing a", str(refused))
        hanging.callback(None)
        self.settle()
        self.successResultOf(idling)
        self.successResultOf(reload)
        self.assertEqual(self.running(), ["a/2"])
        self.assertEqual(self.reloader.tasks(), ())

    def test_a_reload_comes_while_resuming_waits(self) -> None:
        """The old service is not woken up under the new one, whichever hears first."""
        self.applied(provider("a"))
        self.service("a").idling = hanging = Deferred[None]()
        self.idle()
        resumed = self.resume()
        reload = self.apply(provider("a", 2))
        hanging.callback(None)
        self.settle()
        self.successResultOf(reload)
        self.assertEqual(self.running(), ["a/2"])
        self.assertNotIn("resume a/1", self.diary)
        outcome: list[object] = []
        resumed.addBoth(outcome.append)
        self.assertEqual(len(outcome), 1)


@pytest.mark.parametrize(
    ("length", "seconds"),
    [(90, 90), ("90s", 90), ("30min", 1800), ("2h", 7200), ("1.5 d", 129600), ("1w", 604800)],
)
def test_lengths_of_time(length: str | float, seconds: float) -> None:
    """As people say them."""
    assert by_hand.seconds_of(length) == seconds


@pytest.mark.parametrize("length", ["", "2", "h", "-1h", 0, -5, float("inf"), "2 fortnights"])
def test_what_is_no_length_of_time(length: str | float) -> None:
    """It is said, before anything is done."""
    with pytest.raises(ValueError, match="length of time"):
        by_hand.seconds_of(length)


class RealProviderTests(SynchronousTestCase):
    """The static provider itself."""

    def test_a_reload_removes_what_was_idled(self) -> None:
        """Its free nodes are given up and it is gone, though it began nothing by itself."""
        world = World(HOSTS)
        self.addCleanup(world.close)
        machines = (("l1", "main", "a", 1), ("l2", "main", "b", 2))
        world.start(Setup((("lab", -1, False, machines),)).config)
        self.assertEqual(len(world.free()), 3)
        reloader = world.process.reloader
        self.successResultOf(Deferred.fromCoroutine(by_hand.idle(reloader, "lab")))
        reloader.apply(Setup(()).config)
        world.settle()
        world.wait(60.0)
        self.assertEqual((world.nodes(), reloader.services()), ({}, {}))
        self.assertEqual(world.failures, [])
