"""One round of dialling: every address once, until a server gives us a session.

Note: servers that know less than we do
---------------------------------------
A server hangs up on a client that has seen a later change than it has itself.
Behind by a moment it will catch up; but an ensemble restored from a backup, or
wiped, never will, and would keep us out for ever without a word about our
session.  So when servers do nothing but hang up for longer than the session
lives, the round is followed by one that asks for a new session as someone who
has seen nothing.  Whoever grants that has a quorum.  It may have come together
just then, with all that it ever knew, and with our session, whose time begins
anew with every leader; so the new session is given back, and the old one asked
for once more.  Only when that is hung up on again, it is reported as expired,
and a new one is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from kazoo.exceptions import AuthFailedError, SessionExpiredError
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.connection import Connection
from nodepool_tx.txzookeeper.counters import Counters
from nodepool_tx.txzookeeper.endpoints import Address, Dialer
from nodepool_tx.txzookeeper.session import Session
from nodepool_tx.txzookeeper.wire import NO_PASSWORD, Grant, write_greeting

__all__ = ["Exhausted", "Expired", "Opened", "Outcome", "Refused", "Rounds"]


#: Seconds for a server to take a session back.
_PATIENCE = 1.0


@attrs.frozen
class Opened:
    """A session was given, or given back.

    :ivar fresh: given to someone who has seen nothing; see the note above.
    """

    connection: Connection
    grant: Grant
    fresh: bool


@attrs.frozen
class Expired:
    """A server does not know our session any more."""


@attrs.frozen
class Refused:
    """A server does not accept who we say we are."""

    error: AuthFailedError


@attrs.frozen
class Exhausted:
    """No address worked.

    :ivar reasons: why not, each.
    :ivar hung_up: a server closed the connection without answering us.
    """

    reasons: tuple[str, ...]
    hung_up: bool


Outcome = Opened | Expired | Refused | Exhausted


class Rounds:
    """Runs rounds, one at a time.

    :param make: makes the connection for one attempt from address and greeting.
    :param opening: called with each connection whose transport is open.
    """

    def __init__(
        self,
        clock: IReactorTime,
        dialer: Dialer,
        session: Session,
        counters: Counters,
        make: Callable[[Address, bytes], Connection],
        opening: Callable[[Connection], None],
    ) -> None:
        self._clock = clock
        self._dialer = dialer
        self._session = session
        self._counters = counters
        self._make = make
        self._opening = opening
        self._stopped = False

    def stop(self) -> None:
        """Try no further address."""
        self._stopped = True

    async def run(self, outdated: bool) -> Outcome:
        """Try all addresses.

        :param outdated: our session cannot live any more, so that an exchange
            of it for a new one is in order; see the note above.
        """
        addresses, unknown = await self._dialer.addresses()
        outcome = await self._try_all(addresses, fresh=False)
        if not isinstance(outcome, Exhausted):
            return outcome
        if outdated and outcome.hung_up and self._session.zxid > 0:
            outcome = await self._exchange(addresses, outcome)
            if not isinstance(outcome, Exhausted):
                return outcome
        nowhere = tuple(f"{host}: no address found" for host in unknown)
        return attrs.evolve(outcome, reasons=outcome.reasons + nowhere)

    async def _exchange(self, addresses: Sequence[Address], outcome: Exhausted) -> Outcome:
        """Somebody else's session if there is a quorum that keeps us out; see the note above."""
        stranger = await self._try_all(addresses, fresh=True)
        if not isinstance(stranger, Opened):
            return outcome if isinstance(stranger, Exhausted) else stranger
        await self._give_back(stranger.connection)
        again = await self._try_all(addresses, fresh=False)
        if not isinstance(again, Exhausted) or not again.hung_up:
            return again
        fresh = await self._try_all(addresses, fresh=True)
        return again if isinstance(fresh, Exhausted) else fresh

    async def _give_back(self, connection: Connection) -> None:
        """End a session that is not needed; it expires by itself if that cannot be done."""
        try:
            await connection.end_session().addTimeout(_PATIENCE, self._clock)
        except CancelledError:
            raise
        except Exception:
            connection.abandon("its session is not needed")

    async def _try_all(self, addresses: Sequence[Address], *, fresh: bool) -> Outcome:
        patience = max(1.0, self._session.timeout / 3)
        reasons = []
        hung_up = False
        for address in addresses:
            if self._stopped:
                break
            connection = self._make(address, self._greeting(fresh))
            try:
                dialling = self._dialer.dial(address, connection)
                await dialling.addTimeout(patience, self._clock)
                self._opening(connection)
                grant = await connection.opened.addTimeout(patience, self._clock)
            except SessionExpiredError:
                if self._session.session_id and not fresh:
                    return Expired()
                reasons.append(f"{address}: it gives us no session")
            except AuthFailedError as error:
                return Refused(error)
            except CancelledError:
                raise
            except Exception:
                hung_up = hung_up or connection.hung_up
                reasons.append(f"{address}: {self._dialer.describe(Failure())}")
            else:
                return Opened(connection, grant, fresh)
            self._counters.failed_attempts += 1
        return Exhausted(tuple(reasons), hung_up)

    def _greeting(self, fresh: bool) -> bytes:
        session = self._session
        if fresh:
            return write_greeting(0, NO_PASSWORD, 0, session.wanted_timeout)
        return write_greeting(
            session.session_id, session.password, session.zxid, session.wanted_timeout
        )
