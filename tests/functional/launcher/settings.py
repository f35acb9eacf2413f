"""Configurations for launchers under test, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.servers.zookeeper import ZookeeperServer

__all__ = ["SIMULATED", "Slot", "at_zookeeper", "configuration", "host", "provider", "slots"]

#: Hosts that :func:`host` names by default match this regular expression.
SIMULATED = "fake"

#: Provider, pool, host name, port, number of the parallel job.
Slot = tuple[str, str, str, int, int]


def host(name: str, *labels: str, jobs: int = 1, **more: Any) -> dict[str, Any]:
    """A machine; ``more`` with underscores for hyphens."""
    return {
        "name": name,
        "labels": list(labels),
        "max-parallel-jobs": jobs,
        **{key.replace("_", "-"): value for key, value in more.items()},
    }


def provider(name: str, *hosts: Mapping[str, Any], pool: str = "main", **more: Any) -> Any:
    """A static provider with one pool, whose further settings are ``more``."""
    settings = {key.replace("_", "-"): value for key, value in more.items()}
    return {
        "name": name,
        "driver": "static",
        "pools": [{"name": pool, "nodes": [dict(one) for one in hosts], **settings}],
    }


def configuration(*providers: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A whole configuration; its labels are those of the machines.

    HTTP is served on loopback, on any port, unless it says otherwise.
    """
    machines = [m for one in providers for pool in one["pools"] for m in pool.get("nodes", ())]
    labels = dict.fromkeys(label for machine in machines for label in machine["labels"])
    return {
        "webapp": {"port": 0, "listen_address": "127.0.0.1"},
        **{key.replace("_", "-"): value for key, value in more.items()},
        "labels": [{"name": label} for label in labels],
        "providers": [dict(one) for one in providers],
    }


def at_zookeeper(
    config: Mapping[str, Any], *ports: int, chroot: str, timeout: float = 2
) -> dict[str, Any]:
    """The same configuration with a ZooKeeper on loopback."""
    servers = [{"host": "127.0.0.1", "port": port, "chroot": chroot} for port in ports]
    return {**config, "zookeeper-servers": servers, "zookeeper-timeout": timeout}


def with_tls(
    config: Mapping[str, Any], server: ZookeeperServer, chroot: str, files: Any
) -> dict[str, Any]:
    """The same configuration with a ZooKeeper that wants certificates."""
    tls = {"cert": files.cert, "key": files.key, "ca": files.ca}
    return {**at_zookeeper(config, server.tls_port, chroot=chroot), "zookeeper-tls": tls}


def slots(config: Mapping[str, Any]) -> Iterator[Slot]:
    """Every slot that should have a node."""
    for one in config["providers"]:
        for pool in one["pools"]:
            for machine in pool.get("nodes", ()):
                for job in range(machine["max-parallel-jobs"]):
                    port = machine.get("connection-port", 22)
                    yield (one["name"], pool["name"], machine["name"], port, job)
