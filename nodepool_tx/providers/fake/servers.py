"""Servers of the simulated cloud: what becomes of them, and when.

Each step of a server's life is a timer of its own, so that nothing ever looks
through all servers to find those whose time has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodepool_tx.config.fake import FakeSimulation
from nodepool_tx.providers.fake.images import Images
from nodepool_tx.providers.fake.networks import Network, Networks, Port
from nodepool_tx.providers.fake.rules import Identities, Refused, lasting
from nodepool_tx.providers.fake.volumes import Volumes

__all__ = ["BootVolume", "Flavor", "Server", "ServerOrder", "Servers"]

#: When a server is given a host, and when its addresses, as shares of its boot.
SCHEDULED = 0.2
NETWORKED = 0.5

#: How many servers share a host.
PER_HOST = 10


@attrs.frozen
class Flavor:
    """A size of server; ram in MiB, disk in GiB."""

    id: str
    name: str
    vcpus: int
    ram: int
    disk: int


@attrs.frozen
class BootVolume:
    """A volume to boot from, that is made for the server."""

    image_id: str
    size: int
    goes: bool


@attrs.frozen(kw_only=True)
class ServerOrder:
    """A request for a server, once its form has been checked.

    :ivar networks: networks to make ports in, and ports; None for whatever is
        automatic.
    """

    name: str
    flavor_id: str
    image_id: str | None
    volume: BootVolume | None = None
    networks: tuple[Network | Port, ...] | None = None
    zone: str | None = None
    key_name: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    security_groups: tuple[str, ...] = ()
    config_drive: bool = False


@attrs.define(eq=False)
class Server:
    """A server; the words of its states are OpenStack's.

    :ivar number: counts servers up, in the order they were made.
    :ivar views: how it looks in each form it was asked for; emptied at a change.
    """

    id: str
    number: int
    order: ServerOrder
    flavor: Flavor
    created: float
    updated: float
    status: str = "BUILD"
    vm_state: str = "building"
    task_state: str | None = "scheduling"
    power_state: int = 0
    zone: str = ""
    host: str | None = None
    launched: float | None = None
    fault: tuple[int, str, float] | None = None
    volumes: list[str] = attrs.field(factory=list)
    views: dict[Any, Any] = attrs.field(factory=dict)
    step: IDelayedCall | None = None
    leaving: bool = False


class Servers:
    """The servers there are, and what they may be made of.

    :ivar keys: the names of the key pairs.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        identities: Identities,
        simulation: FakeSimulation,
        images: Images,
        volumes: Volumes,
    ) -> None:
        self._clock = clock
        self._random = random
        self._identities = identities
        self._images = images
        self._volumes = volumes
        self.simulation = simulation
        self.networks = Networks(clock, random, identities, self._addresses_changed)
        #: By id, the oldest first.
        self.servers: dict[str, Server] = {}
        self.keys: set[str] = set()
        self.flavors: dict[str, Flavor] = {}
        self.used = {"instances": 0, "cores": 0, "ram": 0}
        self._placed: Counter[str] = Counter()
        self._made = 0

    # -- asking for one --------------------------------------------------

    def create(self, order: ServerOrder) -> Server:
        """Take an order for a server, which then boots.

        :raises Refused: it cannot be had.
        """
        flavor = self.flavors.get(order.flavor_id)
        if flavor is None:
            raise Refused(400, f"the flavor {order.flavor_id} is not found")
        for image_id in (order.image_id, order.volume.image_id if order.volume else None):
            if image_id is not None:
                self._images.usable(image_id)
        if order.key_name is not None and order.key_name not in self.keys:
            raise Refused(400, f"there is no key pair called {order.key_name}")
        if order.zone is not None and order.zone not in self.simulation.zones:
            raise Refused(400, f"the availability zone {order.zone} is not available")
        networks = self.networks.automatic() if order.networks is None else order.networks
        for port in networks:
            if isinstance(port, Port) and port.device_id:
                raise Refused(409, f"the port {port.id} is in use")
        self._within_quota(flavor)
        now = self._clock.seconds()
        self._made += 1
        server = Server(
            id=self._identities.uuid(),
            number=self._made,
            order=attrs.evolve(order, networks=tuple(networks)),
            flavor=flavor,
            created=now,
            updated=now,
            zone=order.zone or "",
        )
        self.servers[server.id] = server
        self._count(flavor, 1)
        self._at(server, SCHEDULED, self._schedule)
        return server

    def _within_quota(self, flavor: Flavor) -> None:
        limits = {
            "cores": self.simulation.max_cores,
            "instances": self.simulation.max_instances,
            "ram": self.simulation.max_ram,
        }
        wanted = {"cores": flavor.vcpus, "instances": 1, "ram": flavor.ram}
        over = [
            what for what, limit in limits.items() if 0 <= limit < self.used[what] + wanted[what]
        ]
        if over:
            lists = [
                ", ".join(str(each[what]) for what in over) for each in (wanted, self.used, limits)
            ]
            raise Refused(
                403,
                f"Quota exceeded for {', '.join(over)}: {lists[0]} requested, "
                f"{lists[1]} of {lists[2]} in use",
            )

    def _count(self, flavor: Flavor, sign: int) -> None:
        self.used["instances"] += sign
        self.used["cores"] += sign * flavor.vcpus
        self.used["ram"] += sign * flavor.ram

    # -- its life --------------------------------------------------------

    def _at(self, server: Server, share: float, step: Callable[[Server], None]) -> None:
        """Do the next step when that share of the boot is over."""

        def run() -> None:
            server.step = None
            step(server)

        due = server.created + share * self.simulation.boot_delay
        server.step = self._clock.callLater(max(0.0, due - self._clock.seconds()), run)

    def _change(self, server: Server) -> None:
        server.updated = self._clock.seconds()
        server.views.clear()

    def _addresses_changed(self, server_id: str) -> None:
        server = self.servers.get(server_id)
        if server is not None:
            self._change(server)

    def _schedule(self, server: Server) -> None:
        """Give it a host, if there is one with room."""
        capacity = self.simulation.capacity
        asked = server.order.zone
        zones = [
            zone
            for zone in ((asked,) if asked else self.simulation.zones)
            if zone not in capacity or self._placed[zone] < capacity[zone]
        ]
        if not zones:
            self._fail(server, "No valid host was found. All of them are full.")
            return
        server.zone = zone = self._random.choice(zones)
        server.host = f"{zone}-{self._placed[zone] // PER_HOST}"
        self._placed[zone] += 1
        server.task_state = "networking"
        self._change(server)
        self._at(server, NETWORKED, self._connect)

    def _connect(self, server: Server) -> None:
        """Attach it to its networks, and make its volume."""
        order = server.order
        owner = f"compute:{server.zone}"
        groups = [lasting("security-group", name) for name in order.security_groups]
        try:
            for each in order.networks or ():
                if isinstance(each, Port):
                    self.networks.bind(each, server.id, owner)
                    continue
                self.networks.add_port(
                    each, device_id=server.id, device_owner=owner, groups=groups, ours=True
                )
            if order.volume is not None:
                wanted = order.volume
                volume = self._volumes.add(wanted.size, image_id=wanted.image_id, goes=wanted.goes)
                self._volumes.attach(volume, server.id, server.zone)
                server.volumes.append(volume.id)
        except Refused as e:
            self._fail(server, f"Build of instance {server.id} aborted: {e.message}")
            return
        server.task_state = "spawning"
        self._change(server)
        self._at(server, 1.0, self._finish)

    def _finish(self, server: Server) -> None:
        if self._random.random() < self.simulation.boot_failure_rate:
            self._fail(server, f"Build of instance {server.id} aborted: simulated failure")
            return
        server.status, server.vm_state, server.power_state = "ACTIVE", "active", 1
        server.task_state = None
        server.launched = self._clock.seconds()
        for port in self.networks.ports_of(server.id):
            port.status = "ACTIVE"
        self._change(server)

    def _fail(self, server: Server, message: str) -> None:
        server.status = server.vm_state = "ERROR"
        server.vm_state = "error"
        server.task_state = None
        server.fault = (500, message, self._clock.seconds())
        self._leave_host(server)
        self._let_go(server)
        self._change(server)

    def _leave_host(self, server: Server) -> None:
        if server.host is not None:
            self._placed[server.zone] -= 1
            server.host = None

    def _let_go(self, server: Server) -> None:
        """Give back what was made for it."""
        self.networks.release(server.id)
        for volume in server.volumes:
            self._volumes.release(volume)
        server.volumes.clear()

    # -- its end ---------------------------------------------------------

    def delete(self, server: Server) -> None:
        """Begin to delete it; nothing happens if that has begun already."""
        if server.leaving:
            return
        server.leaving = True
        server.task_state = "deleting"
        if server.step is not None:
            server.step.cancel()
            server.step = None
        self._change(server)
        # One that nobody hosts is deleted on the spot.
        delay = self.simulation.delete_delay if server.host is not None else 0.0
        self._clock.callLater(delay, self._gone, server)

    def _gone(self, server: Server) -> None:
        self.servers.pop(server.id, None)
        self._count(server.flavor, -1)
        self._leave_host(server)
        self._let_go(server)
