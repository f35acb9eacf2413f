"""A node in our hands: its lock, and its record as it was last seen.

Design note: whose fields are whose
-----------------------------------
While a node is being made its record has two writers: whoever makes it, under
the node's lock, and the pool, which promises it to requests.  So every write
starts from the latest record there is, changes only what is the writer's own,
and is tried again when the record has moved.

Design note: lost answers
-------------------------
A write whose answer was lost happened or not.  As a write is a function of the
latest record, it is enough to read that again and to go on; only when the lock
was to be given up with it, the server is asked whether it still is ours.
"""

from __future__ import annotations

from collections.abc import Callable

from kazoo import exceptions as zke
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.model import Node
from nodepool_tx.store import paths
from nodepool_tx.store.change import Locked, Moved, Uncertain, Vanished, connection_errors
from nodepool_tx.store.codec import Unreadable, decode_node
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.lock import Lock
from nodepool_tx.txzookeeper.retry import until_connected

__all__ = ["Hold", "NodeGone", "NotHeld"]

#: Seconds until a node is tried to be removed again whose lock others wait for.
QUEUED_RETRY = 1.0


class NotHeld(Exception):
    """The node's lock is not ours any more; the node may be anybody's."""


class NodeGone(NotHeld):
    """There is no such node any more."""


class Hold:
    """One node under our lock.

    :param identifier: what others see of who holds it.
    """

    _log = Logger()

    def __init__(self, store: Store, node_id: str, identifier: str) -> None:
        self.node_id = node_id
        self._store = store
        self._path = paths.node(node_id)
        self._known: Node | None = None
        self._call_off: Callable[[], None] | None = None
        self._told: Callable[[], None] | None = None
        #: The lock was taken from us.
        self.lost = False
        self.lock = Lock(store.client, paths.node_lock(node_id), identifier, guard=True)

    # -- taking ----------------------------------------------------------

    async def take(self) -> Node | None:
        """Take the lock, if nobody has it, and return the record.

        None when somebody else has it, or there is no such node, or none that
        makes sense: then nothing is held.  Waits for a connection.
        """
        client = self._store.client
        while True:
            await until_connected(client)
            try:
                acquired = await self.lock.try_acquire(self._path)
            except zke.NoNodeError:
                return None
            except connection_errors:
                continue
            if acquired is None:
                return None
            break
        (read,) = acquired.reads
        if read is not None:
            data, stat = read
            try:
                self._known = decode_node(
                    self.node_id, data, version=stat.version, mzxid=stat.mzxid
                )
            except Unreadable as e:
                self._log.warn(
                    "node {node_id} is left alone: {reason}", node_id=self.node_id, reason=str(e)
                )
        if self._known is None:
            await self.release()
            return None
        self._call_off = self.lock.on_lost(self._on_lost)
        return self._known

    def when_lost(self, told: Callable[[], None]) -> None:
        """Call ``told`` when the lock is taken from us, at once if it was."""
        self._told = told
        if self.lost:
            told()

    def _on_lost(self) -> None:
        self.lost = True
        if self._told is not None:
            self._told()

    def _mind(self, wanted: bool) -> None:
        """Hear of the loss of the lock, or not: giving it up is no loss."""
        if wanted and self._call_off is None:
            self._call_off = self.lock.on_lost(self._on_lost)
        elif not wanted and self._call_off is not None:
            self._call_off()
            self._call_off = None

    # -- looking ---------------------------------------------------------

    @property
    def node(self) -> Node:
        """The latest record that anybody here has seen."""
        known = self._known
        assert known is not None, "the node was never taken"
        shown = self._store.nodes.get(self.node_id)
        return shown if shown is not None and shown.version > known.version else known

    async def _look_again(self) -> None:
        """Read the record, as soon as there is a connection.

        :raises NodeGone: it is not there.
        """
        client = self._store.client
        while True:
            await until_connected(client)
            try:
                data, stat = await client.get(self._path)
            except zke.NoNodeError:
                raise NodeGone(f"node {self.node_id} is gone") from None
            except connection_errors:
                continue
            try:
                self._known = decode_node(
                    self.node_id, data, version=stat.version, mzxid=stat.mzxid
                )
            except Unreadable as e:
                raise NotHeld(f"somebody made node {self.node_id} unreadable: {e}") from e
            return

    # -- writing ---------------------------------------------------------

    async def write(self, change: Callable[[Node], Node], *, release: bool = False) -> Node:
        """Write what ``change`` makes of the latest record; returns that.

        Waits for a connection, and finds out what became of writes without an
        answer.  ``change`` may be called several times, and may raise.

        :param release: give the lock up in the same step.
        :raises NotHeld: the lock is not ours any more; nothing was written.
        :raises NodeGone: there is no such node any more.
        """
        while True:
            before = self.node
            after = change(before)
            if after == before and not release:
                return before
            edit = self._store.change()
            edit.update_node(before, after, self.lock, release=release)
            self._mind(not release)
            try:
                await edit.commit()
            except Moved:
                await self._look_again()
            except (Locked, Vanished):
                await self._look_again()
                raise NotHeld(f"the lock of node {self.node_id} is not ours any more") from None
            except Uncertain:
                held = await self.lock.confirm() if release else True
                await self._look_again()
                if not held:
                    if self.node == after or self.node.state is not before.state:
                        return self.node
                    raise NotHeld(f"the lock of node {self.node_id} was lost") from None
            else:
                # Each write of a znode counts its version on by one.
                self._known = after.changed(version=before.version + 1)
                return self._known
            self._mind(True)

    async def confirm(self) -> None:
        """See that the lock is ours at this moment; waits for a connection.

        :raises NotHeld: it is not.
        """
        if not await self.lock.confirm():
            raise NotHeld(f"the lock of node {self.node_id} was lost")

    async def remove(self) -> None:
        """Remove the record, and the lock with it; a record that is gone is fine.

        :raises NotHeld: the lock is not ours any more; the record stays.
        """
        self._mind(False)
        while True:
            edit = self._store.change()
            edit.remove_node(self.node, self.lock)
            try:
                await edit.commit()
                return
            except Vanished:
                return
            except (Moved, Uncertain, Locked) as e:
                try:
                    await self._look_again()
                except NodeGone:
                    return
                if not isinstance(e, Moved) and not await self.lock.confirm():
                    raise NotHeld(f"the lock of node {self.node_id} was lost") from None
                if isinstance(e, Locked):
                    # Others wait for it, who will find that there is nothing.
                    await deferLater(self._store.clock, QUEUED_RETRY)

    # -- letting go ------------------------------------------------------

    async def release(self) -> None:
        """Give the lock up; waits for that only as long as there is a connection.

        Without one it is given up as soon as there is, or goes with the session.
        """
        self._mind(False)
        client = self._store.client
        done: Deferred[None] = Deferred()

        def finished(_: object) -> None:
            if not done.called:
                done.callback(None)

        unobserve = client.observe(finished)
        self.lock.release().addErrback(self._not_released).addBoth(finished)
        if client.state is not SessionState.CONNECTED:
            finished(None)
        try:
            await done
        finally:
            unobserve()

    def _not_released(self, failure: Failure) -> None:
        failure.trap(*connection_errors)
        self._log.info(
            "the lock of node {node_id} ends with the session: {reason}",
            node_id=self.node_id,
            reason=failure.getErrorMessage(),
        )
