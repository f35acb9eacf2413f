"""Static machines: SSH servers in this process, which show keys and let nobody in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import maybeDeferred
from twisted.protocols.policies import WrappingFactory

__all__ = ["Hosts", "Machine"]


class _Ssh(SSHFactory):
    """Has one key, and no primes, for whose sake nobody should have to calculate."""

    noisy = False

    def __init__(self, key: Key) -> None:
        self._key = key

    def getPrivateKeys(self) -> dict[bytes, Key]:
        return {b"ssh-ed25519": self._key}

    def getPublicKeys(self) -> dict[bytes, Key]:
        return {b"ssh-ed25519": self._key.public()}

    def getPrimes(self) -> dict[int, list[tuple[int, int]]]:
        return {}


@attrs.define(eq=False)
class Machine:
    """One of them.

    :ivar name: its address, by which it is configured.
    :ivar key: its host key as a line.
    """

    name: str
    key: str
    _factory: WrappingFactory
    _reactor: Any
    port: int = 0
    _listening: Any = None

    @classmethod
    def make(cls, reactor: Any, name: str) -> Machine:
        key = Key(ed25519.Ed25519PrivateKey.generate())
        factory = WrappingFactory(_Ssh(key))
        factory.noisy = False
        line = key.public().toString("OPENSSH").decode("ascii").strip()
        return cls(name, line, factory, reactor)

    @property
    def up(self) -> bool:
        return self._listening is not None

    def start(self) -> None:
        """Listen, always on the same port."""
        if self._listening is None:
            self._listening = self._reactor.listenTCP(self.port, self._factory, interface=self.name)
            self.port = self._listening.getHost().port

    async def stop(self) -> None:
        """Break all connections and take no more."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        for connection in list(self._factory.protocols):
            connection.abortConnection()


class Hosts:
    """Machines on loopback addresses of their own, all up to begin with."""

    def __init__(self, reactor: Any, count: int) -> None:
        self.machines = {
            name: Machine.make(reactor, name)
            for name in (f"127.1.0.{number}" for number in range(1, count + 1))
        }
        for machine in self.machines.values():
            machine.start()

    def names(self) -> Sequence[str]:
        return tuple(self.machines)

    async def take_down(self, name: str) -> None:
        """Nobody listens any more."""
        await self.machines[name].stop()

    async def bring_up(self, name: str) -> None:
        self.machines[name].start()

    async def stop(self) -> None:
        for machine in self.machines.values():
            await machine.stop()
