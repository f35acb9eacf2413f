"""What a new cloud is filled with, and how to see that it works."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openstack
from openstack.config import OpenStackConfig
from openstack.exceptions import ResourceFailure

from tests.servers.openstack.settings import BROKEN, COMPUTES, PASSWORD

__all__ = ["add_computes", "furnish", "identities", "wait_until_it_works"]

_SERVICES = {
    "image": "glance",
    "placement": "placement",
    "compute": "nova",
    "network": "neutron",
    "block-storage": "cinder",
}
_TIMEOUT = 180.0

#: So many servers may fail before the cloud is said not to work.
_FIRST_SERVERS = 5


def _connect(clouds_yaml: Path, cloud: str) -> Any:
    config = OpenStackConfig(config_files=[str(clouds_yaml)], load_envvars=False)
    return openstack.connection.Connection(config=config.get_one(cloud=cloud))


def identities(clouds_yaml: Path, endpoints: Mapping[str, str]) -> None:
    """Users, projects, and the catalog; Keystone is enough for that."""
    with _connect(clouds_yaml, "real") as cloud:
        keystone = cloud.identity
        roles = {role.name: role.id for role in keystone.roles()}
        services = keystone.create_project(name="service", domain_id="default")
        for kind, name in _SERVICES.items():
            user = keystone.create_user(name=name, domain_id="default", password=PASSWORD)
            for role in ("admin", "service"):
                keystone.assign_project_role_to_user(services, user, roles[role])
            entry = keystone.create_service(name=name, type=kind)
            for interface in ("public", "internal", "admin"):
                keystone.create_endpoint(
                    service_id=entry.id,
                    interface=interface,
                    url=endpoints[kind],
                    region_id="RegionOne",
                )
        member = keystone.create_user(name="ci", domain_id="default", password=PASSWORD)
        for name in ("ci", "ci-small"):
            project = keystone.create_project(name=name, domain_id="default")
            keystone.assign_project_role_to_user(project, member, roles["member"])


def furnish(clouds_yaml: Path) -> None:
    """Flavors, an image, networks, key pairs and quotas: all that needs no compute host."""
    with _connect(clouds_yaml, "real") as admin, _connect(clouds_yaml, "real-member") as member:
        _flavors_and_images(admin)
        _networks(admin)
        for cloud in (admin, member):
            cloud.compute.create_keypair(name="key")
        (small,) = admin.identity.projects(name="ci-small")
        admin.set_compute_quotas(small.id, instances=3, cores=6)


def add_computes(clouds_yaml: Path) -> None:
    """The zones, with their hosts as soon as these are known."""
    with _connect(clouds_yaml, "real") as admin:
        _wait(lambda: _computes_up(admin))
        _wait(lambda: len(list(admin.compute.hypervisors())) > len(COMPUTES))
        for zone, hosts in {"az1": COMPUTES, BROKEN: (BROKEN,)}.items():
            aggregate = admin.compute.create_aggregate(name=zone, availability_zone=zone)
            for host in hosts:
                admin.compute.add_host_to_aggregate(aggregate, host)


def _flavors_and_images(admin: Any) -> None:
    sizes = {
        "m1.tiny": (512, 1, 1),
        "m1.small": (2048, 1, 20),
        "m1.large": (8192, 4, 80),
        # No host has such a disk: a server of this flavor ends in ERROR.
        "m1.impossible": (512, 1, 100_000_000),
    }
    for name, (ram, cores, disk) in sizes.items():
        admin.compute.create_flavor(name=name, ram=ram, vcpus=cores, disk=disk)
    admin.image.create_image(
        name="tiny",
        disk_format="raw",
        container_format="bare",
        visibility="public",
        data=io.BytesIO(bytes(1 << 16)),
        wait=True,
    )


def _networks(admin: Any) -> None:
    network = admin.network
    public = network.create_network(
        name="public", is_router_external=True, provider_network_type="local"
    )
    network.create_subnet(
        network_id=public.id,
        name="public",
        ip_version=4,
        cidr="203.0.113.0/24",
        gateway_ip="203.0.113.1",
        is_dhcp_enabled=False,
    )
    private = network.create_network(name="private", is_shared=True)
    subnet = network.create_subnet(
        network_id=private.id, name="private", ip_version=4, cidr="10.99.0.0/20"
    )
    router = network.create_router(name="router", external_gateway_info={"network_id": public.id})
    joined = network.put(
        f"/routers/{router.id}/add_router_interface", json={"subnet_id": subnet.id}
    )
    assert joined.status_code == 200, joined.text


def wait_until_it_works(clouds_yaml: Path) -> None:
    """A server is made and deleted: the first takes seconds longer than any other."""
    with _connect(clouds_yaml, "real-member") as member:
        for attempts_left in reversed(range(_FIRST_SERVERS)):
            if _makes_a_server(member.compute, member, last=not attempts_left):
                return


def _makes_a_server(compute: Any, member: Any, *, last: bool) -> bool:
    """The first ones fail where the parts have not all met yet; False then, unless it is the last.

    :raises ResourceFailure: the last one failed, too.
    """
    server = compute.create_server(
        name="first",
        flavor_id=compute.find_flavor("m1.tiny").id,
        image_id=member.image.find_image("tiny").id,
        networks=[{"uuid": member.network.find_network("private").id}],
    )
    works = True
    try:
        compute.wait_for_server(server, interval=0.2, wait=_TIMEOUT)
    except ResourceFailure:
        if last:
            raise
        works = False
    compute.delete_server(server)
    compute.wait_for_delete(server, interval=0.2, wait=_TIMEOUT)
    return works


def _computes_up(admin: Any) -> bool:
    services = list(admin.compute.services(binary="nova-compute"))
    return {each.host for each in services if each.state == "up"} == {*COMPUTES, BROKEN}


def _wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("the compute services did not come up")
        time.sleep(0.3)
