"""Whatever is written into its part of ZooKeeper, the launcher goes on and serves."""

from __future__ import annotations

import json

from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous

FARM = configuration(provider("rack", host("fake-1", "small", jobs=2), host("fake-2", "large")))

#: Nearly as much as a znode can hold.
MEGABYTE = 1_000_000

#: No record of any kind.
NONSENSE = {
    "bytes": b"\xff\x00\xfe",
    "half": b'{"state": "rea',
    "list": b"[1, 2]",
    "null": b"null",
    "number": b"7",
    "text": b'"ready"',
    "deep": b"[" * 100_000,
    "large": b"x" * MEGABYTE,
    "stateless": b"{}",
    "state": b'{"state": "beyond"}',
    "state-list": b'{"state": ["ready"]}',
    "state-object": b'{"state": {}}',
}


def record(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def node(**fields: object) -> bytes:
    """A record that claims to be a free node of the farm."""
    usual = {"state": "ready", "provider": "rack", "pool": "main", "type": ["small"]}
    return record(**{**usual, **fields})


def request(**fields: object) -> bytes:
    return record(**{"state": "requested", "node_types": ["small"], **fields})


#: Objects that are nearly what they should be.
ODD_NODES = {
    "labels": node(type=[["small"]]),
    "label-number": node(type=7),
    "times": node(state_time="yesterday"),
    "provider": node(provider=["rack"]),
    "keys": node(host_keys={"a": 1}),
    "slot": node(slot="first"),
    "allocated": node(allocated_to=["100-0000000000"]),
    "resources": node(resources=[1]),
}
ODD_REQUESTS = {
    "labels": request(node_types=[{"small": 1}]),
    "labels-number": request(node_types=1),
    "priority": request(relative_priority="high"),
    "priority-nan": b'{"state": "requested", "node_types": ["small"], "relative_priority": NaN}',
    "tenant": request(tenant_name=["t"]),
    "declined": request(declined_by=[None]),
    "provider": request(provider={"rack": 1}),
}
ODD_POOLS = {
    "labels": record(state="running", hostname="h", id="i", name="n", provider_name="p")[:-1]
    + b', "supported_labels": [[1]]}',
    "priority": record(
        state="running", hostname="h", id="i", name="n", provider_name="p", priority="first"
    ),
    "state": record(state="flying", hostname="h", id="i", name="n", provider_name="p"),
    "nobody": record(state="running"),
}


class Rubbish(Scene):
    async def put(self, path: str, data: bytes) -> None:
        await self.sight.client.create(path, data, makepath=True)

    async def litter(self, mark: str) -> list[str]:
        """Nonsense in every path; answers what should be complained of."""
        told = []
        # Numbers that are no multiple of anything a launcher will use soon.
        for kind, data in {**NONSENSE, **ODD_NODES}.items():
            told.append(f"/nodepool/nodes/{mark}{kind}")
            await self.put(told[-1], data)
        for kind, data in {**NONSENSE, **ODD_REQUESTS}.items():
            told.append(f"/nodepool/requests/100-{mark}{kind}")
            await self.put(told[-1], data)
        for name in (f"{mark}foo", f"{mark}0000000001"):
            told.append(f"/nodepool/requests/{name}")
            await self.put(told[-1], request())
        for kind, data in {**NONSENSE, **ODD_POOLS}.items():
            told.append(f"/nodepool/components/pool/{mark}{kind}")
            await self.put(told[-1], data)
        for kind, data in NONSENSE.items():
            if kind != "stateless":
                told.append(f"/nodepool/components/launcher/{mark}{kind}")
                await self.put(told[-1], data)
        for path in (
            f"/nodepool/nodes/{mark}parent/child/of/another",
            f"/nodepool/nodes/{mark}parent/lock/foreign/deeper",
            f"/nodepool/nodes/{mark}locked/lock/foreign",
            f"/nodepool/requests/{mark}parent/child/deeper",
            f"/nodepool/requests-lock/{mark}foo",
            f"/nodepool/requests-lock/{mark}bar/contender/deeper",
            f"/nodepool/components/{mark}foo",
            f"/nodepool/components/{mark}kind/one/two/three",
            f"/nodepool/owners/{mark}foo/bar/baz",
            f"/nodepool/owners/rack/{mark}foreign",
            f"/nodepool/elections/{mark}foo/bar",
            f"/nodepool/images/{mark}foo/builds/lock",
            f"/nodepool/draining/{mark}foo/deeper",
            f"/nodepool/{mark}foo/bar",
        ):
            await self.put(path, b"nonsense")
        return told

    @asynchronous
    async def test_in_every_path(self) -> None:
        """Nonsense that was there and that comes later is told once, with its path; all goes on."""
        early = await self.litter("a")
        launcher = self.launcher(self.at_server(FARM), environ={"NODEPOOL_CLEANUP_INTERVAL": "0.3"})
        launcher.start()
        requester = await self.requester()
        await requester.job("small", "large")
        late = await self.litter("b")
        crowd = self.crowd(requester, 10, [["small"], ["large"]])
        await self.until_served(crowd, 50)
        for path in [*early, *late]:
            await self.until_logged(launcher, f"{path} is unreadable and is left alone: ")
        # Several sweeps, and a look at everything after each.
        await self.sleep(1.0)
        await crowd.finish()
        log = launcher.log
        often = [p for p in [*early, *late] if log.count(f"{p} is unreadable") != 1]
        self.assertEqual(often, [])
        self.assertLess(max(len(line) for line in log.splitlines()), 1000)
        self.assert_nothing_unforeseen()
        left = {path.rpartition("/")[2] for path in [*early, *late] if "/nodes/" in path}
        self.assertLessEqual(left, set(await self.sight.children("/nodepool/nodes")))
        launcher.kill()
        launcher.start()
        await requester.job("small", "large")
        self.assertEqual((await launcher.stop()).status, 0)
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_empty_znodes(self) -> None:
        """Nodes without data, as a crash leaves them, are removed; all else is left alone."""
        environ = {"NODEPOOL_CLEANUP_INTERVAL": "0.3"}
        launcher = await self.serving(self.at_server(FARM), environ=environ)
        for path in ("/nodepool/nodes/0000000777", "/nodepool/nodes/0000000778/lock"):
            await self.put(path, b"")
        for path in ("/nodepool/requests/100-0000000777", "/nodepool/components/pool/empty"):
            await self.put(path, b"")
        await self.until_all_free(slots(FARM))

        async def gone() -> bool:
            names = await self.sight.children("/nodepool/nodes")
            return not {"0000000777", "0000000778"} & set(names)

        await self.until("the empty nodes are gone", gone)
        await (await self.requester()).job("small")
        self.assertTrue(await self.sight.client.exists("/nodepool/requests/100-0000000777"))
        self.assert_nothing_unforeseen(launcher)

    @asynchronous
    async def test_rubbish_that_becomes_a_request(self) -> None:
        """What was unreadable and makes sense now is answered."""
        launcher = await self.serving(self.at_server(FARM))
        requester = await self.requester()
        path = "/nodepool/requests/100-0000000042"
        await self.put(path, b"\xff")
        await self.until_logged(launcher, f"{path} is unreadable")
        await self.sight.client.set(path, request())
        await requester.give_back(await requester.accept("100-0000000042", ["small"]))
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_requests_beyond_measure(self) -> None:
        """Requests for a hundred thousand nodes, and for labels nobody has, harm no others."""
        await self.serving(self.at_server(FARM))
        requester = await self.requester()
        large = await requester.ask(*(["small"] * 100_000))
        many = await requester.ask(*(f"label-{n}" for n in range(50_000)))
        none = await requester.ask()
        crowd = self.crowd(requester, 10, [["small"], ["large"]])
        await self.until_served(crowd, 50)
        await crowd.finish()
        self.assertLess(max(requester.ledger.waits), 5.0)
        for request_id in (large, many, none):
            body = await requester.request(request_id)
            assert body is not None
            print(len(body["node_types"]), body["state"])
            await requester.withdraw(request_id)
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_nodes_that_nobody_configured(self) -> None:
        """Free nodes of the provider that fit nothing go; other providers' nodes stay."""
        launcher = await self.serving(self.at_server(FARM))
        strange = {
            "0000000900": node(hostname="elsewhere", username="zuul", slot=0),
            "0000000901": node(hostname="fake-1", username="zuul", slot=9),
            "0000000902": node(hostname="fake-1", username="zuul", slot=-1),
            "0000000903": node(hostname=None, slot=None),
            "0000000904": node(provider="elsewhere", hostname="x"),
            "0000000905": node(provider=None),
            "0000000906": node(provider="elsewhere", hostname="y", state="used"),
        }
        for name, data in strange.items():
            await self.put(f"/nodepool/nodes/{name}", data)

        async def only_the_others() -> bool:
            names = set(await self.sight.children("/nodepool/nodes")) & strange.keys()
            return names == {"0000000904", "0000000905", "0000000906"}

        await self.until("what fits nothing is gone", only_the_others)
        crowd = self.crowd(await self.requester(), 10, [["small"], ["large"]])
        await self.until_served(crowd, 30)
        await crowd.finish()
        self.assert_nothing_unforeseen(launcher)
