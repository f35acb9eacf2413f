"""What event streams tell of, topic by topic.

A feed notes what has changed, as little as that takes, and makes one event of
all that when it is asked to.  It follows nothing while nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import nsmallest
from itertools import islice
from typing import Any, Protocol

from nodepool_tx.events import Event, Events, HostChanged, ReloadEnded, ReloadRefused
from nodepool_tx.history import History
from nodepool_tx.model import RequestState
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.nodes import shown_node
from nodepool_tx.status.process import process_status
from nodepool_tx.status.providers import gather_provider, provider_names
from nodepool_tx.status.reloads import reload_statuses
from nodepool_tx.status.requests import Reasons, request_status
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.web.turns import Turns

__all__ = ["PACE", "Feed", "make_feeds"]

#: Seconds between events of one topic, at the least; of large ones, more.
PACE = 0.25
SLOW_PACE = 1.0

#: Objects in one event; more follow in the next.
MOST = 200

#: Parts of a status that always change, and tell nobody anything by doing so.
_PASSING = ("now",)
_PASSING_OF_ZOOKEEPER = ("latency_ms", "requests", "in_flight")


class Feed(Protocol):
    """One topic.

    :ivar pace: seconds between its events, at the least.
    :ivar dirty: there is something to tell.
    """

    topic: str
    pace: float
    dirty: bool

    def watch(self, wake: Callable[[], None]) -> None:
        """Follow what happens from now on; ``wake`` is called when there is something."""

    def stop(self) -> None:
        """Follow nothing any more, and forget."""

    def review(self) -> None:
        """Look for what changes without anybody telling."""

    async def collect(self, turns: Turns) -> dict[str, Any] | None:
        """What to tell; None if it comes to nothing after all."""


def make_feeds(farm: Farm, events: Events, history: History) -> tuple[Feed, ...]:
    """One for each topic."""
    return (
        _StatusFeed(farm, events),
        _ProvidersFeed(farm, events),
        _NodesFeed(farm),
        _RequestsFeed(farm),
        _ReloadFeed(farm, events, history),
        _HistoryFeed(history),
    )


class _Following:
    """What all feeds do."""

    pace = PACE

    def __init__(self) -> None:
        self.dirty = False
        self._wake: Callable[[], None] = lambda: None
        self._unsubscribe: list[Callable[[], None]] = []

    def watch(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._unsubscribe = self._subscriptions()

    def stop(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self.dirty = False

    def review(self) -> None:
        """Everything of this kind is told by somebody."""

    def _subscriptions(self) -> list[Callable[[], None]]:
        return []

    def _soil(self, *_: object) -> None:
        if not self.dirty:
            self.dirty = True
            self._wake()


class _StatusFeed(_Following):
    topic = "status"

    def __init__(self, farm: Farm, events: Events) -> None:
        super().__init__()
        self._farm = farm
        self._events = events
        self._told: dict[str, Any] | None = None

    def _subscriptions(self) -> list[Callable[[], None]]:
        store = self._farm.store
        return [
            store.nodes.subscribe(self._soil),
            store.requests.subscribe(self._soil),
            store.components.subscribe(self._soil),
            store.when_current(self._soil),
            store.client.observe(self._soil),
            self._events.subscribe(self._on_event),
        ]

    def _on_event(self, event: Event) -> None:
        if isinstance(event, (ReloadEnded, ReloadRefused)):
            self._soil()

    def review(self) -> None:
        self._soil()

    async def collect(self, turns: Turns) -> dict[str, Any] | None:
        self.dirty = False
        status = process_status(self._farm)
        lasting = {key: value for key, value in status.items() if key not in _PASSING}
        lasting["zookeeper"] = {
            key: value
            for key, value in status["zookeeper"].items()
            if key not in _PASSING_OF_ZOOKEEPER
        }
        if lasting == self._told:
            return None
        self._told = lasting
        return status


class _ProvidersFeed(_Following):
    topic = "providers"
    #: An object has all hosts of a provider, and changes with every node.
    pace = SLOW_PACE

    def __init__(self, farm: Farm, events: Events) -> None:
        super().__init__()
        self._farm = farm
        self._events = events
        self._changed: set[str] = set()
        self._all = False
        self._told: dict[str, Any] = {}

    def _subscriptions(self) -> list[Callable[[], None]]:
        store = self._farm.store
        return [
            store.nodes.subscribe(self._on_node),
            store.components.subscribe(self.review),
            store.maintenance.subscribe(self.review),
            store.when_current(lambda _: self.review()),
            self._events.subscribe(self._on_event),
        ]

    def stop(self) -> None:
        super().stop()
        self._changed, self._told, self._all = set(), {}, False

    def _on_node(self, change: NodeChange) -> None:
        self._changed |= change.concerns
        self._soil()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, HostChanged):
            self._changed.add(event.provider)
            self._soil()
        elif isinstance(event, ReloadEnded):
            self.review()

    def review(self) -> None:
        self._all = True
        self._soil()

    async def collect(self, turns: Turns) -> dict[str, Any] | None:
        changed, self._changed = self._changed, set()
        everything, self._all, self.dirty = self._all, False, False
        names = provider_names(self._farm)
        shown: list[dict[str, Any]] = []
        for name in sorted(names if everything else names & changed):
            status = await gather_provider(self._farm, name, turns.breathe)
            if status is not None and self._told.get(name) != (lasting := _lasting(status)):
                self._told[name] = lasting
                shown.append(status)
            await turns.breathe()
        gone = sorted(self._told.keys() - names)
        for name in gone:
            del self._told[name]
        return {"providers": shown, "gone": gone} if shown or gone else None


def _lasting(provider: dict[str, Any]) -> dict[str, Any]:
    """Without the ages of what is in flight."""
    return {**provider, "tasks": [task["what"] for task in provider["tasks"]]}


class _NodesFeed(_Following):
    topic = "nodes"

    def __init__(self, farm: Farm) -> None:
        super().__init__()
        self._farm = farm
        #: In the order in which they first changed.
        self._changed: dict[str, None] = {}

    def _subscriptions(self) -> list[Callable[[], None]]:
        return [self._farm.store.nodes.subscribe(self._on_node)]

    def stop(self) -> None:
        super().stop()
        self._changed = {}

    def _on_node(self, change: NodeChange) -> None:
        self._changed[change.node_id] = None
        self._soil()

    async def collect(self, turns: Turns) -> dict[str, Any] | None:
        changed, gone = [], []
        for node_id in list(islice(self._changed, MOST)):
            del self._changed[node_id]
            node = shown_node(self._farm, node_id)
            if node is None:
                gone.append(node_id)
            else:
                changed.append(node)
        self.dirty = bool(self._changed)
        return {"changed": changed, "gone": gone} if changed or gone else None


class _RequestsFeed(_Following):
    topic = "requests"

    def __init__(self, farm: Farm) -> None:
        super().__init__()
        self._farm = farm
        self._changed: dict[str, None] = {}
        #: Why requests wait, as was told.
        self._reasons: dict[str, str] = {}
        self._review = False

    def _subscriptions(self) -> list[Callable[[], None]]:
        return [self._farm.store.requests.subscribe(self._on_request)]

    def stop(self) -> None:
        super().stop()
        self._changed, self._reasons, self._review = {}, {}, False

    def _on_request(self, change: RequestChange) -> None:
        self._changed[change.request_id] = None
        self._soil()

    def review(self) -> None:
        """The reasons of those that are first in line may be others now."""
        self._review = True
        self._soil()

    async def collect(self, turns: Turns) -> dict[str, Any] | None:
        table, reasons = self._farm.store.requests, Reasons(self._farm)
        changed: list[dict[str, Any]] = []
        gone: list[str] = []
        chosen = list(islice(self._changed, MOST))
        for request_id in chosen:
            del self._changed[request_id]
            request = table.get(request_id)
            if request is None:
                self._reasons.pop(request_id, None)
                gone.append(request_id)
            else:
                changed.append(self._tell(request_status(request, self._farm.now, reasons)))
            await turns.breathe()
        if self._review and not self._changed:
            self._review = False
            changed += await self._with_new_reasons(set(chosen), reasons, turns)
        self.dirty = bool(self._changed)
        return {"changed": changed, "gone": gone} if changed or gone else None

    def _tell(self, status: dict[str, Any]) -> dict[str, Any]:
        self._reasons[status["id"]] = status["reason"]
        return status

    async def _with_new_reasons(
        self, told: set[str], reasons: Reasons, turns: Turns
    ) -> list[dict[str, Any]]:
        table = self._farm.store.requests
        waiting = (
            request
            for request in table
            if request.state in (RequestState.REQUESTED, RequestState.PENDING)
        )
        found: list[dict[str, Any]] = []
        for request in nsmallest(MOST, waiting, key=lambda request: request.sort_key):
            if request.id not in told and table.get(request.id) is request:
                reason = reasons.of(request)
                if reason != self._reasons.get(request.id):
                    found.append(self._tell(request_status(request, self._farm.now, reasons)))
            await turns.breathe()
        self._reasons = {i: reason for i, reason in self._reasons.items() if table.exists(i)}
        return found


class _ReloadFeed(_Following):
    topic = "reload"

    def __init__(self, farm: Farm, events: Events, history: History) -> None:
        super().__init__()
        self._farm = farm
        self._events = events
        self._history = history

    def _subscriptions(self) -> list[Callable[[], None]]:
        return [self._events.subscribe(self._on_event)]

    def _on_event(self, event: Event) -> None:
        if isinstance(event, (ReloadEnded, ReloadRefused)):
            self._soil()

    async def collect(self, turns: Turns) -> dict[str, Any] | None:
        self.dirty = False
        told = reload_statuses(self._farm, self._history)
        return {"reload": next(iter(told["reloads"]), None), "errors": told["errors"]}


class _HistoryFeed(_Following):
    topic = "history"

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def _subscriptions(self) -> list[Callable[[], None]]:
        return [self._history.subscribe(self._soil)]

    async def collect(self, turns: Turns) -> dict[str, Any] | None:
        self.dirty = False
        return self._history.newest()
