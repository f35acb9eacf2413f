"""Who is asking: a bearer of a token, or somebody the directory knows.

Tokens and passwords go no further than this module: not into logs, not into
errors, not into the audit log.  A wrong token is answered as late as a wrong
password; a right one is never locked, as it cannot be guessed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Request

from nodepool_tx.auth.attempts import Attempts
from nodepool_tx.auth.interface import (
    Denied,
    DirectoryTrouble,
    LockedOut,
    NotAMember,
    Principal,
)
from nodepool_tx.auth.log_ins import LogIns
from nodepool_tx.config.operations import Leases, Token
from nodepool_tx.web.answers import NotToBeHad

__all__ = ["Entry", "later", "where_from"]

#: Seconds after which it may be tried again when the directory is in trouble.
RETRY = 10.0


def where_from(request: Request) -> str:
    """The address of whoever asks, as the log shows it."""
    return str(getattr(request.getClientAddress(), "host", "") or "unknown")


def later(error: str, detail: str, seconds: float, status: int = 503) -> NotToBeHad:
    """An answer to somebody who is to try again after a while."""
    retry = str(max(1, math.ceil(seconds)))
    return NotToBeHad(status, error, detail, [("Retry-After", retry)])


class Entry:
    """Lets people in.

    :param attempts: those that ``log_ins`` uses.
    """

    def __init__(self, clock: IReactorTime, attempts: Attempts, log_ins: LogIns) -> None:
        self._clock = clock
        self._attempts = attempts
        self._log_ins = log_ins

    async def let_in(self, request: Request, settings: Leases) -> Principal:
        """Who asks.

        :raises NotToBeHad: they may not (401, 403), not now (429), or it cannot be
            told (503).
        """
        scheme, credentials = _credentials(request)
        if scheme == "bearer":
            return await self._bearer(request, settings, credentials)
        if scheme == "basic" and settings.ldap:
            return await self._user(request, settings, credentials)
        raise _unknown(settings, "no credentials that this server takes")

    async def _bearer(self, request: Request, settings: Leases, credentials: str) -> Principal:
        token = _token_of(credentials, settings.tokens)
        if token is not None:
            return Principal(token.name, "token", tenant=token.tenant or settings.tenant)
        address = where_from(request)
        try:
            # No directory has a user with a colon in the name.
            attempt = self._attempts.begin(f"bearer:{address}", address)
        except LockedOut as e:
            raise later("too many attempts", "wrong tokens", e.retry_after, 429) from None
        delay = attempt.failed()
        await deferLater(self._clock, delay)
        raise _unknown(settings, "the token is not known")

    async def _user(self, request: Request, settings: Leases, credentials: str) -> Principal:
        user, password = _user_and_password(credentials, settings)
        try:
            principal = await self._log_ins.log_in(
                user,
                password,
                way_in="http",
                address=where_from(request),
                group=settings.ldap_group,
            )
        except LockedOut as e:
            raise later("too many attempts", "wrong passwords", e.retry_after, 429) from None
        except NotAMember:
            raise NotToBeHad(
                403, "forbidden", "you are not in the group that may do this"
            ) from None
        except Denied:
            raise _unknown(settings, "the name or the password is wrong") from None
        except DirectoryTrouble:
            raise later("not now", "log-ins cannot be checked", RETRY) from None
        return Principal(principal.name, "password", principal.groups, settings.tenant)


def _credentials(request: Request) -> tuple[str, str]:
    """The scheme in lower case, and what follows it."""
    given = request.requestHeaders.getRawHeaders(b"authorization") or []
    if len(given) != 1:
        return "", ""
    scheme, _, rest = given[0].decode("latin-1").strip().partition(" ")
    return scheme.lower(), rest.strip()


def _token_of(credentials: str, tokens: tuple[Token, ...]) -> Token | None:
    """Whose it is; takes as long whichever it is."""
    found = None
    hashed = hashlib.sha256(credentials.encode("latin-1")).hexdigest()
    for token in tokens:
        if hmac.compare_digest(hashed, token.sha256):
            found = token
    return found


def _user_and_password(credentials: str, settings: Leases) -> tuple[str, str]:
    try:
        text = base64.b64decode(credentials, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise _unknown(settings, "the credentials are not readable") from None
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise _unknown(settings, "the credentials are not readable")
    return user, password


def _unknown(settings: Leases, detail: str) -> NotToBeHad:
    challenges = ['Bearer realm="nodepool"']
    if settings.ldap:
        challenges.append('Basic realm="nodepool", charset="UTF-8"')
    headers = [("WWW-Authenticate", ", ".join(challenges))]
    return NotToBeHad(401, "not authenticated", detail, headers)
