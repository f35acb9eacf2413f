"""How the simulated compute service reads the body of a request for a server."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from nodepool_tx.providers.fake.api import Call
from nodepool_tx.providers.fake.networks import Network, Networks, Port
from nodepool_tx.providers.fake.rules import Refused, text
from nodepool_tx.providers.fake.servers import BootVolume, ServerOrder

__all__ = ["read_order"]

#: What may be asked for, and the micro-version from which on; what is not
#: simulated is refused as if it were unknown.
KNOWN = {
    "name": 1,
    "flavorRef": 1,
    "imageRef": 1,
    "block_device_mapping_v2": 1,
    "networks": 1,
    "availability_zone": 1,
    "key_name": 1,
    "metadata": 1,
    "security_groups": 1,
    "config_drive": 1,
    "user_data": 1,
    "adminPass": 1,
    "OS-DCF:diskConfig": 1,
    "min_count": 1,
    "max_count": 1,
    "description": 19,
    "tags": 52,
}

LONGEST = 255
USER_DATA = 65535


def read_order(call: Call, networks: Networks) -> ServerOrder:
    """Make an order of the body.

    :raises Refused: it is no valid one.
    """
    body = call.content("server")
    for key in body:
        if call.version < KNOWN.get(key, 10_000):
            raise Refused(400, f"{key} is not allowed in a request for a server")
    name = text(body, "name")
    if not 1 <= len(name) <= LONGEST or name != name.strip():
        raise Refused(400, f"the name {name!r} is not valid")
    if "flavorRef" not in body:
        raise Refused(400, "flavorRef is missing")
    for key in ("min_count", "max_count"):
        if int(body.get(key, 1)) != 1:
            raise Refused(400, f"{key}: only one server at a time is simulated")
    _check_user_data(body)
    drive = body.get("config_drive", False)
    if not isinstance(drive, bool) and drive not in ("True", "true", "False", "false"):
        raise Refused(400, f"config_drive is {drive!r}, which is neither true nor false")
    image = text(body, "imageRef") or None
    volume = _volume(body)
    if image is None and volume is None:
        raise Refused(400, "there is neither an image nor a volume to boot from")
    return ServerOrder(
        name=name,
        flavor_id=text(body, "flavorRef"),
        image_id=image if volume is None else None,
        volume=volume,
        networks=_networks(call, body, networks),
        zone=text(body, "availability_zone") or None,
        key_name=text(body, "key_name") or None,
        metadata=_metadata(body.get("metadata", {})),
        security_groups=_groups(body, networks),
        config_drive=str(drive).lower() == "true",
    )


def _check_user_data(body: Mapping[str, Any]) -> None:
    data = text(body, "user_data")
    if len(data) > USER_DATA:
        raise Refused(400, "user_data is too long")
    try:
        # As lenient as Nova: what is not of the alphabet is passed over.
        b64decode(data)
    except (binascii.Error, ValueError):
        raise Refused(400, "user_data is not in base64") from None


def _metadata(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise Refused(400, "metadata is no object")
    for key, value in given.items():
        if not isinstance(value, str):
            raise Refused(400, f"metadata {key} is {value!r}, which is no string")
        if not 1 <= len(key) <= LONGEST or len(value) > LONGEST:
            raise Refused(400, f"metadata {key} is too long")
    if len(given) > 128:
        raise Refused(403, "Quota exceeded for metadata_items: 128 are allowed")
    return dict(given)


def _volume(body: Mapping[str, Any]) -> BootVolume | None:
    devices = body.get("block_device_mapping_v2") or []
    if not devices:
        return None
    if len(devices) != 1:
        raise Refused(400, "only one volume is simulated")
    device = devices[0]
    if (device.get("source_type"), device.get("destination_type")) != ("image", "volume"):
        raise Refused(400, "only a volume made from an image is simulated")
    if str(device.get("boot_index")) != "0":
        raise Refused(400, "no device has the boot index 0")
    size = device.get("volume_size")
    if size is None or not str(size).isdigit() or int(size) < 1:
        raise Refused(400, f"volume_size is {size!r}, which is no size")
    goes = bool(device.get("delete_on_termination", False))
    return BootVolume(text(device, "uuid"), int(size), goes)


def _networks(
    call: Call, body: Mapping[str, Any], networks: Networks
) -> tuple[Network | Port, ...] | None:
    asked = body.get("networks")
    if isinstance(asked, str) and asked in ("auto", "none"):
        if call.version < 37:
            raise Refused(400, f"networks is {asked!r}, which is no list")
        return None if asked == "auto" else ()
    if asked is None:
        if call.version >= 37:
            raise Refused(400, "networks is missing")
        return None
    if not isinstance(asked, list):
        raise Refused(400, "networks is no list")
    if not asked:
        return None
    return tuple(_network(each, networks) for each in asked)


def _network(asked: Any, networks: Networks) -> Network | Port:
    if not isinstance(asked, dict) or not asked or not asked.keys() <= {"uuid", "port", "tag"}:
        raise Refused(400, f"{asked!r} is no network")
    if asked.get("port"):
        port = networks.ports.get(asked["port"])
        if port is None:
            raise Refused(400, f"the port {asked['port']} is not found")
        return port
    network = networks.networks.get(asked["uuid"])
    if network is None:
        raise Refused(400, f"the network {asked['uuid']} is not found")
    return network


def _groups(body: Mapping[str, Any], networks: Networks) -> tuple[str, ...]:
    names: list[str] = []
    for group in body.get("security_groups") or ():
        name = text(group, "name") if isinstance(group, dict) else ""
        name = networks.security_groups.get(name, name)
        if name not in networks.security_groups.values():
            raise Refused(400, f"the security group {name} is not found")
        names.append(name)
    return tuple(names)
