"""The launches under way in this process, and how each of them may be cut off."""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs
from kazoo.exceptions import AuthFailedError, ConnectionClosedError
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger

from nodepool_tx.model import IllegalTransition, Node, NodeRequest, NodeState
from nodepool_tx.providers.cloud.account import Account
from nodepool_tx.providers.cloud.holding import Hold, NotHeld
from nodepool_tx.providers.cloud.launch import Launch, servers_of
from nodepool_tx.providers.cloud.results import SESSION_LOST
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.maintenance import age_in_words
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.txzookeeper.lock import Lock
from nodepool_tx.txzookeeper.retry import until_connected
from nodepool_tx.work import Tracker

__all__ = ["Launches"]

#: Launches of which it is remembered why they failed.
REMEMBERED = 100

#: States in which nobody but we ourselves put a node that we make.
_OURS = frozenset(
    {NodeState.INIT, NodeState.BUILDING, NodeState.READY, NodeState.FAILED, NodeState.ABORTED}
)


class _Cut(enum.Enum):
    """Why a launch is cut off."""

    #: We stop, or give the provider up: whoever is next goes on or deletes.
    STOPPED = "stopped"
    #: The lock was taken from us.
    LOST = "lost"
    #: Somebody has put the node into another state.
    TAKEN = "taken"


@attrs.define(eq=False)
class _Entry:
    node_id: str
    hold: Hold
    since: float
    launch: Launch | None = None
    task: Deferred[None] | None = None
    cut: _Cut | None = None
    #: It ended as launches end.
    well: bool = False


class Launches:
    """Starts launches, and ends each in order whatever happens to it.

    :param ended: called with a node when nothing of its launch runs any more,
        and whether that was a mistake of ours.
    """

    _log = Logger()

    def __init__(self, account: Account, ended: Callable[[str, bool], None]) -> None:
        self._account = account
        self._ended = ended
        self._entries: dict[str, _Entry] = {}
        self._tracker = Tracker(account.clock)
        #: Why launches failed, by node; the oldest first.
        self._errors: dict[str, str] = {}
        #: What is left to do after launches that came to nothing.
        self._cleaning = Tracker(account.clock)
        self._open = True
        self._stopped = False

    def __len__(self) -> int:
        return len(self._entries) + len(self._cleaning)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._entries

    def tasks(self) -> tuple[tuple[str, float], ...]:
        """What is under way and since when."""
        return (
            *((self._describe(entry), entry.since) for entry in self._entries.values()),
            *((task.what, task.since) for task in self._cleaning.tasks()),
        )

    @staticmethod
    def _describe(entry: _Entry) -> str:
        doing = entry.launch.doing if entry.launch is not None else "taking its lock"
        return f"launching node {entry.node_id}: {doing}"

    def about(self, node_id: str) -> str:
        """How far the launch of a node has come; "" if it is not made here."""
        entry = self._entries.get(node_id)
        if entry is None:
            return ""
        launch = entry.launch
        if launch is None:
            return "taking its lock"
        account = self._account
        words = (
            f"attempt {launch.attempts} of {account.config.launch_retries} here, {launch.doing}, "
            f"for {age_in_words(account.clock.seconds() - entry.since)} in all"
        )
        failed = f"; the last attempt that failed: {launch.last_error}"
        return words + (failed if launch.last_error else "")

    def last_error(self, node_id: str) -> str:
        """Why the last attempt to make a node failed, as long as that is remembered."""
        entry = self._entries.get(node_id)
        if entry is not None and entry.launch is not None:
            return entry.launch.last_error
        return self._errors.get(node_id, "")

    def lock_of(self, node_id: str) -> Lock | None:
        """The lock of a node that is being made here; None before and after."""
        entry = self._entries.get(node_id)
        if entry is None or entry.launch is None or entry.cut is not None:
            return None
        return entry.hold.lock if entry.hold.lock.held else None

    # -- starting --------------------------------------------------------

    def start(
        self,
        node_id: str,
        pool: str | None,
        request: NodeRequest | None,
        *,
        fit: Callable[[Node], bool],
    ) -> None:
        """Make a node, from wherever its record says that it is.

        :param fit: asked with the record as it is under the lock; what is not
            fit any more is let go.
        """
        if node_id in self._entries or not self._open:
            return
        account = self._account
        hold = Hold(account.store, node_id, account.identifier(pool))
        entry = _Entry(node_id, hold, account.clock.seconds())
        self._entries[node_id] = entry
        task = self._tracker.run(f"launching node {node_id}", self._run(entry, request, fit))
        if node_id in self._entries:
            entry.task = task

    async def _run(
        self, entry: _Entry, request: NodeRequest | None, fit: Callable[[Node], bool]
    ) -> None:
        try:
            node = await entry.hold.take()
            if node is None or not fit(node):
                self._log.debug("node {node_id} is not for us to make", node_id=entry.node_id)
                entry.well = True
                return
            entry.hold.when_lost(lambda: self._cut_off(entry, _Cut.LOST))
            await self._launch(entry, node, request)
            entry.well = True
        except (ConnectionClosedError, AuthFailedError):
            # There will be no session any more: whoever is next goes on.
            pass
        finally:
            try:
                await entry.hold.release()
            finally:
                self._remember(entry)
                del self._entries[entry.node_id]
                self._ended(entry.node_id, not entry.well and entry.cut is None)

    async def _launch(self, entry: _Entry, node: Node, request: NodeRequest | None) -> None:
        account = self._account
        pool = account.pool(node.pool)
        label = account.label(node.pool, node.type[0]) if node.type else None
        if pool is None or label is None:
            await self._give_up(entry, node)
            return
        adopted = node.state is NodeState.BUILDING
        launch = entry.launch = Launch(
            account=account,
            hold=entry.hold,
            pool=pool,
            label=label,
            request=request,
            adopted=adopted,
        )
        self._log.info(
            "{what} node {node_id} of {provider}",
            what="going on with" if adopted else "launching",
            node_id=node.id,
            provider=account.name,
            pool=node.pool,
            label=label.name,
            external_id=node.external_id,
            request_id=node.allocated_to,
            event_id=request.event_id if request is not None else None,
        )
        try:
            await launch.run()
        except CancelledError:
            if entry.cut is _Cut.LOST:
                await self._after_loss(entry, launch, "its lock was lost")
            else:
                self._say_left(entry, node)
        except NotHeld as e:
            await self._after_loss(entry, launch, str(e))
        except IllegalTransition as e:
            entry.cut = _Cut.TAKEN
            self._log.info(
                "node {node_id} of {provider} is not made any more: {reason}",
                node_id=node.id,
                provider=account.name,
                reason=str(e),
            )

    def _remember(self, entry: _Entry) -> None:
        if entry.launch is not None and entry.launch.last_error:
            self._errors[entry.node_id] = entry.launch.last_error
            while len(self._errors) > REMEMBERED:
                del self._errors[next(iter(self._errors))]

    async def _give_up(self, entry: _Entry, node: Node) -> None:
        """There is no such pool or label any more."""
        now = self._account.clock.seconds()
        reason = f"there is no label {' '.join(node.type)} in pool {node.pool}"
        self._log.warn(
            "node {node_id} of {provider} cannot be made: {reason}",
            node_id=node.id,
            provider=self._account.name,
            reason=reason,
        )
        try:
            await entry.hold.write(lambda node: node.in_state(NodeState.FAILED, now), release=True)
        except (NotHeld, IllegalTransition) as e:
            self._log.info("node {node_id}: {reason}", node_id=node.id, reason=str(e))

    # -- cutting off -----------------------------------------------------

    def _cut_off(self, entry: _Entry, why: _Cut) -> None:
        if entry.cut is None:
            entry.cut = why
            if entry.task is not None:
                entry.task.cancel()

    def follow(self, change: NodeChange) -> None:
        """Notice that somebody else disposes of a node that is being made here."""
        entry = self._entries.get(change.node_id)
        if entry is None or entry.launch is None or change.after is None:
            return
        if change.after.state not in _OURS:
            self._cut_off(entry, _Cut.TAKEN)

    def cut_off(self) -> None:
        """Leave every node as it is.

        An answer of the cloud that is on its way is waited for a moment, so
        that it can be written down.
        """
        for entry in tuple(self._entries.values()):
            self._cut_off(entry, _Cut.STOPPED)

    def stop(self) -> Deferred[None]:
        """As :meth:`cut_off`; and end all that was left to do after other launches.

        Fires when nothing is under way.
        """
        self.close()
        self._stopped = True
        stopped = [entry.task for entry in self._entries.values() if not entry.cut]
        self.cut_off()
        for task in self._tracker.tasks():
            if task.deferred not in stopped:
                task.deferred.cancel()
        self._cleaning.cancel()
        return self.idle()

    def close(self) -> None:
        """Start nothing more."""
        self._open = False

    def open(self) -> None:
        """Start what is asked for from now on."""
        self._open = True
        self._stopped = False

    def idle(self) -> Deferred[None]:
        """Fires when nothing is under way."""
        both = gatherResults([self._tracker.idle(), self._cleaning.idle()])
        return both.addCallback(lambda _: None)

    def _say_left(self, entry: _Entry, node: Node) -> None:
        taken = entry.cut is _Cut.TAKEN
        self._log.info(
            "the launch of node {node_id} of {provider} is {how}",
            node_id=node.id,
            provider=self._account.name,
            how="given up: somebody else disposes of it" if taken else "left to whoever is next",
            external_id=entry.hold.node.external_id,
        )

    async def _after_loss(self, entry: _Entry, launch: Launch, reason: str) -> None:
        """See what became of a node whose lock was lost, and forget nothing that was made."""
        entry.cut = _Cut.LOST
        launch.tell(SESSION_LOST)
        await self._catch_up()
        account, attempt = self._account, launch.attempt
        external_id = attempt.external_id if attempt is not None else None
        if account.store.nodes.exists(entry.node_id):
            self._log.warn(
                "the launch of node {node_id} of {provider} is cut off, {reason}: it is left to "
                "whoever takes it",
                node_id=entry.node_id,
                provider=account.name,
                reason=reason,
                external_id=external_id,
            )
            return
        self._log.warn(
            "the launch of node {node_id} of {provider} is cut off, somebody has removed the "
            "node: what was made for it {outcome}",
            node_id=entry.node_id,
            provider=account.name,
            external_id=external_id,
            outcome="is left to the next sweep" if self._stopped else "is deleted",
        )
        made = attempt is not None and (external_id is not None or attempt.unknown)
        if made and not self._stopped:
            what = f"deleting what is left of node {entry.node_id}"
            self._cleaning.run(what, self._delete_left(entry.node_id, external_id))

    async def _catch_up(self) -> None:
        store = self._account.store
        while True:
            await until_connected(store.client)
            try:
                await store.barrier()
                return
            except Uncertain:
                continue

    async def _delete_left(self, node_id: str, external_id: str | None) -> None:
        left: tuple[str, ...] = (external_id,) if external_id is not None else ()
        if not left:
            found = await servers_of(self._account, node_id)
            left = tuple(instance.external_id for instance in found)
        for each in left:
            await self._account.deletions.until_gone(each, node_id)
