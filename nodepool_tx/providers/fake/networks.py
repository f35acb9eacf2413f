"""Networks, ports and floating addresses of the simulated cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.providers.fake.rules import Addresses, Identities, Refused, lasting

__all__ = [
    "ROUTER",
    "SIMULATED_ADDRESSES",
    "FloatingAddress",
    "Network",
    "Networks",
    "Port",
    "Subnet",
]

#: What Nodepool 11's simulated cloud called its networks.
PUBLIC = "fake-public-network-name"
PRIVATE = "fake-private-network-name"
ISOLATED = "no-auto-ip-network-name"
DUAL = "fake-ipv6-network-name"

#: All addresses that servers are given: of IPv4 those set aside for benchmarks,
#: of IPv6 those for documentation.
SIMULATED_ADDRESSES = r"^(198\.1[89](\.[0-9]+){2}|2001:db8:[0-9a-f:]*)$"

#: What joins the private network to the public one.
ROUTER = lasting("router", "router")


@attrs.frozen(eq=False)
class Subnet:
    """A range of addresses of a network.

    :ivar gateway: None where nothing leads out.
    """

    id: str
    network_id: str
    addresses: Addresses
    gateway: str | None
    external: bool


@attrs.frozen(eq=False)
class Network:
    """Something to attach servers to.

    :ivar external: it leads out of the cloud, and floating addresses are its.
    :ivar routed: a router joins it to the external one.
    :ivar automatic: servers that ask for no network are attached to it.
    """

    id: str
    name: str
    subnets: tuple[Subnet, ...]
    external: bool = False
    routed: bool = False
    automatic: bool = False


@attrs.define(eq=False)
class Port:
    """Where a server is attached to a network.

    :ivar fixed: the subnet and the address of each of its addresses.
    :ivar ours: it was made by the cloud for a server, and goes with it.
    """

    id: str
    name: str
    network: Network
    mac: str
    created: float
    fixed: tuple[tuple[Subnet, str], ...]
    security_groups: tuple[str, ...]
    device_id: str = ""
    device_owner: str = ""
    status: str = "DOWN"
    ours: bool = False


@attrs.define(eq=False)
class FloatingAddress:
    """An address that leads from outside to a port.

    :ivar shown: the server it leads to has it among its addresses.
    """

    id: str
    network: Network
    address: str
    created: float
    description: str = ""
    port: Port | None = None
    fixed: str | None = None
    status: str = "DOWN"
    shown: bool = False


class Networks:
    """What there is of the network, and what happens to it.

    :param changed: told the id of each server whose addresses have changed.
    :ivar delay: seconds until a floating address leads somewhere.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        identities: Identities,
        changed: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._random = random
        self._identities = identities
        self._changed = changed
        self.delay = 0.0
        self.networks: dict[str, Network] = {}
        self.ports: dict[str, Port] = {}
        self.floating: dict[str, FloatingAddress] = {}
        self.security_groups: dict[str, str] = {}
        self._ports_of: dict[str, list[Port]] = {}
        self._floating_of: dict[str, FloatingAddress] = {}
        public = self._addresses("198.18.0.0/16")
        self._public = public
        self._add(PUBLIC, public, gateway="198.18.0.1", external=True, automatic=True)
        private = self._addresses("198.19.0.0/17")
        self._add(PRIVATE, private, gateway="198.19.0.1", routed=True, automatic=True)
        self._add(ISOLATED, self._addresses("198.19.128.0/18"))
        dual = [self._addresses(each) for each in ("198.19.192.0/18", "2001:db8::/64")]
        self._add(DUAL, *dual, external=True)
        self.public, self.private = (
            self.networks[lasting("network", n)] for n in (PUBLIC, PRIVATE)
        )
        self.add_port(self.private, device_id=ROUTER, device_owner="network:router_interface")
        self.add_security_group("default")

    def _addresses(self, cidr: str) -> Addresses:
        return Addresses(cidr, 16 + self._random.randrange(1 << 13))

    def _add(
        self,
        name: str,
        *ranges: Addresses,
        gateway: str | None = None,
        external: bool = False,
        routed: bool = False,
        automatic: bool = False,
    ) -> None:
        network = lasting("network", name)
        subnets = tuple(
            Subnet(lasting("subnet", f"{name}/{each.cidr}"), network, each, gateway, external)
            for each in ranges
        )
        self.networks[network] = Network(network, name, subnets, external, routed, automatic)

    def add_public(self, name: str) -> None:
        """Have another network of that name or id that works as the public one."""
        if self.find_network(name) is None:
            self._add(name, self._public, gateway="198.18.0.1", external=True)

    def add_security_group(self, name: str) -> None:
        self.security_groups.setdefault(lasting("security-group", name), name)

    def find_network(self, name_or_id: str) -> Network | None:
        for network in self.networks.values():
            if name_or_id in (network.id, network.name):
                return network
        return None

    def automatic(self) -> list[Network]:
        """What a server is attached to that asks for nothing.

        :raises Refused: that cannot be told.
        """
        chosen = [network for network in self.networks.values() if network.automatic]
        if not chosen and len(self.networks) > 1:
            raise Refused(409, "there are several networks: say which one by its id")
        return chosen or list(self.networks.values())

    # -- ports -----------------------------------------------------------

    def add_port(
        self,
        network: Network,
        *,
        name: str = "",
        device_id: str = "",
        device_owner: str = "",
        groups: Iterable[str] = (),
        ours: bool = False,
    ) -> Port:
        """Make a port, with an address of each subnet."""
        fixed: list[tuple[Subnet, str]] = []
        try:
            for subnet in network.subnets:
                fixed.append((subnet, subnet.addresses.take()))  # noqa: PERF401
        except Refused:
            _give_back(fixed)
            raise
        port = Port(
            id=self._identities.uuid(),
            name=name,
            network=network,
            mac=self._identities.mac(),
            created=self._clock.seconds(),
            fixed=tuple(fixed),
            security_groups=tuple(groups) or (lasting("security-group", "default"),),
            device_id=device_id,
            device_owner=device_owner,
            ours=ours,
        )
        self.ports[port.id] = port
        if device_id:
            self._ports_of.setdefault(device_id, []).append(port)
        return port

    def bind(self, port: Port, server_id: str, owner: str) -> None:
        """Give a port of the user's to a server."""
        port.device_id, port.device_owner = server_id, owner
        self._ports_of.setdefault(server_id, []).append(port)

    def ports_of(self, server_id: str) -> list[Port]:
        return self._ports_of.get(server_id, [])

    def floating_at(self, port: Port) -> FloatingAddress | None:
        return self._floating_of.get(port.id)

    def release(self, server_id: str) -> None:
        """Take away what a server had that is gone; what the user made stays."""
        for port in self._ports_of.pop(server_id, []):
            if port.ours:
                self.delete_port(port)
            else:
                port.device_id = port.device_owner = ""
                port.status = "DOWN"

    def delete_port(self, port: Port) -> None:
        self.ports.pop(port.id, None)
        beside = self._ports_of.get(port.device_id, [])
        if port in beside:
            beside.remove(port)
        floating = self._floating_of.get(port.id)
        if floating is not None:
            self.point(floating, None)
        _give_back(port.fixed)
        self._changed(port.device_id)

    # -- floating addresses ----------------------------------------------

    def add_floating(
        self, network: Network, port: Port | None, description: str
    ) -> FloatingAddress:
        """Make a floating address, and let it lead to a port.

        :raises Refused: it cannot lead there.
        """
        if not network.external:
            raise Refused(400, f"the network {network.id} is not an external one", "BadRequest")
        self._reachable(network, port)
        floating = FloatingAddress(
            id=self._identities.uuid(),
            network=network,
            address=next(s for s in network.subnets if s.addresses.version == 4).addresses.take(),
            created=self._clock.seconds(),
            description=description,
        )
        self.floating[floating.id] = floating
        if port is not None:
            self.point(floating, port)
        return floating

    def _reachable(self, network: Network, port: Port | None) -> None:
        if port is None:
            return
        if not port.network.routed:
            raise Refused(
                404,
                f"the external network {network.id} cannot be reached from the port {port.id}",
                "ExternalGatewayForFloatingIPNotFound",
            )
        if port.id in self._floating_of:
            raise Refused(
                409,
                f"the port {port.id} has a floating address already",
                "FloatingIPPortAlreadyAssociated",
            )

    def point(self, floating: FloatingAddress, port: Port | None) -> None:
        """Let a floating address lead to another port, or nowhere."""
        if port is floating.port:
            return
        self._reachable(floating.network, port)
        before = floating.port
        if before is not None:
            self._floating_of.pop(before.id, None)
            self._changed(before.device_id)
        floating.port, floating.fixed, floating.shown = port, None, False
        floating.status = "DOWN"
        if port is not None:
            self._floating_of[port.id] = floating
            floating.fixed = next(a for s, a in port.fixed if s.addresses.version == 4)
            self._clock.callLater(self.delay, self._show, floating, port)

    def _show(self, floating: FloatingAddress, port: Port) -> None:
        if floating.port is port:
            floating.shown, floating.status = True, "ACTIVE"
            self._changed(port.device_id)

    def delete_floating(self, floating: FloatingAddress) -> None:
        self.point(floating, None)
        self.floating.pop(floating.id, None)
        for subnet in floating.network.subnets:
            if subnet.addresses.version == 4:
                subnet.addresses.give_back(floating.address)


def _give_back(fixed: Iterable[tuple[Subnet, str]]) -> None:
    for subnet, address in fixed:
        subnet.addresses.give_back(address)
