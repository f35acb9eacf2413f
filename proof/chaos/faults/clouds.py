"""Clouds that fail in all the ways clouds do."""

from __future__ import annotations

from random import Random
from typing import Any

from nodepool_tx.providers.cloud.interface import NODE_ID, POOL_NAME, PROVIDER_NAME
from nodepool_tx.providers.fake.rules import Refused
from nodepool_tx.providers.fake.servers import ServerOrder
from nodepool_tx.providers.fake.troubles import Trouble
from nodepool_tx.providers.openstack.transport import Answer
from proof.chaos.faults.harm import Harm, NothingToStrike, some_of
from proof.chaos.interface import Farm
from tests.servers.simulated_openstack import OpenStackServer

__all__ = ["FAULTS", "STRANGE"]

#: The number of the first node that there never is, of which strangers' servers say they are.
STRANGE = 9_000_000_000

_TOO_MANY = Answer(
    429, {"retry-after": "1"}, {"overLimit": {"code": 429, "message": "too many calls"}}
)


class _Cloud(Harm):
    """One cloud does not do well until it is healed."""

    #: What of its simulation is changed.
    changed: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.struck: OpenStackServer | None = None

    async def harm(self, farm: Farm, rng: Random) -> None:
        name = some_of(rng, sorted(farm.clouds), "cloud")
        self.struck = farm.clouds[name]
        farm.note(f"the cloud {name} {self.upset(rng, self.struck)}")

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        """Have it behave badly; what it does now, in words."""
        raise NotImplementedError

    async def mend(self, farm: Farm) -> None:
        if self.struck is None:
            return
        usual = self.struck.usual
        if self.changed:
            self.struck.behave(**{each: getattr(usual, each) for each in self.changed})
        self.calm(self.struck)
        self.struck = None

    def calm(self, cloud: OpenStackServer) -> None:
        """What there is to do besides."""


class Errors(_Cloud):
    """Calls fail, break off, or are done without an answer, by chance."""

    name = "cloud-errors"
    weight = 2.0
    lasts = (2.0, 12.0)
    changed = ("api_failure_rate",)

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        rate = rng.choice((0.1, 0.3, 0.7))
        cloud.behave(api_failure_rate=rate)
        return f"fails at {rate:.0%} of all calls"


class Overloaded(_Cloud):
    """It wants to be left in peace."""

    name = "cloud-overloaded"
    lasts = (1.0, 10.0)

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        if rng.random() < 0.5:
            cloud.troubles.lasting = Trouble(_TOO_MANY)
            return "says that there are too many calls"
        cloud.cloud.overload(rng.uniform(1.0, 8.0))
        return "is overloaded"

    def calm(self, cloud: OpenStackServer) -> None:
        cloud.troubles.lasting = None
        cloud.cloud.overload(0.0)


class Hangs(_Cloud):
    """Calls are taken and never answered."""

    name = "cloud-hangs"
    lasts = (1.0, 12.0)

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        cloud.hang()
        return "hangs"

    def calm(self, cloud: OpenStackServer) -> None:
        cloud.heal()


class AnswersLost(_Cloud):
    """What is asked for is done, and nobody hears of it."""

    name = "cloud-answers-lost"
    weight = 2.0
    lasts = (1.0, 10.0)

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        method = rng.choice(("POST", "DELETE", "GET"))
        cloud.lose_answers(method, "servers")
        return f"does not answer {method} of servers, which it does"

    def calm(self, cloud: OpenStackServer) -> None:
        cloud.heal()


class TokensExpired(_Cloud):
    """All that have logged in must do so again."""

    name = "cloud-tokens-expired"
    lasts = (0.1, 1.0)

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        cloud.expire_tokens()
        return "forgets all tokens"


class QuotaFull(_Cloud):
    """There is no room for more than there is."""

    name = "cloud-quota-full"
    lasts = (2.0, 12.0)
    changed = ("max_instances",)

    #: So much is left that no request is beyond all that there will ever be.
    LEAST = 5

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        room = max(self.LEAST, cloud.cloud.compute.used["instances"])
        cloud.behave(max_instances=room)
        return f"has room for no more than {room} servers"


class ServersFail(_Cloud):
    """Servers end in ERROR.  Requests may fail that meet too many of them."""

    name = "cloud-servers-fail"
    lasts = (2.0, 12.0)
    changed = ("boot_failure_rate",)

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        rate = rng.choice((0.2, 0.5, 1.0))
        cloud.behave(boot_failure_rate=rate)
        return f"has {rate:.0%} of its servers fail"


class NeverActive(_Cloud):
    """Servers begin and do not come to be; those there are then go on when it is healed."""

    name = "cloud-never-active"
    lasts = (2.0, 15.0)
    changed = ("boot_delay",)

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        cloud.behave(boot_delay=1000.0)
        return "boots no servers"

    def calm(self, cloud: OpenStackServer) -> None:
        for server in cloud.cloud.compute.servers.values():
            if server.step is not None:
                server.step.reset(0)


class ServersVanish(_Cloud):
    """Servers are deleted behind everybody's back.  Who has one has it no more."""

    name = "cloud-servers-vanish"
    weight = 2.0
    lasts = (0.1, 6.0)

    def upset(self, rng: Random, cloud: OpenStackServer) -> str:
        compute = cloud.cloud.compute
        there = [server for server in compute.servers.values() if not server.leaving]
        some_of(rng, there, "server")
        gone = rng.sample(there, rng.randint(1, min(3, len(there))))
        for server in gone:
            compute.delete(server)
        return f"has lost {', '.join(server.order.name for server in gone)}"


class StrangersServer(_Cloud):
    """Somebody makes a server in our name: of a node that is not, or beside that of one that is."""

    name = "cloud-strangers-server"
    lasts = (0.1, 1.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        name = some_of(rng, sorted(farm.clouds), "cloud")
        configured = farm.launchers[0].configuration["providers"]
        ours = [each for each in configured if each.get("cloud") == name]
        provider = some_of(rng, ours, f"provider in the cloud {name}")
        node_id = f"{STRANGE + rng.randrange(10**8):010d}"
        twins = [node.id for node in await farm.sight.nodes() if _has_server(node.data, provider)]
        if twins and rng.random() < 0.5:
            node_id = rng.choice(twins)
        compute = farm.clouds[name].cloud.compute
        marks = {
            NODE_ID: node_id,
            POOL_NAME: provider["pools"][0]["name"],
            PROVIDER_NAME: provider["name"],
        }
        order = ServerOrder(
            name=f"np{node_id}",
            flavor_id=rng.choice(sorted(compute.flavors)),
            image_id=None,
            networks=(),
            metadata=marks,
        )
        try:
            server = compute.create(order)
        except Refused as e:
            raise NothingToStrike(f"the cloud {name} does not take it: {e}") from None
        farm.note(f"a stranger makes server {server.id} for node {node_id} in the cloud {name}")


def _has_server(node: dict[str, Any], provider: dict[str, Any]) -> bool:
    return node.get("provider") == provider["name"] and node.get("external_id") is not None


FAULTS: tuple[type[Harm], ...] = (
    Errors,
    Overloaded,
    Hangs,
    AnswersLost,
    TokensExpired,
    QuotaFull,
    ServersFail,
    NeverActive,
    ServersVanish,
    StrangersServer,
)
