"""Records that make no sense, and what strangers leave lying about.

What is lost thereby: the node or the request whose record is spoilt, and who was promised
that node.  Whatever else lies about costs nobody anything, but for what an operator takes
out of service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random

from kazoo.exceptions import NoNodeError

from nodepool_tx.model import Maintenance, MaintenanceMode
from nodepool_tx.store import paths
from nodepool_tx.store.maintenance import encode_maintenance
from proof.chaos.faults.harm import Harm, some_of
from proof.chaos.faults.repairs import put, remove, replace
from proof.chaos.faults.znodes import excuse_node
from proof.chaos.interface import Farm

__all__ = ["FAULTS", "GARBAGE", "NEARLY"]

#: No record of any kind.
GARBAGE: Mapping[str, bytes] = {
    "bytes": b"\xff\x00\xfe",
    "half": b'{"state": "rea',
    "list": b"[1, 2]",
    "null": b"null",
    "number": b"7",
    "text": b'"ready"',
    "deep": b"[" * 100_000,
    "huge": b"x" * 1_000_000,
    "stateless": b"{}",
    "state": b'{"state": "beyond"}',
    "state-list": b'{"state": ["ready"]}',
}

#: What makes a good record one that is nearly good.
NEARLY: Mapping[str, Mapping[str, object]] = {
    "state": {"state": 7},
    "labels": {"type": [["small"]], "node_types": [{"small": 1}]},
    "times": {"state_time": "yesterday", "created_time": []},
    "infinite": {"state_time": 1e999, "relative_priority": float("nan")},
    "provider": {"provider": ["rack"], "provider_name": 7},
    "promise": {"allocated_to": ["100-0000000000"], "declined_by": [None]},
}


class _Spoilt(Harm):
    """A record is written over; who mends it puts back what was there, or removes it.

    What is put back is excused further on: something else may have taken its place meanwhile.
    """

    lasts = (0.3, 6.0)

    def __init__(self) -> None:
        super().__init__()
        self.path: str | None = None
        self.before = self.ours = b""
        self.goes_back = True

    async def spoil(self, farm: Farm, rng: Random, path: str) -> None:
        self.before, _ = await farm.client.get(path)
        how, self.ours = spoilt(rng, self.before)
        self.path = path
        farm.note(f"{path} is garbage now: {how}")
        await farm.client.set(path, self.ours)

    async def mend(self, farm: Farm) -> None:
        path, self.path = self.path, None
        if path is None:
            return
        if self.goes_back and await replace(farm, path, self.ours, self.before):
            farm.note(f"{path} is what it was")
        elif not self.goes_back and await replace(farm, path, self.ours, self.ours):
            farm.note(f"{path} is removed for good")
            await remove(farm, path)


def spoilt(rng: Random, data: bytes) -> tuple[str, bytes]:
    """What is no record, or nearly one; and what it is called."""
    if rng.random() < 0.5:
        try:
            record = json.loads(data)
            how = rng.choice(sorted(NEARLY))
            changed = {key: NEARLY[how][key] for key in NEARLY[how] if key in record}
        except (ValueError, TypeError):
            changed = {}
        if changed:
            return how, json.dumps({**record, **changed}).encode()
    how = rng.choice(sorted(GARBAGE))
    return how, GARBAGE[how]


class NodeSpoilt(_Spoilt):
    """Of a node in any state; put back only if nobody has or wants it."""

    name = "garbage-node"
    weight = 2.0

    async def harm(self, farm: Farm, rng: Random) -> None:
        node = some_of(rng, await farm.sight.nodes(), "node")
        self.goes_back = node.free and rng.random() < 0.5
        excuse_node(farm, node)
        await self.spoil(farm, rng, paths.node(node.id))


class RequestSpoilt(_Spoilt):
    """Of a request in any state; it is removed in the end."""

    name = "garbage-request"
    weight = 2.0

    async def harm(self, farm: Farm, rng: Random) -> None:
        name = some_of(rng, sorted(await farm.sight.requests()), "request")
        self.goes_back = False
        farm.taint(paths.request(name))
        await self.spoil(farm, rng, paths.request(name))


class ComponentSpoilt(_Spoilt):
    """Of a launcher or a pool, which does not concern the launcher itself."""

    name = "garbage-component"

    async def harm(self, farm: Farm, rng: Random) -> None:
        directory = f"{paths.COMPONENTS}/{rng.choice(('launcher', 'pool'))}"
        name = some_of(rng, await farm.sight.children(directory), "component")
        await self.spoil(farm, rng, f"{directory}/{name}")


class _Litter(Harm):
    """Znodes that nobody knows what to make of, until somebody clears them away."""

    lasts = (0.5, 10.0)

    def __init__(self) -> None:
        super().__init__()
        self.left: list[str] = []

    async def leave(self, farm: Farm, path: str, data: bytes, top: str | None = None) -> None:
        """Put it there.

        :param top: what is to be removed in the end, if not the znode itself.
        """
        if (top or path) not in self.left:
            self.left.append(top or path)
        await put(farm, path, data)

    async def mend(self, farm: Farm) -> None:
        while self.left:
            await remove(farm, self.left[-1])
            self.left.pop()


class StrangersZnodes(_Litter):
    """In unexpected places, and of unexpected kinds."""

    name = "garbage-strangers"
    weight = 2.0

    async def harm(self, farm: Farm, rng: Random) -> None:
        mark = f"stranger{rng.randrange(10**6)}"
        places: dict[str, str | None] = {
            f"/nodepool/{mark}/foo": f"/nodepool/{mark}",
            f"{paths.NODES}/{mark}": None,
            f"{paths.NODES}/{mark}/child/of/another": f"{paths.NODES}/{mark}",
            f"{paths.NODES}/{mark}/lock/foreign/deeper": f"{paths.NODES}/{mark}",
            f"{paths.REQUESTS}/{mark}": None,
            f"{paths.REQUESTS}/100-{mark}/child": f"{paths.REQUESTS}/100-{mark}",
            f"{paths.REQUEST_LOCKS}/{mark}/contender/deeper": f"{paths.REQUEST_LOCKS}/{mark}",
            f"{paths.COMPONENTS}/{mark}/one/two": f"{paths.COMPONENTS}/{mark}",
            f"{paths.COMPONENTS}/launcher/{mark}": None,
            f"{paths.COMPONENTS}/pool/{mark}": None,
            f"{paths.OWNERS}/{mark}/foo": f"{paths.OWNERS}/{mark}",
            f"{paths.ELECTIONS}/{mark}/foo": f"{paths.ELECTIONS}/{mark}",
            f"{paths.TENANTS}/{mark}/foo": f"{paths.TENANTS}/{mark}",
        }
        for provider in farm.launchers[0].configuration["providers"]:
            places[f"{paths.OWNERS}/{provider['name']}/{mark}"] = None
        farm.note(f"a stranger leaves znodes that are called {mark}")
        for path in rng.sample(sorted(places), rng.randint(1, 6)):
            _, data = rng.choice(sorted(GARBAGE.items()))
            await self.leave(farm, path, data, places[path])


class BelowNodes(_Litter):
    """Below a node there is, and in its lock; whoever deletes the node deletes it too."""

    name = "garbage-below-nodes"

    async def harm(self, farm: Farm, rng: Random) -> None:
        node = some_of(rng, await farm.sight.nodes(), "node")
        below = rng.choice((paths.node(node.id), paths.node_lock(node.id)))
        path = f"{below}/stranger{rng.randrange(10**6)}"
        farm.note(f"a stranger leaves {path}")
        self.left.append(path)
        try:
            # One after the other, as the node may go at this moment and is not to come back.
            if below == paths.node_lock(node.id) and await farm.client.exists(below) is None:
                await farm.client.create(below)
            await farm.client.create(path, b"nonsense")
        except NoNodeError:
            farm.note(f"{below} is gone")


class ImagesSpoilt(_Litter):
    """Images, builds and uploads that cannot be read."""

    name = "garbage-images"

    async def harm(self, farm: Farm, rng: Random) -> None:
        image = f"stranger{rng.randrange(10**6)}"
        top = f"{paths.IMAGES}/{image}"
        upload = paths.image_upload(image, "0000000001", "sky", "0000000001")
        farm.note(f"the image {image} is garbage")
        for path in (top, paths.image_build(image, "0000000001"), upload, f"{top}/builds/lock"):
            _, data = rng.choice(sorted(GARBAGE.items()))
            await self.leave(farm, path, data, top)


class OurOwnSpoilt(_Litter):
    """What Nodepool 11 does not know: questions, leases, drains, tenants, maintenance.

    What is said to be out of service there is not configured.
    """

    name = "garbage-our-own"
    weight = 2.0

    async def harm(self, farm: Farm, rng: Random) -> None:
        mark = f"stranger{rng.randrange(10**6)}"
        places = [
            f"{directory}/{prefix}{mark}"
            for directory, prefix in (
                (paths.MAINTENANCE, ""),
                (paths.MAINTENANCE, "host-%%"),
                (paths.MAINTENANCE, "provider-"),
                (paths.QUESTIONS, ""),
                (paths.LEASES, ""),
                (paths.DRAINING, ""),
                (paths.TENANTS, "%"),
            )
        ]
        farm.note(f"a stranger leaves garbage called {mark} where only we look")
        for path in rng.sample(places, rng.randint(1, len(places))):
            _, data = rng.choice(sorted(GARBAGE.items()))
            await self.leave(farm, path, data)


class ProviderDrained(_Litter):
    """It is written that a provider is being emptied which is configured."""

    name = "garbage-drain"

    async def harm(self, farm: Farm, rng: Random) -> None:
        provider = some_of(rng, farm.launchers[0].configuration["providers"], "provider")
        known = json.dumps({"driver": provider["driver"]}).encode()
        data = rng.choice([known, GARBAGE["half"], b'{"driver": "unheard-of"}', b"{}"])
        farm.note(f"provider {provider['name']} is said to be drained, though it is configured")
        await self.leave(farm, paths.draining(provider["name"]), data)


class OutOfService(_Litter):
    """An operator takes a host or a provider out, now and then with a record full of garbage."""

    name = "garbage-maintenance"
    lasts = (1.0, 8.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        providers = [each["name"] for each in farm.launchers[0].configuration["providers"]]
        host = rng.choice(sorted(farm.hosts.names())) if rng.random() < 0.7 else None
        provider = some_of(rng, providers, "provider") if host is None else None
        record = Maintenance(
            mode=rng.choice(list(MaintenanceMode)), host=host, provider=provider, reason="chaos"
        )
        if host is not None:
            path = paths.maintenance_of_host(host)
        else:
            path = paths.maintenance_of_provider(provider or "")
        good = rng.random() < 0.6
        farm.note(f"{record.target} is out of service" + ("" if good else ", says garbage"))
        data = encode_maintenance(record) if good else rng.choice(sorted(GARBAGE.items()))[1]
        await self.leave(farm, path, data)


FAULTS: tuple[type[Harm], ...] = (
    NodeSpoilt,
    RequestSpoilt,
    ComponentSpoilt,
    StrangersZnodes,
    BelowNodes,
    ImagesSpoilt,
    OurOwnSpoilt,
    ProviderDrained,
    OutOfService,
)
