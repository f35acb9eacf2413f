"""A look at everything in ZooKeeper, frozen.

Nodes and requests come from the store, which follows them anyway; what it does
not follow is read, all at once where it is much.  Who holds a lock is read once
for each contender: a contender never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from kazoo import exceptions as zke
from kazoo.protocol.states import ZnodeStat
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from nodepool_tx.check.farm import Ages, CloudView, Farm, Holder, Rubbish
from nodepool_tx.config.schema import Config, StaticProvider
from nodepool_tx.preview.nodes import static_effects
from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain, connection_errors
from nodepool_tx.store.image_tree import Znode, read_tree
from nodepool_tx.store.store import Store

__all__ = ["Gatherer"]

#: Small, so that they are read anew with each look.
_TREES = (
    paths.OWNERS,
    paths.ELECTIONS,
    paths.COMPONENTS,
    paths.DRAINING,
    paths.QUESTIONS,
    paths.LEASES,
    paths.IMAGES,
)

#: Reads under way at a time.
_AT_ONCE = 1000


class Gatherer:
    """Looks again and again.

    :param store: current.
    :param config: what is configured, as far as known here.
    """

    def __init__(
        self, store: Store, clock: IReactorTime, config: Config | None, ages: Ages
    ) -> None:
        self._store = store
        self._clock = clock
        self._config = config
        self._ages = ages
        self._holders: dict[str, Holder] = {}
        #: When the locks of requests that are gone were made, and their versions.
        self._lock_stats: dict[str, tuple[float, int]] = {}

    async def look(self, clouds: Mapping[str, CloudView] | None = None) -> Farm:
        """What there is, with all that anybody wrote before this call.

        :param clouds: what the clouds have shown, to be a part of it.
        :raises Uncertain: the connection broke.
        """
        await self._store.barrier()
        trees: dict[str, Znode] = {}
        for tree in await _together(
            Deferred.fromCoroutine(read_tree(self._store.client, root)) for root in _TREES
        ):
            trees |= tree
        await self._read_holders()
        await self._read_old_locks()
        rubbish = await self._rubbish_nodes()
        persistent = await self._persistent_requests()
        return self._freeze(trees, rubbish, persistent, clouds or {})

    # -- reading -------------------------------------------------------------

    async def _read_holders(self) -> None:
        known: dict[str, Holder] = {}
        unknown = []
        for path in self._contender_paths():
            if path in self._holders:
                known[path] = self._holders[path]
            else:
                unknown.append(path)
        for path, (data, stat) in (await self._read(unknown)).items():
            known[path] = Holder(
                path=path,
                session=stat.ephemeralOwner,
                identifier=data.decode("utf-8", "replace"),
                since=stat.ctime / 1000,
                version=stat.version,
            )
        self._holders = known

    def _contender_paths(self) -> Iterable[str]:
        nodes, requests = self._store.nodes, self._store.requests
        for node_id in self._node_ids():
            for name in nodes.contenders(node_id):
                yield f"{paths.node_lock(node_id)}/{name}"
        for request_id in requests.lock_directories():
            for name in requests.contenders(request_id):
                yield f"{paths.request_lock(request_id)}/{name}"

    def _node_ids(self) -> Iterable[str]:
        yield from (node.id for node in self._store.nodes)
        yield from self._store.nodes.unreadable

    async def _read_old_locks(self) -> None:
        requests = self._store.requests
        gone = [r for r in requests.lock_directories() if not requests.exists(r)]
        kept = {r: self._lock_stats[r] for r in gone if r in self._lock_stats}
        unknown = {paths.request_lock(r): r for r in gone if r not in kept}
        for path, (_, stat) in (await self._read(unknown)).items():
            kept[unknown[path]] = (stat.ctime / 1000, stat.version)
        self._lock_stats = kept

    async def _rubbish_nodes(self) -> dict[str, Rubbish]:
        reasons = dict(self._store.nodes.unreadable)
        places = {paths.node(node_id): node_id for node_id in reasons}
        return {
            places[path]: Rubbish(
                path=path,
                reason=reasons[places[path]],
                since=stat.ctime / 1000,
                version=stat.version,
                mzxid=stat.mzxid,
            )
            for path, (_, stat) in (await self._read(places)).items()
        }

    async def _persistent_requests(self) -> frozenset[str]:
        """Those that a session should own, and none does."""
        stock = {paths.request(r.id): r.id for r in self._store.requests if r.is_min_ready}
        found = await self._read(stock)
        return frozenset(stock[p] for p, (_, stat) in found.items() if not stat.ephemeralOwner)

    async def _read(self, wanted: Iterable[str]) -> dict[str, tuple[bytes, ZnodeStat]]:
        """Data and stat of what is there of these paths."""
        found: dict[str, tuple[bytes, ZnodeStat]] = {}
        rest = iter(wanted)
        while chunk := list(islice(rest, _AT_ONCE)):
            answers = await _together(
                self._store.client.get(path).addErrback(_none_if_gone) for path in chunk
            )
            pairs = zip(chunk, answers, strict=True)
            found |= {path: answer for path, answer in pairs if answer is not None}
        return found

    # -- freezing ------------------------------------------------------------

    def _freeze(
        self,
        trees: Mapping[str, Znode],
        rubbish: Mapping[str, Rubbish],
        persistent: frozenset[str],
        clouds: Mapping[str, CloudView],
    ) -> Farm:
        """All at one moment, as far as the store goes."""
        store, config, now = self._store, self._config, self._clock.seconds()
        node_ids = list(self._node_ids())
        return Farm(
            now=now,
            ages=self._ages,
            config=config,
            nodes={node.id: node for node in store.nodes},
            node_locks={
                node_id: self._holders_of(paths.node_lock(node_id), names)
                for node_id in node_ids
                if (names := store.nodes.contenders(node_id))
            },
            lock_dirs=frozenset(n for n in node_ids if store.nodes.has_lock_directory(n)),
            unreadable_nodes={
                node_id: each for node_id, each in rubbish.items() if self._is_rubbish(node_id)
            },
            requests={request.id: request for request in store.requests},
            request_locks={
                request_id: self._holders_of(
                    paths.request_lock(request_id), store.requests.contenders(request_id)
                )
                for request_id in store.requests.lock_directories()
            },
            lock_stats=dict(self._lock_stats),
            persistent=persistent,
            unreadable_requests=dict(store.requests.unreadable),
            pools=store.components.pools(),
            maintenance=store.maintenance.all(),
            unreadable_maintenance=dict(store.maintenance.unreadable),
            builds=store.images.builds(),
            uploads=store.images.uploads(),
            unreadable_images=dict(store.images.unreadable),
            trees=trees,
            effects={
                name: tuple(static_effects(name, provider, store.nodes, store.maintenance, now))
                for name, provider in (config.providers.items() if config else ())
                if isinstance(provider, StaticProvider)
            },
            clouds=clouds,
        )

    def _is_rubbish(self, node_id: str) -> bool:
        return node_id in self._store.nodes.unreadable

    def _holders_of(self, directory: str, names: Iterable[str]) -> tuple[Holder, ...]:
        """One that came after they were read has a session, for all that is known."""
        return tuple(
            self._holders.get(path) or Holder(path=path, session=-1, since=self._clock.seconds())
            for path in (f"{directory}/{name}" for name in sorted(names))
        )


def _none_if_gone(failure: Failure) -> None:
    failure.trap(zke.NoNodeError)


async def _together(reads: Iterable[Deferred[Any]]) -> list[Any]:
    """All answers, in order.

    :raises Uncertain: the connection broke.
    """
    try:
        return await gatherResults(list(reads), consumeErrors=True)
    except Exception as e:
        error = getattr(getattr(e, "subFailure", None), "value", e)
        if isinstance(error, (Uncertain, *connection_errors)):
            raise Uncertain(str(error) or type(error).__name__) from e
        raise error from e
