"""The launcher's own functions, run on a tree of the model.

What a launcher decides is decided here by its own code: the real tables are
filled from a tree, the real coroutine runs until it asks ZooKeeper for
something, and what it asks is the request of the model.  The coroutine is
given up then: what comes of the request is a step of its own, perhaps much
later, and what the launcher believes afterwards is part of the model's state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Generator, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any, cast

from kazoo import exceptions as zke
from kazoo.protocol.states import ZnodeStat
from twisted.internet.task import Clock

from nodepool_tx.model import Node, NodeRequest, PoolComponent
from nodepool_tx.pools.interface import NodeMaker
from nodepool_tx.pools.reservations import Reservation, Reservations
from nodepool_tx.store import paths
from nodepool_tx.store.change import Change, Conflict
from nodepool_tx.store.codec import decode_node, decode_request
from nodepool_tx.store.nodes import NodeTable
from nodepool_tx.store.requests import RequestTable
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.interface import Transaction, TransactionFailed, ZookeeperAPI
from nodepool_tx.txzookeeper.lock import Lock
from nodepool_tx.txzookeeper.treecache import CacheChange, CachedZnode, ChangeKind, TreeCache
from proof.model.zookeeper import Operation, Refused, Tree, Znode, check, create, delete, write

__all__ = [
    "NO_RESERVATION",
    "Begin",
    "Fence",
    "Operations",
    "Shown",
    "alias",
    "all_asked_by",
    "asked_again",
    "asked_by",
    "node_in",
    "nodes_in",
    "request_in",
    "reservations",
    "shown_in",
]

Operations = tuple[Operation, ...]


# -- reading -----------------------------------------------------------------


@lru_cache(maxsize=100_000)
def _node(node_id: str, data: bytes, version: int) -> Node:
    return decode_node(node_id, data, version=version)


@lru_cache(maxsize=100_000)
def _request(request_id: str, data: bytes, version: int) -> NodeRequest:
    return decode_request(request_id, data, version=version)


def node_in(tree: Tree, node_id: str) -> Node | None:
    znode = tree.znodes.get(paths.node(node_id))
    return None if znode is None else _node(node_id, znode.data, znode.version)


def nodes_in(tree: Tree) -> list[Node]:
    """All nodes, by id."""
    found = (node_in(tree, node_id) for node_id in tree.node_ids())
    return [node for node in found if node is not None]


def request_in(tree: Tree, request_id: str) -> NodeRequest | None:
    znode = tree.znodes.get(paths.request(request_id))
    return None if znode is None else _request(request_id, znode.data, znode.version)


# -- asking ------------------------------------------------------------------


class _Asked:
    """A request on its way: awaiting it shows it to whoever drives the coroutine."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations

    def __await__(self) -> Generator[_Asked, Any, Any]:
        return (yield self)


class _Transaction:
    """:class:`nodepool_tx.txzookeeper.interface.Transaction`, as a list of what is in it."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False
    ) -> None:
        self._operations.append(create(path, data, ephemeral=ephemeral, sequence=sequence))

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        self._operations.append(write(path, data, version))

    def delete(self, path: str, version: int = -1) -> None:
        self._operations.append(delete(path, version))

    def check(self, path: str, version: int = -1) -> None:
        self._operations.append(check(path, version))

    def commit(self) -> Any:
        return _Asked(tuple(self._operations))


class _Client:
    def transaction(self) -> Transaction:
        return cast(Transaction, _Transaction())


#: Begins a coroutine of the launcher anew, as often as is needed.
Begin = Callable[[], Coroutine[Any, Any, Any]]

_ERRORS: dict[str, type[Exception]] = {
    "no node": zke.NoNodeError,
    "exists": zke.NodeExistsError,
    "not empty": zke.NotEmptyError,
    "version": zke.BadVersionError,
}

#: By a request: whose it was, and what was refused before it.
_origins: dict[Operations, tuple[Begin, tuple[Refused, ...]]] = {}
_retries: dict[tuple[Operations, int, str], Operations] = {}

Rename = Callable[[Operations], Operations]

#: Of what was asked for under other names: what it was then, and how it is renamed.
_aliases: dict[Operations, tuple[Operations, Rename]] = {}


def asked_by(begin: Begin) -> Operations:
    """What a coroutine asks ZooKeeper for first; nothing if it ends without."""
    return _asked_after(begin, ())


def asked_again(operations: Operations, refused: Refused) -> Operations:
    """What is asked for instead of what was refused; nothing if it is given up.

    The launcher may only have been mistaken about which locks have a directory, or
    another be in the queue of the lock that it gives up, see ``Change.commit``.
    """
    if refused.reason not in ("exists", "no node", "not empty"):
        return ()
    key = (operations, refused.index, refused.reason)
    if key not in _retries:
        if operations in _origins:
            begin, before = _origins[operations]
            _retries[key] = _asked_after(begin, (*before, refused))
        elif operations in _aliases:
            original, rename = _aliases[operations]
            _retries[key] = rename(asked_again(original, refused))
        else:
            return ()
    # Who asks for the same again would ask for ever: a wrong launcher, of which part is left out.
    return _retries[key] if _retries[key] != operations else ()


def alias(renamed: Operations, original: Operations, rename: Rename) -> None:
    """What is asked for instead of ``renamed`` is what is instead of ``original``, renamed."""
    if renamed not in _origins:
        _aliases.setdefault(renamed, (original, rename))


def _asked_after(begin: Begin, refusals: tuple[Refused, ...]) -> Operations:
    coroutine = begin()
    try:
        asked = coroutine.send(None)
        for refused in refusals:
            error = _ERRORS[refused.reason]()
            asked = coroutine.throw(TransactionFailed(refused.index, "", error))
    except (StopIteration, Conflict):
        return ()
    coroutine.close()
    assert isinstance(asked, _Asked), asked
    _origins.setdefault(asked.operations, (begin, refusals))
    return asked.operations


def all_asked_by(begin: Begin) -> Iterator[Operations]:
    """Everything a coroutine asks for when nothing it asks for is answered.

    One change after the other, that is; what is refused for a mistake about a
    lock's directory is asked for again as of :func:`asked_again`.
    """
    unanswered = 0
    while True:
        asks = asked_by(partial(_without_answers, begin, unanswered))
        if not asks:
            return
        yield asks
        unanswered += 1


async def _without_answers(begin: Begin, unanswered: int) -> None:
    """Run a coroutine from after its first requests, which are not answered."""
    await _Skipping(begin(), unanswered)


class _Skipping:
    def __init__(self, coroutine: Coroutine[Any, Any, Any], unanswered: int) -> None:
        self._coroutine = coroutine
        self._unanswered = unanswered

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            asked = self._coroutine.send(None)
            for _ in range(self._unanswered):
                asked = self._coroutine.throw(zke.ConnectionLoss())
            while True:
                try:
                    answer = yield asked
                except GeneratorExit:
                    self._coroutine.close()
                    raise
                except Exception as e:
                    asked = self._coroutine.throw(e)
                else:
                    asked = self._coroutine.send(answer)
        except StopIteration:
            return


class Fence:
    """What is left of a :class:`Lock` when it is held: its contender, tied to each write."""

    held = True

    def __init__(self, contender: str) -> None:
        self._contender = contender

    def check_in(self, txn: Transaction) -> None:
        txn.check(self._contender)

    def release_in(self, txn: Transaction) -> None:
        txn.delete(self._contender)

    @classmethod
    def of(cls, contender: str) -> Lock:
        return cast(Lock, cls(contender))


# -- the store ---------------------------------------------------------------


class _Cache:
    """A tree cache that shows a tree, once."""

    def __init__(self) -> None:
        self._tell: Callable[[CacheChange], None] = lambda change: None
        self._there: dict[str, CachedZnode] = {}

    def subscribe(self, subscriber: Callable[[CacheChange], None]) -> None:
        self._tell = subscriber

    def get(self, path: str) -> CachedZnode | None:
        return self._there.get(path)

    def show(self, path: str, znode: Znode) -> None:
        stat = ZnodeStat(0, 0, 0, 0, znode.version, 0, 0, znode.owner, 0, 0, 0)
        cached = self._there[path] = CachedZnode(path, znode.data, stat)
        self._tell(CacheChange(ChangeKind.ADDED, path, cached))


class _Components:
    def __init__(self, pools: tuple[PoolComponent, ...]) -> None:
        self._pools = pools

    def pools(self) -> tuple[PoolComponent, ...]:
        return self._pools


class Shown:
    """What a launcher's tables show when they show a tree.

    :param hidden: requests that have not been seen yet.
    :param reserved: nodes about which a task of this launcher is busy.
    :param pools: those that are registered.
    """

    def __init__(
        self,
        tree: Tree,
        hidden: Collection[str] = (),
        reserved: Iterable[str] = (),
        pools: tuple[PoolComponent, ...] = (),
    ) -> None:
        nodes, requests, locks = _Cache(), _Cache(), _Cache()
        self.nodes = NodeTable(cast(TreeCache, nodes))
        self.requests = RequestTable(cast(TreeCache, requests), cast(TreeCache, locks))
        for path, znode in sorted(tree.znodes.items()):
            if path.startswith(f"{paths.NODES}/"):
                nodes.show(path, znode)
            elif path.startswith(f"{paths.REQUEST_LOCKS}/"):
                locks.show(path, znode)
            elif path.startswith(f"{paths.REQUESTS}/") and path.split("/")[3] not in hidden:
                requests.show(path, znode)
        self.nodes.reserve(node_id for node_id in reserved if self.nodes.get(node_id))
        self.components = _Components(pools)
        self.clock = Clock()

    def change(self) -> Change:
        """See :meth:`nodepool_tx.store.store.Store.change`."""
        return Change(
            cast(ZookeeperAPI, _Client()),
            self.nodes.has_lock_directory,
            self.requests.has_lock_directory,
            _nobody,
            _nobody,
            _nobody,
        )

    async def barrier(self) -> None:
        """The tables show it all already."""

    @property
    def store(self) -> Store:
        return cast(Store, self)


@lru_cache(maxsize=20_000)
def shown_in(
    tree: Tree,
    hidden: frozenset[str] = frozenset(),
    reserved: frozenset[str] = frozenset(),
    pools: tuple[str, ...] = (),
) -> Shown:
    """The tables that show a tree; nobody leaves a trace in them."""
    registered = tuple(
        PoolComponent(id=pool, name="main", provider_name="rack", hostname="host") for pool in pools
    )
    return Shown(tree, hidden, reserved, registered)


class _Nobody:
    """Follows no write, whatever it is told: the tables are filled anew for each decision."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _nothing


def _nothing(*arguments: object) -> None: ...


_nobody = cast(Any, _Nobody())


class _Reservations:
    """No tenant has a limit here, so a commit is one."""

    async def commit(
        self, change: Change, reservation: Reservation, tenant: str | None
    ) -> tuple[str, ...]:
        return await change.commit()


reservations = cast(Reservations, _Reservations())
NO_RESERVATION = cast(Reservation, None)
NO_MAKER = cast(NodeMaker, None)
