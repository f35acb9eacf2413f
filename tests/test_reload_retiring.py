"""Services that are replaced while they have something left to finish."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.reload_stage import ReloadTestCase, ScriptedService, provider


class RetiringTests(ReloadTestCase):
    def retiring_service(self) -> ScriptedService:
        """An old service that was replaced, and has not finished."""
        self.applied(provider("a"))
        old = self.service("a")
        old.retiring = Deferred()
        self.successResultOf(self.apply(provider("a", 2)))
        return old

    def finish(self, old: ScriptedService) -> None:
        assert old.retiring is not None
        old.retiring.callback(None)
        self.settle()

    def test_successor_does_not_wait(self) -> None:
        """The successor works while the old service, idle, finishes under no name."""
        old = self.retiring_service()
        self.assertEqual(self.diary, ["build a/2", "idle a/1", "in flight done a/1", "start a/2"])
        self.assertEqual(self.running(), ["a/2"])
        self.assertEqual(self.reloader.retiring(), (old,))
        self.assertIs(self.service("a"), self.built[-1])

    def test_leaves_when_finished(self) -> None:
        """It is stopped and leaves the tree, and its successor stays."""
        old = self.retiring_service()
        self.diary.clear()
        self.finish(old)
        self.assertEqual(self.diary, ["stop a/1", "stopped a/1"])
        self.assertEqual(list(self.providers), [self.built[-1]])
        self.assertEqual(self.reloader.retiring(), ())
        self.assertIs(self.service("a"), self.built[-1])

    def test_several(self) -> None:
        """Each of several replaced services leaves in its own time."""
        first = self.retiring_service()
        second = self.service("a")
        second.retiring = Deferred()
        self.successResultOf(self.apply(provider("a", 3)))
        self.assertEqual(self.reloader.retiring(), (first, second))
        self.finish(second)
        self.assertEqual(self.reloader.retiring(), (first,))
        self.finish(first)
        self.assertEqual(self.running(), ["a/3"])
        self.assertEqual(len(list(self.providers)), 1)

    def test_successor_cannot_start(self) -> None:
        """The old service gets its name back and is resumed; it is not stopped later on."""
        self.applied(provider("a"))
        old = self.service("a")
        old.retiring = Deferred()
        self.script.starting["a/2"] = RuntimeError("no")
        self.successResultOf(self.apply(provider("a", 2)))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIs(self.service("a"), old)
        self.assertEqual((self.running(), self.reloader.retiring()), (["a/1"], ()))
        self.diary.clear()
        self.finish(old)
        self.assertEqual((self.diary, self.running()), ([], ["a/1"]))

    def test_removed_meanwhile(self) -> None:
        """When the provider is removed, what retires is stopped before it is emptied."""
        self.retiring_service()
        self.diary.clear()
        self.successResultOf(self.apply())
        self.assertEqual(self.diary, ["stop a/1", "stopped a/1", "drain a/2"])
        self.service("a").drained.callback(None)
        self.settle()
        self.assertEqual(list(self.providers), [])

    def test_stopping_waits_for_nothing(self) -> None:
        """The end of the process does not wait for what retires, but stops it."""
        self.retiring_service()
        self.successResultOf(self.reloader.stop())
        self.diary.clear()
        stopped = self.providers.stopService()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(
            sorted(e for e in self.diary if e.startswith("stop ")), ["stop a/1", "stop a/2"]
        )
