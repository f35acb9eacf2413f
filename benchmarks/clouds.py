"""A simulated cloud that both launchers bring with them, and its configuration.

Nodepool 11's `fake` driver keeps a cloud in the launcher's own process, as ours does: 20 servers,
100 cores, each server active 0.1 s after it was asked for, everything else at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from benchmarks.daemons import Endpoint

LABEL = "only"
SERVERS = 20
"""As many as that cloud allows."""


def cloud_configuration(
    endpoint: Endpoint,
    servers: int = SERVERS,
    simulation: dict[str, Any] | None = None,
    min_ready: int = 0,
) -> dict[str, Any]:
    """A `nodepool.yaml` with one simulated cloud with one pool.

    :param simulation: how the cloud differs from Nodepool 11's; Nodepool 11 knows no such key.
    """
    provider: dict[str, Any] = {
        "name": "cloud",
        "driver": "fake",
        "cloud": "fake",
        # Nodepool 11 waits so long, in seconds, between two looks at a server; ours between
        # two calls, but not for a simulated cloud.
        "rate": 0.0001,
        "cloud-images": [{"name": "image", "image-name": "Fake Precise"}],
        "pools": [
            {
                "name": "main",
                "max-servers": servers,
                "labels": [{"name": LABEL, "cloud-image": "image", "min-ram": 8192}],
            }
        ],
    }
    if simulation is not None:
        provider["simulation"] = simulation
    return {
        **endpoint.settings(),
        "webapp": {"port": 0, "listen_address": "127.0.0.1"},
        "labels": [{"name": LABEL, "min-ready": min_ready}],
        "providers": [provider],
    }


def cloud_environment(folder: Path) -> dict[str, str]:
    """What Nodepool 11 wants to know of a cloud that it never calls."""
    file = folder / "clouds.yaml"
    login = {"username": "fake", "password": "fake", "project_id": "fake", "auth_url": "fake"}
    file.write_text(yaml.safe_dump({"clouds": {"fake": {"auth": login}}}))
    return {"OS_CLIENT_CONFIG_FILE": str(file)}
