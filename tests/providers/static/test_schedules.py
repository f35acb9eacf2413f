"""Any schedule of reloads, returns, dead hosts, lost sessions and slow looks ends well.

So it does with hosts, or the provider, taken out of service at any moment.

What is checked after each step: nobody's node was changed under their lock, no
slot has two nodes, and nothing was written by a service that is idle.  At the
end, with every host up and every node given back, ZooKeeper holds exactly what
the last configuration says, but for what is out of service; and with that once
everything has returned.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import Maintenance, Node, NodeState
from nodepool_tx.providers.interface import Phase
from nodepool_tx.providers.static.service import StaticProviderService
from nodepool_tx.store import paths
from nodepool_tx.testing.zookeeper import ServerCall
from tests.out_of_service import host_record, provider_record, put_back, take_out
from tests.providers.static.stage import Launcher, Stage, about_nodes
from tests.providers.static.values import KEYS, static_node, static_pool, static_provider

HOSTS = ("h0", "h1", "h2")
RECORDS = (*(host_record(name) for name in HOSTS), provider_record("rack"))

configs = st.builds(
    lambda slots, labels, attributes: static_provider(
        *(
            static_pool(
                static_node(name, labels, max_parallel_jobs=count, timeout=2),
                name=f"pool-{name}",
                node_attributes=attributes,
            )
            for name, count in zip(HOSTS, slots, strict=True)
            if count
        )
    ),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.sampled_from([("small",), ("small", "large")]),
    st.sampled_from([None, FrozenMapping({"a": 1})]),
)

whiches = st.integers(0, 9)
steps = st.one_of(
    st.tuples(st.just("use"), whiches),
    st.tuples(st.just("use"), whiches),
    st.tuples(st.just("give_back"), whiches),
    st.tuples(st.just("give_back"), whiches),
    st.tuples(st.just("abandon"), whiches),
    st.tuples(st.just("promise"), whiches),
    st.tuples(st.just("delete"), whiches),
    st.tuples(st.just("vanish"), whiches),
    st.tuples(st.just("check"), whiches),
    st.tuples(st.sampled_from(["take_down", "kill", "bring_up", "hold", "release"]), whiches),
    st.tuples(st.just("take_out"), whiches),
    st.tuples(st.just("put_back"), whiches),
    st.tuples(st.sampled_from(["cut", "expire", "suspend", "resume"]), whiches),
    st.tuples(st.just("reload"), configs),
    st.tuples(st.just("reload"), configs),
    st.tuples(st.just("reload"), configs),
)
#: Seconds after a step: less than an answer takes, a few answers, a retry.
pauses = st.sampled_from([0.0, 0.0, 0.02, 0.02, 0.04, 0.06, 0.1, 0.2, 0.4, 1.5, 6.0])


@attrs.define
class Play:
    """One launcher on a stage, and what the others have in hands."""

    stage: Stage
    launcher: Launcher
    service: StaticProviderService
    config: StaticProvider
    held: dict[str, Node] = attrs.field(factory=dict)
    out: dict[str, Maintenance] = attrs.field(factory=dict)
    next_config: StaticProvider | None = None
    idling: Deferred[None] | None = None
    idle_writes: list[ServerCall] = attrs.field(factory=list)

    @classmethod
    def begin(cls, config: StaticProvider) -> Play:
        stage = Stage(latency=0.04)
        for name in HOSTS:
            stage.hosts.add(name, keys=KEYS, latency=0.05)
        launcher = Launcher(stage, "l1")
        stage.settle()
        play = cls(stage, launcher, launcher.provide(config), config)
        stage.inspector.before(
            "transaction",
            play._note_write,
            path=about_nodes,
            client=launcher.client,
            times=None,
        )
        stage.settle()
        return play

    def _note_write(self, call: ServerCall) -> None:
        idled = self.idling is not None and self.idling.called
        if idled and self.service.phase is Phase.IDLE:
            self.idle_writes.append(call)

    # -- steps

    def take(self, kind: str, value: Any, pause: float) -> None:
        stage, hosts, inspector = self.stage, self.stage.hosts, self.stage.inspector
        client = self.launcher.client
        nodes = stage.nodes("rack")
        free = [n for n in nodes if n.state is NodeState.READY and n.id not in self.held]
        pick = (lambda of: of[value % len(of)] if of else None) if isinstance(value, int) else None
        if kind in ("take_down", "kill", "bring_up", "hold", "release"):
            getattr(hosts, kind)(HOSTS[value % 3])
        elif kind in ("cut", "expire", "suspend", "resume"):
            getattr(inspector, kind)(client)
        elif kind == "reload":
            self._reload(value)
        elif kind == "take_out":
            record = RECORDS[value % len(RECORDS)]
            self.out[record.target] = take_out(inspector, record)
        elif kind == "put_back":
            record = RECORDS[value % len(RECORDS)]
            if self.out.pop(record.target, None) is not None:
                put_back(inspector, record)
        elif pick is not None:
            self._touch(kind, pick(free), pick(sorted(self.held)))
        self._pass_time(pause)

    def _pass_time(self, seconds: float) -> None:
        """Let time pass, however much is under way at its end."""
        for _ in range(max(1, round(seconds / 0.02))):
            self.stage.clock.advance(min(seconds, 0.02))
            self._go_on()

    def _touch(self, kind: str, node: Node | None, held: str | None) -> None:
        stage = self.stage
        if kind in ("give_back", "abandon"):
            if held is not None:
                del self.held[held]
                if kind == "give_back":
                    stage.change_node(held, state=NodeState.USED)
                stage.unlock(held)
        elif node is None:
            return
        elif kind == "use":
            stage.lock(node.id)
            stage.change_node(node.id, state=NodeState.IN_USE)
            self.held[node.id] = stage.node(node.id)
        elif kind == "promise" and not node.allocated_to:
            stage.change_node(node.id, allocated_to="200-0000000001")
        elif kind == "delete":
            stage.change_node(node.id, state=NodeState.DELETING)
        elif kind == "vanish":
            stage.inspector.delete_tree(paths.node(node.id))
        elif kind == "check":
            self._check(node.id)

    def _check(self, node_id: str) -> None:
        table = self.launcher.store.nodes
        known = table.get(node_id)
        if known is not None and table.is_free(node_id) and self.service.phase is Phase.ACTIVE:
            table.reserve([node_id])
            answer = self.service.check(known)
            answer.addCallback(lambda _: table.unreserve([node_id]))

    def _reload(self, config: StaticProvider) -> None:
        self.next_config = config
        if self.idling is None:
            self.idling = self.service.idle()

    def _go_on(self) -> None:
        """Put the successor in place once the old service is idle."""
        while self.idling is not None and self.idling.called:
            config, self.next_config = self.next_config, None
            assert config is not None
            self.idling = None
            stopped = self.service.disownServiceParent()
            assert stopped is not None
            assert stopped.called
            self.service = self.launcher.provide(config)
            self.config = config

    # -- checks

    def check(self) -> None:
        for node_id, held in self.held.items():
            assert self.stage.node(node_id) == held
        stands = Counter(
            (n.hostname, n.slot) for n in self.stage.nodes("rack") if n.slot is not None
        )
        assert not [stand for stand, count in stands.items() if count > 1]
        assert self.idle_writes == []

    def finish(self) -> None:
        """Everybody gives back what they have, and all is well with the world."""
        stage = self.stage
        for name in HOSTS:
            stage.hosts.bring_up(name)
            stage.hosts.release(name)
        stage.inspector.resume(self.launcher.client)
        stage.wait(3)
        self._go_on()
        for node_id in sorted(self.held):
            stage.change_node(node_id, state=NodeState.USED)
            stage.unlock(node_id)
        self.held.clear()
        for node in stage.nodes("rack"):
            if node.state is NodeState.READY and node.allocated_to:
                stage.change_node(node.id, allocated_to=None)
        stage.wait(16)
        self.check()
        self.check_converged()
        looks = len(stage.hosts.looks)
        stage.wait(16)
        if "provider rack" in self.out:
            assert len(stage.hosts.looks) == looks
        for record in self.out.values():
            put_back(stage.inspector, record)
        self.out.clear()
        stage.wait(3)
        self.check_converged()

    def check_converged(self) -> None:
        wanted = {
            (node.name, slot): (node.labels, pool.name, pool.node_attributes)
            for pool in self.config.pools
            for node in pool.nodes
            for slot in range(node.max_parallel_jobs)
            if not {f"host {node.name}", "provider rack"} & set(self.out)
        }
        nodes = self.stage.nodes("rack")
        there = {(n.hostname, n.slot): n for n in nodes}
        assert len(nodes) == len(there)
        assert set(there) == set(wanted)
        for stand, (labels, pool_name, attributes) in wanted.items():
            node = there[stand]
            assert node.state is NodeState.READY
            assert (node.type, node.pool, node.host_keys) == (labels, pool_name, KEYS)
            assert dict(node.attributes or {}) == dict(attributes or {})

    def close(self) -> None:
        stopped = self.launcher.root.stopService()
        self.launcher.ownerships.keep_only(set())
        self.launcher.registry.keep_only(set())
        self.stage.settle()
        self.launcher.client.close()
        self.stage.visitor.close()
        self.stage.settle()
        assert stopped is None or stopped.called
        assert self.stage.clock.getDelayedCalls() == []


@given(configs, st.lists(st.tuples(steps, pauses), min_size=8, max_size=30))
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_schedule_ends_with_what_the_configuration_says(
    config: StaticProvider, schedule: list[tuple[tuple[str, Any], float]]
) -> None:
    """And nothing forbidden is seen on the way."""
    failures: list[object] = []

    def observer(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observer)
    try:
        play = Play.begin(config)
        try:
            for (kind, value), pause in schedule:
                play.take(kind, value, pause)
                play.check()
            play.finish()
        finally:
            play.close()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert failures == []
