"""Znodes that are removed by hand, in order and out of order.

What is lost thereby, and nothing else: the node whose record goes, and the request that
was promised it; the request that goes; what is guarded by the lock that goes.
"""

from __future__ import annotations

import json
from random import Random

from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.claim import LOCK_MARK
from proof.chaos.faults.harm import Harm, NothingToStrike, some_of
from proof.chaos.faults.repairs import remove
from proof.chaos.interface import Farm
from tests.functional.launcher.sight import SeenNode

__all__ = ["FAULTS", "excuse_node"]


def excuse_node(farm: Farm, node: SeenNode) -> None:
    """Nobody needs to make sense of this node any more, nor can who was promised it."""
    farm.taint(paths.node(node.id))
    promised = node.data.get("allocated_to")
    if isinstance(promised, str) and promised:
        farm.taint(paths.request(promised))


class FreeNodesDeleted(Harm):
    """Nodes that nobody has are to be deleted, as an operator wants.  Nothing is lost."""

    name = "znode-free-nodes-deleted"
    weight = 2.0
    lasts = (0.1, 1.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        free = [node for node in await farm.sight.nodes() if node.free]
        some_of(rng, free, "free node")
        for node in rng.sample(free, rng.randint(1, min(3, len(free)))):
            path = paths.node(node.id)
            data, stat = await farm.client.get(path)
            found = json.loads(data)
            if found["state"] == "ready" and not found["allocated_to"]:
                changed = json.dumps({**found, "state": "deleting"}).encode()
                await farm.client.set(path, changed, stat.version)
                farm.note(f"free node {node.id} is to be deleted")


class _RecordRemoved(Harm):
    """The record of a node goes, with its lock; what it stood for stays."""

    lasts = (0.1, 1.0)

    def fits(self, node: SeenNode) -> bool:
        raise NotImplementedError

    async def harm(self, farm: Farm, rng: Random) -> None:
        found = [node for node in await farm.sight.nodes() if self.fits(node)]
        node = some_of(rng, found, "node in that state")
        excuse_node(farm, node)
        farm.note(f"the record of node {node.id} is removed, which is {node.data['state']}")
        await remove(farm, paths.node(node.id))


class BuildingRemoved(_RecordRemoved):
    """While the node is made."""

    name = "znode-building-removed"

    def fits(self, node: SeenNode) -> bool:
        return node.data["state"] in ("init", "building", "testing")


class ReadyRemoved(_RecordRemoved):
    """While nobody has the node."""

    name = "znode-ready-removed"

    def fits(self, node: SeenNode) -> bool:
        return node.free


class PromisedRemoved(_RecordRemoved):
    """While a request is promised the node, or somebody has just taken it."""

    name = "znode-promised-removed"

    def fits(self, node: SeenNode) -> bool:
        return node.data["state"] == "ready" and not node.free


class UsedRemoved(_RecordRemoved):
    """While the node is in use, or on its way back."""

    name = "znode-used-removed"

    def fits(self, node: SeenNode) -> bool:
        return node.data["state"] in ("in-use", "used", "hold", "deleting")


class RequestRemoved(Harm):
    """A request goes in whatever state it is; who made it has no use for nodes any more."""

    name = "znode-request-removed"
    weight = 2.0
    lasts = (0.1, 1.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        requests = await farm.sight.requests()
        name = some_of(rng, sorted(requests), "request")
        farm.taint(paths.request(name))
        farm.note(f"request {name} is removed, which is {requests[name].get('state')}")
        await remove(farm, paths.request(name))


class _LockBroken(Harm):
    """Who holds a lock loses it, and does not learn so at once."""

    lasts = (0.1, 1.0)

    async def break_lock(self, farm: Farm, lock: str) -> None:
        """Remove the first in line.

        :raises NothingToStrike: there is none.
        """
        contenders = [name for name in await farm.sight.children(lock) if LOCK_MARK in name]
        if not contenders:
            raise NothingToStrike(f"nobody holds {lock}")
        first = min(contenders, key=lambda name: name.rpartition(LOCK_MARK)[2])
        farm.note(f"who holds {lock} loses it")
        await remove(farm, f"{lock}/{first}")


class NodeLockBroken(_LockBroken):
    """The lock of a node.  The node is excused until it is gone."""

    name = "znode-node-lock-broken"

    async def harm(self, farm: Farm, rng: Random) -> None:
        held = [node for node in await farm.sight.nodes() if node.contenders]
        node = some_of(rng, held, "locked node")
        excuse_node(farm, node)
        await self.break_lock(farm, paths.node_lock(node.id))


class RequestLockBroken(_LockBroken):
    """The lock of a request.  The request is excused until it is gone."""

    name = "znode-request-lock-broken"

    async def harm(self, farm: Farm, rng: Random) -> None:
        names = await farm.sight.children(paths.REQUEST_LOCKS)
        held = [name for name in names if await farm.sight.children(paths.request_lock(name))]
        name = some_of(rng, held, "locked request")
        farm.taint(paths.request(name))
        farm.taint(paths.request_lock(name))
        await self.break_lock(farm, paths.request_lock(name))


class _OwnerLock(_LockBroken):
    """What is done to the lock of a provider is excused for as long as it lasts."""

    lasts = (0.5, 3.0)

    def __init__(self) -> None:
        super().__init__()
        self.struck: str | None = None

    async def choose(self, farm: Farm, rng: Random) -> str:
        name = some_of(rng, sorted(await farm.sight.owners()), "provider with an owner")
        self.struck = paths.owner_lock(name)
        farm.taint(self.struck)
        return self.struck

    async def mend(self, farm: Farm) -> None:
        if self.struck is not None:
            farm.untaint(self.struck)
        self.struck = None


class OwnerLockBroken(_OwnerLock):
    """Whoever looks after a provider is not first in line any more."""

    name = "znode-owner-lock-broken"

    async def harm(self, farm: Farm, rng: Random) -> None:
        await self.break_lock(farm, await self.choose(farm, rng))


class OwnerLockRemoved(_OwnerLock):
    """The line of those who would look after a provider goes, with all in it."""

    name = "znode-owner-lock-removed"

    async def harm(self, farm: Farm, rng: Random) -> None:
        lock = await self.choose(farm, rng)
        farm.note(f"{lock} is removed")
        await remove(farm, lock)


class ComponentRemoved(Harm):
    """A launcher or a pool is not registered any more, though it is there.  Nothing is lost."""

    name = "znode-component-removed"
    lasts = (0.1, 1.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        directory = f"{paths.COMPONENTS}/{rng.choice(('launcher', 'pool'))}"
        name = some_of(rng, await farm.sight.children(directory), "component")
        farm.note(f"{directory}/{name} is removed")
        await remove(farm, f"{directory}/{name}")


FAULTS: tuple[type[Harm], ...] = (
    FreeNodesDeleted,
    BuildingRemoved,
    ReadyRemoved,
    PromisedRemoved,
    UsedRemoved,
    RequestRemoved,
    NodeLockBroken,
    RequestLockBroken,
    OwnerLockBroken,
    OwnerLockRemoved,
    ComponentRemoved,
)
