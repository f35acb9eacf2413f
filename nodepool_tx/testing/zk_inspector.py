"""What a test may do to a ZooKeeper kept in memory, apart from using it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from kazoo.exceptions import NoNodeError
from twisted.internet.task import Clock

from nodepool_tx.testing.zk_client import MemoryClient
from nodepool_tx.testing.zk_link import Link
from nodepool_tx.testing.zk_server import Fault, MemoryServer, ServerCall
from nodepool_tx.txzookeeper.interface import ZnodeStat

__all__ = ["Inspector"]

PathFilter = str | Callable[[str], bool] | None


class Inspector:
    """Breaks connections, stages races, edits and shows the tree.

    Kept apart from the clients, so that nothing a client is given to can reach
    it.  Paths in here are the server's: a client's chroot is part of them.

    Faults are staged for the next request that matches an operation's name
    (see :class:`~nodepool_tx.testing.zk_server.ServerCall`; ``*`` is any), and
    where given its path (or a predicate of it) and its client.
    """

    def __init__(self, server: MemoryServer, links: dict[MemoryClient, Link]) -> None:
        self._server = server
        self._links = links

    # -- connections and sessions ----------------------------------------

    def suspend(self, client: MemoryClient, *, executes: int = 0) -> None:
        """Break the client's connection until :meth:`resume`.

        What is in flight fails with ConnectionLoss.  Of the requests on their
        way to the server the first ``executes`` still happen, unanswered.
        When the session's timeout has passed by the clock, the session ends;
        the client learns that when it is resumed.
        """
        self._links[client].unreach(executes)

    def resume(self, client: MemoryClient) -> None:
        """Let the client find back; it takes one latency."""
        self._links[client].resume()

    def cut(self, client: MemoryClient, *, executes: int = 0) -> None:
        """Break the client's connection; it finds back by itself."""
        self._links[client].cut(executes)

    def expire(self, client: MemoryClient) -> None:
        """End the client's session on the server; the client learns on reconnecting.

        If it is not suspended it does so at once.
        """
        link = self._links[client]
        self._server.end_session(link.session_id)
        link.cut()

    def refuse(self, client: MemoryClient) -> None:
        """Answer the client's credentials with no from its next connection on."""
        self._links[client].refused = True

    def forget(self, client: MemoryClient) -> None:
        """Drop a client that is closed, or that nobody will use any more.

        Without that each client is kept, which a simulation of long times would see.
        """
        del self._links[client]

    # -- staging ---------------------------------------------------------

    def fail_next(
        self,
        op: str,
        error: Exception,
        *,
        path: PathFilter = None,
        client: MemoryClient | None = None,
        times: int | None = 1,
    ) -> Callable[[], None]:
        """Answer with ``error`` instead of carrying it out; returns what calls it off.

        ConnectionLoss breaks the connection and SessionExpiredError ends the
        session, as only that makes a client report them.
        """

        def act(call: ServerCall) -> None:
            raise error

        return self._stage(self._server.before, op, act, path, client, times)

    def lose_reply_next(
        self, op: str, *, path: PathFilter = None, client: MemoryClient | None = None
    ) -> Callable[[], None]:
        """Carry it out, and break the connection before the answer is through."""

        def act(call: ServerCall) -> None:
            assert isinstance(call.connection, Link)
            call.connection.cut()

        return self._stage(self._server.after, op, act, path, client, 1)

    def before(
        self,
        op: str,
        hook: Callable[[ServerCall], None],
        *,
        path: PathFilter = None,
        client: MemoryClient | None = None,
        times: int | None = 1,
    ) -> Callable[[], None]:
        """Call ``hook`` just before the server carries it out.

        The hook may edit the tree, break connections, or raise what is to be
        the answer.  ``times`` None stands for every time.  Returns what calls
        it off.
        """
        return self._stage(self._server.before, op, hook, path, client, times)

    def after(
        self,
        op: str,
        hook: Callable[[ServerCall], None],
        *,
        path: PathFilter = None,
        client: MemoryClient | None = None,
        times: int | None = 1,
    ) -> Callable[[], None]:
        """Call ``hook`` when it was carried out and its answer is on the way."""
        return self._stage(self._server.after, op, hook, path, client, times)

    def _stage(
        self,
        faults: list[Fault],
        op: str,
        act: Callable[[ServerCall], None],
        path: PathFilter,
        client: MemoryClient | None,
        times: int | None,
    ) -> Callable[[], None]:
        if path is None:
            matches: Callable[[str], bool] = lambda _: True  # noqa: E731
        elif isinstance(path, str):
            matches = path.__eq__
        else:
            matches = path
        connection = None if client is None else self._links[client]
        fault = Fault(op, matches, connection, act, times)
        faults.append(fault)

        def call_off() -> None:
            if fault in faults:
                faults.remove(fault)

        return call_off

    # -- editing, as somebody else would ---------------------------------

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        owner: MemoryClient | None = None,
        sequence: bool = False,
    ) -> str:
        """Create a znode, with what is missing above it, now.

        With ``owner`` it is an ephemeral of that client's session.
        """
        parts = path.split("/")[1:-1]
        for depth in range(len(parts)):
            above = "/" + "/".join(parts[: depth + 1])
            if above not in self._server.tree.znodes:
                self._server.create(above)
        session = 0 if owner is None else owner.session_id
        return self._server.write(lambda w: w.create(path, data, owner=session, sequence=sequence))

    def set(self, path: str, data: bytes, version: int = -1) -> ZnodeStat:
        """Write a znode now."""
        return self._server.write(lambda w: w.set(path, data, version))

    def delete(self, path: str, version: int = -1) -> None:
        """Remove a znode now."""
        self._server.write(lambda w: w.delete(path, version))

    def delete_tree(self, path: str) -> None:
        """Remove a znode and all below it now; nothing there is fine."""
        try:
            names = self._server.tree.children(path)
        except NoNodeError:
            return
        for name in names:
            self.delete_tree(f"{path.rstrip('/')}/{name}")
        self.delete(path)

    # -- looking ---------------------------------------------------------

    def dump(self, root: str = "/") -> dict[str, bytes]:
        """Data of ``root`` and everything below it, by path, in order.

        ZooKeeper's own ``/zookeeper`` and the root itself are left out.
        """
        below = root.rstrip("/") + "/"
        return {
            path: znode.data
            for path, znode in sorted(self._server.tree.znodes.items())
            if (path == root or path.startswith(below))
            and path != "/"
            and not (path + "/").startswith("/zookeeper/")
        }

    def stat(self, path: str) -> ZnodeStat | None:
        """The znode's stat, or None."""
        znode = self._server.tree.znodes.get(path)
        return None if znode is None else znode.stat()

    def ephemerals(self, client: MemoryClient) -> tuple[str, ...]:
        """Paths of what goes with the client's present session."""
        return tuple(sorted(self._server.tree.ephemerals.get(client.session_id, ())))

    @property
    def requests(self) -> Counter[str]:
        """How many requests of each kind were carried out; may be cleared."""
        return self._server.requests

    @property
    def sessions(self) -> int:
        """How many sessions the server keeps."""
        return len(self._server.sessions)

    @property
    def all_ephemerals(self) -> int:
        """How many znodes go with one or other session."""
        return sum(map(len, self._server.tree.ephemerals.values()))

    @property
    def watches(self) -> int:
        """How many watches the server holds."""
        return len(self._server.watches)

    def observers(self, client: MemoryClient) -> int:
        """How many observe the client's states."""
        return self._links[client].observers

    # -- time ------------------------------------------------------------

    def settle(self, clock: Clock, *, limit: int = 1_000_000) -> None:
        """Carry out all that is under way, and all that follows from it.

        Time moves by what the latency asks for and no further, so that no
        timer set for later fires.

        :raises RuntimeError: there was no end to it after ``limit`` requests.
        """
        self._server.budget = limit
        try:
            while True:
                clock.advance(0)
                times = [link.due for link in self._links.values()]
                due = min((time for time in times if time is not None), default=None)
                if due is None:
                    return
                clock.advance(max(0.0, due - clock.seconds()))
        finally:
            self._server.budget = None
