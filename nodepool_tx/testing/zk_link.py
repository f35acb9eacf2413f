"""The session of a client with a ZooKeeper kept in memory, and its connection.

A :class:`Link` carries requests to the server and answers and events back, in
order and never within the call that caused them.  It can be broken at any
moment, as a connection can, and finds back by itself, as a client does.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
from kazoo.exceptions import (
    AuthFailedError,
    BadArgumentsError,
    ConnectionClosedError,
    ConnectionLoss,
    SessionExpiredError,
    ZookeeperError,
)
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.testing.zk_lane import Lane
from nodepool_tx.testing.zk_server import MemoryServer
from nodepool_tx.testing.zk_watches import Registration
from nodepool_tx.txzookeeper.interface import (
    SessionState,
    StateObserver,
    TransactionFailed,
    WatchKind,
)

__all__ = ["Call", "Link"]

#: Bytes of data a request may carry: with more, a server breaks the connection.
LARGEST_REQUEST = 0xFFFFF


@attrs.define(eq=False)
class Call:
    """A request under way.

    :ivar run: carries it out on the server.
    :ivar registration: the watch that is set if it succeeds.
    """

    connection: Link
    op: str
    paths: tuple[str, ...]
    run: Callable[[], Any]
    registration: Registration | None
    answer: Deferred[Any] = attrs.field(factory=Deferred)


class Link:
    """One client's session: its state, its requests and its watches.

    :ivar reachable: whether the server can be connected to.
    :ivar refused: whether the server will say no to the credentials.
    """

    _log = Logger()

    def __init__(
        self, server: MemoryServer, clock: IReactorTime, latency: float, timeout: float
    ) -> None:
        self._server = server
        self._clock = clock
        self._latency = latency
        self.state = SessionState.CONNECTING
        self.session_id = 0
        self.epoch = 0
        self.timeout = timeout
        self.reachable = True
        self.refused = False
        self._attached = False
        #: Grows whenever the connection breaks: what was sent before is void.
        self._generation = 0
        self._last_zxid = 0
        self._to_server: Lane[Call] = Lane(clock, latency / 2, self._execute)
        self._to_client: Lane[Callable[[], None]] = Lane(clock, latency / 2, lambda item: item())
        self._outstanding: deque[Call] = deque()
        self._watches: dict[Registration, None] = {}
        self._dialing: IDelayedCall | None = None
        self._started = False
        self._starting: list[Deferred[None]] = []
        self._closing: list[Deferred[None]] = []
        self._finished = False
        self._observers: dict[object, StateObserver] = {}
        self._news: deque[SessionState] = deque()
        self._telling = False

    # -- for the client --------------------------------------------------

    def start(self) -> Deferred[None]:
        if self.epoch and self.state is not SessionState.CLOSED:
            return succeed(None)
        refusal = self._refusal()
        if self._started and not isinstance(refusal, ConnectionLoss):
            return fail(refusal)
        waiting: Deferred[None] = Deferred()
        self._starting.append(waiting)
        if not self._started:
            self._started = True
            self._dial()
        return waiting

    def soon(self, call: Callable[[], None]) -> None:
        self._to_client.soon(call)

    def close(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._closing.append(done)
        if self.state is not SessionState.CLOSED:
            ending = self._request_end() if self._attached else None
            self._tell(SessionState.CLOSED)
            if ending is not None:
                ending.addBoth(lambda _: self._finish())
            elif self._dialing is None or not self.session_id:
                self._finish()
        elif self._finished:
            self._finish()
        return done

    def _request_end(self) -> Deferred[Any]:
        session_id = self.session_id
        return self.request("close", ("/",), lambda: self._server.end_session(session_id))

    def observe(self, observer: StateObserver) -> Callable[[], None]:
        key = object()
        self._observers[key] = observer

        def remove() -> None:
            self._observers.pop(key, None)

        return remove

    def request(
        self,
        op: str,
        paths: tuple[str, ...],
        run: Callable[[], Any],
        *,
        registration: Registration | None = None,
        size: int = 0,
    ) -> Deferred[Any]:
        """Send a request; ``run`` is what the server does for it."""
        refusal = self._refusal()
        if refusal is not None:
            return fail(refusal)
        if size > LARGEST_REQUEST:
            return fail(BadArgumentsError())
        call = Call(self, op, paths, run, registration)
        self._outstanding.append(call)
        self._to_server.put(call)
        return call.answer

    def forget(self, registration: Registration) -> None:
        """Deliver nothing to this watch any more, and do not set it again."""
        self._watches.pop(registration, None)

    def _refusal(self) -> Exception | None:
        refusal: Exception | None = None if self._attached else ConnectionLoss()
        if self.state is SessionState.CLOSED:
            refusal = ConnectionClosedError()
        elif self.state is SessionState.EXPIRED:
            refusal = SessionExpiredError()
        elif self.state is SessionState.AUTH_FAILED:
            refusal = AuthFailedError()
        return refusal

    # -- for the server --------------------------------------------------

    def event(self, registration: Registration, kind: WatchKind, path: str) -> None:
        self._to_client.put(functools.partial(self._tell_watch, registration, kind, path))

    # -- for the inspector -----------------------------------------------

    @property
    def due(self) -> float | None:
        """When something on its way arrives, by the clock; None if nothing is."""
        times = [self._to_server.due, self._to_client.due]
        if self._dialing is not None:
            times.append(self._dialing.getTime())
        return min((time for time in times if time is not None), default=None)

    @property
    def observers(self) -> int:
        return len(self._observers)

    def cut(self, executes: int = 0) -> None:
        """Break the connection, after the server got ``executes`` more requests."""
        if not self._attached:
            return
        generation = self._generation
        self._to_server.handle_now(executes)
        if generation != self._generation:
            return
        self._generation += 1
        self._attached = False
        self._to_server.clear()
        self._to_client.clear()
        self._server.detach(self.session_id, self)
        lost, self._outstanding = self._outstanding, deque()
        if self.state is not SessionState.CLOSED:
            self._tell(SessionState.SUSPENDED)
        for call in lost:
            call.answer.errback(Failure(ConnectionLoss()))
        self._dial()

    def unreach(self, executes: int) -> None:
        """The server cannot be reached, for who is connecting neither."""
        self.reachable = False
        self.cut(executes)
        if self._dialing is not None:
            self._dialing.cancel()
            self._dialing = None
        if self.state is SessionState.CLOSED and not self._finished:
            self._finish()

    def resume(self) -> None:
        """The server can be reached again."""
        self.reachable = True
        self._dial()

    # -- requests --------------------------------------------------------

    def _execute(self, call: Call) -> None:
        self._server.spend()
        generation = self._generation
        try:
            self._server.execute(call)
            if generation != self._generation:
                return
            result = call.run()
        except ConnectionLoss:
            self.cut()
            return
        except SessionExpiredError:
            self._server.end_session(self.session_id)
            self.cut()
            return
        except (ZookeeperError, TransactionFailed) as e:
            # As from a real server: where it was found out is nobody's business.
            result = Failure(e.with_traceback(None))
        except Exception:
            result = Failure()
        zxid = self._server.zxid
        self._to_client.put(functools.partial(self._answered, call, result, zxid))
        self._server.executed(call)

    def _answered(self, call: Call, result: Any, zxid: int) -> None:
        self._last_zxid = zxid
        oldest = self._outstanding.popleft()
        assert oldest is call
        if call.registration is not None and not isinstance(result, Failure):
            self._watches[call.registration] = None
        call.answer.callback(result)

    def _tell_watch(self, registration: Registration, kind: WatchKind, path: str) -> None:
        if registration not in self._watches:
            return
        if registration.one_shot:
            del self._watches[registration]
        try:
            registration.tell(kind, path)
        except Exception:
            self._log.failure("a watch on {path} raised", path=registration.path)

    # -- the session -----------------------------------------------------

    def _dial(self) -> None:
        if (
            self.reachable
            and self._started
            and not self._attached
            and self._dialing is None
            and self.state not in (SessionState.AUTH_FAILED, SessionState.CLOSED)
        ):
            self._dialing = self._clock.callLater(self._latency, self._arrive)

    def _arrive(self) -> None:
        self._dialing = None
        if self.state is SessionState.CLOSED:
            self._server.end_session(self.session_id)
            self._finish()
            return
        if self.refused:
            self._tell(SessionState.AUTH_FAILED)
            starting, self._starting = self._starting, []
            for waiting in starting:
                waiting.errback(Failure(AuthFailedError()))
            return
        if self.session_id == 0:
            session = self._server.open_session(self.timeout)
            self.session_id = session.id
            self.epoch += 1
        if not self._server.attach(self.session_id, self, self._watches, self._last_zxid):
            self.session_id = 0
            self._tell(SessionState.EXPIRED)
            self._end_one_shots()
            self._dial()
            return
        self._attached = True
        self._tell(SessionState.CONNECTED)
        starting, self._starting = self._starting, []
        for waiting in starting:
            waiting.callback(None)

    def _finish(self) -> None:
        """The client is closed, and so is its session or left to its timeout."""
        self._finished = True
        if self._dialing is not None:
            self._dialing.cancel()
            self._dialing = None
        if self._attached:
            self._attached = False
            self._to_client.clear()
            self._to_server.clear()
            self._server.detach(self.session_id, self)
        self.session_id = 0
        self._end_one_shots()
        self._watches.clear()
        starting, self._starting = self._starting, []
        for waiting in starting:
            waiting.errback(Failure(ConnectionClosedError()))
        closing, self._closing = self._closing, []
        for waiting in closing:
            waiting.callback(None)

    def _end_one_shots(self) -> None:
        for registration in [r for r in self._watches if r.one_shot]:
            del self._watches[registration]
            registration.tell(WatchKind.SESSION_LOST, registration.path)

    def _tell(self, state: SessionState) -> None:
        """Tell the observers, each of them of all states in order."""
        self.state = state
        self._news.append(state)
        if self._telling:
            return
        self._telling = True
        try:
            while self._news:
                news = self._news.popleft()
                for key, observer in tuple(self._observers.items()):
                    if key not in self._observers:
                        continue
                    try:
                        observer(news)
                    except Exception:
                        self._log.failure("an observer of {state} raised", state=news.value)
        finally:
            self._telling = False
