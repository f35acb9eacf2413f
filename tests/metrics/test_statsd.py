"""Statsd: names and values, datagrams, and a server that may not be there."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.events import CloudCalled, LaunchEnded, LeakRemoved, ServiceAsked
from nodepool_tx.metrics.lines import (
    MOST_BYTES,
    address_of,
    count,
    gauge,
    normal,
    packed,
    safe,
    timing,
)
from nodepool_tx.metrics.sender import LOOK_AGAIN, StatsdSender
from nodepool_tx.metrics.statsd import Statsd, lines_of
from nodepool_tx.model import NodeState
from tests.metrics.stage import CONFIG, FarmTestCase


def test_lines() -> None:
    """Counts, gauges and times in milliseconds, as statsd reads them."""
    assert count("a.b") == "a.b:1|c"
    assert gauge("a", 7.0) == "a:7|g"
    assert gauge("a", 0.5) == "a:0.5|g"
    assert timing("a", 1.5) == "a:1500.000|ms"


def test_names() -> None:
    """Names mean nothing but themselves; only what users choose freely is one level."""
    assert safe("ubuntu-22.04") == "ubuntu-22.04"
    assert safe("a:b|c@d#e f\ng") == "a_b_c_d_e_f_g"
    assert normal("zuul:check.gate") == "zuul_check_gate"


@given(st.lists(st.text(min_size=1, max_size=300).map(safe), max_size=60))
def test_packed(lines: list[str]) -> None:
    """Every line arrives whole, in order, in datagrams that are no larger than they may be."""
    datagrams = list(packed(lines))
    arrived = [line for datagram in datagrams for line in datagram.split(b"\n")]
    assert arrived == [line.encode("utf-8", "replace") for line in lines]
    assert all(len(each) <= MOST_BYTES or b"\n" not in each for each in datagrams)
    pairs = pairwise(datagrams)
    assert all(len(a) + 1 + len(b.split(b"\n")[0]) > MOST_BYTES for a, b in pairs)


@pytest.mark.parametrize(
    ("host", "port", "where"),
    [
        (None, None, None),
        ("", "", None),
        ("stats", None, ("stats", 8125)),
        (None, "9125", ("localhost", 9125)),
        ("::1", "9125", ("::1", 9125)),
    ],
)
def test_address(host: str | None, port: str | None, where: tuple[str, int] | None) -> None:
    """Either variable is enough; without both there is nothing to send to."""
    assert address_of(host, port) == where


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", "٣"])
def test_no_port(port: str) -> None:
    """A port that is none is refused."""
    with pytest.raises(ValueError, match="STATSD_PORT"):
        address_of("stats", port)


LAUNCH = LaunchEnded(
    provider="cloud",
    pool="main",
    label="small",
    node_id="1",
    result="ready",
    seconds=2.0,
    zone="az.1",
    requestor="zuul:check.gate",
    image="debian",
)


def test_launches() -> None:
    """A launch is counted and timed for all there are, its provider, zone, image, requestor."""
    names = [
        "nodepool.launch.provider.cloud.ready",
        "nodepool.launch.ready",
        "nodepool.launch.provider.cloud.az.1.ready",
        "nodepool.launch.image.debian.ready",
        "nodepool.launch.requestor.zuul_check_gate.ready",
    ]
    expected = [line for name in names for line in (f"{name}:2000.000|ms", f"{name}:1|c")]
    assert list(lines_of(LAUNCH)) == expected


def test_failed_launch() -> None:
    """An error has its name after ``error``; what is not known is left out."""
    failed = LaunchEnded(
        provider="cloud", pool="main", label="small", node_id="1", result="quota", seconds=0.25
    )
    names = {line.partition(":")[0] for line in lines_of(failed)}
    assert names == {"nodepool.launch.provider.cloud.error.quota", "nodepool.launch.error.quota"}


def test_other_events() -> None:
    """Leaks by kind, requests to clouds by what they were for; nothing of all else."""
    leak = LeakRemoved(provider="cloud", kind="floatingip")
    assert list(lines_of(leak)) == ["nodepool.provider.cloud.leaked.floatingips:1|c"]
    asked = ServiceAsked(
        provider="cloud",
        service="block-storage",
        method="GET",
        operation="limits",
        status=200,
        seconds=1.5,
    )
    root = "nodepool.task.cloud.block-storage.GET.limits"
    assert list(lines_of(asked)) == [
        f"{root}.200:1500.000|ms",
        f"{root}.200:1|c",
        f"{root}.over_1000:1|c",
        f"{root}.attempted:1|c",
    ]
    nothing = attrs.evolve(asked, service="image", operation="images", status=None)
    root = "nodepool.task.cloud.image.GET.images"
    assert list(lines_of(nothing)) == [f"{root}.failed:1|c", f"{root}.attempted:1|c"]
    called = CloudCalled(provider="cloud", call="create", result="ok", seconds=1.0)
    assert list(lines_of(called)) == []


class ReportTests(FarmTestCase):
    """Reports of how things are."""

    def setUp(self) -> None:
        super().setUp()
        self.sent: list[str] = []
        self.statsd = self.make_statsd()
        self.sources.counts.start()
        self.addCleanup(self.sources.counts.stop)
        self.bring()

    def make_statsd(self) -> Statsd:
        statsd = Statsd(self.sources, lambda *lines: self.sent.extend(lines), 5.0)
        statsd.startService()
        self.addCleanup(statsd.stopService)
        return statsd

    def report(self) -> dict[str, str]:
        """The gauges of the next report."""
        self.sent.clear()
        self.wait(5)
        lines = (line.rpartition(":") for line in self.sent if line.endswith("|g"))
        return {name: value.removesuffix("|g") for name, _, value in lines}

    def test_nodes(self) -> None:
        """Every state of all nodes, of each provider and each label, also those of none."""
        seen = self.report()
        self.assertEqual(seen["nodepool.nodes.ready"], "3")
        self.assertEqual(seen["nodepool.provider.rack.nodes.ready"], "3")
        self.assertEqual(seen["nodepool.label.static-1.0.nodes.ready"], "3")
        for state in NodeState:
            self.assertIn(f"nodepool.label.cloudy.nodes.{state.value}", seen)
            self.assertEqual(seen[f"nodepool.provider.cloud.nodes.{state.value}"], "0")

    def test_requests(self) -> None:
        """Requests that a pool could serve, whatever becomes of them."""
        self.exercise()
        seen = self.report()
        name = "nodepool.provider.{}.pool.{}.addressable_requests"
        self.assertEqual(seen[name.format("rack", "main")], "1")
        self.assertEqual(seen[name.format("cloud", "small")], "1")

    def test_limits(self) -> None:
        """Limits that there are; a pool without a limit has no number."""
        seen = self.report()
        self.assertEqual(seen["nodepool.provider.cloud.max_servers"], "5")
        self.assertNotIn("nodepool.provider.rack.max_servers", seen)
        self.assertEqual(seen["nodepool.tenant_limits.the_tenant.instances"], "10")
        self.assertEqual(seen["nodepool.tenant_limits.the_tenant.cores"], "40")

    def test_client(self) -> None:
        """What waits on the way from ZooKeeper; a quiet launcher has nothing of that."""
        seen = self.report()
        root = "nodepool.launcher.host.example.zk"
        found = {name: value for name, value in seen.items() if name.startswith(root)}
        queues = ("event_queue", "playback_queue")
        names = {f"{root}.{c}_cache.{q}" for c in ("node", "request", "image") for q in queues}
        self.assertEqual(set(found), names | {f"{root}.client.connection_queue"})
        self.assertEqual(set(found.values()), {"0"})

    def test_gone(self) -> None:
        """What is there no more is set to 0 once, and not spoken of again."""
        node_id = self.add_node("rare", provider="elsewhere", pool="p")
        self.settle()
        name = "nodepool.label.rare.nodes.ready"
        self.assertEqual(self.report()[name], "1")
        self.delete(f"/nodepool/nodes/{node_id}")
        self.settle()
        self.assertEqual(self.report()[name], "0")
        self.assertNotIn(name, self.report())

    def test_one_reports(self) -> None:
        """Of several launchers one speaks of what is in ZooKeeper; another takes over from it."""
        other = self.make_statsd()
        seen = self.report()
        names = [line.rpartition(":")[0] for line in self.sent]
        self.assertEqual(names.count("nodepool.nodes.ready"), 1)
        self.assertEqual(names.count("nodepool.provider.cloud.max_servers"), 2)
        self.assertEqual(seen["nodepool.nodes.ready"], "3")
        self.done(self.statsd.stopService())
        self.assertEqual(self.report()["nodepool.nodes.ready"], "3")
        self.assertTrue(other.running)

    def test_out_of_touch(self) -> None:
        """A launcher that does not know what is in ZooKeeper does not speak of it."""
        self.inspector.suspend(self.client)
        self.wait(1)
        self.assertNotIn("nodepool.nodes.ready", self.report())
        self.inspector.resume(self.client)
        self.wait(5)

    def test_events(self) -> None:
        """What happens is passed on at once, until the service stops."""
        self.sent.clear()
        self.events.publish(LAUNCH)
        self.assertEqual(self.sent, list(lines_of(LAUNCH)))
        self.done(self.statsd.stopService())
        self.sent.clear()
        self.events.publish(LAUNCH)
        self.assertEqual(self.sent, [])

    def test_removed_provider(self) -> None:
        """A provider that was taken out is not spoken of any more."""
        self.report()
        self.bring(CONFIG.partition("  - name: cloud")[0].replace(", {name: cloudy}", ""))
        self.wait(30)
        seen = self.report()
        self.assertEqual([name for name in seen if ".cloud." in name], [])
        self.assertEqual(seen["nodepool.provider.rack.nodes.ready"], "3")


class Port:
    """A UDP socket that a test looks at."""

    def __init__(self, reactor: UdpReactor, protocol: Any, interface: str) -> None:
        self.reactor = reactor
        self.protocol = protocol
        self.interface = interface
        self.peer: tuple[str, int] | None = None
        self.closed = False
        protocol.makeConnection(self)

    def connect(self, host: str, port: int) -> None:
        self.peer = (host, port)

    def write(self, datagram: bytes) -> None:
        if self.reactor.unreachable is not None:
            raise self.reactor.unreachable
        assert not self.closed
        self.reactor.sent.append(datagram)

    def stopListening(self) -> None:
        self.closed = True


class UdpReactor(Clock):
    """Time, names and datagrams in memory.

    :ivar names: what is known, and where it leads; a name that is missing
        never gets an answer if ``silent``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, str] = {}
        self.silent = False
        self.sent: list[bytes] = []
        self.ports: list[Port] = []
        self.unreachable: OSError | None = None
        self.nameResolver = self

    def listenUDP(self, port: int, protocol: Any, interface: str = "") -> Port:
        self.ports.append(Port(self, protocol, interface))
        return self.ports[-1]

    def resolveHostName(self, receiver: Any, name: str, port: int) -> None:
        if self.silent:
            return
        receiver.resolutionBegan(None)
        if name in self.names:
            for address in self.names[name].split():
                kind = IPv6Address if ":" in address else IPv4Address
                receiver.addressResolved(kind("TCP", address, port))
        receiver.resolutionComplete()


class SenderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = UdpReactor()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def make(self, host: str = "stats") -> StatsdSender:
        sender = StatsdSender(self.reactor, host, 8125)
        sender.startService()
        self.addCleanup(self.stop, sender)
        return sender

    def stop(self, sender: StatsdSender) -> None:
        """Stopping always ends at once, and leaves nothing behind."""
        self.successResultOf(sender.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertTrue(all(port.closed for port in self.reactor.ports))

    def said(self, level: str) -> list[str]:
        return [
            str(event["log_format"]).format(**event)
            for event in self.events
            if event["log_level"].name == level and "metrics" in event["log_namespace"]
        ]

    def test_together(self) -> None:
        """What is sent in one turn of the reactor goes in one datagram."""
        self.reactor.names["stats"] = "192.0.2.1"
        sender = self.make()
        sender.send("a:1|c", "b:1|c")
        sender.send("c:1|c")
        self.assertEqual(self.reactor.sent, [])
        self.reactor.advance(0)
        self.assertEqual(self.reactor.sent, [b"a:1|c\nb:1|c\nc:1|c"])
        (port,) = self.reactor.ports
        self.assertEqual((port.peer, port.interface), (("192.0.2.1", 8125), ""))

    def test_addresses(self) -> None:
        """An address needs no name server, and IPv6 is fine."""
        self.make("2001:db8::1")
        (port,) = self.reactor.ports
        self.assertEqual((port.peer, port.interface), (("2001:db8::1", 8125), "::"))

    def test_both_kinds(self) -> None:
        """Of a name with addresses of both kinds the IPv4 one is used, as by Nodepool 11."""
        self.reactor.names["stats"] = "2001:db8::1 192.0.2.1"
        self.make()
        (port,) = self.reactor.ports
        self.assertEqual(port.peer, ("192.0.2.1", 8125))

    def test_unknown_name(self) -> None:
        """A name that does not resolve is said once, and tried again."""
        sender = self.make()
        for _ in range(5):
            sender.send("a:1|c")
            self.reactor.advance(LOOK_AGAIN)
        self.assertEqual((sender.lost, len(self.said("warn"))), (5, 1))
        self.reactor.names["stats"] = "192.0.2.1"
        self.reactor.advance(LOOK_AGAIN)
        sender.send("a:1|c")
        self.reactor.advance(0)
        self.assertEqual(self.reactor.sent, [b"a:1|c"])

    def test_no_answer(self) -> None:
        """A name server that never answers blocks nobody, not even the end."""
        self.reactor.silent = True
        sender = self.make()
        sender.send("a:1|c")
        self.reactor.advance(300)
        self.assertEqual(sender.lost, 1)

    def test_refused(self) -> None:
        """That nobody listens is said once, and that it is over, too; sending goes on."""
        self.reactor.names["stats"] = "192.0.2.1"
        sender = self.make()
        (port,) = self.reactor.ports
        for _ in range(3):
            sender.send("a:1|c")
            self.reactor.advance(LOOK_AGAIN)
            port.protocol.connectionRefused()
        self.assertEqual(len(self.said("warn")), 1)
        self.reactor.advance(LOOK_AGAIN)
        self.reactor.advance(LOOK_AGAIN)
        self.assertIn("is back", self.said("info")[-1])
        self.assertEqual(len(self.reactor.sent), 3)

    def test_moved(self) -> None:
        """A name that leads elsewhere is followed."""
        self.reactor.names["stats"] = "192.0.2.1"
        self.make()
        self.reactor.names["stats"] = "192.0.2.2"
        self.reactor.advance(LOOK_AGAIN)
        before, after = self.reactor.ports
        self.assertEqual((before.closed, after.peer), (True, ("192.0.2.2", 8125)))

    def test_unreachable(self) -> None:
        """What cannot be sent is lost, and nobody notices but the log."""
        self.reactor.names["stats"] = "192.0.2.1"
        sender = self.make()
        self.reactor.unreachable = OSError(101, "Network is unreachable")
        for _ in range(3):
            sender.send("a:1|c", "b:1|c")
            self.reactor.advance(1)
        self.assertEqual((sender.lost, len(self.said("warn"))), (6, 1))
        self.assertIn("Network is unreachable", self.said("warn")[0])

    def test_closed_by_the_reactor(self) -> None:
        """A reactor that ends closes sockets; what is said after that is lost, and harms nobody."""
        self.reactor.names["stats"] = "192.0.2.1"
        sender = self.make()
        sender.send("a:1|c")
        (port,) = self.reactor.ports
        port.protocol.doStop()
        self.reactor.advance(0)
        self.assertEqual((sender.lost, self.reactor.sent), (1, []))

    def test_last_words(self) -> None:
        """What was to be sent when the service stops is sent."""
        self.reactor.names["stats"] = "192.0.2.1"
        sender = self.make()
        sender.send("a:1|c")
        self.successResultOf(sender.stopService())
        self.assertEqual(self.reactor.sent, [b"a:1|c"])
        sender.startService()
