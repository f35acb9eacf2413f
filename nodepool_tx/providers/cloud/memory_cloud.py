"""A whole cloud in memory, and everything a test wants to do to it.

Time is the clock's alone: nothing happens by itself, but whoever looks sees
what ought to have happened by now, so that a day with a hundred thousand
servers costs no timers.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.config.cloud import CloudLabel
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    Gone,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
)
from nodepool_tx.providers.cloud.interface import (
    BUILD_ID,
    ImageInCloud,
    ImageUploadOrder,
    Instance,
    InstanceState,
    Order,
    Resource,
)
from nodepool_tx.resources import Amounts, exceeded, total

__all__ = ["DEFAULT_NEEDS", "MemoryCloud", "Script", "Timing", "seconds_of"]

_S = InstanceState

#: What a server counts for where no flavor says otherwise.
DEFAULT_NEEDS: Amounts = {"instances": 1, "cores": 2, "ram": 4096}

Seconds = float | Callable[[], float]


@attrs.frozen(kw_only=True)
class Timing:
    """How long things take, in seconds; functions are asked each time.

    :ivar answer: of every call.
    :ivar boot: from a server being made to its being active.
    :ivar delete: from the deletion's beginning to the server being gone.
    """

    answer: Seconds = 0.0
    boot: Seconds = 0.0
    delete: Seconds = 0.0


def seconds_of(time: Seconds) -> float:
    """A time that is given or asked for."""
    return time() if callable(time) else time


@attrs.frozen
class Script:
    """What is to become of one call.

    :ivar error: None for no answer at all.
    :ivar done: what was asked for happens all the same.
    """

    error: CloudError | Exception | None
    done: bool


@attrs.define
class _Server:
    """What the cloud knows of a server beside what it shows."""

    resources: Amounts
    zone: str
    boot_fault: CloudError | None = None
    address: str = ""
    finished: bool = False


class MemoryCloud:
    """The cloud, and what tests do to it.

    :param flavors: what a server of each label counts for; a label that is
        not named cannot be made.  Without it, all labels are alike.
    :param quota: the limits of the account; tests may change it.
    :ivar capacity: how many servers fit into a zone, where that is limited.
    :ivar finish_takes: listings for which a server is active and not finished.
    :ivar broken: what every call fails with, while it is set.
    :ivar missing_images: names of images that are not there.
    :ivar calls: how often each method was called.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        timing: Timing | None = None,
        flavors: Mapping[str, Amounts] | None = None,
        quota: Amounts | None = None,
        zones: Sequence[str] = ("zone-1",),
    ) -> None:
        self.clock = clock
        self.timing = timing or Timing()
        self.flavors = flavors
        self.quota: dict[str, float] = dict(quota or {})
        self.zones = tuple(zones)
        self.capacity: dict[str, int] = {}
        self.finish_takes = 0
        self.broken: Exception | None = None
        self.missing_images: set[str] = set()
        self.calls: Counter[str] = Counter()
        #: What all servers use together.
        self.used: dict[str, float] = {}
        #: How many servers were ever made.
        self.made = 0
        self.images: dict[str, ImageUploadOrder] = {}
        self._ids = itertools.count(1)
        self._servers: dict[str, _Server] = {}
        #: What a listing shows; replaced only when it changes.
        self._shown: dict[str, Instance] = {}
        self._in_zone: Counter[str] = Counter()
        self._leftovers: dict[str, Resource] = {}
        #: What happens when: time, order, server, its new state (None: gone).
        self._events: list[tuple[float, int, str, InstanceState | None]] = []
        self._scripts: dict[str, deque[Script]] = {}
        self._boot_faults: deque[CloudError] = deque()
        self._deletions: deque[float | None] = deque()

    # -- what tests do ---------------------------------------------------

    def fail_next(
        self, method: str, error: Exception, *, times: int = 1, done: bool = False
    ) -> None:
        """Let the next calls fail; with ``done``, after doing what was asked."""
        self._scripts.setdefault(method, deque()).extend([Script(error, done)] * times)

    def hang_next(self, method: str, *, times: int = 1, done: bool = False) -> None:
        """Let the next calls go without an answer, until they are cancelled."""
        self._scripts.setdefault(method, deque()).extend([Script(None, done)] * times)

    def forget_scripts(self) -> None:
        """Let calls go as usual again."""
        self._scripts.clear()

    def fail_boot(self, error: CloudError, *, times: int = 1) -> None:
        """Let the next servers end as failed when they should be active."""
        self._boot_faults.extend([error] * times)

    def slow_deletion(self, seconds: float, *, times: int = 1) -> None:
        """Let the next deletions take so long."""
        self._deletions.extend([seconds] * times)

    def ignore_deletion(self, *, times: int = 1) -> None:
        """Let the next deletions be accepted, and forgotten."""
        self._deletions.extend([None] * times)

    def fail_server(self, external_id: str, error: CloudError) -> None:
        """Let a server that is there fail now."""
        self._settle()
        self._show(external_id, state=_S.FAILED, fault=error)

    def lose_server(self, external_id: str) -> None:
        """Let a server be gone, as if somebody else had deleted it."""
        self._settle()
        self._remove(external_id)

    def add_unmanaged(
        self, name: str = "pet", needs: Amounts = DEFAULT_NEEDS, **metadata: str
    ) -> str:
        """Somebody else's server."""
        return self._make(name, dict(metadata), needs, self.zones[0], boots_in=0.0)

    def leave(self, kind: str, *, orphan: bool = False, **metadata: str) -> Resource:
        """Something left over, not a server."""
        resource = Resource(
            kind=kind, external_id=f"{kind}-{next(self._ids)}", metadata=metadata, orphan=orphan
        )
        self._leftovers[resource.external_id] = resource
        return resource

    @property
    def servers(self) -> Mapping[str, Instance]:
        """Every server by its id, as it is now."""
        self._settle()
        return dict(self._shown)

    # -- what the adapter does -------------------------------------------

    def script(self, method: str) -> Script | None:
        """Count a call; what is to become of it, if it is not to go well."""
        self.calls[method] += 1
        if self.broken is not None:
            return Script(self.broken, done=False)
        scripts = self._scripts.get(method)
        return scripts.popleft() if scripts else None

    def needs(self, label: CloudLabel) -> Amounts:
        if self.flavors is None:
            return DEFAULT_NEEDS
        if label.name not in self.flavors:
            raise InvalidConfiguration(f"there is no flavor for the label {label.name}")
        return self.flavors[label.name]

    def create(self, order: Order) -> str:
        self._settle()
        needs = self.needs(order.label)
        image = order.label.image
        if order.image_id is not None:
            if order.image_id not in self.images:
                raise InvalidConfiguration(f"there is no image {order.image_id}")
        elif image is not None and image.name in self.missing_images:
            raise InvalidConfiguration(f"there is no image {image.name}")
        short = exceeded(self.quota, self.used, needs)
        if short:
            raise OverQuota(f"the quota does not allow more {', '.join(short)}")
        return self._make(
            order.name, order.metadata, needs, self._zone(order), seconds_of(self.timing.boot)
        )

    def _zone(self, order: Order) -> str:
        if order.zone is not None and order.zone not in self.zones:
            raise InvalidConfiguration(f"there is no zone {order.zone}")
        for zone in self.zones if order.zone is None else (order.zone,):
            if self._in_zone[zone] < self.capacity.get(zone, self._in_zone[zone] + 1):
                return zone
        raise NoCapacity(f"there is no room in {order.zone or 'any zone'}")

    def _make(
        self, name: str, metadata: Mapping[str, str], needs: Amounts, zone: str, boots_in: float
    ) -> str:
        number = next(self._ids)
        external_id = f"server-{number}"
        fault = self._boot_faults.popleft() if self._boot_faults else None
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        self._servers[external_id] = _Server(needs, zone, fault, address)
        self._shown[external_id] = Instance(
            external_id=external_id,
            state=_S.BUILDING,
            name=name,
            metadata=metadata,
            resources=needs,
            cloud="memory",
            zone=zone,
        )
        self.made += 1
        self.used = total(self.used, needs)
        self._in_zone[zone] += 1
        self._later(boots_in, external_id, _S.ACTIVE)
        return external_id

    def finish(self, order: Order, instance: Instance) -> Instance | None:
        self._settle()
        server = self._servers.get(instance.external_id)
        if server is None:
            raise Gone(f"there is no server {instance.external_id}")
        shown = self._shown[instance.external_id]
        if server.finished:
            return shown
        if self.finish_takes > 0:
            self.finish_takes -= 1
            return None
        server.finished = True
        address = server.address
        return self._show(
            instance.external_id,
            private_ipv4=address,
            public_ipv4=None if order.pool.use_internal_ip else address,
            interface_ip=address,
        )

    def delete(self, external_id: str) -> None:
        self._settle()
        shown = self._shown.get(external_id)
        if shown is None:
            raise Gone(f"there is no server {external_id}")
        if shown.state is _S.DELETING:
            return
        seconds: float | None = seconds_of(self.timing.delete)
        if self._deletions:
            seconds = self._deletions.popleft()
        if seconds is None:
            return
        self._show(external_id, state=_S.DELETING)
        self._later(seconds, external_id, None)

    def listing(self) -> tuple[Instance, ...]:
        self._settle()
        return tuple(self._shown.values())

    def resources(self) -> tuple[Resource, ...]:
        self._settle()
        servers = (
            Resource(kind="instance", external_id=each.external_id, metadata=each.metadata)
            for each in self._shown.values()
        )
        images = (
            Resource(kind="image", external_id=image_id, metadata=order.metadata)
            for image_id, order in self.images.items()
        )
        return (*servers, *images, *self._leftovers.values())

    def delete_resource(self, resource: Resource) -> None:
        if resource.kind == "instance":
            self.delete(resource.external_id)
        elif resource.kind == "image":
            self.delete_image(resource.external_id)
        elif self._leftovers.pop(resource.external_id, None) is None:
            raise Gone(f"there is no {resource.kind} {resource.external_id}")

    def upload_image(self, order: ImageUploadOrder) -> str:
        image_id = f"image-{next(self._ids)}"
        self.images[image_id] = order
        return image_id

    def built_images(self) -> tuple[ImageInCloud, ...]:
        return tuple(
            ImageInCloud(external_id=image_id, name=order.name, metadata=order.metadata)
            for image_id, order in self.images.items()
            if BUILD_ID in order.metadata
        )

    def delete_image(self, external_id: str) -> None:
        if self.images.pop(external_id, None) is None:
            raise Gone(f"there is no image {external_id}")

    # -- time ------------------------------------------------------------

    def _later(self, seconds: float, external_id: str, state: InstanceState | None) -> None:
        when = self.clock.seconds() + seconds
        heapq.heappush(self._events, (when, next(self._ids), external_id, state))

    def _settle(self) -> None:
        """Let happen what is due."""
        now = self.clock.seconds()
        while self._events and self._events[0][0] <= now:
            _, _, external_id, state = heapq.heappop(self._events)
            shown = self._shown.get(external_id)
            if shown is None:
                continue
            if state is None:
                self._remove(external_id)
            elif shown.state is _S.BUILDING:
                fault = self._servers[external_id].boot_fault
                if fault is None:
                    self._show(external_id, state=_S.ACTIVE)
                else:
                    self._show(external_id, state=_S.FAILED, fault=fault)

    def _show(self, external_id: str, **changes: Any) -> Instance:
        self._shown[external_id] = attrs.evolve(self._shown[external_id], **changes)
        return self._shown[external_id]

    def _remove(self, external_id: str) -> None:
        server = self._servers.pop(external_id)
        del self._shown[external_id]
        self._in_zone[server.zone] -= 1
        for resource, amount in server.resources.items():
            self.used[resource] -= amount
