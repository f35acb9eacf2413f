"""SSH servers in memory: honest ones, and ones that misbehave in one way each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from twisted.conch.ssh.common import MP
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import MSG_KEX_DH_GEX_GROUP, SSHServerTransport
from twisted.internet.protocol import Protocol
from twisted.test.iosim import IOPump, connect, makeFakeClient, makeFakeServer

from nodepool_tx.nodescan.exchange import HostKeyExchange
from nodepool_tx.nodescan.hostkeys import FAMILIES, HostKey, KeyFamily

__all__ = [
    "HonestServer",
    "HugeGroupServer",
    "ImpostorServer",
    "ModernServer",
    "Speaker",
    "host_key",
    "line",
    "meet",
    "server",
]


@functools.cache
def host_key(name: str) -> Key:
    """A private key of the SSH type ``name``; the same one each time."""
    makers: dict[str, Callable[[], Any]] = {
        "ssh-ed25519": ed25519.Ed25519PrivateKey.generate,
        "ecdsa-sha2-nistp256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ecdsa-sha2-nistp384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ecdsa-sha2-nistp521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "ssh-rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ssh-dss": lambda: dsa.generate_private_key(1024),
    }
    return Key(makers[name]())


def line(name: str) -> str:
    """What a scan says of :func:`host_key`."""
    return HostKey(host_key(name).public().blob()).line


class HonestServer(SSHServerTransport):
    """A server that does as the protocol says."""


class ModernServer(SSHServerTransport):
    """A server hardened to ciphers and MACs that conch itself cannot run."""

    supportedCiphers = [b"chacha20-poly1305@openssh.com", b"aes256-gcm@openssh.com"]
    supportedMACs = [b"hmac-sha2-512-etm@openssh.com", b"umac-128-etm@openssh.com"]

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        """The reply is out; what comes next is beyond conch."""


class HugeGroupServer(SSHServerTransport):
    """A server that wants arithmetic with 8192 bits."""

    def ssh_KEX_DH_GEX_REQUEST(self, packet: bytes) -> None:
        self.sendPacket(MSG_KEX_DH_GEX_GROUP, MP((1 << 8191) + 1) + MP(2))


class ImpostorServer(SSHServerTransport):
    """A server that shows the key of type ``shown`` and signs with another."""

    shown = "ssh-ed25519"

    def _getHostKeys(self, keyAlg: bytes) -> tuple[Key, Key]:
        forged = Key(ed25519.Ed25519PrivateKey.generate())
        return host_key(self.shown).public(), forged


class _Keys(SSHFactory):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def getPrivateKeys(self) -> dict[bytes, Key]:
        return {name.encode("ascii"): host_key(name) for name in self._names}

    def getPublicKeys(self) -> dict[bytes, Key]:
        return {name.encode("ascii"): host_key(name).public() for name in self._names}

    def getPrimes(self) -> dict[int, list[tuple[int, int]]]:
        return {2048: [(2, _GROUP_14)]}


def server(
    kind: type[SSHServerTransport] = HonestServer,
    keys: Sequence[str] = ("ssh-ed25519",),
    **offers: list[bytes],
) -> SSHServerTransport:
    """A server of ``kind`` with host keys of the types ``keys``.

    :param offers: conch's ``supported...`` lists to replace.
    """
    factory = _Keys(keys)
    factory.noisy = False
    factory.protocol = kind
    factory.doStart()
    made: SSHServerTransport = factory.buildProtocol(None)
    for name, value in offers.items():
        setattr(made, name, value)
    return made


class Speaker(Protocol):
    """A server that says ``words`` whatever it hears, and then hangs up or not."""

    def __init__(self, words: bytes = b"", *, hang_up: bool = False) -> None:
        self._words = words
        self._hang_up = hang_up

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._words)
        if self._hang_up:
            self.transport.loseConnection()


def meet(
    other: Protocol,
    offer: Sequence[KeyFamily] = FAMILIES,
    exchange: HostKeyExchange | None = None,
) -> tuple[HostKeyExchange, IOPump]:
    """Connect a key exchange to a server and let them talk until both are silent."""
    exchange = exchange or HostKeyExchange("host.example", 22, offer)
    pump = connect(
        other, makeFakeServer(other), exchange, makeFakeClient(exchange), debug=False, greet=False
    )
    pump.flush()
    return exchange, pump


#: RFC 3526, 2048 bits.
_GROUP_14 = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A0879"
    "8E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B"
    "0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA4836"
    "1C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804"
    "F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6"
    "955817183995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)
