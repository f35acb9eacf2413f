"""What must be so when nothing goes wrong any more and nobody wants anything."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from kazoo.exceptions import KazooException
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from nodepool_tx.store import paths
from proof.chaos.clients import GARBAGE
from proof.chaos.crowd import Crowd
from proof.chaos.farm import ChaosFarm
from tests.functional.launcher.process import command_line
from tests.functional.launcher.settings import slots

__all__ = ["Rest", "differences"]

#: Seconds within which all requests have ended, once all is healed.
CLIENTS = 120.0

#: Seconds within which everything is as it should be after that, for each configuration.
QUIET = 90.0

#: Seconds within which `nodepool check` finds nothing after that.
CHECK = 30.0

#: From what age on, in seconds, `nodepool check` is to tell of what launchers put right.
_OVERDUE = 5

#: Complaints that are told; one of a kind says as much as hundred.
_TOLD = 12


def stock(config: Mapping[str, Any]) -> Counter[str]:
    """How many nodes of each label there are when nobody wants any, those of machines apart."""
    return Counter({each["name"]: each.get("min-ready", 0) for each in config["labels"]})


async def differences(farm: ChaosFarm, config: Mapping[str, Any]) -> list[str]:
    """What is not as it should be at rest, in words."""
    sight = farm.sight
    found: list[str] = []
    nodes = await sight.nodes()
    providers = {one["name"]: one for one in config["providers"]}
    static = {name for name, one in providers.items() if one["driver"] == "static"}
    found += [f"node {n.id} is not free: {n.data} {n.contenders}" for n in nodes if not n.free]
    strangers = [n for n in nodes if n.data.get("provider") not in providers]
    found += [f"node {n.id} is of no provider: {n.data}" for n in strangers]
    machines = Counter(n.slot for n in nodes if n.data.get("provider") in static)
    wanted = Counter(slots(config))
    found += [f"slot {slot} has no node" for slot in (wanted - machines)]
    found += [f"slot {slot} has a node too many" for slot in (machines - wanted)]
    clouds = [n for n in nodes if n.data.get("provider") in farm.clouds]
    made = Counter(n.data["type"][0] for n in clouds if n.data.get("type"))
    if made != +stock(config):
        found.append(f"in the clouds there are {dict(made)} and not {dict(+stock(config))}")
    for name, cloud in farm.clouds.items():
        mine = {n.id: n.data for n in clouds if n.data["provider"] == name}
        found += [f"cloud {name}: {words}" for words in cloud.mismatches(mine)]
    for request, body in (await sight.requests()).items():
        found.append(f"there is request {request}: {body}")
    found += await _locks(farm)
    for what in (paths.DRAINING, paths.QUESTIONS):
        found += [f"there is {what}/{name}" for name in await sight.children(what)]
    found += [f"lease {name} is not over: {lease}" for name, lease in await _leases(farm)]
    found += await _registered(farm, providers)
    records = set(await sight.children(paths.NODES))
    found += [f"node {name} is unreadable" for name in sorted(records - {n.id for n in nodes})]
    requests = set(await sight.children(paths.REQUESTS))
    found += [f"there is request {name}" for name in sorted(requests)]
    return found


async def _locks(farm: ChaosFarm) -> list[str]:
    """There are no requests, so their locks are of no use to anybody."""
    names = await farm.sight.children(paths.REQUEST_LOCKS)
    return [f"the lock of request {name} is left" for name in names]


async def _leases(farm: ChaosFarm) -> list[tuple[str, Mapping[str, Any]]]:
    """Those that somebody still has, or waits for."""
    names = await farm.sight.children(paths.LEASES)
    found = [(name, await farm.sight.record(f"{paths.LEASES}/{name}") or {}) for name in names]
    return [each for each in found if each[1].get("state") in ("waiting", "ready")]


async def _registered(farm: ChaosFarm, providers: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    count = len(farm.launchers)
    there = len(await farm.sight.components("launcher"))
    if there != count:
        found.append(f"{there} launchers are registered, not {count}")
    components = await farm.sight.components("pool")
    pools = Counter((pool["provider_name"], pool["name"]) for pool in components)
    wanted = Counter(
        {(name, pool["name"]): count for name, one in providers.items() for pool in one["pools"]}
    )
    if pools != wanted:
        found.append(f"these pools are registered: {dict(pools)}")
    owners = await farm.sight.owners()
    if owners != dict.fromkeys(providers, count):
        found.append(f"so many stand in line for each provider: {owners}")
    return found


class Rest:
    """Brings the farm to rest, and says what keeps it from that."""

    def __init__(self, farm: ChaosFarm, crowd: Crowd, keep_checking: Callable[[], None]) -> None:
        self._farm = farm
        self._crowd = crowd
        self._keep_checking = keep_checking

    async def demand(self, final: Mapping[str, Any]) -> list[str]:
        """Complaints; none if everything is as it should be.

        All is healed already.  First all providers are configured, as a launcher leaves nodes
        alone whose provider was taken out of its configuration while it was down.
        """
        self._crowd.pause()
        await self._farm.repair()
        everything = self._farm.configs.everything()
        for launcher in self._farm.launchers:
            launcher.write(everything)
        found = await self._until("all requests have ended", CLIENTS, self._requests)
        if found:
            return _some([f"in {CLIENTS:g} s did not end: {each}" for each in found])
        for config in (everything, final):
            for launcher in self._farm.launchers:
                launcher.write(config)
            look = partial(differences, self._farm, config)
            found = await self._until("all is as configured", QUIET, look)
            if found:
                return _some([f"in {QUIET:g} s not put right: {each}" for each in found])
        # Launchers keep the locks of requests that are gone for a while.
        return _some(list(await self._until("nodepool check is content", CHECK, self._check)))

    async def _requests(self) -> list[str]:
        if self._crowd.idle:
            return []
        found = []
        for account in self._crowd.books.open:
            body = None
            if account.request is not None:
                body = await self._farm.sight.record(paths.request(account.request))
            found.append(f"{account} {body}")
        return found or ["clients are still at work"]

    async def _until(
        self, what: str, seconds: float, look: Callable[[], Awaitable[Sequence[str]]]
    ) -> Sequence[str]:
        """What is still wrong after so long, or nothing."""
        began = time.monotonic()
        last: Sequence[str] = ()
        while True:
            try:
                found = await look()
            except (*GARBAGE, KazooException) as e:
                found = [f"there is something unreadable: {e!r}"]
            spent = time.monotonic() - began
            if not found:
                self._farm.note(f"{what} after {spent:.1f} s; last was {_some(list(last))[:1]}")
            if not found or spent > seconds:
                return found
            last = found
            self._keep_checking()
            await deferLater(self._farm.reactor, 0.3)

    async def _check(self) -> list[str]:
        """What `nodepool check` finds."""
        process = self._farm.launchers[0].process
        clouds = {"OS_CLIENT_CONFIG_FILE": str(self._farm.clouds_yaml)}
        done = await deferToThread(
            subprocess.run,
            command_line("check", "--format", "json", "--overdue", str(_OVERDUE)),
            env={**process.command_environ(), **clouds},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode == 0:
            return []
        try:
            rows = json.loads(done.stdout)
        except ValueError:
            return [f"nodepool check ends with {done.returncode}: {done.stdout}{done.stderr}"]
        return _some(
            [f"nodepool check: {row['code']} {row['what']}: {row['words']}" for row in rows]
        )


def _some(complaints: list[str]) -> list[str]:
    left = len(complaints) - _TOLD
    return complaints[:_TOLD] + ([f"and {left} more of the kind"] if left > 0 else [])
