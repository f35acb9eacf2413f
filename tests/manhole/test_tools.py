"""What the names at the console show and do, in a launcher in memory."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from itertools import islice
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from nodepool_tx.config.watch import CheckResult
from nodepool_tx.logs import make_levels
from nodepool_tx.manhole.evaluating import Interpreter
from nodepool_tx.manhole.scene import Scene
from nodepool_tx.manhole.showing import lines_of
from nodepool_tx.manhole.tools import known_names, tools
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.tally import Tally
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node, encode_request
from nodepool_tx.work import Tracker
from tests.metrics.stage import FarmTestCase


class Watcher:
    """Looks at files that a test made up."""

    result = CheckResult.UNCHANGED

    def check_now(self) -> Deferred[CheckResult]:
        return succeed(self.result)


class ToolsTests(FarmTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.bring()
        self.farm = Farm(
            clock=self.clock,
            store=self.store,
            tally=Tally(self.store),
            reloader=self.reloader,
            launcher=self.process,
            hostname="host.example",
            version="1.0",
            started=self.clock.seconds(),
        )
        self.consoles = Tracker(self.clock)
        self.said: list[str] = []
        self.watcher = Watcher()
        self.levels = make_levels("info")
        scene = Scene(
            farm=self.farm, watcher=self.watcher, levels=self.levels, consoles=self.consoles
        )
        self.interpreter = Interpreter(tools(scene, "eve", self.said.append, self.run_it))

    def run_it(self, what: str, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        return self.consoles.run(what, work)

    def start(self, source: str) -> Deferred[Any]:
        started = Deferred.fromCoroutine(self.interpreter.run(source))
        self.settle()
        return started

    def show(self, source: str, width: int = 120) -> str:
        """Type something; what is shown for it."""
        return "\n".join(lines_of(self.successResultOf(self.start(source)), width))

    def add_node(self, **fields: Any) -> str:
        node = Node(state_time=self.clock.seconds(), **{"state": NodeState.READY, **fields})
        path = self.inspector.create(f"{paths.NODES}/", encode_node(node), sequence=True)
        return path.rpartition("/")[2]

    def add_request(self, *labels: str) -> str:
        request = NodeRequest(
            state=RequestState.REQUESTED,
            state_time=self.clock.seconds(),
            created_time=self.clock.seconds(),
            node_types=labels,
            requestor="zuul",
        )
        path = self.inspector.create(
            f"{paths.REQUESTS}/100-", encode_request(request), sequence=True
        )
        self.settle()
        return path.rpartition("/")[2]

    def test_nodes(self) -> None:
        """All of them, chosen ones, and one with everything there is."""
        shown = self.show("nodes")
        self.assertIn("web1", shown)
        self.assertIn("(3 in all)", shown)
        self.assertIn("(2 in all)", self.show("nodes(host='web1')"))
        self.assertIn("(3 in all)", self.show("nodes.ready(provider='rack', locked=False)"))
        self.assertEqual(self.show("nodes.in_use"), "no nodes with state in-use")
        node_id = sorted(node.id for node in self.store.nodes)[0]
        for key in (node_id, node_id.lstrip("0") or "0"):
            detail = self.show(f"nodes[{key!r}]")
            self.assertIn(f"node {node_id}", detail)
            self.assertIn("web1", detail)
        self.assertEqual(self.show(f"nodes[{node_id!r}]['hostname']"), "'web1'")
        self.assertEqual(self.show("repr(nodes.ready)"), "'<3 nodes with state ready>'")
        self.failureResultOf(self.start("nodes['x']"), KeyError)
        self.failureResultOf(self.start("nodes(state='x')"), ValueError)
        self.failureResultOf(self.start("nodes.nonsense"), AttributeError)

    def test_ten_thousand_nodes(self) -> None:
        """A page of them costs next to nothing; all of them come in turns."""
        for number in range(10_000):
            self.add_node(provider="cloud", pool="small", type=("cloudy",), hostname=f"h{number}")
        self.settle()
        value = self.successResultOf(self.start("nodes"))
        began = time.process_time()
        page = list(islice(lines_of(value, 120), 50))
        took = time.process_time() - began
        self.assertEqual(len(page), 50)
        self.assertLess(took, 0.25)
        self.assertLess(max(map(len, page)), 121)
        self.assertEqual(self.show("len(nodes(provider='cloud'))"), "10000")
        self.assertLess(len(self.show("list(nodes)")), 100_000)

    def test_hosts(self) -> None:
        """Up and down, and why."""
        self.assertIn("web2", self.show("hosts"))
        self.assertEqual(self.show("hosts.down"), "no hosts")
        self.assertEqual(self.show("hosts('cloud')"), "no hosts")

    def test_requests(self) -> None:
        """In the order of the queue, with the reason why each waits."""
        self.assertEqual(self.show("requests"), "no requests")
        self.assertIn("rack is idle", self.show("idle('rack')"))
        request_id = self.add_request("static-1.0")
        self.assertRegex(self.show("requests", 200), rf"{request_id} +requested .*static-1.0")
        self.assertIn("zuul", self.show(f"requests[{request_id!r}]"))
        self.assertIn("(1 in all)", self.show("requests(label='static-1.0').requested"))
        self.assertEqual(self.show("requests.fulfilled"), "no requests")
        waiting = self.start(f"explain({request_id!r})")
        self.clock.advance(5)
        self.settle()
        lines = list(lines_of(self.successResultOf(waiting), 100))
        self.assertIn("rack/main", "\n".join(lines))
        self.failureResultOf(self.start("explain('x')"), KeyError)
        self.assertEqual(self.show("resume('rack')"), "rack is active")
        self.assertIn("(1 in all)", self.show("requests.fulfilled"))

    def test_providers(self) -> None:
        """With their nodes, pools, and what they are doing."""
        self.assertIn("rack", self.show("providers"))
        self.assertIn("3 ready", self.show("providers['rack']"))
        self.assertIn("web1 up", self.show("providers['rack']"))
        self.assertIn("static-1.0", self.show("pools"))
        self.assertEqual(self.show("providers.service('rack').name"), "'rack'")
        self.assertEqual(self.show("list(providers)"), "['cloud', 'rack']")
        self.failureResultOf(self.start("providers['x']"), KeyError)

    def test_the_rest(self) -> None:
        """The configuration, the connection, and help for all there is."""
        self.assertIn("static-1.0", self.show("config"))
        self.assertEqual(self.show("config.max_hold_age"), "inf")
        self.assertIn("connected", self.show("zk"))
        self.assertIn("nodes", self.show("zk.children('/nodepool')"))
        self.assertIn("explain(id)", self.show("help"))
        self.assertIn("begin nothing more", self.show("help(idle)"))
        for name in self.interpreter.names:
            if not name.startswith("_"):
                self.assertNotIn("nothing is written", self.show(f"help({name})"), name)
        self.assertTrue({"rack", "web1", "main", "cloudy"} <= set(known_names(self.farm)))

    def test_everything_fits(self) -> None:
        """Whatever the width of the terminal, no line is wider."""
        self.add_node(provider="名前" * 20, pool="p" * 300, type=("a", "b"), hostname="h\x1b[2J")
        self.settle()
        for width in (20, 40, 80, 200):
            for name in ("nodes", "hosts", "requests", "providers", "pools", "tasks()"):
                shown = self.show(name, width)
                self.assertLessEqual(max(map(len, shown.split("\n"))), width, (name, shown))
                self.assertNotIn("\x1b", shown)

    def test_tasks(self) -> None:
        """Everything in flight with its age, those of other consoles too."""
        self.assertEqual(self.show("tasks()"), "nothing is in flight")
        self.consoles.run("ann: waiting", waits(Deferred()))
        self.clock.advance(90)
        self.settle()
        self.assertRegex(self.show("tasks()"), r"1 min 30 s +console +ann: waiting")

    def test_reload(self) -> None:
        """What came of it is said."""
        self.assertIn("have not changed", self.show("reload()"))
        self.watcher.result = CheckResult.UNSETTLED
        self.assertIn("try again", self.show("reload()"))
        self.watcher.result = CheckResult.FAILED
        self.assertIn("not valid", self.show("reload()"))

    def test_maintenance(self) -> None:
        """Taken out of service and returned, in the name of who did it."""
        shown = self.show("maintain('web1', 'new disk', '2h')")
        self.assertIn("host web1 is in maintenance", shown)
        self.assertIn("by eve: new disk", shown)
        self.assertIn("new disk", self.show("hosts", 200))
        self.assertEqual(self.show("return_('web1')"), "host web1 is back in service")
        self.assertIn("provider cloud", self.show("maintain('cloud', 'bill not paid')"))
        self.assertIn("bill not paid", self.show("providers", 200))
        for wrong in ("maintain('x', 'y')", "return_('web1')"):
            self.failureResultOf(self.start(wrong), KeyError)
        self.failureResultOf(self.start("maintain('web1', 'y', 'soon')"), ValueError)

    def test_log(self) -> None:
        """Its level is set for the whole launcher, and its lines are shown as they come."""
        self.assertEqual(self.show("log()"), "'info'")
        self.assertEqual(self.show("log('debug')"), "'debug'")
        self.assertEqual(self.levels.logLevelForNamespace("x").name, "debug")
        self.assertEqual(self.levels.logLevelForNamespace("twisted.x").name, "warn")
        self.failureResultOf(self.start("log('loud')"), ValueError)
        following = self.start("log.follow('warn')")
        Logger("nodepool_tx.x").warn("look {what}", what="here")
        Logger("nodepool_tx.x").info("not here")
        following.cancel()
        self.failureResultOf(following, CancelledError)
        Logger("nodepool_tx.x").warn("nor here")
        self.assertEqual(len(self.said), 1)
        self.assertIn("look here", self.said[0])

    def test_background(self) -> None:
        """It is waited for by itself, and says what it gives."""
        self.interpreter.names["later"] = later = Deferred[int]()
        self.show("background(later)")
        self.assertIn("eve: in the background", self.show("tasks()"))
        later.callback(42)
        self.assertEqual(self.said, ["in the background: 42"])


async def waits(deferred: Deferred[None]) -> None:
    await deferred
