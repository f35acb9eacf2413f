"""What a provider is to the rest of the launcher, and to a driver's author.

A provider service is one named child of the service tree.  It is built from a
frozen configuration that never changes; a changed configuration gets a new
object.  At most one object for a name is not idle at any time: see
:mod:`nodepool_tx.reload`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import attrs
from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.events import Events
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.pools.explaining import PoolExplanation, Reason
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.reservations import Reservations
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.store.store import Store

__all__ = [
    "HasHosts",
    "Intervals",
    "Loop",
    "Measured",
    "Measures",
    "Phase",
    "ProviderContext",
    "ProviderDescription",
    "ProviderService",
    "ProviderStatus",
]


class Phase(enum.Enum):
    """How much a provider service may do."""

    #: Built, not started.
    NEW = "new"
    ACTIVE = "active"
    #: Starts nothing; what was in flight may still be finishing.
    IDLE = "idle"
    #: Removed from the configuration: gives nodes up as they come free.
    DRAINING = "draining"
    STOPPED = "stopped"


@attrs.frozen
class Intervals:
    """Seconds between the rounds that catch what no event announced."""

    cleanup: float = 60.0
    stats: float = 5.0
    lock_cleanup: float = 300.0
    image_check: float = 300.0
    config: float = 1.0


@attrs.frozen
class ProviderStatus:
    """What people are shown of a provider; ``details`` is the driver's own.

    :ivar waiting: the requests that wait here, and why, a line for each kind.
    :ivar troubles: what keeps nodes from being of use, such as machines that
        are down.
    """

    name: str
    driver: str
    phase: Phase
    #: This launcher is the one that looks after the provider's nodes.
    owner: bool
    #: What is in flight and since when (seconds, the clock's).
    tasks: tuple[tuple[str, float], ...]
    details: Mapping[str, Any]
    waiting: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


@attrs.frozen
class Loop:
    """A loop that catches what no event announced.

    :ivar interval: seconds between its rounds.
    :ivar last_success: when a round last ended well (the clock's seconds).
    """

    name: str
    interval: float
    last_success: float | None


@attrs.frozen(kw_only=True)
class Measures:
    """Numbers about a provider that cost little however many nodes it has.

    :ivar waiting: requests that are not answered, by pool.
    :ivar hosts: static machines, by health: ``up``, ``down``, ``unknown``, or
        ``maintenance`` whatever their state.
    :ivar quota: what the cloud allows, by resource; None if that is not known.
    :ivar others: what servers that are none of ours use of it.
    """

    waiting: Mapping[str, int]
    loops: tuple[Loop, ...]
    hosts: Mapping[str, int] = attrs.field(factory=dict)
    launching: int = 0
    deleting: int = 0
    quota: Mapping[str, float] | None = None
    others: Mapping[str, float] = attrs.field(factory=dict)


@runtime_checkable
class Measured(Protocol):
    """A provider service that can be measured."""

    @property
    def owner(self) -> bool:
        """This launcher is the one that looks after the provider's nodes."""

    def measures(self) -> Measures: ...


@runtime_checkable
class HasHosts(Protocol):
    """A provider of machines, so many perhaps that its status is made a few at a time."""

    def brief(self) -> ProviderStatus:
        """Its status without the machines."""

    def hosts(self) -> Iterator[Mapping[str, Any]]:
        """One entry per machine; each is made when it is asked for."""

    def with_hosts(
        self, brief: ProviderStatus, hosts: tuple[Mapping[str, Any], ...]
    ) -> ProviderStatus:
        """The whole status, put together."""


@attrs.frozen
class ProviderContext:
    """Everything of the launcher that a provider is given.

    :ivar reservations: what all pools of this process are about to give out.
    :ivar reactor: for drivers that open connections of their own; None where
        there is no network, as in tests on a virtual clock.
    :ivar events: where to tell what has happened, for those who count it.
    :ivar offload: runs a function in a thread and fires with its result; for
        libraries that have no asynchronous form.
    """

    clock: IReactorTime
    store: Store
    scanner: Scanner
    registry: PoolRegistry
    ownerships: Ownerships
    tenant_limits: TenantLimits
    intervals: Intervals
    reactor: Any = None
    offload: Callable[[Callable[[], Any]], Deferred[Any]] | None = None
    events: Events = attrs.field(factory=Events)
    reservations: Reservations = attrs.field(
        default=attrs.Factory(
            lambda self: Reservations(self.store, self.tenant_limits), takes_self=True
        )
    )


class ProviderService(Protocol):
    """One provider; also a :class:`twisted.application.service.IService`.

    :class:`nodepool_tx.providers.service.PooledProvider` has what all drivers share.

    ``startService`` is synchronous and does not raise for remote trouble;
    ``stopService`` returns a Deferred that fires when nothing of it runs or
    will run.  Stopping without idling first is fine, and leaves ZooKeeper in a
    state that a new process continues from.
    """

    name: str

    @property
    def config(self) -> ProviderConfig: ...

    @property
    def phase(self) -> Phase: ...

    def idle(self) -> Deferred[None]:
        """Start nothing more that could write; fire when what is in flight is done.

        From the call on the object is :attr:`Phase.IDLE`: its LoopingCall is
        stopped, events do not wake it, its pools accept no request.  It stays
        registered with the same pools, so that nobody declines requests for
        want of it.  Idling twice returns the same wait.
        """

    def retired(self) -> Deferred[None]:
        """Fires when an idle service may leave the tree.

        What was taken on before :meth:`idle` may take long, a server being
        launched for instance: it goes on to its end in the old object while
        the successor works.  Stopping it earlier is fine, too.
        """

    def resume(self) -> None:
        """Go on as before :meth:`idle`; used when a successor could not start."""

    def drain(self) -> Deferred[None]:
        """Give everything up: fires when no node of this provider is left.

        Accepts no request, removes free nodes now and others as they return.
        """

    def status(self) -> ProviderStatus: ...

    def explain(self, request_id: str) -> tuple[PoolExplanation, ...]:
        """What each of its pools says about a request; nothing if there is none of that id."""

    def reasons(self, request_id: str) -> tuple[Reason, ...]:
        """Why it waits in each pool in which it does, cheap enough for lists of thousands."""

    def setServiceParent(self, parent: IServiceCollection) -> None: ...

    def disownServiceParent(self) -> Deferred[None] | None: ...


@attrs.frozen
class ProviderDescription:
    """A driver: its name in the configuration and how to make its services.

    :ivar adapter: makes what talks to a provider's cloud, for those who only
        look at it (see :mod:`nodepool_tx.providers.cloud.outside`); None where
        there is no cloud, or only the launcher's process can see it.
    """

    name: str
    build: Callable[[ProviderConfig, ProviderContext], ProviderService]
    adapter: Callable[[ProviderConfig, ProviderContext], Any] | None = None
