"""Seeing to it that servers can be reached, as far as the cloud is asked for that."""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.config.openstack import OpenStackPool
from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.cloud.interface import Order
from nodepool_tx.providers.openstack.addresses import Address, read_addresses
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.floating import attach, places_for, ports_of, release
from nodepool_tx.providers.openstack.known import Known
from nodepool_tx.providers.openstack.networks import outlook_of
from nodepool_tx.providers.openstack.servers import VisibleServer, label_of

__all__ = ["Reaching"]

#: Seconds until Nova must show what Neutron knows: any address of an active
#: server, and a floating one after it was attached.
_PATIENCE = 60.0


class Reaching:
    """Gives servers floating addresses, and takes them away.

    :param in_use: some pool of the provider gives floating addresses.
    """

    def __init__(
        self,
        calls: Calls,
        clock: IReactorTime,
        known: Known,
        provider_name: str,
        *,
        in_use: bool,
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._known = known
        self._provider_name = provider_name
        self._in_use = in_use
        #: Servers with a floating address that no listing has shown yet, and
        #: active ones without any address: since when.
        self._given: dict[str, float] = {}
        self._without: dict[str, float] = {}

    async def finish(self, order: Order, server: VisibleServer) -> VisibleServer | None:
        """The server when it can be reached; None as long as that is to be waited for.

        :raises CloudError: it gets no address.
        """
        now = self._clock.seconds()
        if not server.addresses and not server.access_ipv4 and not server.access_ipv6:
            # Nova knows them a moment later than that the server is active.
            active = self._without.setdefault(server.external_id, now)
            if now - active < _PATIENCE:
                return None
            raise CloudError(f"server {server.external_id} is active, and has no address")
        self._without.pop(server.external_id, None)
        if not isinstance(order.pool, OpenStackPool) or not order.pool.auto_floating_ip:
            return server
        networks, hints = await self._known.networks.get(), await self._known.hints.get()
        outlook = outlook_of(networks, hints)
        server = server.seen_from(outlook)
        wanted_here = hints.floating and not hints.private
        if not wanted_here or server.public_ipv4 or not server.private_ipv4:
            self._given.pop(server.external_id, None)
            return server
        since = self._given.get(server.external_id)
        if since is not None and now - since < _PATIENCE:
            return None
        if not any(network.external for network in networks):
            return server
        wanted = [(await self._known.network(name)).id for name in label_of(order).networks]
        routes = await self._known.routes.get_if_possible(lambda _: True, {})
        ports = await ports_of(self._calls, server.external_id)
        places = places_for(ports, networks, routes, wanted, hints)
        if not places:
            return server
        try:
            address = await attach(self._calls, self._provider_name, server.external_id, places)
        except CloudError as e:
            if type(e) is CloudError:
                # Perhaps the networks are no longer what they were.
                self._known.networks.forget(now)
                self._known.routes.forget(now)
            raise
        if since is None:
            self._given[server.external_id] = now
            return None
        # It is attached, whatever Nova shows.
        del self._given[server.external_id]
        shown = Address(address, network="", version=4, floating=True)
        return attrs.evolve(server, addresses=(*server.addresses, shown)).seen_from(outlook)

    async def leave(self, server_id: str, server: VisibleServer | None) -> None:
        """Remove the floating addresses of a server that is to be deleted.

        :param server: as it was seen last.
        """
        given = self._given.pop(server_id, None) is not None
        self._without.pop(server_id, None)
        if server is None:
            addresses = await self._addresses(server_id)
        elif server.floating or given or (self._in_use and not server.public_ipv4):
            addresses = server.floating
        else:
            return
        networks = await self._known.networks.get()
        if addresses or any(network.external for network in networks):
            await release(self._calls, self._provider_name, server_id, addresses)

    async def _addresses(self, server_id: str) -> frozenset[str]:
        """The floating addresses of a server that was in no listing."""
        try:
            raw = await self._calls.get(
                "look at a server", "compute", f"/servers/{server_id}", "server"
            )
        except Gone:
            return frozenset()
        return frozenset(each.address for each in read_addresses(raw) if each.floating)
