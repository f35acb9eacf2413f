"""The OpenStack adapter against real services: it keeps the contract, and more."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.openstack import OpenStackImage
from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    Gone,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)
from nodepool_tx.providers.cloud.interface import (
    PROVIDER_NAME,
    InstanceState,
    Order,
)
from nodepool_tx.providers.openstack.adapter import OpenStackAdapter
from nodepool_tx.providers.openstack.faults import VersionRefused
from nodepool_tx.providers.openstack.paging import everything
from nodepool_tx.providers.openstack.servers import list_servers
from tests.contract.cloud import AdapterContract
from tests.functional.openstack.stage import RealCloud, Stale


class ContractTests(RealCloud, AdapterContract, TestCase):
    """The contract, with a project that may have three servers."""


class RealTests(RealCloud, TestCase):
    """What only a real cloud can show, as an ordinary user without a tight quota."""

    cloud = "real-member"

    async def life(self, order: Order) -> tuple[OpenStackAdapter, Any]:
        """A server that is active and finished."""
        adapter = self.adapter()
        external_id = await self.create(adapter, order)
        return adapter, await self.finished(adapter, external_id, order)

    async def floating(self) -> list[dict[str, Any]]:
        """Every floating address of the project."""
        calls = self.calls()
        return await everything(calls, "look", "network", "/floatingips", "floatingips")

    async def test_everything_a_label_can_say(self) -> None:
        """Each option arrives at the server; it gets addresses, and all goes with it."""
        request = NodeRequest(id="100-0000000007", state=RequestState.PENDING)
        label = attrs.evolve(
            self.label(),
            key_name="key",
            userdata="#!/bin/sh\ntrue\n",
            image=OpenStackImage("images", image_name="tiny", config_drive=True),
            instance_properties=FrozenMapping({"purpose": "test", "number": 7}),
            dynamic_instance_properties=FrozenMapping({"made-for": "{request.id}"}),
        )
        pool = attrs.evolve(self.pool(), security_groups=("default",))
        order = self.order(label=label, pool=pool, request=request)
        adapter, seen = await self.life(order)
        self.assertEqual(
            dict(seen.metadata),
            {
                **order.metadata,
                "groups": "contract,images,small",
                "purpose": "test",
                "number": "7",
                "made-for": "100-0000000007",
            },
        )
        self.assertEqual((seen.cloud, seen.region, seen.zone), (self.cloud, "RegionOne", "az1"))
        self.assertEqual(seen.name, order.name)
        self.assertTrue(seen.host_id)
        self.assertEqual(dict(seen.resources), dict(await adapter.needs(label)))
        self.assertTrue(seen.private_ipv4.startswith("10.99."), seen)
        self.assertTrue(seen.public_ipv4.startswith("203.0.113."), seen)
        self.assertEqual(seen.interface_ip, seen.public_ipv4)
        shown = await self.raw(seen.external_id)
        self.assertEqual(shown["key_name"], "key")
        self.assertEqual(shown["config_drive"], "True")
        self.assertEqual([group["name"] for group in shown["security_groups"]], ["default"])
        (floating,) = await self.floating()
        self.assertEqual(floating["floating_ip_address"], seen.public_ipv4)
        self.assertIn(seen.external_id, floating["description"])
        await self.delete(adapter, seen.external_id)
        self.assertEqual(await self.floating(), [])

    async def test_without_a_floating_address(self) -> None:
        """Where none is to be given, the private address is the way in."""
        pool = attrs.evolve(self.pool(), auto_floating_ip=False)
        _, seen = await self.life(self.order(pool=pool))
        self.assertIsNone(seen.public_ipv4)
        self.assertEqual(seen.interface_ip, seen.private_ipv4)
        self.assertEqual(await self.floating(), [])

    async def test_a_floating_address_is_made_once(self) -> None:
        """Two adapters that finish the same server, one after the other, make one address."""
        order = self.order()
        first, second = self.adapter(), self.adapter()
        external_id = await self.create(first, order)

        seen = await self.active(first, external_id)
        await first.finish(order, seen)
        await second.finish(order, seen)
        self.assertEqual(len(await self.floating()), 1)
        # It goes also when neither adapter has seen it in a listing.
        await self.delete(self.adapter(), external_id)
        self.assertEqual(await self.floating(), [])

    async def test_what_is_wrong_with_a_label(self) -> None:
        """Zone, key, flavor, image, network, security group: each is said by its name."""
        adapter = self.adapter()
        self.clean_up(adapter)
        label, pool = self.label(), self.pool()
        image = OpenStackImage("x", image_id="00000000-0000-0000-0000-000000000000")
        for order in (
            self.order(zone="nowhere"),
            self.order(label=attrs.evolve(label, key_name="nobodys")),
            self.order(label=attrs.evolve(label, flavor_name="none")),
            self.order(label=attrs.evolve(label, image=image)),
            self.order(label=attrs.evolve(label, image=OpenStackImage("none"))),
            self.order(label=attrs.evolve(label, networks=("none",))),
            self.order(pool=attrs.evolve(pool, security_groups=("none",))),
        ):
            await self.refused(adapter.create(order), InvalidConfiguration)
        self.assertEqual(list(await self.ours(adapter)), [])

    async def test_a_zone_where_builds_fail(self) -> None:
        """Such a server is shown as failed, with the cloud's words."""
        adapter = self.adapter()
        external_id = await self.create(adapter, self.order(zone="broken"))

        async def failed() -> Any:
            seen = await self.find(adapter, external_id)
            return seen if seen and seen.state is InstanceState.FAILED else None

        seen = await self.until(failed, "the server to fail")
        self.assertIn(type(seen.fault), (CloudError, NoCapacity))
        self.assertGreater(len(str(seen.fault)), 30)

    async def test_the_quota_of_addresses(self) -> None:
        """When the project may have no more floating addresses, that is the quota, too."""
        adapter, calls = self.adapter(), self.calls("real")
        order = self.order()
        external_id = await self.create(adapter, order)
        path = f"/quotas/{(await self.raw(external_id))['tenant_id']}"
        none = {"quota": {"floatingip": 0}}
        await calls.ask("limit", "network", "PUT", path, json=none)
        try:
            with self.assertRaises(OverQuota):
                await self.finished(adapter, external_id, order)
        finally:
            await calls.ask("do not limit", "network", "DELETE", path)
        await self.finished(adapter, external_id, order)

    async def test_a_leaked_port(self) -> None:
        """A port that a server leaves behind is found once it was down for the interval."""
        calls, adapter = self.calls(), self.adapter()
        networks = await calls.get("look", "network", "/networks", "networks")
        (private,) = (each["id"] for each in networks if each["name"] == "private")
        body = {"port": {"network_id": private, "name": "left"}}
        made = await calls.ask("make", "network", "POST", "/ports", json=body)
        port_id = made["port"]["id"]
        external_id = await self.create(adapter)
        self.assertEqual(list(await self.resources(adapter, "port")), [], "not down for long")
        await self.wait(1.1)
        found = await self.resources(adapter, "port")
        self.assertEqual([each.external_id for each in found], [port_id])
        self.assertTrue(found[0].orphan)
        await adapter.delete_resource(found[0])
        self.assertEqual(list(await self.resources(adapter, "port")), [])
        await self.refused(adapter.delete_resource(found[0]), Gone)
        await self.delete(adapter, external_id)

    async def test_an_image(self) -> None:
        """An uploaded image has its properties, servers are made of it, and it is deleted."""
        adapter = self.adapter()
        order = await self.image_file()
        image_id = await adapter.upload_image(order)
        shown = await self.calls().ask("look", "image", "GET", f"/images/{image_id}")
        expected = {
            "status": "active",
            "visibility": "private",
            "disk_format": "raw",
            "hw_disk_bus": "scsi",
            "min_disk": 1,
            "size": 1 << 20,
            PROVIDER_NAME: self.provider,
            "owner_specified.openstack.sha256": "s",
        }
        self.assertEqual({key: shown[key] for key in expected}, expected)
        named = attrs.evolve(self.label(), image=OpenStackImage("uploaded-1"))
        self.assertTrue(await adapter.image_ready(named))
        server = self.order(image_id=image_id)
        _, seen = await self.life(server)
        self.assertEqual((await self.raw(seen.external_id))["image"]["id"], image_id)
        await adapter.delete_image(image_id)
        self.assertEqual(list(await self.resources(adapter, "image")), [])
        self.assertFalse(await self.adapter().image_ready(named))

    async def test_a_token_that_runs_out(self) -> None:
        """In the middle of a server's life a new token is taken, and nobody notices."""
        transport = self.transport()
        login = Stale(transport._credentials)
        transport._credentials = login
        adapter = self.adapter_over(transport)
        login.expired = True
        order = self.order()
        external_id = await self.create(adapter, order)
        login.expired = True
        await self.finished(adapter, external_id, order)
        login.expired = True
        await adapter.delete(external_id)
        self.assertEqual(login.refused, 3)

    async def test_a_503_in_the_middle(self) -> None:
        """A service that is busy says until when; the server is made and deleted all the same."""
        adapter, order = self.adapter(), self.order()
        external_id = await self.create(adapter, order)
        self.gateway.spoil = self._once(
            "GET /compute/v2.1/servers/detail", 503, {"Retry-After": "3"}
        )
        error = await self.refused(adapter.list_instances(), RetryLater)
        assert isinstance(error, RetryLater)
        self.assertEqual(error.seconds, 3)
        await self.finished(adapter, external_id, order)
        path = f"DELETE /compute/v2.1/servers/{external_id}"
        self.gateway.spoil = self._once(path, 503, {})
        error = await self.refused(adapter.delete(external_id), RetryLater)
        assert isinstance(error, RetryLater)
        self.assertIsNone(error.seconds)
        await self.delete(adapter, external_id)
        self.assertEqual(await self.floating(), [])

    async def test_calls_are_few(self) -> None:
        """Many launches at a time share their look-ups, and their addresses are one call each."""
        adapter = self.adapter()
        self.clean_up(adapter)
        # The gateway and the log-in are found before anything is counted.
        await adapter.zones()
        self.gateway.asked.clear()
        orders = [self.order(f"00000000{n:02}") for n in range(10)]
        await gatherResults([Deferred.fromCoroutine(adapter.create(order)) for order in orders])
        asked = sorted(set(self.gateway.asked))
        self.assertEqual(self.gateway.asked.count("POST /compute/v2.1/servers"), 10)
        self.assertEqual(len(self.gateway.asked), 13, asked)

    async def test_pages(self) -> None:
        """Every service's links are followed to the end."""
        adapter, calls = self.adapter(), self.calls()
        made = [await self.create(adapter, self.order(f"000000000{n}")) for n in range(3)]
        # A server that is being built gets its ports meanwhile: two lists of them would differ.
        for external_id in made:
            await self.active(adapter, external_id)
        for service, path, key in (
            ("compute", "/servers/detail", "servers"),
            ("compute", "/flavors/detail", "flavors"),
            ("network", "/ports", "ports"),
            ("network", "/networks", "networks"),
            ("image", "/images", "images"),
        ):
            at_once = await everything(calls, "list", service, path, key)
            paged = await everything(calls, "list", service, path, key, query={"limit": "1"})
            self.assertEqual(
                sorted(each["id"] for each in paged), sorted(each["id"] for each in at_once)
            )
            self.assertTrue(at_once, key)

    async def test_versions(self) -> None:
        """A micro-version that is too new is refused as such; without one, servers have no size."""
        calls, adapter = self.calls(), self.adapter()
        external_id = await self.create(adapter)
        await self.refused(list_servers(calls, "2.999"), VersionRefused)
        (plain,) = await list_servers(calls, None)
        self.assertEqual(set(plain["flavor"]), {"id", "links"})
        adapter._servers._version = "2.999"
        seen = await self.find(adapter, external_id)
        assert seen is not None
        self.assertEqual(dict(seen.resources or {}), dict(await adapter.needs(self.label())))

    async def test_limits(self) -> None:
        """Compute and volume limits are read."""
        quota = await self.adapter().quota()
        self.assertEqual(set(quota), {"instances", "cores", "ram", "volumes", "volume-gb"})


class AdministratorTests(RealCloud, TestCase):
    """An administrator is shown what belongs to others, and leaves it alone."""

    cloud = "real"

    async def test_only_our_own_project(self) -> None:
        """Neither the servers nor the ports and addresses of other projects are taken for ours."""
        theirs = self.adapter_over(self.transport("real-member"))
        server_id = await self.create(theirs)
        floating = await self.floating_ip(self.calls("real-member"))
        adapter = self.adapter()
        await adapter.list_resources()
        await self.wait(1.1)
        seen = {each.external_id for each in await adapter.list_resources()}
        self.assertNotIn(server_id, seen)
        self.assertNotIn(floating.external_id, seen)
        self.assertIn(floating.external_id, {r.external_id for r in await theirs.list_resources()})
        await theirs.delete_resource(floating)
        await self.delete(theirs, server_id)
