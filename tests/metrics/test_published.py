"""What happens is told once, with what whoever counts it needs to know."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs
import pytest

from nodepool_tx.config.cloud import CloudImage, CloudLabel
from nodepool_tx.config.errors import ConfigError, ConfigErrors
from nodepool_tx.events import (
    CloudCalled,
    Event,
    Events,
    HostChanged,
    LaunchEnded,
    LeakRemoved,
    NodeDeleted,
    ReloadEnded,
    ReloadRefused,
    RequestEnded,
    ServiceAsked,
)
from nodepool_tx.launcher import Launcher
from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    Gone,
    NoCapacity,
    OverQuota,
)
from nodepool_tx.providers.cloud.interface import NODE_ID, PROVIDER_NAME
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.fake.transport import SimulatedTransport
from nodepool_tx.providers.openstack.timing import TimedTransport, operation_of
from nodepool_tx.reload import Reloader
from tests.providers.cloud.world import World, WorldTestCase, cloud_label, cloud_provider
from tests.providers.fake.stage import CloudCase
from tests.providers.static.stage import StageTestCase
from tests.providers.static.test_service import provider as static_provider
from tests.reload_stage import ReloadTestCase, config, provider

E = TypeVar("E", bound=Event)


class Heard:
    """Everything that was told, in order."""

    def __init__(self, events: Events) -> None:
        self.all: list[Event] = []
        events.subscribe(self.all.append)

    def of(self, kind: type[E]) -> list[E]:
        """What was told of one kind."""
        return [event for event in self.all if isinstance(event, kind)]

    def only(self, kind: type[E]) -> E:
        """The one thing that was told of a kind."""
        (event,) = self.of(kind)
        return event


def test_one_that_fails_harms_nobody() -> None:
    """Whoever hears of an event and fails does not keep it from the others."""
    events, heard = Events(), []

    def fail(event: Event) -> None:
        raise RuntimeError("no")

    events.subscribe(fail)
    forget = events.subscribe(heard.append)
    told = LeakRemoved(provider="cloud", kind="port")
    events.publish(told)
    forget()
    events.publish(told)
    assert heard == [told]


class CloudTests(WorldTestCase):
    """A cloud provider."""

    def make_world(self) -> World:
        return World(zones=("a", "b"))

    def provide(self, *labels: str | CloudLabel, **changes: Any) -> CloudProviderService:
        launcher = self.world.launcher()
        self.heard = Heard(launcher.context.events)
        return launcher.provide(cloud_provider(*labels, **{"launch_retries": 1, **changes}))

    def order(self, service: CloudProviderService, seconds: float = 60.0, **changes: Any) -> str:
        node_id = self.world.order(service, **changes)
        self.world.wait(seconds)
        return node_id

    def test_ready(self) -> None:
        """A launch that went well, with its pool, zone and requestor, and how long it took."""
        service = self.provide(pool_zones=("b",))
        node_id = self.order(service)
        (ready,) = self.heard.of(LaunchEnded)
        self.assertEqual(ready.seconds, 30.0)
        self.assertEqual(
            attrs.evolve(ready, seconds=0.0),
            LaunchEnded(
                provider="cloud",
                pool="main",
                label="small",
                node_id=node_id,
                result="ready",
                seconds=0.0,
                zone="b",
                requestor="a test",
                image="debian",
            ),
        )

    def test_each_attempt(self) -> None:
        """Every attempt is told of; only the last is final."""
        service = self.provide(launch_retries=3)
        self.world.cloud.fail_next("create", CloudError("broken"), times=1)
        self.order(service, 120.0)
        ends = [(end.result, end.final) for end in self.heard.of(LaunchEnded)]
        self.assertEqual(ends, [("unknown", False), ("ready", True)])

    def results(self) -> list[str]:
        return [end.result for end in self.heard.of(LaunchEnded)]

    def test_quota(self) -> None:
        """The cloud's quota is no failure of its own, and has its own name."""
        service = self.provide()
        self.world.cloud.fail_next("create", OverQuota("full"))
        self.order(service)
        self.assertEqual(self.results(), ["quota"])

    def test_capacity(self) -> None:
        """So has a zone that is full; the next attempt goes elsewhere."""
        service = self.provide()
        self.world.cloud.fail_next("create", NoCapacity("full"))
        self.order(service)
        ends = [(end.result, end.final, end.zone) for end in self.heard.of(LaunchEnded)]
        self.assertEqual([end[:2] for end in ends], [("capacity", False), ("ready", True)])
        self.assertEqual({end[2] for end in ends}, {"a", "b"})

    def test_status(self) -> None:
        """A server that the cloud shows as failed."""
        service = self.provide()
        self.world.cloud.fail_boot(CloudError("no network"))
        self.order(service)
        self.assertEqual(self.results(), ["status"])

    def test_timeout(self) -> None:
        """A server that does not become active."""
        service = self.provide(launch_timeout=10)
        self.order(service)
        self.assertEqual(self.results(), ["servercreatetimeout"])

    def test_keyscan(self) -> None:
        """A server whose host keys cannot be had."""
        service = self.provide(boot_timeout=20)
        self.world.scanner.deaf = 1
        self.order(service)
        self.assertEqual(self.results(), ["keyscan"])

    def test_no_image(self) -> None:
        """A label whose disk image is not there any more."""
        image = CloudImage(name="debian", username="zuul", diskimage=True)
        service = self.provide(cloud_label("small", image=image))
        self.order(service)
        self.assertEqual(self.results(), ["nodepool"])

    def test_anything_else(self) -> None:
        """A server that goes away while it boots."""
        service = self.provide()
        node_id = self.world.order(service)
        self.world.wait(10)
        self.world.cloud.lose_server(str(self.world.node(node_id).external_id))
        self.world.wait(60)
        self.assertEqual(self.results(), ["unknown"])

    def test_session_lost(self) -> None:
        """A launch whose lock was lost counts as one whose session was."""
        service = self.provide()
        self.world.order(service)
        self.world.wait(10)
        self.world.inspector.expire(self.world.launchers[0].client)
        self.world.wait(1)
        self.assertEqual(self.results(), ["zksession"])

    def test_stopped(self) -> None:
        """A launch that is left to whoever is next has not ended."""
        service = self.provide()
        self.world.order(service)
        self.world.wait(10)
        stopped = service.disownServiceParent()
        self.world.settle()
        assert stopped is not None
        self.successResultOf(stopped)
        self.assertEqual(self.results(), [])

    def test_deleted(self) -> None:
        """A server is gone as long after its deletion began as that took."""
        service = self.provide()
        node_id = self.order(service)
        self.world.change_node(node_id, state=NodeState.USED)
        self.world.wait(60)
        gone = self.heard.only(NodeDeleted)
        self.assertEqual((gone.provider, gone.node_id), ("cloud", node_id))
        self.assertEqual(gone.seconds, 10.0)

    def test_deleted_once(self) -> None:
        """Two who wait for the same server are one deletion."""
        service = self.provide()
        node_id = self.order(service)
        external_id = str(self.world.node(node_id).external_id)
        deletions = service._account.deletions
        tracker = self.world.launchers[0].context
        for _ in range(2):
            service._tracker.run("deleting", deletions.until_gone(external_id, node_id))
        self.world.wait(60)
        self.assertIs(tracker.events, service._account.events)
        self.assertEqual(len(self.heard.of(NodeDeleted)), 1)

    def test_leak(self) -> None:
        """A leaked thing that was removed, by its kind."""
        self.provide()
        self.world.cloud.leave("port", **{PROVIDER_NAME: "cloud", NODE_ID: "0000000999"})
        self.world.wait(200)
        self.assertEqual(self.heard.of(LeakRemoved), [LeakRemoved(provider="cloud", kind="port")])

    def test_calls(self) -> None:
        """Each call of the cloud, with what came of it."""
        service = self.provide()
        self.heard.all.clear()
        self.world.cloud.fail_next("create", NoCapacity("full"))
        self.order(service)
        creates = [call for call in self.heard.of(CloudCalled) if call.call == "create"]
        self.assertEqual([call.result for call in creates], ["NoCapacity", "ok"])
        self.assertEqual(service._account.calls.counts["create"].calls, 2)
        listings = [call for call in self.heard.of(CloudCalled) if call.call == "list_instances"]
        self.assertEqual({call.result for call in listings}, {"ok"})
        self.assertEqual({call.provider for call in listings}, {"cloud"})

    def test_fulfilled(self) -> None:
        """A request that got a new node, as long after it was made as that took."""
        self.provide()
        request = self.world.request(
            "small", state=RequestState.REQUESTED, tenant_name="zuul", requestor="check"
        )
        self.world.wait(60)
        ended = self.heard.only(RequestEnded)
        self.assertGreater(ended.seconds, 29.0)
        self.assertEqual(
            attrs.evolve(ended, seconds=0.0),
            RequestEnded(
                request_id=request.id,
                provider="cloud",
                pool="main",
                labels=("small",),
                result="fulfilled",
                seconds=0.0,
                tenant="zuul",
                requestor="check",
            ),
        )

    def test_given_back(self) -> None:
        """A request whose node could not be made has failed here, as nobody else has it."""
        self.provide()
        self.world.cloud.fail_next("create", CloudError("broken"), times=9)
        self.world.request("small", state=RequestState.REQUESTED)
        self.world.wait(60)
        self.assertEqual(self.heard.only(RequestEnded).result, "failed")


class StaticTests(StageTestCase):
    """A static provider."""

    def provide(self, *hosts: str) -> None:
        launcher = self.launcher()
        self.heard = Heard(launcher.context.events)
        launcher.provide(static_provider(*hosts))
        self.stage.settle()

    def test_hosts(self) -> None:
        """A host is told of when it is found up, when it goes down, and when it is back."""
        self.hosts.add("web1")
        self.provide("web1")
        self.hosts.take_down("web1")
        self.stage.use(self.stage.only_node().id)
        self.stage.give_back(self.stage.only_node().id)
        self.stage.wait(30)
        self.hosts.bring_up("web1")
        self.stage.wait(15)
        changes = self.heard.of(HostChanged)
        self.assertEqual([change.up for change in changes], [True, False, True])
        self.assertEqual({(c.provider, c.hostname) for c in changes}, {("rack", "web1")})
        self.assertEqual([bool(change.reason) for change in changes], [False, True, False])

    def test_served(self) -> None:
        """A request served from stock took no time."""
        self.hosts.add("web1")
        self.provide("web1")
        request_id = self.stage.put_request("small")
        self.stage.settle()
        ended = self.heard.only(RequestEnded)
        self.assertEqual((ended.request_id, ended.result), (request_id, "fulfilled"))
        self.assertEqual((ended.seconds, ended.provider, ended.pool), (0.0, "rack", "main"))

    def test_declined(self) -> None:
        """A request for what nobody has has failed, and is told of once."""
        self.hosts.add("web1")
        self.provide("web1")
        self.stage.put_request("unheard-of")
        self.stage.settle()
        self.stage.wait(5)
        ended = self.heard.only(RequestEnded)
        self.assertEqual((ended.result, ended.labels), ("failed", ("unheard-of",)))


class ReloadTests(ReloadTestCase):
    """Reloads."""

    def setUp(self) -> None:
        super().setUp()
        events = Events()
        self.heard = Heard(events)
        self.events = events
        self.reloader = Reloader(
            self.clock,
            self.providers,
            self.build,
            self.registry,
            self.ownerships,
            self.limits,
            self.ledger,
            events,
        )

    def test_applied(self) -> None:
        """What came into force, and what did not."""
        self.applied(provider("a"), provider("b"), provider("c"))
        self.script.starting["b/2"] = RuntimeError("no")
        self.script.starting["e/1"] = RuntimeError("no")
        self.apply(provider("a"), provider("b", 2), provider("d"), provider("e"))
        first, second = self.heard.of(ReloadEnded)
        self.assertEqual(first.added, ("a", "b", "c"))
        self.assertEqual(
            attrs.evolve(second, seconds=0.0),
            ReloadEnded(
                kept=("a",),
                replaced=(),
                added=("d",),
                removed=("c",),
                rolled_back=("b", "e"),
                seconds=0.0,
            ),
        )
        self.flushLoggedErrors(RuntimeError)

    def test_refused(self) -> None:
        """A configuration that is not valid, with each error."""
        session: Any = None
        launcher = Launcher(self.reloader, self.store, session, config(), events=self.events)
        error = ConfigError("nodepool.yaml", 3, 1, "labels", "there is no such label")
        launcher.on_errors(ConfigErrors([error]))
        self.assertEqual(self.heard.only(ReloadRefused).errors, (str(error),))


class ServiceTests(CloudCase):
    """Requests to the services of a cloud."""

    def setUp(self) -> None:
        super().setUp()
        events = Events()
        self.heard = Heard(events)
        self.transport = TimedTransport(  # type: ignore[assignment]
            SimulatedTransport(self.cloud), "cloud", self.clock, events
        )

    def test_asked(self) -> None:
        """Each is told of with its status, and what it was about without ids."""
        server_id = self.create()
        self.ask("compute", "GET", f"/servers/{server_id}")
        self.ask("compute", "GET", "/servers/nobody")
        asked = [(a.method, a.operation, a.status) for a in self.heard.of(ServiceAsked)]
        self.assertEqual(
            asked, [("POST", "servers", 202), ("GET", "server", 200), ("GET", "server", 404)]
        )
        self.assertEqual(
            {(a.provider, a.service) for a in self.heard.of(ServiceAsked)}, {("cloud", "compute")}
        )

    def test_no_answer(self) -> None:
        """One without an answer has no status."""
        failing = TimedTransport(_Broken(), "cloud", self.clock, _events_of(self.heard))  # type: ignore[arg-type]
        self.transport = failing  # type: ignore[assignment]
        self.failureResultOf(self.begin("image", "GET", "/images"), Gone)
        self.assertIsNone(self.heard.only(ServiceAsked).status)


def _events_of(heard: Heard) -> Events:
    events = Events()
    events.subscribe(heard.all.append)
    return events


class _Broken:
    async def request(self, *args: Any, **kwargs: Any) -> None:
        raise Gone("no such service")


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/servers", "servers"),
        ("/servers/detail", "servers_detail"),
        ("/servers/0123", "server"),
        ("/servers/0123/action", "server_action"),
        ("/servers/0123/os-interface", "server_os-interface"),
        ("/quotas/tenant", "quota"),
        ("/v2.0/networks.json?name=a", "networks"),
        ("https://cloud:9696/v2.0/ports?marker=a", "ports"),
        ("https://cloud/networking/v2.0/networks?marker=a", "networks"),
        ("/image/v2/images/0123/file", "image_file"),
        ("/os-keypairs/v2-key", "os-keypair"),
        ("/", "discovery"),
        ("/limits", "limits"),
    ],
)
def test_operations(path: str, operation: str) -> None:
    """Ids are left out, and one of many is told from many."""
    assert operation_of(path) == operation
