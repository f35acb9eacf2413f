"""One connection to one server, from its first byte to its last.

The connection knows frames, order, time and nothing of sessions' histories:
it greets, authenticates, keeps itself alive, matches answers to requests and
reports events.  When it breaks, for whatever reason, ``on_lost`` is called
once and then everything that was in flight fails with ConnectionLoss.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from kazoo.exceptions import (
    AuthFailedError,
    BadArgumentsError,
    ConnectionLoss,
    NoNodeError,
    SessionClosedRequireSaslError,
    SessionExpiredError,
)
from kazoo.protocol.serialization import Auth, CloseInstance, Exists, reply_header_struct
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.protocol import connectionDone as CLEAN
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.counters import Counters
from nodepool_tx.txzookeeper.wire import (
    AUTH_XID,
    EVENT_XID,
    MAX_REQUEST,
    PING_FRAME,
    PING_XID,
    Decoder,
    Grant,
    Record,
    read_event,
    read_grant,
    read_nothing,
    request_frame,
    server_error,
)

__all__ = ["Connection"]

#: Seconds for which answers are taken in one turn of the reactor.  Each may have a whole
#: coroutine go on, and hundreds come in one read when a thousand nodes are launched.
TURN = 0.01
#: The longest answer taken, in bytes: a list of a million names fits.
_MAX_REPLY = 64 * 1024 * 1024
#: How many frames are taken between two looks at the clock.
AT_ONCE = 8
_HEADER = reply_header_struct.size
_NO_NODE = NoNodeError.code
_EXISTS = Exists.type
_unpack_size = struct.Struct("!i").unpack_from
_unpack_header = reply_header_struct.unpack_from


class _Departure:
    """When the requests of one write left."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = 0.0


Pending = tuple[int, "Deferred[Any]", Decoder, Record, _Departure]


class Connection(Protocol):
    """A Twisted protocol; made for one attempt and never used again.

    :ivar opened: fires with the :class:`Grant` once requests may be sent.
        Fails with SessionExpiredError, AuthFailedError or ConnectionLoss.
    :ivar gone: fires when the transport is closed.
    :ivar last_zxid: of the last answer; 0 before the first.
    :ivar since: when it was opened, by the clock.
    :ivar hung_up: the server closed before it had answered the greeting.
    :ivar refusal: set when the server would not have us, with or without
        a new connection.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        name: str,
        greeting: bytes,
        *,
        auth: Sequence[tuple[str, str]],
        counters: Counters,
        on_event: Callable[[int, str], None],
        on_lost: Callable[[Connection, str], None],
        describe: Callable[[Failure], str],
        max_request: int = MAX_REQUEST,
    ) -> None:
        self.name = name
        self.opened: Deferred[Grant] = Deferred(lambda _: self.abandon("no answer in time"))
        self.gone: Deferred[None] = Deferred()
        self.last_zxid = 0
        self.since = 0.0
        self.hung_up = False
        self.refusal: AuthFailedError | None = None
        self._seconds = clock.seconds
        self._clock = clock
        self._greeting = greeting
        self._auth = auth
        self._unconfirmed = len(auth)
        self._counters = counters
        self._on_event = on_event
        self._on_lost = on_lost
        self._describe = describe
        self._max_request = max_request
        self._grant: Grant | None = None
        self._open = False
        self._dead = False
        self._xid = 0
        self._pending: deque[Pending] = deque()
        self._out: list[bytes] = []
        self._departure = _Departure()
        self._flush_due = False
        self._reading = False
        self._after_reading: list[Callable[[], None]] = []
        self._held: list[bytes] = []
        self._held_size = 0
        self._wanted = 0
        self._behind = False
        self._heard = 0.0
        self._silence = 0.0
        self._timers: dict[str, IDelayedCall] = {}

    # -- sending

    def ask(self, record: Record, decode: Decoder) -> Deferred[Any]:
        """Send a request; it leaves with all others of this reactor turn.

        Fails with BadArgumentsError, without touching the connection, when the
        server would drop us for the request's size.
        """
        body = record.serialize()
        if len(body) + 8 > self._max_request:
            why = f"a request of {len(body)} bytes, at most {self._max_request} may be sent"
            return fail(BadArgumentsError(why))
        xid = self._xid = self._xid % 0x7FFFFFFF + 1
        self._out.append(request_frame(xid, record.type, body))
        if not self._flush_due:
            self._flush_due = True
            self._clock.callLater(0, self._flush)
        answer: Deferred[Any] = Deferred()
        self._pending.append((xid, answer, decode, record, self._departure))
        counters = self._counters
        counters.requests += 1
        counters.in_flight += 1
        return answer

    def soon(self, call: Callable[[], None]) -> None:
        """See :meth:`nodepool_tx.txzookeeper.interface.ZookeeperAPI.soon`."""
        if self._reading:
            self._after_reading.append(call)
        else:
            call()

    def end_session(self) -> Deferred[None]:
        """Ask the server to end the session; what was asked before is answered first."""
        return self.ask(CloseInstance, read_nothing)

    def _flush(self) -> None:
        self._flush_due = False
        if self._out and not self._dead:
            data = b"".join(self._out)
            self._out.clear()
            self._departure.at = self._seconds()
            self._departure = _Departure()
            self._counters.bytes_sent += len(data)
            self._tcp.write(data)

    # -- the transport's side

    def connectionMade(self) -> None:
        self._tcp = cast(ITCPTransport, self.transport)
        self._tcp.setTcpNoDelay(True)
        self._write(self._greeting)

    def dataReceived(self, data: bytes) -> None:
        self._held.append(data)
        self._held_size += len(data)
        if self._behind or self._dead:
            # The transport has a call for each of TLS's records follow each other in one turn.
            return
        self._heard = self._seconds()
        if self._held_size >= self._wanted:
            self._read_later()

    def connectionLost(self, reason: Failure = CLEAN) -> None:
        if self._behind and not self._dead:
            # It was answered before it was closed.
            self._read(math.inf)
        self._die(self._explain(reason))
        self.gone.callback(None)

    def abandon(self, why: str) -> None:
        """Give this connection up, now, without a word to the server."""
        if not self._dead:
            self._die(why)
            self._tcp.abortConnection()

    def hang_up(self) -> None:
        """Close the transport in order."""
        self._tcp.loseConnection()

    # -- reading

    def _read(self, seconds: float) -> None:
        """Take in what was received, for so long; the rest in the reactor's next turn."""
        self._behind = False
        data = b"".join(self._held)
        self._held.clear()
        # What the answers make their receivers ask leaves in one write, below.
        self._flush_due = self._reading = True
        try:
            rest = self._read_frames(data, seconds)
        except Exception:
            self._log.failure("Unreadable answer from {server}", server=self.name)
            self.abandon("it sent something unreadable")
            return
        finally:
            self._reading = False
            after, self._after_reading = self._after_reading, []
            for call in after:
                call()
        if rest < len(data):
            self._held.append(data[rest:])
        self._held_size = len(data) - rest
        self._counters.bytes_received += rest
        self._flush()

    def _read_later(self) -> None:
        self._behind = True
        self._timers["behind"] = self._clock.callLater(0, self._read, TURN)

    def _read_frames(self, data: bytes, seconds: float) -> int:
        """Take whole frames out of ``data``; answers where the rest begins."""
        now = self._seconds()
        offset = taken = 0
        end = len(data)
        while end - offset >= 4:
            (size,) = _unpack_size(data, offset)
            if not 0 <= size <= _MAX_REPLY:
                self.abandon(f"it announced a frame of {size} bytes")
                return end
            stop = offset + 4 + size
            if stop > end:
                self._wanted = stop - offset
                return offset
            if taken == AT_ONCE:
                if self._seconds() - now > seconds:
                    self._read_later()
                    return offset
                taken = 0
            taken += 1
            frame = data[offset + 4 : stop]
            if self._grant is None:
                self._take_grant(read_grant(frame))
            else:
                xid, zxid, code = _unpack_header(frame)
                if xid == EVENT_XID:
                    self._counters.events += 1
                    self._on_event(*read_event(frame, _HEADER))
                else:
                    self._take(frame, xid, zxid, code, now)
            if self._dead:
                return end
            offset = stop
        self._wanted = 4
        return offset

    def _take(self, frame: bytes, xid: int, zxid: int, code: int, now: float) -> None:
        """Take an answer, whatever it answers."""
        pending = self._pending
        if pending and xid == pending[0][0]:
            _, answer, decode, record, departure = pending.popleft()
            if zxid > 0:
                self.last_zxid = zxid
            counters = self._counters
            counters.in_flight -= 1
            counters.note_reply(now - departure.at)
            if not code:
                try:
                    result = decode(frame, _HEADER)
                except Exception:
                    pending.appendleft((xid, answer, decode, record, departure))
                    counters.in_flight += 1
                    raise
                answer.callback(result)
            elif code == _NO_NODE and record.type == _EXISTS:
                answer.callback(None)
            else:
                counters.errors += 1
                answer.errback(server_error(code, getattr(record, "path", "")))
                if code == SessionClosedRequireSaslError.code:
                    self._refuse("it demands an authentication that we do not offer")
        elif xid == PING_XID:
            pass
        elif xid == AUTH_XID:
            self._take_auth(code)
        else:
            self.abandon(f"it answered request {xid} out of order")

    # -- opening

    def _take_grant(self, grant: Grant) -> None:
        if not grant.timeout:
            self._fail(SessionExpiredError("the session is gone"))
            return
        self._grant = grant
        for scheme, credential in self._auth:
            body = Auth(0, scheme, credential).serialize()
            self._write(request_frame(AUTH_XID, Auth.type, body))
        if not self._auth:
            self._opened(grant)

    def _take_auth(self, code: int) -> None:
        if code:
            self._refuse("it refuses our credentials")
            return
        self._unconfirmed -= 1
        if not self._unconfirmed and self._grant is not None and not self._open:
            self._opened(self._grant)

    def _opened(self, grant: Grant) -> None:
        self._open = True
        self.since = self._seconds()
        self._silence = grant.timeout * 2 / 3
        self._ping_interval = grant.timeout / 3
        self._timers["ping"] = self._clock.callLater(self._ping_interval, self._ping)
        self._timers["silence"] = self._clock.callLater(self._silence, self._check_silence)
        self.opened.callback(grant)

    def _refuse(self, why: str) -> None:
        self.refusal = AuthFailedError(f"{self.name}: {why}")
        if self._open:
            self.abandon(why)
        else:
            self._fail(self.refusal)

    def _fail(self, error: Exception) -> None:
        self._dead = True
        self._stop_timers()
        self._tcp.abortConnection()
        self.opened.errback(error)

    # -- staying alive

    def _ping(self) -> None:
        self._counters.pings += 1
        self._timers["ping"] = self._clock.callLater(self._ping_interval, self._ping)
        self._write(PING_FRAME)

    def _check_silence(self) -> None:
        left = self._heard + self._silence - self._seconds()
        if left > 0:
            self._timers["silence"] = self._clock.callLater(left, self._check_silence)
        else:
            self.abandon(f"it was silent for {self._silence:.1f} s")

    def _write(self, data: bytes) -> None:
        self._counters.bytes_sent += len(data)
        self._tcp.write(data)

    # -- the end

    def _die(self, why: str) -> None:
        if self._dead:
            return
        self._dead = True
        self._stop_timers()
        pending, self._pending = self._pending, deque()
        self._counters.in_flight -= len(pending)
        self._counters.lost += len(pending)
        if self._open:
            self._on_lost(self, why)
        elif not self.opened.called:
            self.opened.errback(ConnectionLoss(why))
        for _, answer, _, record, _ in pending:
            if not answer.called:
                answer.errback(ConnectionLoss(f"{self.name}: {why}: {type(record).__name__}"))

    def _stop_timers(self) -> None:
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()

    def _explain(self, reason: Failure) -> str:
        self.hung_up = self._grant is None and bool(reason.check(ConnectionDone, ConnectionLost))
        if reason.check(ConnectionDone):
            return "it closed the connection" if self._open else "it closed without an answer"
        return self._describe(reason)
