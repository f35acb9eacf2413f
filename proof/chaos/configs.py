"""What launchers are configured with, such that every wish can always be fulfilled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from proof.chaos.borrowers import SETTINGS
from proof.chaos.hosts import Machine
from tests.functional.cloud.scene import label
from tests.functional.cloud.scene import provider as cloud_provider
from tests.functional.launcher.settings import configuration, host, provider

__all__ = ["CLOUDS", "HOSTS", "STATIC_LABELS", "TENANT", "WISHES", "Configs"]

#: Clouds, and how they are at their best.
CLOUDS: Mapping[str, Mapping[str, Any]] = {
    "sky": {"max_instances": 12, "max_cores": 40, "boot_delay": 0.5, "delete_delay": 0.2},
    "sea": {"max_instances": 8, "max_cores": 20, "boot_delay": 1.0, "delete_delay": 0.1},
}

#: How many machines there are.
HOSTS = 8

STATIC_LABELS = frozenset({"small", "large"})

#: What is asked for, as often as it is mentioned.
WISHES: Sequence[Sequence[str]] = (
    ["small"],
    ["small"],
    ["small"],
    ["large"],
    ["small", "small"],
    ["small", "large"],
    ["small"] * 3,
    ["vm"],
    ["vm"],
    ["vm", "vm"],
    ["vm", "big"],
    ["big"],
    ["stock"],
    ["either"],
    ["either", "either"],
)

#: Has a limit, which is no less than what a single wish takes.
TENANT = "acme"
_LIMIT = 4

#: Seconds that a cloud's node may stay unused.  What cancelled requests leave would never go.
_READY_AGE = 15


class Configs:
    """Makes configurations for the machines there are; without ZooKeeper's addresses."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._rack = machines[:5]
        self._bench = machines[5:]

    def _host(self, machine: Machine, *labels: str, jobs: int = 1, pinned: bool = False) -> Any:
        keys = {"host_key": machine.key} if pinned else {}
        return host(
            machine.name,
            *labels,
            jobs=jobs,
            connection_port=machine.port,
            username="zuul",
            timeout=2,
            **keys,
        )

    def everything(self) -> dict[str, Any]:
        """With every provider there is, and every machine."""
        return self._make(Random(0), everything=True)

    def some(self, rng: Random) -> dict[str, Any]:
        """Any that serves all wishes."""
        return self._make(rng)

    def _make(self, rng: Random, *, everything: bool = False) -> dict[str, Any]:
        providers = [self._rack_of(rng), self._sky(rng)]
        if everything or rng.random() < 0.6:
            providers.append(self._bench_of(rng, everything))
        if everything or rng.random() < 0.7:
            providers.append(self._sea(rng))
        clouds = [one for one in providers if one["driver"] == "openstack"]
        names = dict.fromkeys(
            one["name"] for each in clouds for pool in each["pools"] for one in pool["labels"]
        )
        stock = rng.choice([1, 2, 3])
        config = configuration(
            *providers,
            max_hold_age=30,
            tenant_resource_limits=[{"tenant-name": TENANT, "max-servers": _LIMIT}],
        )
        config["labels"] += [
            {
                "name": name,
                "min-ready": stock if name == "stock" else 0,
                "max-ready-age": _READY_AGE,
            }
            for name in names
        ]
        config["nodepool-tx"] = dict(SETTINGS)
        return config

    def _rack_of(self, rng: Random) -> Any:
        first, second, third, *rest = self._rack
        hosts = [
            self._host(first, "small", jobs=2, pinned=True),
            self._host(second, "small", jobs=rng.choice([1, 2, 3])),
            self._host(third, "small", jobs=2),
            *(self._host(each, "large", "small", pinned=True) for each in rest),
        ]
        return provider("rack", *hosts, node_attributes={"version": rng.randrange(3)})

    def _bench_of(self, rng: Random, everything: bool) -> Any:
        chosen = self._bench if everything else rng.sample(self._bench, 2)
        hosts = [self._host(each, "small", jobs=2) for each in chosen]
        return {**provider("bench", *hosts), "max-concurrency": rng.choice([-1, 2])}

    def _sky(self, rng: Random) -> Any:
        one = self._cloud(
            "sky",
            [label("vm"), label("big", "large"), label("stock"), label("either")],
            max_servers=rng.choice([6, 10]),
        )
        one["pools"].append(
            {**one["pools"][0], "name": "annexe", "labels": [label("vm"), label("either")]}
        )
        return one

    def _sea(self, rng: Random) -> Any:
        return self._cloud("sea", [label("vm"), label("either")], max_servers=rng.choice([3, 6]))

    def _cloud(self, name: str, labels: Sequence[Any], max_servers: int) -> dict[str, Any]:
        return cloud_provider(
            name,
            *labels,
            boot_timeout=15,
            launch_timeout=30,
            pool={"max_servers": max_servers},
        )
