"""Many requesters that cost next to nothing, so that the load is not what limits a launcher.

Each does what :func:`benchmarks.requester.use_one` does, the same operations in the same order,
but on a :class:`~benchmarks.bare.BareSession` and without a coroutine.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import attrs

from benchmarks import bare, requester
from benchmarks.bare import BareSession
from benchmarks.bench import CONNECTIONS, Bench
from benchmarks.connection import EPHEMERAL, SEQUENCE

NODES = requester.NODES.encode()
CONTENDER = b"/lock/" + b"0" * 32 + b"__lock__"
_PREFIX = f"{requester.REQUESTS}/{requester.PRECEDENCE}-".encode()
_CONTEND = bare.creation(b"benchmark", EPHEMERAL | SEQUENCE)
_NODES_KEY = b'"nodes": ["'
_ID = 10
"""Digits of a node's id."""
_ENDING = 30.0


class Requester:
    """One client, which asks again as soon as it is done.

    :param ledger: shared by all; knows who has which node.
    :param changed: of the session: who is to be told of a request that changed.
    :param pipelined: send along what does not need the answer before it, unlike Zuul.
    """

    def __init__(
        self,
        session: BareSession,
        ledger: requester.Ledger,
        changed: dict[bytes, Requester],
        label: str,
        pipelined: bool,
    ) -> None:
        self.jobs = 0
        self.stopping = False
        self.asked_at: float | None = None
        """Since when it waits for an answer; None while it does not."""
        self.idle = True
        self._withdrawn = False
        self._session = session
        self._ledger = ledger
        self._changed = changed
        self._pipelined = pipelined
        body = bare.creation(requester.request_body([label]), SEQUENCE)
        self._ask = bare.request(bare.CREATE, _PREFIX, body)
        self._request = self._node = self._contender = b""
        self._waited = 0.0
        self._data = b""

    def start(self) -> None:
        """Ask."""
        self.idle = False
        self.asked_at = time.perf_counter()
        self._session.post(self._ask, self._asked)

    def withdraw(self) -> None:
        """Do not ask again, and delete the request if it is not answered."""
        self.stopping = self._withdrawn = True
        if self.asked_at is not None and self._request:
            self._changed.pop(self._request, None)
            self.asked_at, self.idle = None, True
            self._session.post(bare.request(bare.DELETE, self._request, bare.DELETION))

    def changed(self) -> None:
        """The request is another one now."""
        self._look(bare.UNWATCHED)

    def _asked(self, reply: bytes) -> None:
        self._request = bare.created(reply)
        if self._withdrawn:
            self.withdraw()
            return
        self._changed[self._request] = self
        self._look(bare.WATCHED)

    def _look(self, watch: bytes) -> None:
        looked = functools.partial(self._looked, watch)
        frame = bare.request(bare.GET, self._request, watch)
        self._session.post(frame, looked, self._gone)

    def _gone(self) -> None:
        """:raises HandOutError: if it was not us who deleted the request."""
        if not self._withdrawn:
            raise requester.HandOutError(f"request {self._request.decode()} is gone")

    def _looked(self, watch: bytes, reply: bytes) -> None:
        if self.asked_at is None:
            return
        if b'"state": "fulfilled"' not in reply:
            if b'"state": "failed"' in reply:
                raise requester.HandOutError(f"request {self._request.decode()} failed")
            if watch is bare.UNWATCHED:  # taken by the launcher, and not yet answered
                self._changed[self._request] = self
                self._look(bare.WATCHED)
            return
        self._changed.pop(self._request, None)
        self._waited = time.perf_counter() - self.asked_at
        self.asked_at = None
        place = reply.index(_NODES_KEY) + len(_NODES_KEY)
        node = reply[place : place + _ID]
        self._ledger.take(node.decode(), self._request.rpartition(b"/")[2].decode())
        self._node = NODES + b"/" + node
        self._session.post(bare.request(bare.GET, self._node, bare.UNWATCHED), self._read)
        if self._pipelined:
            self._find_lock()
            self._contend()
            self._list()

    def _read(self, reply: bytes) -> None:
        request = self._request.rpartition(b"/")[2]
        if b'"allocated_to": "' + request + b'"' not in reply:
            raise requester.HandOutError(f"{self._node.decode()} is not {request.decode()}'s")
        self._data = bare.data(reply)
        if not self._pipelined:
            self._find_lock()

    def _find_lock(self) -> None:
        frame = bare.request(bare.EXISTS, self._node + b"/lock", bare.UNWATCHED)
        self._session.post(frame, None if self._pipelined else lambda _: self._contend())

    def _contend(self) -> None:
        frame = bare.request(bare.CREATE, self._node + CONTENDER, _CONTEND)
        self._session.post(frame, self._contending)

    def _contending(self, reply: bytes) -> None:
        self._contender = bare.created(reply)
        if not self._pipelined:
            self._list()

    def _list(self) -> None:
        frame = bare.request(bare.CHILDREN, self._node + b"/lock", bare.UNWATCHED)
        self._session.post(frame, self._locked)

    def _locked(self, reply: bytes) -> None:
        if reply.count(b"__lock__") != 1:
            raise requester.HandOutError(f"{self._node.decode()} is locked by somebody else")
        frame = bare.request(bare.DELETE, self._request, bare.DELETION)
        if self._pipelined:
            self._session.post(frame)
            self._use()
            self._used()
        else:
            self._session.post(frame, lambda _: self._use())

    def _use(self) -> None:
        self._write("in-use", lambda _: self._used())

    def _used(self) -> None:
        self._write("used", lambda _: self._unlock())
        if self._pipelined:
            self._unlock()

    def _write(self, state: str, then: bare.Reply) -> None:
        data = self._data.replace(b'"ready"', f'"{state}"'.encode(), 1)
        frame = bare.request(bare.SET, self._node, bare.write(data))
        self._session.post(frame, None if self._pipelined else then)

    def _unlock(self) -> None:
        self._ledger.give_back(self._node[-_ID:].decode())
        frame = bare.request(bare.DELETE, self._contender, bare.DELETION)
        self._session.post(frame, self._finished)

    def _finished(self, reply: bytes) -> None:
        self.jobs += 1
        self._ledger.waits.append(self._waited)
        self._request, self.idle = b"", True
        if not self.stopping:
            self.start()


async def surge(bench: Bench, label: str, requests: int, limit: float) -> Surge:
    """So many requests at once, each for one job.

    :param limit: seconds after which it is given up.
    :raises HandOutError: not all were served by then.
    """
    ledger = requester.Ledger()
    async with bare_sessions(bench, CONNECTIONS) as sessions:
        everyone = _requesters(sessions, ledger, requests, label, pipelined=False)
        await requester.make_path(sessions[0], requester.REQUESTS)
        started = time.perf_counter()
        for each in everyone:
            each.start()
        for each in everyone:
            each.stopping = True
        answered = 0.0
        while not all(each.idle for each in everyone):
            await _let_work(sessions, 0.01)
            elapsed = time.perf_counter() - started
            if not answered and all(each.asked_at is None for each in everyone):
                answered = elapsed
            if elapsed > limit:
                raise requester.HandOutError(f"{len(ledger.waits)} of {requests} were served")
        ended = time.perf_counter()
    return Surge(answered, ended - started, tuple(ledger.waits))


@attrs.frozen
class Surge:
    """Seconds until all were answered and all were done, and how long each waited."""

    answered: float
    done: float
    waits: tuple[float, ...]


@attrs.frozen
class Load:
    """What clients got done."""

    seconds: float
    jobs: int
    waits: tuple[float, ...]
    """Of each job, in seconds, and of each request still open how long it has been so far."""


@contextlib.asynccontextmanager
async def bare_sessions(bench: Bench, count: int) -> AsyncIterator[list[BareSession]]:
    """So many sessions, which end with this."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await bench.open(BareSession)) for _ in range(count)]


async def load(
    bench: Bench,
    label: str,
    clients: int,
    seconds: float,
    before: float = 0.0,
    note: Callable[[], None] = lambda: None,
    pipelined: bool = False,
    others: Iterable[BareSession] = (),
) -> Load:
    """Let clients work for a while; then withdraw the requests that are open.

    :param before: how long they work before it counts, in seconds.
    :param note: called when it begins to count, and when it ends.
    :param others: sessions whose trouble ends this as well.
    :raises HandOutError: a launcher did what no client could work with.
    """
    ledger = requester.Ledger()
    async with bare_sessions(bench, min(clients, CONNECTIONS)) as sessions:
        everyone = _requesters(sessions, ledger, clients, label, pipelined)
        watched = [*sessions, *others]
        await requester.make_path(sessions[0], requester.REQUESTS)
        for each in everyone:
            each.start()
        await _let_work(watched, before)
        ledger.waits.clear()
        note()
        started = time.perf_counter()
        await _let_work(watched, seconds)
        ended = time.perf_counter()
        jobs, waits = len(ledger.waits), list(ledger.waits)
        waits += [ended - each.asked_at for each in everyone if each.asked_at is not None]
        note()
        for each in everyone:
            each.withdraw()
        until = time.perf_counter() + _ENDING
        while not all(each.idle for each in everyone):
            if time.perf_counter() > until:
                raise requester.HandOutError("clients do not come to an end")
            await _let_work(watched, 0.02)
    return Load(ended - started, jobs, tuple(waits))


def _requesters(
    sessions: Sequence[BareSession],
    ledger: requester.Ledger,
    count: int,
    label: str,
    pipelined: bool,
) -> list[Requester]:
    """So many, shared out among the sessions."""
    everyone: list[Requester] = []
    for number, session in enumerate(sessions):
        changed: dict[bytes, Requester] = {}
        session.on_event = functools.partial(_tell, changed)
        everyone += [
            Requester(session, ledger, changed, label, pipelined)
            for _ in range(number, count, len(sessions))
        ]
    return everyone


def _tell(changed: dict[bytes, Requester], kind: int, path: bytes) -> None:
    if path in changed:
        changed.pop(path).changed()


async def _let_work(sessions: Sequence[BareSession], seconds: float) -> None:
    """:raises Exception: what went wrong for one of them."""
    troubles = [session.trouble for session in sessions]
    done, _ = await asyncio.wait(troubles, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for trouble in done:
        trouble.result()
