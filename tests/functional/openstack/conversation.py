"""One conversation with a cloud, to be had with a real one and a simulated one.

It says how each answer was shaped, so that the two can be compared: the status,
and of the body the keys and the kinds of values, but not what differs from one
cloud to another anyway.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from nodepool_tx.providers.openstack.faults import error_for, fault_of, message_of
from nodepool_tx.providers.openstack.transport import Answer, Transport

__all__ = ["Conversation", "Names"]

UNKNOWN = "00000000-0000-4000-8000-000000000000"

_KINDS = {
    "id": r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}",
    "date": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?",
    "address": r"\d+\.\d+\.\d+\.\d+",
    "mac": r"([0-9a-f]{2}:){5}[0-9a-f]{2}",
    "hash": r"[0-9a-f]{56}|[0-9a-f]{128}",
    "link": r"https?://.*",
}


@attrs.frozen(kw_only=True)
class Names:
    """What the things are called in a cloud that the conversation is about.

    :ivar inside: a network with a router to ``outside``.
    :ivar full: what makes an order one for which there is no host.
    """

    flavor: str
    image: str
    inside: str
    outside: str
    zone: str
    key: str
    full: Mapping[str, str]


def shape(value: Any, path: str = "") -> Any:
    """The form of a body: its keys, and kinds of values."""
    if isinstance(value, Mapping):
        if path.endswith(("/addresses", "/metadata")):
            # The keys are names of somebody's.
            return {f"a name {n}": shape(v) for n, v in enumerate(value.values())}
        return {key: shape(each, f"{path}/{key}") for key, each in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0], path)] if value else []
    if isinstance(value, str):
        for kind, pattern in _KINDS.items():
            if re.fullmatch(pattern, value):
                return kind
        return "empty" if not value else "text"
    return type(value).__name__


class Conversation:
    """Has the conversation, and remembers how it went.

    :param wait: lets seconds pass.
    :ivar said: status and shape of each answer, and what the adapter takes it
        for if it is a refusal, by a word for the step.
    """

    def __init__(
        self, transport: Transport, names: Names, wait: Callable[[float], Awaitable[None]]
    ) -> None:
        self._transport = transport
        self._names = names
        self._wait = wait
        self.said: dict[str, Any] = {}
        self._ids: dict[str, str] = {}

    async def _ask(
        self, step: str, service: str, method: str, path: str, *, json: Any = None, **more: Any
    ) -> Any:
        answer = await self._transport.request(service, method, path, json=json, **more)
        if step:
            assert step not in self.said, step
            error = type(error_for("ask", answer)) if answer.status >= 400 else None
            self.said[step] = [answer.status, shape(answer.body), error]
        return answer.body

    async def _status(self, service: str, method: str, path: str, **more: Any) -> Answer:
        return await self._transport.request(service, method, path, **more)

    async def _until(self, true: Callable[[], Awaitable[Any]], what: str) -> Any:
        for _ in range(600):
            if result := await true():
                return result
            await self._wait(0.2)
        raise AssertionError(f"waited in vain for {what}")

    async def run(self, image: Path) -> None:
        """Everything, in an order in which each step finds what it needs.

        :param image: a file to upload.
        """
        await self._look_around()
        try:
            await self._refusals()
            await self._life()
            await self._ports()
            await self._no_host()
            await self._images(image)
        finally:
            await self._clean_up()

    async def run_into_the_quota(self) -> None:
        """Ask for servers until there may be no more.

        One after another: a real cloud does not count those that it has not placed yet.
        """
        await self._look_around()
        self.said.clear()
        try:
            for number in range(10):
                order = self._order()
                answer = await self._status("compute", "POST", "/servers", json=order)
                if answer.status != 202:
                    break
                self._ids[str(number)] = server_id = answer.body["server"]["id"]
                await self._reach(server_id, "ACTIVE")
            self.said["how many"] = len(self._ids)
            self.said["refusal"] = [
                answer.status,
                shape(answer.body),
                type(error_for("ask", answer)),
            ]
            said = message_of(answer.body)
            self.said["why"] = said.partition(":")[0]
            await self._ask("limits", "compute", "GET", "/limits")
        finally:
            left = list(self._ids.values())
            await self._clean_up()
            for server_id in left:
                await self._gone(server_id)

    # -- what there is ---------------------------------------------------

    async def _look_around(self) -> None:
        names, ask = self._names, self._ask
        flavors = await ask("flavors", "compute", "GET", "/flavors/detail")
        (self._flavor,) = (f["id"] for f in flavors["flavors"] if f["name"] == names.flavor)
        await ask("flavor", "compute", "GET", f"/flavors/{self._flavor}")
        await ask("flavor 2.61", "compute", "GET", f"/flavors/{self._flavor}", version="2.61")
        await ask("flavors 2.75", "compute", "GET", "/flavors/detail", version="2.75")
        await ask("zones", "compute", "GET", "/os-availability-zone")
        for version in (None, "2.36", "2.57"):
            await ask(f"limits {version}", "compute", "GET", "/limits", version=version)
        images = await ask("images", "image", "GET", "/images", query={"name": names.image})
        self._image = images["images"][0]["id"]
        await ask("image", "image", "GET", f"/images/{self._image}")
        networks = await ask("", "network", "GET", "/networks")
        by_name = {each["name"]: each for each in networks["networks"]}
        self._inside, self._outside = (by_name[n]["id"] for n in (names.inside, names.outside))
        await ask("network inside", "network", "GET", f"/networks/{self._inside}")
        await ask("network outside", "network", "GET", f"/networks/{self._outside}")
        query = {"network_id": self._inside}
        await ask("subnets", "network", "GET", "/subnets", query=query)
        await ask("security groups", "network", "GET", "/security-groups")
        await ask("the project", "network", "GET", "/quotas/tenant")
        await ask("no floating addresses", "network", "GET", "/floatingips")
        await ask("no such ports", "network", "GET", "/ports", query={"device_id": UNKNOWN})
        await ask("volume limits", "block-storage", "GET", "/limits")
        await ask("no volumes", "block-storage", "GET", "/volumes/detail")

    def _order(self, **changes: Any) -> dict[str, Any]:
        order = {
            "name": "conversation",
            "flavorRef": self._flavor,
            "imageRef": self._image,
            "networks": [{"uuid": self._inside}],
            "metadata": {"nodepool_node_id": "0000000001"},
            **changes,
        }
        return {"server": {key: value for key, value in order.items() if value is not ...}}

    async def _create(self, step: str, remember: str, /, **changes: Any) -> str:
        body = await self._ask(step, "compute", "POST", "/servers", json=self._order(**changes))
        self._ids[remember] = server_id = str(body["server"]["id"])
        return server_id

    async def _reach(self, server_id: str, status: str) -> None:
        async def reached() -> bool:
            answer = await self._status("compute", "GET", f"/servers/{server_id}")
            return bool(answer.body["server"]["status"] == status)

        await self._until(reached, status)

    # -- what is refused -------------------------------------------------

    async def _refusals(self) -> None:
        for step, changes in {
            "flavor": {"flavorRef": "no"},
            "image": {"imageRef": UNKNOWN},
            "key": {"key_name": "no"},
            "network": {"networks": [{"uuid": UNKNOWN}]},
            "group": {"security_groups": [{"name": "no"}]},
            "zone": {"availability_zone": "no"},
            "empty name": {"name": ""},
            "long name": {"name": "x" * 256},
            "no name": {"name": ...},
            "no flavor": {"flavorRef": ...},
            "no image": {"imageRef": ...},
            "user data of null": {"user_data": None},
            "user data without base64": {"user_data": "no base64!"},
            "key of null": {"key_name": None},
            "metadata of numbers": {"metadata": {"a": 1}},
            "long metadata": {"metadata": {"a": "x" * 256}},
            "config drive": {"config_drive": "perhaps"},
            "networks by word": {"networks": "auto"},
            "empty network": {"networks": [{}]},
            "something unknown": {"volume_size": 10},
            "too early description": {"description": "x"},
            "port": {"networks": [{"port": UNKNOWN}]},
        }.items():
            order = self._order(**changes)
            await self._ask(f"bad {step}", "compute", "POST", "/servers", json=order)
        order = self._order(networks=...)
        await self._ask("2.37", "compute", "POST", "/servers", json=order, version="2.37")
        await self._ask("no order", "compute", "POST", "/servers", json={"x": 1})
        server = f"/servers/{UNKNOWN}"
        await self._ask("no server", "compute", "GET", server)
        await self._ask("no server to delete", "compute", "DELETE", server)
        console = {"os-getConsoleOutput": {}}
        await self._ask("no console", "compute", "POST", f"{server}/action", json=console)
        await self._ask("no interfaces", "compute", "GET", f"{server}/os-interface")
        await self._ask("no flavor", "compute", "GET", "/flavors/no")
        query = {"marker": UNKNOWN}
        await self._ask("no marker", "compute", "GET", "/servers/detail", query=query)
        await self._ask("bad limit", "compute", "GET", "/servers", query={"limit": "x"})
        await self._ask("no version", "compute", "GET", "/servers", version="2.999")
        await self._ask("no image to see", "image", "GET", f"/images/{UNKNOWN}")
        await self._ask("no image to delete", "image", "DELETE", f"/images/{UNKNOWN}")
        for kind in ("networks", "ports", "floatingips"):
            await self._ask(f"none of {kind}", "network", "GET", f"/{kind}/{UNKNOWN}")
        for kind in ("ports", "floatingips"):
            await self._ask(f"no {kind} to delete", "network", "DELETE", f"/{kind}/{UNKNOWN}")
        for step, body in {
            "inside": {"floating_network_id": self._inside},
            "nowhere": {"floating_network_id": UNKNOWN},
            "to nothing": {"floating_network_id": self._outside, "port_id": UNKNOWN},
        }.items():
            float_body = {"floatingip": body}
            await self._ask(
                f"bad floating {step}", "network", "POST", "/floatingips", json=float_body
            )
        port = {"port": {"network_id": UNKNOWN}}
        await self._ask("port of nothing", "network", "POST", "/ports", json=port)
        await self._ask("no volume", "block-storage", "GET", f"/volumes/{UNKNOWN}")
        await self._ask("no volume to delete", "block-storage", "DELETE", f"/volumes/{UNKNOWN}")
        volume = {"volume": {"size": 0}}
        await self._ask("bad volume", "block-storage", "POST", "/volumes", json=volume)

    # -- a server --------------------------------------------------------

    async def _life(self) -> None:
        ask, names = self._ask, self._names
        server_id = await self._create(
            "create",
            "first",
            availability_zone=names.zone,
            key_name=names.key,
            user_data="aGVsbG8=",
            config_drive=True,
            security_groups=[{"name": "default"}],
        )
        path = f"/servers/{server_id}"
        await self._reach(server_id, "ACTIVE")
        for version in (None, "2.26", "2.47", "2.73"):
            await ask(f"active {version}", "compute", "GET", path, version=version)
        await ask("listed", "compute", "GET", "/servers/detail")
        await ask("listed 2.47", "compute", "GET", "/servers/detail", version="2.47")
        await ask("listed briefly", "compute", "GET", "/servers")
        await ask("interfaces", "compute", "GET", f"{path}/os-interface")
        await ask("no action", "compute", "POST", f"{path}/action", json={"x": None})
        query = {"device_id": server_id}
        ports = await ask("ports", "network", "GET", "/ports", query=query)
        port_id = ports["ports"][0]["id"]
        await self._float(path, port_id)
        await ask("delete", "compute", "DELETE", path)
        await self._gone(server_id)
        await ask("gone", "compute", "GET", path)
        await ask("delete again", "compute", "DELETE", path)
        await ask("port gone", "network", "GET", f"/ports/{port_id}")
        floating = f"/floatingips/{self._ids['floating']}"
        await ask("floating left over", "network", "GET", floating)
        await ask("delete floating", "network", "DELETE", floating)
        await ask("delete floating again", "network", "DELETE", floating)

    async def _float(self, path: str, port_id: str) -> None:
        body = {"floating_network_id": self._outside, "port_id": port_id, "description": "d"}
        order = {"floatingip": body}
        made = await self._ask("float", "network", "POST", "/floatingips", json=order)
        self._ids["floating"] = floating_id = made["floatingip"]["id"]
        await self._ask("float again", "network", "POST", "/floatingips", json=order)

        async def shown() -> bool:
            answer = await self._status("compute", "GET", path)
            (entries,) = answer.body["server"]["addresses"].values()
            return any(each["OS-EXT-IPS:type"] == "floating" for each in entries)

        await self._until(shown, "the floating address")
        body = await self._ask("floating", "compute", "GET", path)
        (entries,) = body["server"]["addresses"].values()
        self.said["kinds of addresses"] = [each["OS-EXT-IPS:type"] for each in entries]
        self.said["the same port"] = len({e["OS-EXT-IPS-MAC:mac_addr"] for e in entries})
        for key, value in {"port_id": port_id, "description": "d", "status": "ERROR"}.items():
            query = {key: value}
            await self._ask(f"found by {key}", "network", "GET", "/floatingips", query=query)
        one = f"/floatingips/{floating_id}"
        nowhere = {"floatingip": {"port_id": None}}
        await self._ask("float nowhere", "network", "PUT", one, json=nowhere)
        back = {"floatingip": {"port_id": port_id}}
        await self._ask("float back", "network", "PUT", one, json=back)

    async def _gone(self, server_id: str) -> None:
        async def gone() -> bool:
            answer = await self._status("compute", "GET", f"/servers/{server_id}")
            return answer.status == 404

        await self._until(gone, "the server to be gone")
        self._ids = {name: each for name, each in self._ids.items() if each != server_id}

    # -- more of them ----------------------------------------------------

    async def _ports(self) -> None:
        """Two servers, one with a port of our own, and a listing in pages."""
        ask = self._ask
        order = {"port": {"network_id": self._inside, "name": "ours"}}
        made = await ask("port", "network", "POST", "/ports", json=order)
        self._ids["port"] = port_id = made["port"]["id"]
        with_port = {"networks": [{"port": port_id}], "name": "with-port"}
        first = await self._create("create with port", "second", **with_port)
        second = await self._create("", "third")
        for server_id in (first, second):
            await self._reach(server_id, "ACTIVE")
        await ask("port in use", "compute", "POST", "/servers", json=self._order(**with_port))
        page = await ask("page", "compute", "GET", "/servers/detail", query={"limit": "1"})
        newest = page["servers"][0]
        query = {"limit": "1", "marker": newest["id"]}
        page = await ask("next page", "compute", "GET", "/servers/detail", query=query)
        # Those of one second come in any order.
        self.said["the newest first"] = newest["created"] >= page["servers"][0]["created"]
        self.said["then the other"] = {newest["id"], page["servers"][0]["id"]} == {first, second}
        await ask("by name", "compute", "GET", "/servers", query={"name": "with-port"})
        await ask("by status", "compute", "GET", "/servers", query={"status": "ERROR"})
        # Of all ports together any could come first.
        query = {"limit": "1", "device_id": first}
        await ask("page of ports", "network", "GET", "/ports", query=query)
        for server_id in (first, second):
            await self._status("compute", "DELETE", f"/servers/{server_id}")
        for server_id in (first, second):
            await self._gone(server_id)
        left = await ask("port left over", "network", "GET", f"/ports/{port_id}")
        port = left["port"]
        self.said["whose port"] = (port["status"], port["device_id"], port["device_owner"])
        query = {"status": "DOWN", "name": "ours"}
        await ask("ports that are down", "network", "GET", "/ports", query=query)
        await ask("delete port", "network", "DELETE", f"/ports/{port_id}")
        await ask("delete port again", "network", "DELETE", f"/ports/{port_id}")

    async def _no_host(self) -> None:
        changes = dict(self._names.full)
        if "flavorRef" in changes:
            flavors = await self._ask("", "compute", "GET", "/flavors")
            named = {each["name"]: each["id"] for each in flavors["flavors"]}
            changes["flavorRef"] = named[changes["flavorRef"]]
        server_id = await self._create("create without host", "full", **changes)
        await self._reach(server_id, "ERROR")
        path = f"/servers/{server_id}"
        body = await self._ask("failed", "compute", "GET", path)
        message = body["server"]["fault"]["message"]
        self.said["no valid host"] = message.startswith("No valid host was found.")
        self.said["its fault"] = type(fault_of(body["server"]))
        console = {"os-getConsoleOutput": {}}
        await self._ask("no console yet", "compute", "POST", f"{path}/action", json=console)
        await self._ask("delete failed", "compute", "DELETE", path)
        await self._gone(server_id)

    async def _images(self, file: Path) -> None:
        ask = self._ask
        await ask("bad image body", "image", "POST", "/images", json={"a": 1})
        order = {
            "name": "ours",
            "disk_format": "raw",
            "container_format": "bare",
            "visibility": "private",
            "min_disk": 1,
            "nodepool_provider_name": "conversation",
        }
        made = await ask("create image", "image", "POST", "/images", json=order)
        self._ids["image"] = image_id = made["id"]
        path = f"/images/{image_id}"
        await ask("queued", "image", "GET", path)
        using = self._order(imageRef=image_id)
        await ask("server of queued image", "compute", "POST", "/servers", json=using)
        await ask("upload", "image", "PUT", f"{path}/file", file=file)
        await ask("uploaded", "image", "GET", path)
        await ask("upload again", "image", "PUT", f"{path}/file", file=file)
        query = {"nodepool_provider_name": "conversation"}
        await ask("by property", "image", "GET", "/images", query=query)
        query = {"nodepool_provider_name": "others"}
        await ask("by another property", "image", "GET", "/images", query=query)
        await ask("delete image", "image", "DELETE", path)
        await ask("image gone", "image", "GET", path)
        await ask("delete image again", "image", "DELETE", path)

    async def _clean_up(self) -> None:
        """Remove what a conversation that broke off has left."""
        for name, each in self._ids.items():
            kind = {"port": "ports", "floating": "floatingips", "image": "images"}.get(name)
            service = {"port": "network", "floating": "network", "image": "image"}.get(name)
            await self._status(service or "compute", "DELETE", f"/{kind or 'servers'}/{each}")
