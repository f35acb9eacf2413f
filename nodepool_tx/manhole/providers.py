"""``providers``, ``pools``, ``zk`` and ``config``: the launcher's own parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nodepool_tx.config.schema import Config
from nodepool_tx.manhole.nodes import Detail
from nodepool_tx.manhole.showing import Table
from nodepool_tx.providers.interface import ProviderService
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.process import zookeeper_status
from nodepool_tx.status.providers import provider_status, provider_statuses
from nodepool_tx.store.maintenance import age_in_words

__all__ = ["ConfigView", "Pools", "Providers", "Zookeeper"]


class Providers:
    """What runs here: ``providers``, ``providers['rack']`` for all about one.

    ``providers.service('rack')`` is the object itself.
    """

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._farm.reloader.services()))

    def __len__(self) -> int:
        return len(self._farm.reloader.services())

    def __repr__(self) -> str:
        return f"<{len(self)} providers>"

    def __getitem__(self, name: str) -> Detail:
        shown = provider_status(self._farm, name)
        if shown is None:
            raise KeyError(f"there is no provider {name}")
        data = {
            **shown,
            "nodes": _counts(shown["nodes"]),
            "pools": [pool["name"] for pool in shown["pools"]],
            "tasks": [
                f"{task['what']} ({age_in_words(task['seconds'])})" for task in shown["tasks"]
            ],
            "hosts": [f"{host['hostname']} {host['state']}" for host in shown["hosts"]],
            "quota": [f"{q['resource']} {q['used']} of {q['limit']}" for q in shown["quota"]],
        }
        return Detail(f"provider {name}", data)

    def service(self, name: str) -> ProviderService:
        """The object that works for a provider now.

        :raises KeyError: there is none.
        """
        try:
            return self._farm.reloader.services()[name]
        except KeyError:
            raise KeyError(f"there is no provider {name}") from None

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        headers = ("name", "driver", "phase", "owner", "nodes", "in flight", "waiting", "trouble")
        rows = (
            (
                each["name"],
                each["driver"],
                each["phase"],
                "yes" if each["owner"] else "",
                _counts(each["nodes"]),
                len(each["tasks"]) or "",
                sum(pool["waiting"] for pool in each["pools"]) or "",
                _troubles(each),
            )
            for each in provider_statuses(self._farm)
        )
        yield from Table(headers, rows, "no providers").lines(width)
        for old in self._farm.reloader.retiring():
            yield f"{old.name}: an old service of it finishes what it has begun"


def _counts(nodes: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(nodes.items()) if count)


def _troubles(provider: dict[str, Any]) -> str:
    found = list(provider["troubles"])
    if provider["maintenance"]:
        found.insert(0, f"{provider['maintenance']['mode']}: {provider['maintenance']['reason']}")
    return found[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else "") if found else ""


class Pools:
    """The pools of all providers: what they offer, and who waits for it."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for provider in provider_statuses(self._farm):
            for pool in provider["pools"]:
                yield provider["name"], pool

    def __repr__(self) -> str:
        return f"<{sum(1 for _ in self)} pools>"

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        headers = ("provider", "pool", "priority", "max", "waiting", "", "labels")
        rows = (
            (
                provider,
                pool["name"],
                pool["priority"],
                pool["max_servers"],
                pool["waiting"] or "",
                "paused" if pool["paused"] else "",
                pool["labels"],
            )
            for provider, pool in self
        )
        yield from Table(headers, rows, "no pools").lines(width)


class Zookeeper:
    """The connection: ``zk``, and ``zk.get(path)``, ``zk.children(path)`` to look around."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    async def get(self, path: str) -> str:
        """What a znode holds, as text."""
        data, _ = await self._farm.store.client.get(path)
        return data.decode("utf-8", "backslashreplace")

    async def children(self, path: str) -> list[str]:
        """The names below a znode."""
        return sorted(await self._farm.store.client.get_children(path))

    def __repr__(self) -> str:
        return f"<ZooKeeper {self._farm.store.client.state.value}>"

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        yield from Detail("ZooKeeper", zookeeper_status(self._farm)).lines(width)


class ConfigView:
    """The configuration in force; its attributes are those of the configuration."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    def _config(self) -> Config:
        config = self._farm.reloader.config
        if config is None:
            raise LookupError("no configuration is in force yet")
        return config

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._config(), name)

    def __dir__(self) -> list[str]:
        return [field.name for field in Config.__attrs_attrs__]

    def __repr__(self) -> str:
        return f"<configuration with {len(self._config().providers)} providers>"

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        config = self._config()
        data = {
            "providers": list(config.providers),
            "labels": list(config.labels),
            "diskimages": list(config.diskimages),
            "zookeeper": [f"{each.host}:{each.port}" for each in config.zookeeper_servers],
            "webapp": f"{config.webapp.listen_address}:{config.webapp.port}",
        }
        errors = self._farm.launcher.last_errors
        notes = (
            [] if errors is None else ["the files on disk are not valid:", *str(errors).split("\n")]
        )
        yield from Detail("configuration in force", data, notes).lines(width)
