"""Sessions that end although those whose they are do well."""

from __future__ import annotations

from random import Random

from twisted.internet.threads import deferToThread

from nodepool_tx.store import paths
from proof.chaos.faults.harm import Harm, NothingToStrike, some_of
from proof.chaos.interface import Farm
from tests.servers.zookeeper import end_session

__all__ = ["FAULTS", "launcher_sessions", "password_of"]

_SECRET = 0xB3415C00
_FACTOR, _SUMMAND, _BITS = 0x5DEECE66D, 0xB, (1 << 48) - 1


def password_of(session: int) -> bytes:
    """The password of a session.

    ZooKeeper's servers keep none: each makes it from the number of the session and a constant,
    with the numbers that Java's generator comes to from there.
    """
    state = (session ^ _SECRET ^ _FACTOR) & _BITS
    password = b""
    for _ in range(4):
        state = (state * _FACTOR + _SUMMAND) & _BITS
        password += (state >> 16).to_bytes(4, "little")
    return password


async def launcher_sessions(farm: Farm) -> dict[int, str]:
    """The sessions of launchers, by what each is registered with."""
    kind = f"{paths.COMPONENTS}/launcher"
    found: dict[int, str] = {}
    for name in await farm.sight.children(kind):
        stat = await farm.client.exists(f"{kind}/{name}")
        if stat is not None and stat.ephemeralOwner:
            found[stat.ephemeralOwner] = name
    return found


class Expired(Harm):
    """A launcher's session is closed by somebody else, as a server does when it has expired."""

    name = "session-expired"
    weight = 3.0
    lasts = (0.1, 1.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        sessions = await launcher_sessions(farm)
        session, name = some_of(rng, sorted(sessions.items()), "session of a launcher")
        await self.end(farm, rng, session, name)

    async def end(self, farm: Farm, rng: Random, session: int, name: str) -> None:
        """Close one session, whichever server is asked to."""
        servers = [server for server in farm.ensemble.servers if server.running]
        server = some_of(rng, servers, "server of ZooKeeper that runs")
        farm.note(f"the session {session:x} of launcher {name} is closed")
        try:
            await deferToThread(end_session, server.port, session, password_of(session))
        except OSError as e:
            raise NothingToStrike(f"the server does not answer: {e!r}") from None


class AllExpired(Expired):
    """The sessions of all launchers end together."""

    name = "session-all-expired"
    weight = 1.0

    async def harm(self, farm: Farm, rng: Random) -> None:
        for session, name in sorted((await launcher_sessions(farm)).items()):
            await self.end(farm, rng, session, name)


class ExpiredOften(Expired):
    """One session after the other ends, soon after it has begun."""

    name = "session-expired-often"
    weight = 1.0
    lasts = (2.0, 6.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        while await self.meanwhile(farm, rng.uniform(0.1, 1.5)):
            await super().harm(farm, rng)


FAULTS: tuple[type[Harm], ...] = (Expired, AllExpired, ExpiredOften)
