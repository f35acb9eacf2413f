"""The kinds of SSH host keys a scan asks for, in the order it reports them."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import attrs
from twisted.conch.ssh.common import getNS

__all__ = ["FAMILIES", "HostKey", "KeyFamily", "families_among", "family_of"]


@attrs.frozen
class KeyFamily:
    """One kind of key, whatever signatures are made with it.

    :ivar name: the key's type, as it stands in the key itself.
    :ivar algorithms: signature algorithms to offer for it, best first.
    """

    name: str
    algorithms: tuple[bytes, ...]


def _plain(name: str) -> KeyFamily:
    return KeyFamily(name, (name.encode("ascii"),))


#: All that can be asked for.  Keys on hardware tokens (``sk-``), Ed448 and
#: host certificates are left out: their plain companions identify the host.
FAMILIES = (
    _plain("ssh-ed25519"),
    _plain("ecdsa-sha2-nistp256"),
    _plain("ecdsa-sha2-nistp384"),
    _plain("ecdsa-sha2-nistp521"),
    KeyFamily("ssh-rsa", (b"rsa-sha2-512", b"rsa-sha2-256", b"ssh-rsa")),
    _plain("ssh-dss"),
)


def family_of(algorithm: bytes) -> KeyFamily | None:
    """The family that ``algorithm`` signs with; None for what we do not know."""
    for family in FAMILIES:
        if algorithm in family.algorithms:
            return family
    return None


def families_among(algorithms: Iterable[bytes]) -> tuple[KeyFamily, ...]:
    """The known families in a server's list, each once, in reporting order."""
    offered = frozenset(algorithms)
    return tuple(family for family in FAMILIES if offered & frozenset(family.algorithms))


@attrs.frozen
class HostKey:
    """A public host key as the server sent it."""

    blob: bytes

    @property
    def type(self) -> str:
        """The type the key says it has; raises when the blob is no key at all."""
        name: bytes = getNS(self.blob)[0]
        return name.decode("ascii")

    @property
    def line(self) -> str:
        """``"<type> <base64>"``, as in a known_hosts file."""
        return f"{self.type} {base64.b64encode(self.blob).decode('ascii')}"
