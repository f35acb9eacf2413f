"""The section ``nodepool-tx``: what operators are offered beyond Nodepool 11.

Nodepool 11's daemon does not look at this key, so one file serves both.
"""

from __future__ import annotations

import attrs

__all__ = ["Ldap", "LdapSearch", "Leases", "Manhole", "Operations", "Token"]


@attrs.frozen
class LdapSearch:
    """How to find a user's entry, where its name does not follow from the user's.

    :ivar base: below which entry to search.
    :ivar filter: with ``{user}`` where the escaped name goes.
    :ivar bind_dn: of the account that may search.
    """

    base: str
    filter: str = "(uid={user})"
    bind_dn: str = ""
    bind_password: str = attrs.field(default="", repr=False)


@attrs.frozen
class Ldap:
    """A directory against which people log in.

    :ivar url: ``ldap://host[:port]`` (StartTLS is demanded) or ``ldaps://``.
    :ivar ca: path of the PEM file with which the server's certificate is checked;
        None for the system's.
    :ivar user_dn: with ``{user}`` where the escaped name goes; or None with :attr:`search`.
    :ivar group: the DN of the group whose members may log in, for all services
        that name no other.
    :ivar timeout: seconds for a whole log-in.
    """

    url: str
    group: str
    ca: str | None = None
    user_dn: str | None = None
    search: LdapSearch | None = None
    timeout: float = 5.0


@attrs.frozen
class Manhole:
    """The console over SSH.

    :ivar host_key: where the host's key is kept; None for the state directory.
    :ivar authorized_keys: a file in OpenSSH's format; the comment of a key is
        the user's name; None allows passwords only.
    :ivar ldap_group: the group that may log in with a password, if not
        :attr:`Ldap.group`.
    :ivar passwords: people may log in against :class:`Ldap`.
    """

    port: int
    listen_address: str = "127.0.0.1"
    host_key: str | None = None
    authorized_keys: str | None = None
    ldap_group: str | None = None
    passwords: bool = False


@attrs.frozen
class Token:
    """A bearer token, known by its hash.

    :ivar sha256: of the token, in hexadecimal.
    :ivar tenant: in whose name its requests are made.
    """

    name: str
    sha256: str = attrs.field(repr=False)
    tenant: str | None = None


@attrs.frozen
class Leases:
    """Nodes over HTTP, for users without Zuul.

    :ivar ldap: users of the directory may ask with their name and password.
    :ivar ttl: seconds after which a lease ends that nobody renews.
    :ivar max_ttl: the longest that may be asked for, seconds.
    :ivar max_leases: of one user at a time.
    :ivar requests_per_minute: of one user.
    """

    tokens: tuple[Token, ...] = ()
    ldap: bool = False
    ldap_group: str | None = None
    tenant: str | None = None
    ttl: float = 600.0
    max_ttl: float = 86400.0
    max_leases: int = 20
    requests_per_minute: int = 120


@attrs.frozen
class Operations:
    """All of the section.

    :ivar audit_log: a file to which every log-in, everything typed in the
        console and every change over HTTP goes; None for the launcher's log only.
    """

    manhole: Manhole | None = None
    leases: Leases | None = None
    ldap: Ldap | None = None
    audit_log: str | None = None
