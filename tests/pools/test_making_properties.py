"""Generated schedules over two launchers that make nodes: limits hold, requests end."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from nodepool_tx.janitor import Janitor
from nodepool_tx.model import Node, NodeState, RequestState
from nodepool_tx.pools.service import PoolService
from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable, decode_node
from nodepool_tx.store.usage import LEAVING, resources_of
from tests.janitor_stage import config_of
from tests.pools.harness import Launcher, ScriptedSource
from tests.pools.maker import MakingTestCase, ScriptedMaker

#: What all nodes of a provider, of its pool, and of a tenant may use together.
QUOTA = {"instances": 5, "cores": 16}
POOL = {"cores": 14}
TENANT = {"instances": 4, "cores": 12}

NEEDS = {
    "a": {"instances": 1, "cores": 2},
    "b": {"instances": 1, "cores": 8},
    "x": {"instances": 1, "cores": 3},
    "y": {"instances": 1, "cores": 4},
}

places = st.integers(0, 40)
wishes = st.lists(st.sampled_from("aab"), min_size=1, max_size=3) | st.lists(
    st.sampled_from("xxy"), min_size=1, max_size=3
)
requests = st.tuples(
    st.just("request"), st.tuples(wishes, st.sampled_from(["t", "t", "t", "u", None]))
)
ready = st.tuples(st.just("ready"), places)
moments = st.tuples(st.just("advance"), st.sampled_from([0.0, 0.003, 0.006, 0.011, 0.05]))
settling = st.tuples(st.just("settle"), st.none())
returns = st.tuples(st.just("return"), places)
cleaning = st.tuples(st.just("clean"), st.none())
trouble = st.one_of(
    st.tuples(st.just("failed"), places),
    st.tuples(st.just("aborted"), places),
    st.tuples(st.just("withdraw"), places),
    st.tuples(st.just("delete node"), places),
    st.tuples(st.just("advance"), st.sampled_from([1.0, 11.0, 400.0])),
    st.tuples(st.just("cut"), st.integers(0, 3)),
    st.tuples(st.just("lose"), st.integers(0, 1)),
    st.tuples(st.just("expire"), st.integers(0, 1)),
    st.tuples(st.just("reload"), st.integers(0, 1)),
)
begun = st.tuples(st.just("begin"), places)
steps = st.one_of(
    *[requests] * 3,
    *[moments] * 3,
    *[settling] * 3,
    *[begun] * 2,
    *[ready] * 4,
    *[returns] * 3,
    cleaning,
    *[trouble] * 2,
)


class Schedule(MakingTestCase):
    """Two launchers, providers ``rack`` (labels a, b) and ``other`` (labels x, y)."""

    __test__ = False

    latency = 0.01
    labels = frozenset("ab")

    def runTest(self) -> None:
        """Driven from outside."""

    def setUp(self) -> None:
        super().setUp()
        self.done(self.pool.stopService())
        second = self.make_launcher()
        self.launchers = [self.launcher, second]
        self.makers = [self.maker, ScriptedMaker(second.store, "other")]
        self.pools = [self.begin_pool(index) for index in (0, 1)]
        self.retiring: list[PoolService] = []
        for launcher, maker in zip(self.launchers, self.makers, strict=True):
            launcher.limits.limits = {"t": TENANT}
            maker.limits = QUOTA
            maker.label_needs = dict(NEEDS)
            self.begin_janitor(launcher)
        self.settle()
        self.requests: list[str] = []
        self.inspector.after("transaction", lambda _: self.check(), times=None)

    def begin_pool(self, index: int) -> PoolService:
        provider, labels = (("rack", "ab"), ("other", "xy"))[index]
        return self.make_pool(
            self.launchers[index],
            source=ScriptedSource(),
            maker=self.makers[index],
            provider=provider,
            labels=frozenset(labels),
            limits=POOL,
        )

    def begin_janitor(self, launcher: Launcher) -> None:
        janitor = Janitor(
            self.clock,
            launcher.store,
            lambda: config_of(),
            lambda: ["rack", "other"],
            interval=60.0,
            lock_age=3600.0,
        )
        janitor.startService()
        self.addCleanup(janitor.stopService)

    # -- invariants ------------------------------------------------------

    def truth(self) -> list[Node]:
        found = []
        for path, data in self.inspector.dump(paths.NODES).items():
            if path.count("/") == 3:
                try:
                    found.append(decode_node(path.rpartition("/")[2], data))
                except Unreadable:
                    continue
        return found

    def check(self) -> None:
        """No limit is exceeded in ZooKeeper, at any moment."""
        nodes = self.truth()
        for provider in ("rack", "other"):
            mine = [node for node in nodes if node.provider == provider]
            self.within(QUOTA, mine, provider)
            self.within(POOL, mine, f"{provider}/main")
        self.within(TENANT, [node for node in nodes if node.tenant_name == "t"], "tenant t")

    def within(self, limits: dict[str, int], nodes: list[Node], whose: str) -> None:
        for resource, limit in limits.items():
            used = sum(resources_of(node).get(resource, 0) for node in nodes)
            assert used <= limit, f"{used} {resource} of {whose}, of {limit}"

    # -- steps -----------------------------------------------------------

    def step(self, kind: str, argument: Any) -> None:
        if kind == "request":
            labels, tenant = argument
            self.requests.append(self.add_request(*labels, tenant_name=tenant))
        elif kind in ("ready", "begin", "failed", "aborted"):
            self.work_on(kind, argument)
        elif kind == "return":
            fulfilled = [r for r in self.requests if self.is_in(r, RequestState.FULFILLED)]
            if fulfilled:
                self.hand_back(fulfilled[argument % len(fulfilled)])
        elif kind == "clean":
            self.clean()
        elif kind == "withdraw":
            there = [r for r in self.requests if self.inspector.stat(paths.request(r))]
            if there and argument < 10:
                self.delete(paths.request(there[argument % len(there)]))
        elif kind == "delete node":
            nodes = self.truth()
            if nodes and argument < 10:
                node = nodes[argument % len(nodes)]
                if node.state in (NodeState.READY, NodeState.BUILDING):
                    self.change_node(node.id, state=NodeState.DELETING)
        elif kind == "advance":
            self.clock.advance(argument)
        elif kind == "settle":
            self.settle()
        elif kind == "cut":
            self.inspector.cut(self.launchers[argument % 2].client, executes=argument // 2)
        elif kind == "lose":
            client = self.launchers[argument].client
            self.inspector.lose_reply_next("transaction", client=client)
        elif kind == "expire":
            self.inspector.expire(self.launchers[argument].client)
        elif kind == "reload":
            self.reload(argument)

    def is_in(self, request_id: str, state: RequestState) -> bool:
        return (
            self.inspector.stat(paths.request(request_id)) is not None
            and self.request(request_id).state is state
        )

    def work_on(self, kind: str, argument: int) -> None:
        """The maker goes on with one of its nodes."""
        maker = self.makers[argument % 2]
        store = self.launchers[argument % 2].store
        nodes = [store.nodes.get(node_id) for node_id in maker.asked]
        coming = [node for node in nodes if node is not None and maker.can_go_on(node)]
        if coming and store.current:
            node = coming[argument // 2 % len(coming)]
            held = maker.lock_of(node.id) is not None
            if kind != "begin":
                self.start(maker.end(node.id, NodeState(kind)))
            elif not held:
                self.start(maker.begin(node.id))

    def start(self, coroutine: Any) -> None:
        """Do it; what fails is left for a later step."""
        Deferred.fromCoroutine(coroutine).addErrback(lambda _: None)

    def hand_back(self, request_id: str) -> None:
        for node_id in self.request(request_id).nodes:
            if self.inspector.stat(paths.node(node_id)):
                self.change_node(node_id, state=NodeState.USED)
        self.delete(paths.request(request_id))

    def clean(self) -> None:
        """The providers remove what is done with."""
        for node in self.truth():
            below = self.inspector.dump(paths.node_lock(node.id))
            if node.state in LEAVING and len(below) <= 1:
                self.delete(paths.node(node.id))
                for maker in self.makers:
                    maker.forget(node.id)

    def reload(self, index: int) -> None:
        """A new object for the pool; the old one finishes what it has begun."""
        old = self.pools[index]
        waiting = old.idle()
        self.settle()
        if waiting.called:
            self.retiring.append(old)
            self.pools[index] = self.begin_pool(index)
        else:
            old.resume()

    # -- the end ---------------------------------------------------------

    def finish(self) -> None:
        """Let everything go well from now on; every request must come to an end."""
        for _ in range(60):
            self.settle()
            for maker, launcher in zip(self.makers, self.launchers, strict=True):
                self.adopt(maker, launcher)
                for node in [launcher.store.nodes.get(n) for n in maker.asked]:
                    if node is not None and maker.can_go_on(node):
                        self.start(maker.end(node.id))
            self.settle()
            for request_id in self.requests:
                if self.is_in(request_id, RequestState.FULFILLED):
                    self.hand_back(request_id)
                elif self.is_in(request_id, RequestState.FAILED):
                    self.delete(paths.request(request_id))
            self.clean()
            self.settle()
            for maker, node in [(m, n) for n in self.truth() for m in self.makers]:
                if node.id in maker.removed and node.state is NodeState.READY:
                    self.delete(paths.node(node.id))
            self.clock.advance(31)
            self.settle()
            left = any(self.inspector.stat(paths.request(r)) for r in self.requests)
            if not left and all(node.state is NodeState.READY for node in self.truth()):
                break
        for request_id in self.requests:
            assert self.inspector.stat(paths.request(request_id)) is None, self.stuck(request_id)
        self.assert_all_settled()

    def adopt(self, maker: ScriptedMaker, launcher: Launcher) -> None:
        """Go on with what nobody holds any more."""
        for node in launcher.store.nodes.of_provider(maker.provider):
            lock = maker.lock_of(node.id)
            if lock is not None and not lock.held:
                maker.forget(node.id)
                lock = None
            if lock is not None and node.state in LEAVING:
                maker.let_go(node.id)
            if (node.state is NodeState.BUILDING and lock is None) or (
                node.state is NodeState.INIT and node.id not in maker.asked
            ):
                self.start(maker.end(node.id))

    def stuck(self, request_id: str) -> str:
        reasons = [pool.why(request_id) for pool in self.pools]
        return f"{self.request(request_id)} is left: {reasons}, {self.truth()}"

    def assert_all_settled(self) -> None:
        for pool in (*self.pools, *self.retiring):
            assert pool.in_flight() == ()
        for launcher in self.launchers:
            assert launcher.reservations.spoken_for() == {}
            for node in launcher.store.nodes:
                assert not launcher.store.nodes.is_reserved(node.id)
                assert not node.allocated_to
        for node in self.truth():
            assert node.state is NodeState.READY


@given(st.lists(steps, min_size=40, max_size=100))
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # Schedules of this length take minutes to shrink.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
def test_limits_hold_and_requests_end(schedule: list[tuple[str, Any]]) -> None:
    """Whatever happens in between: no limit is exceeded, and nothing is left behind."""
    stage = Schedule()
    stage.setUp()
    try:
        for kind, argument in schedule:
            stage.step(kind, argument)
        stage.finish()
    finally:
        stage.doCleanups()
