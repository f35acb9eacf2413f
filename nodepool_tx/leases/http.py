"""Leases over HTTP: who may ask, what is answered, and what is written down of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest
from twisted.web.server import Request

from nodepool_tx.audit import Audit
from nodepool_tx.auth.interface import Principal
from nodepool_tx.config.operations import Leases
from nodepool_tx.leases.bodies import read_ttl, read_wish
from nodepool_tx.leases.description import COMPONENTS, PATHS
from nodepool_tx.leases.desk import Busy, Desk, KeyTaken, Over, TooMany, UnknownLabels, Unsure
from nodepool_tx.leases.entry import Entry, later, where_from
from nodepool_tx.leases.polls import LONGEST_WAIT, Polls
from nodepool_tx.leases.rates import Rates
from nodepool_tx.leases.shown import shown_lease
from nodepool_tx.model import NodeRequest
from nodepool_tx.store.leases import Lease, LeaseState
from nodepool_tx.web.answers import NotToBeHad, send_json
from nodepool_tx.web.app import Extension
from nodepool_tx.web.parameters import bad_parameter, text_parameter, whole_parameter
from nodepool_tx.web.routing import Route
from nodepool_tx.work import shielded

__all__ = ["LeasesOverHTTP"]

#: Seconds after which something that could not be done may be tried again.
RETRY = 1.0

#: Of what is in a path: no id is longer.
LONGEST_ID = 40


@attrs.frozen
class _Asking:
    """One request of somebody who may make it.

    :ivar note: adds to what is written down of it.
    """

    request: Request
    person: Principal
    settings: Leases
    note: Callable[..., None]

    @property
    def owner(self) -> tuple[str, str]:
        return (self.person.name, self.person.how)


_Answer = Callable[[_Asking, str], Awaitable[bytes]]


class LeasesOverHTTP:
    """The paths.

    :param settings: those of the moment; None answers that there are no leases.
    :param why: why a request waits, in a line.
    """

    def __init__(
        self,
        clock: IReactorTime,
        desk: Desk,
        polls: Polls,
        entry: Entry,
        audit: Audit,
        settings: Callable[[], Leases | None],
        why: Callable[[NodeRequest], str],
    ) -> None:
        self._desk = desk
        self._polls = polls
        self._entry = entry
        self._audit = audit
        self._settings = settings
        self._why = why
        self._rates = Rates(clock)

    def extension(self) -> Extension:
        """For the web application."""
        one = "/api/leases/<lease_id>"
        routes = (
            Route("/api/requests", self._route("ask for nodes", self._ask), ("POST",)),
            Route("/api/leases", self._route("", self._list)),
            Route(one, self._route("", self._look)),
            Route(one, self._route("give back", self._give_back), ("DELETE",)),
            Route(f"{one}/renew", self._route("renew", self._renew), ("POST",)),
        )
        return Extension(routes, PATHS, COMPONENTS)

    # -- around every answer ---------------------------------------------

    def _route(self, change: str, answer: _Answer) -> Callable[..., Deferred[bytes]]:
        """What answers a path.

        :param change: what it does, for the audit log; "" if it only reads.
        """

        def answered(request: IRequest, lease_id: str = "") -> Deferred[bytes]:
            asked = self._answered(cast(Request, request), change, answer, lease_id)
            return Deferred.fromCoroutine(asked)

        return answered

    async def _answered(
        self, request: Request, change: str, answer: _Answer, lease_id: str
    ) -> bytes:
        settings = self._settings()
        if settings is None:
            raise NotToBeHad(404, "leases are not configured", "this launcher lends no nodes")
        # Others must not read what somebody's browser was told.
        request.setHeader("Cache-Control", "no-store")
        named = f" {lease_id[:LONGEST_ID]}" if lease_id else ""
        what = f"{change or 'look at leases'}{named}"
        record = partial(self._audit.record, where=f"http {where_from(request)}", what=what)
        who = ""
        try:
            person = await self._entry.let_in(request, settings)
            who = person.name
            self._count(person, settings)
        except NotToBeHad as e:
            record(who=who, outcome=_refusal(e))
            raise
        noted: dict[str, Any] = {"how": person.how}
        asking = _Asking(request, person, settings, noted.update)
        record = partial(record, who=who)
        doing = Deferred.fromCoroutine(
            self._do(asking, answer, lease_id[:LONGEST_ID], bool(change), record, noted)
        )
        if not change:
            return await doing
        # It is seen to its end, and written down, also if nobody waits for the answer.
        answered = shielded(doing)
        doing.addErrback(lambda failure: failure.trap(NotToBeHad))
        return await answered

    async def _do(
        self,
        asking: _Asking,
        answer: _Answer,
        lease_id: str,
        changes: bool,
        record: Callable[..., None],
        noted: dict[str, Any],
    ) -> bytes:
        try:
            with _told():
                body = await answer(asking, lease_id)
        except NotToBeHad as e:
            record(outcome=_refusal(e), **noted)
            raise
        except Exception:
            record(outcome="failed", **noted)
            raise
        if changes:
            record(outcome="ok", **noted)
        return body

    def _count(self, person: Principal, settings: Leases) -> None:
        wait = self._rates.take((person.name, person.how), settings.requests_per_minute)
        if wait:
            most = f"at most {settings.requests_per_minute} requests a minute"
            raise later("too many requests", most, wait, 429)

    # -- the answers -----------------------------------------------------

    async def _ask(self, asking: _Asking, _: str) -> bytes:
        wish = read_wish(asking.request)
        lease, new = await self._desk.ask(asking.owner, wish, asking.settings, asking.person.tenant)
        asking.note(lease=lease.id, labels=list(lease.labels), again=not new)
        asking.request.setHeader("Location", f"/api/leases/{lease.id}")
        return send_json(asking.request, self._shown(lease), 201 if new else 200)

    async def _list(self, asking: _Asking, _: str) -> bytes:
        leases = await self._desk.all_of(asking.owner)
        return send_json(asking.request, {"leases": [self._shown(each) for each in leases]})

    async def _look(self, asking: _Asking, lease_id: str) -> bytes:
        seconds = whole_parameter(asking.request, "wait", 0, 0, LONGEST_WAIT)
        state = _state_parameter(asking.request)
        lease = await self._own(asking, lease_id)
        if seconds and not lease.over:
            await self._polls.until_not(lease, state, seconds)
            lease = await self._own(asking, lease_id)
        return send_json(asking.request, self._shown(lease))

    async def _renew(self, asking: _Asking, lease_id: str) -> bytes:
        ttl = read_ttl(asking.request)
        lease = await self._own(asking, lease_id)
        renewed = await self._desk.renew(lease, ttl, asking.settings)
        asking.note(ttl=renewed.ttl)
        return send_json(asking.request, self._shown(renewed))

    async def _give_back(self, asking: _Asking, lease_id: str) -> bytes:
        lease = await self._own(asking, lease_id)
        over = await self._desk.give_back(lease, "its user gave it back")
        return send_json(asking.request, self._shown(over))

    async def _own(self, asking: _Asking, lease_id: str) -> Lease:
        """A lease of theirs; others' are no more to be had than those that do not exist."""
        lease = await self._desk.find(lease_id, asking.owner)
        if lease is None:
            raise NotToBeHad(404, "not found", "you have no such lease")
        return lease

    def _shown(self, lease: Lease) -> dict[str, Any]:
        reason, request = lease.reason, None
        if lease.state is LeaseState.WAITING:
            request = self._desk.request_of(lease)
            reason = "" if request is None else self._why(request)
        request_id = None if request is None else request.id
        return shown_lease(lease, self._desk.nodes_of(lease), request_id, reason)


def _refusal(error: NotToBeHad) -> str:
    return f"refused: {error.status} {error.error}"


def _state_parameter(request: Request) -> LeaseState:
    """Which state is to be waited out."""
    text = text_parameter(request, "state")
    for state in (LeaseState.WAITING, LeaseState.READY):
        if text in (None, state.value):
            return state
    raise bad_parameter("state", "must be waiting or ready")


@contextmanager
def _told() -> Iterator[None]:
    """What cannot be done, as an answer."""
    try:
        yield
    except UnknownLabels as e:
        raise NotToBeHad(422, "unknown labels", {"labels": list(e.labels)}) from None
    except TooMany:
        raise NotToBeHad(409, "too many leases", "give one back first") from None
    except KeyTaken:
        raise NotToBeHad(409, "key in use", "you asked for something else with it") from None
    except Over as e:
        detail = {"state": e.lease.state.value, "reason": e.lease.reason}
        raise NotToBeHad(409, "the lease is over", detail) from None
    except Busy:
        raise later("not now", "nothing has happened, try again", RETRY) from None
    except Unsure:
        raise later("not now", "it may have happened: look, or ask again", RETRY) from None
