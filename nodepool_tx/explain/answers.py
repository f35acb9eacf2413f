"""A launcher's part: it answers what anybody asks in ZooKeeper."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kazoo import exceptions as zke
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.explain.here import pools_here
from nodepool_tx.explain.questions import answer_path, decode_question, question_path
from nodepool_tx.explain.values import encode_answer
from nodepool_tx.providers.interface import ProviderService
from nodepool_tx.store import paths
from nodepool_tx.store.change import connection_errors
from nodepool_tx.store.codec import Unreadable
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache
from nodepool_tx.work import Tracker

__all__ = ["LEFT_OVER_AFTER", "WAIT_FOR_CURRENT", "Answers"]

#: Seconds after which a question that is still there has been forgotten.
LEFT_OVER_AFTER = 60.0

#: Seconds to wait for the store to be up to date before answering that it is not.
WAIT_FOR_CURRENT = 1.0


class Answers(Service):
    """Answers every question once, and removes those that were forgotten.

    :param services: gives the providers of this process.
    :param launcher: gives what this launcher is registered as; "" if it is not.
    """

    _log = Logger()

    def __init__(
        self,
        store: Store,
        services: Callable[[], Iterable[ProviderService]],
        launcher: Callable[[], str],
    ) -> None:
        self.setName("answers")
        self._store = store
        self._clock = store.clock
        self._services = services
        self._launcher = launcher
        self._cache: TreeCache | None = None
        self._tracker = Tracker(self._clock)
        #: Questions that are there, and when they count as forgotten.
        self._known: dict[str, IDelayedCall] = {}

    # -- life ------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        depth = paths.QUESTIONS.count("/") + 1
        self._cache = TreeCache(
            self._store.client,
            paths.QUESTIONS,
            wants_data=lambda path: path.count("/") == depth,
        )
        self._cache.subscribe(self._on_change)
        self._cache.start().addErrback(self._not_started)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        ending: list[Deferred[None]] = []
        if self._cache is not None:
            ending.append(self._cache.stop())
            self._cache = None
        for forgotten in self._known.values():
            forgotten.cancel()
        self._known = {}
        self._tracker.cancel()
        ending.append(self._tracker.idle())
        return gatherResults(ending).addCallback(lambda _: None)

    def _not_started(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("questions cannot be followed", failure=failure)

    # -- questions -------------------------------------------------------

    def _on_change(self, change: CacheChange) -> None:
        parts = paths.below(paths.QUESTIONS, change.path)
        if len(parts) != 1 or change.kind in (ChangeKind.CURRENT, ChangeKind.STALE):
            return
        (name,) = parts
        if change.kind is ChangeKind.REMOVED:
            forgotten = self._known.pop(name, None)
            if forgotten is not None:
                forgotten.cancel()
        elif name not in self._known:
            self._known[name] = self._clock.callLater(LEFT_OVER_AFTER, self._forget, name)
            data = change.znode.data if change.znode is not None else None
            self._tracker.run(f"answering question {name}", self._answer(name, data or b""))

    async def _answer(self, name: str, data: bytes) -> None:
        try:
            request_id = decode_question(data)
        except Unreadable as e:
            self._log.debug("question {name}: {reason}", name=name, reason=str(e))
            return
        await self._until_current()
        launcher = self._launcher()
        if not launcher:
            # Nobody waits for the answer of a launcher that is not online.
            return
        answer = encode_answer(pools_here(request_id, self._services()))
        try:
            await self._store.client.create(answer_path(name, launcher), answer)
        except (zke.NoNodeError, zke.NodeExistsError):
            # Who asked has had enough; or it is a cache that had lost touch.
            return
        except connection_errors as e:
            self._log.debug("question {name} is not answered: {reason}", name=name, reason=str(e))

    async def _until_current(self) -> None:
        """Wait a moment for what the store does not show yet."""
        if self._store.current:
            return
        current: Deferred[None] = Deferred()

        def on_change(is_current: bool) -> None:
            if is_current and not current.called:
                current.callback(None)

        forget = self._store.when_current(on_change)
        try:
            await current.addTimeout(WAIT_FOR_CURRENT, self._clock)
        except TimeoutError:
            self._log.debug("answering while out of touch with ZooKeeper")
        finally:
            forget()

    # -- leftovers -------------------------------------------------------

    def _forget(self, name: str) -> None:
        self._known[name] = self._clock.callLater(LEFT_OVER_AFTER, self._forget, name)
        self._tracker.run(f"removing question {name}", self._remove(name))

    async def _remove(self, name: str) -> None:
        """Nobody is going to do it any more; if this fails, it is tried again."""
        try:
            await self._store.client.delete_tree(question_path(name))
        except (zke.NotEmptyError, *connection_errors) as e:
            self._log.debug("question {name} is not removed: {reason}", name=name, reason=str(e))
