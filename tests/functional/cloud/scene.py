"""The setting of these tests: launchers, and clouds that outlive them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.requesters import Held, Ledger, Requester
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.sight import SeenNode
from tests.servers.simulated_openstack import OpenStackServer, write_clouds_yaml

__all__ = ["CloudScene", "label", "provider"]


def label(name: str, flavor: str = "small", **more: Any) -> dict[str, Any]:
    """A label of a pool; ``more`` with underscores for hyphens."""
    return {
        "name": name,
        "cloud-image": "debian",
        "flavor-name": flavor,
        **_hyphens(more),
    }


def provider(name: str, *labels: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """An OpenStack provider of the cloud of its name, with one pool.

    :param more: of the provider; ``pool`` holds more of its pool, ``cloud`` another cloud.
    """
    pool = more.pop("pool", {})
    return {
        "name": name,
        "driver": "openstack",
        "cloud": more.pop("cloud", name),
        "rate": 0,
        "cloud-images": [{"name": "debian", "image-name": "debian"}],
        **_hyphens(more),
        "pools": [
            {
                "name": "main",
                "host-key-checking": False,
                "networks": ["public"],
                "labels": [dict(one) for one in labels],
                **_hyphens(pool),
            }
        ],
    }


def _hyphens(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in settings.items()}


class Nodes(Ledger):
    """Of clouds: each is used once, and shares no machine with others."""

    def take(self, what: Any, request: str) -> None:
        if isinstance(what, str):
            super().take(what, request)

    def give_back(self, what: Any) -> None:
        if isinstance(what, str):
            super().give_back(what)


class CloudScene(Scene):
    """Every cloud a test opens here is closed when the test ends.

    :ivar clouds: by the name in ``clouds.yaml``.
    """

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        self.clouds: dict[str, OpenStackServer] = {}
        return super().setUp()

    def cloud(self, name: str, **simulation: Any) -> OpenStackServer:
        """Open a cloud; launchers made from now on know of it."""
        server = OpenStackServer(reactor, **simulation)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        self.clouds[name] = server
        write_clouds_yaml(self.directory / "clouds.yaml", self.clouds)
        return server

    def config(
        self, *providers: Mapping[str, Any], timeout: float = 2, **more: Any
    ) -> dict[str, Any]:
        """A configuration with the labels of these providers.

        :param more: of the top; ``min_ready`` the stock by label.
        """
        stock = more.pop("min_ready", {})
        labels = dict.fromkeys(
            one["name"] for each in providers for pool in each["pools"] for one in pool["labels"]
        )
        config = {
            "webapp": {"port": 0, "listen_address": "127.0.0.1"},
            **_hyphens(more),
            "labels": [{"name": name, "min-ready": stock.get(name, 0)} for name in labels],
            "providers": [dict(each) for each in providers],
        }
        return self.at_server(config, timeout=timeout)

    def cloud_launcher(self, config: Mapping[str, Any], **more: Any) -> LauncherProcess:
        """A launcher that knows the clouds, started."""
        environ = {
            "OS_CLIENT_CONFIG_FILE": str(self.directory / "clouds.yaml"),
            "NODEPOOL_CLEANUP_INTERVAL": "1",
            **more.pop("environ", {}),
        }
        launcher = self.launcher(config, environ=environ, **more)
        launcher.start()
        return launcher

    async def requester(self, *, tenant: str | None = None, **options: Any) -> Requester:
        """A requester with a session of its own, in the name of a tenant."""
        return Requester(await self.client(**options), Nodes(), tenant)

    async def ask_many(self, requester: Requester, count: int, *labels: str) -> list[str]:
        """Write so many requests; their ids."""
        asking = [Deferred.fromCoroutine(requester.ask(*labels)) for _ in range(count)]
        return list(await gatherResults(asking))

    async def accept_all(
        self, requester: Requester, requests: Sequence[str], *labels: str, patience: float = 45.0
    ) -> list[Held]:
        """Have the nodes of requests, all of which must be fulfilled."""
        accepting = [
            Deferred.fromCoroutine(requester.accept(each, labels, patience=patience))
            for each in requests
        ]
        return [
            held for each in await gatherResults(accepting, consumeErrors=True) for held in each
        ]

    async def records(self, provider: str | None = None) -> dict[str, dict[str, Any]]:
        """The records of nodes, of one provider or of all."""
        nodes = await self.sight.nodes()
        return {
            node.id: node.data for node in nodes if provider in (None, node.data.get("provider"))
        }

    async def until_settled(
        self, *, patience: float = 30.0, free: bool = True, **ready: int
    ) -> list[SeenNode]:
        """Exactly so many nodes of each label, all ready, and no request.

        Servers and records agree.

        :param free: nobody has any of them, nor is any promised.
        """

        async def look() -> list[SeenNode] | None:
            nodes = await self.sight.nodes()
            states = Counter(
                node.data["type"][0]
                for node in nodes
                if (node.free if free else node.data["state"] == "ready")
            )
            if states != Counter(ready) or len(nodes) != sum(ready.values()):
                return None
            if await self.disagreements() or await self.sight.requests():
                return None
            return nodes

        try:
            found: list[SeenNode] = await self.until(f"settled with {ready}", look, patience)
        except AssertionError as e:
            records = await self.records()
            lines = [str(each) for each in (*await self.disagreements(), *records.items())]
            raise AssertionError("\n".join([str(e), *lines[:40]])) from None
        return found

    async def disagreements(self) -> list[str]:
        """What the clouds and the records say differently."""
        found: list[str] = []
        for name, cloud in self.clouds.items():
            found.extend(cloud.mismatches(await self.records(name)))
        return found

    def assert_made_once(self, name: str, count: int) -> None:
        """The cloud has made so many servers in all, each for another node."""
        made = self.clouds[name].made
        self.assertEqual(len(made), count)
        self.assertEqual(len({each.node_id for each in made}), count)
