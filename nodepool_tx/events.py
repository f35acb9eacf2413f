"""What has happened, told to whoever counts it or shows it.

A part that does something worth counting publishes a frozen value; metrics,
the history behind the dashboard and event streams subscribe.  Nothing that the
launcher decides may depend on an event: who needs to know the state of things
reads the store or a status.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import Logger

__all__ = [
    "CloudCalled",
    "Event",
    "Events",
    "HostChanged",
    "LaunchEnded",
    "LeakRemoved",
    "NodeDeleted",
    "ReloadEnded",
    "ReloadRefused",
    "RequestEnded",
    "ServiceAsked",
]


@attrs.frozen
class Event:
    """Something that happened a moment ago in this process."""


@attrs.frozen(kw_only=True)
class LaunchEnded(Event):
    """One attempt to make a node has ended.

    :ivar result: ``ready``, or the name of the error as it is in Nodepool 11's
        statistics after ``error.``, such as ``quota``, ``keyscan``, ``timeout``.
    :ivar seconds: how long this attempt took.
    :ivar image: the name of the image that the label is made of.
    :ivar final: no further attempt was to follow when this one ended.
    """

    provider: str
    pool: str
    label: str
    node_id: str
    result: str
    seconds: float
    zone: str | None = None
    requestor: str | None = None
    image: str | None = None
    final: bool = True


@attrs.frozen(kw_only=True)
class NodeDeleted(Event):
    """A server of ours is gone, ``seconds`` after its deletion was begun."""

    provider: str
    node_id: str | None
    seconds: float


@attrs.frozen(kw_only=True)
class LeakRemoved(Event):
    """A cloud resource without a node was removed; ``kind`` is the adapter's name of it."""

    provider: str
    kind: str


@attrs.frozen(kw_only=True)
class RequestEnded(Event):
    """A pool of this process has answered a request for good.

    :ivar result: ``fulfilled``, ``failed`` or ``declined``; the last is this
        pool's answer only.
    :ivar seconds: since the request was made.
    """

    request_id: str
    provider: str
    pool: str
    labels: tuple[str, ...]
    result: str
    seconds: float
    tenant: str | None = None
    requestor: str | None = None


@attrs.frozen(kw_only=True)
class CloudCalled(Event):
    """A call of a cloud's API has ended.

    :ivar call: the adapter's name of it.
    :ivar result: ``ok`` or the name of the error's class.
    """

    provider: str
    call: str
    result: str
    seconds: float


@attrs.frozen(kw_only=True)
class ServiceAsked(Event):
    """A request to a service of a cloud has ended; a :class:`CloudCalled` may take several.

    :ivar service: its type, such as ``compute``.
    :ivar method: of HTTP.
    :ivar operation: what it was about, without ids, such as ``servers_detail``.
    :ivar status: of HTTP; None where there was no answer.
    """

    provider: str
    service: str
    method: str
    operation: str
    status: int | None
    seconds: float


@attrs.frozen(kw_only=True)
class HostChanged(Event):
    """A static host was found to be up, or down, and was not before; ``reason`` says why."""

    provider: str
    hostname: str
    up: bool
    reason: str = ""


@attrs.frozen(kw_only=True)
class ReloadEnded(Event):
    """A configuration was brought into force; names of providers by what became of them."""

    kept: tuple[str, ...]
    replaced: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    rolled_back: tuple[str, ...]
    seconds: float


@attrs.frozen(kw_only=True)
class ReloadRefused(Event):
    """A changed configuration is not valid; the old one stays in force."""

    errors: tuple[str, ...]


class Events:
    """Passes events on, at once and in order; an observer that fails harms nobody else."""

    _log = Logger()

    def __init__(self) -> None:
        self._observers: list[Callable[[Event], None]] = []

    def subscribe(self, observer: Callable[[Event], None]) -> Callable[[], None]:
        """Hear of every event from now on; returns the removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    @property
    def heard(self) -> bool:
        """Somebody listens; else an event that is dear to make need not be made."""
        return bool(self._observers)

    def publish(self, event: Event) -> None:
        """Tell everybody."""
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception:
                self._log.failure("observer of events failed on {event}", event=event)
