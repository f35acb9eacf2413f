"""One log-in, talked over with an LDAP server.  Blocks: it runs in a thread.

Design note: no password without TLS
------------------------------------
ldap3 opens a connection that was lost again by itself, without the TLS that
was begun on the first.  So a connection is opened once here, and looked at
again right before each bind.  Names in certificates are checked by OpenSSL.

Design note: no waiting without end
-----------------------------------
ldap3's time-outs are for each read, so that a server which sends a byte now
and then could keep a thread for good.  :meth:`Conversation.abort`, called by
whoever watches the clock, takes the socket away at any point.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPExceptionError
from ldap3.core.tls import Tls

from nodepool_tx.auth.attempts import folded
from nodepool_tx.auth.escaping import checked_name, filled, filter_value
from nodepool_tx.auth.interface import Denied, DirectoryTrouble, NotAMember, Principal
from nodepool_tx.config.operations import Ldap

__all__ = ["Conversation"]

LONGEST_PASSWORD = 1024
#: What a server answers to a bind that is refused because of who asks.
_REFUSALS = {
    19: "constraint violation",
    32: "there is no such entry",
    34: "that is no DN",
    48: "this user has no password",
    49: "wrong name or password",
    50: "not allowed",
    53: "the server is unwilling",
}
_NOTHING_THERE = 32
#: Attributes that hold the name people log in with.
_NAMES = ("uid", "sAMAccountName")


class _CheckedTls(Tls):
    """Has OpenSSL check the certificate and the name in it."""

    def __init__(self, context: ssl.SSLContext, host: str, conversation: Conversation) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context
        self._host = host
        self._conversation = conversation

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        connection.socket = self._context.wrap_socket(
            connection.socket, server_hostname=self._host, do_handshake_on_connect=False
        )
        self._conversation.check()
        try:
            connection.socket.do_handshake()
        except OSError as e:
            # ldap3 wraps it up beyond recognition.
            self._conversation.tls_trouble = str(e)
            raise


class Conversation:
    """One log-in.

    :param addresses: of the server, to be tried in this order.
    :ivar tls_trouble: why TLS could not be begun, if it could not.
    """

    def __init__(self, settings: Ldap, addresses: tuple[str, ...]) -> None:
        self._settings = settings
        self._addresses = addresses
        url = urlsplit(settings.url)
        self._host = url.hostname or ""
        self._ldaps = url.scheme == "ldaps"
        self._port = url.port or (636 if self._ldaps else 389)
        self._connection: Any = None
        self.tls_trouble = ""
        self._aborted = threading.Event()

    def abort(self) -> None:
        """Give up, from any thread: whatever is being waited for fails."""
        self._aborted.set()
        connection = self._connection
        sock = None if connection is None else connection.socket
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not the TLS socket's own method, which changes what the other thread uses.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def check(self) -> None:
        """End here if nobody waits any more."""
        if self._aborted.is_set():
            raise DirectoryTrouble(f"{self._settings.url} has not answered in time")

    def run(self, user: str, password: str, group: str) -> Principal:
        """Have the whole conversation.

        :raises Denied: the password is wrong, or its owner is not in the group.
        :raises DirectoryTrouble: it cannot be told.
        """
        secret = _checked_password(password)
        checked_name(user)
        try:
            self._open()
            dn = self._find(user)
            self._bind(dn, secret)
            own = self._own_name(dn, user)
            search = self._settings.search
            if search is not None and search.bind_dn:
                # It may see groups that users may not.
                self._bind_service(search.bind_dn, search.bind_password)
            if not self._is_member(dn, own or user, group):
                raise NotAMember(f"{dn} is not in the group {group}")
        except (LDAPExceptionError, OSError, ValueError) as e:
            self.check()
            raise DirectoryTrouble(f"{self._settings.url}: {self.tls_trouble or e}") from e
        finally:
            self._close()
        # One person has one name, however it was typed.
        return Principal(own or folded(user), "password", (group,))

    # -- the connection --------------------------------------------------

    def _open(self) -> None:
        context = ssl.create_default_context(cafile=self._settings.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        for left, address in enumerate(self._addresses, 1 - len(self._addresses)):
            self.check()
            self._connection = self._new_connection(context, address)
            try:
                self._connection.open(read_server_info=False)
            except (LDAPExceptionError, OSError):
                self._close()
                if left == 0:
                    raise
                continue
            # Whoever gave up while there was no socket yet could not take it away.
            self.check()
            self._connection.strategy.open = _refuse_to_open
            if not self._ldaps and not self._connection.start_tls(read_server_info=False):
                raise DirectoryTrouble(f"{self._settings.url} does not begin TLS")
            return
        raise DirectoryTrouble(f"{self._settings.url} has no address")

    def _new_connection(self, context: ssl.SSLContext, address: str) -> Any:
        timeout = self._settings.timeout
        server = ldap3.Server(
            address,
            self._port,
            use_ssl=self._ldaps,
            get_info=ldap3.NONE,
            tls=_CheckedTls(context, self._host, self),
            connect_timeout=timeout,
        )
        return ldap3.Connection(
            server,
            client_strategy=ldap3.SYNC,
            auto_bind=ldap3.AUTO_BIND_NONE,
            auto_referrals=False,
            check_names=False,
            auto_escape=False,
            read_only=True,
            # Whole seconds are all it takes.
            receive_timeout=max(1, math.ceil(timeout)),
        )

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        sock = None if connection is None else connection.socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    # -- what is asked ---------------------------------------------------

    def _find(self, user: str) -> str:
        """The DN of a user's entry."""
        search = self._settings.search
        if search is None:
            return filled(self._settings.user_dn or "", user)
        if search.bind_dn:
            self._bind_service(search.bind_dn, search.bind_password)
        found = self._search(search.base, filled(search.filter, user), ldap3.SUBTREE)
        if not found:
            raise Denied("there is no such user")
        if len(found) > 1:
            raise Denied("there are several users of that name")
        return str(found[0]["dn"])

    def _bind_service(self, dn: str, password: str) -> None:
        try:
            self._bind(dn, _checked_password(password))
        except Denied as e:
            raise DirectoryTrouble(f"{self._settings.url}: {dn} may not log in: {e}") from e

    def _bind(self, dn: str, password: bytes) -> None:
        self.check()
        connection = self._connection
        if connection.closed or not isinstance(connection.socket, ssl.SSLSocket):
            raise DirectoryTrouble(f"{self._settings.url}: the connection is lost")
        if not dn or not password:
            # A server takes that for somebody who does not want to say who they are.
            raise Denied("the name or the password is empty")
        granted = connection.rebind(
            user=dn, password=password, authentication=ldap3.SIMPLE, read_server_info=False
        )
        result = connection.result
        code = result["result"]
        if granted and code == 0:
            return
        words = _REFUSALS.get(code)
        told = str(result.get("message") or result.get("description") or code)[:200]
        if words is None:
            raise DirectoryTrouble(f"{self._settings.url} refuses a bind: {told}")
        raise Denied(f"{words} ({told})")

    def _own_name(self, dn: str, user: str) -> str | None:
        """How the directory itself writes the user's name; None if that is not to be seen."""
        found = self._search(dn, "(objectClass=*)", ldap3.BASE, _NAMES)
        for entry in found:
            for attribute in _NAMES:
                for value in entry["attributes"].get(attribute) or ():
                    if folded(str(value)) == folded(user):
                        return str(value)
        return None

    def _is_member(self, dn: str, name: str, group: str) -> bool:
        member = filter_value(dn)
        listed = f"(|(member={member})(uniqueMember={member})(memberUid={filter_value(name)}))"
        if self._search(group, listed, ldap3.BASE):
            return True
        return bool(self._search(dn, f"(memberOf={filter_value(group)})", ldap3.BASE))

    def _search(
        self, base: str, words: str, scope: str, attributes: tuple[str, ...] = ()
    ) -> list[dict[str, Any]]:
        """Entries; at most two, which is as good as more."""
        self.check()
        connection = self._connection
        connection.search(
            base,
            words,
            scope,
            attributes=list(attributes) or [ldap3.NO_ATTRIBUTES],
            size_limit=2,
            time_limit=max(1, math.ceil(self._settings.timeout)),
        )
        code = connection.result["result"]
        # Too many are two at least; what may not be seen is not there.
        if code not in (0, 4, _NOTHING_THERE, 34, 50):
            told = connection.result.get("description") or code
            raise DirectoryTrouble(f"{self._settings.url} does not search: {told}")
        found = connection.response or ()
        return [entry for entry in found if entry["type"] == "searchResEntry"]


def _checked_password(password: str) -> bytes:
    if not password:
        raise Denied("the password is empty")
    try:
        secret = password.encode("utf-8")
    except UnicodeEncodeError:
        raise Denied("the password is not text") from None
    if len(secret) > LONGEST_PASSWORD or b"\0" in secret:
        raise Denied("nobody has such a password")
    return secret


def _refuse_to_open(*_args: object, **_settings: object) -> None:
    raise OSError("the connection is lost")
