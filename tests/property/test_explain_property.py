"""Whatever happens, explanations are true: who waits has a reason, who has none does not wait.

Looked at when everything has come to rest, as what is about to be looked at has
not been decided yet.
"""

from __future__ import annotations

from random import Random

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, StaticNode, StaticPool, StaticProvider
from nodepool_tx.explain import explain_here
from nodepool_tx.explain.judging import judge_pool
from nodepool_tx.model import NodeRequest, NodeState, RequestState
from nodepool_tx.pools.explaining import Effect, PoolExplanation
from nodepool_tx.reload import Reloader
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_request
from nodepool_tx.store.store import Store
from tests.launcher_world import World
from tests.out_of_service import host_record, provider_record, put_back, take_out
from tests.property.test_cloud_property import Schedule

HOSTS = tuple(f"h{number}" for number in range(6))
LABELS = ("a", "b", "c")

#: What a pool says about a request that is its own to serve and is not looked at yet.
UNDECIDED = frozenset({"turn", "registration"})


def check(store: Store, reloader: Reloader) -> int:
    """Every request that waits has a reason in each pool; how many there are."""
    waiting = 0
    services = (*reloader.services().values(), *reloader.retiring())
    for request in store.requests:
        found = explain_here(request.id, services, store)
        assert found is not None
        assert found.summary
        if request.state in (RequestState.REQUESTED, RequestState.PENDING):
            waiting += 1
            for pool in found.pools:
                check_pool(request, pool)
                check_from_outside(request, pool, store, reloader)
        elif request.state is RequestState.FULFILLED:
            assert all(pool.effect is not Effect.WAITS for pool in found.pools), found.pools
        else:
            assert "failed" in found.summary
    return waiting


def check_pool(request: NodeRequest, pool: PoolExplanation) -> None:
    told = {rule.name for rule in pool.rules if rule.effect is not Effect.PASSED}
    # Those that come first wait for something; their place alone keeps nobody waiting.
    assert told - {"queue"}, (
        f"{request.id} waits in {pool.provider}/{pool.pool}, and nothing is in its way"
    )
    assert not told & UNDECIDED, f"{request.id}: {pool}"
    assert pool.verdict in {rule.words for rule in pool.rules if rule.name in told}
    usable = [node for node in pool.nodes if node.usable]
    if told <= {"nodes", "queue"} and len(set(request.node_types)) == 1:
        # Fewer than it needs can be had, or it would have them.
        assert len(usable) < len(request.node_types), f"{request.id}: {pool}"


#: Rules that can be judged by anybody who sees ZooKeeper and the configuration.
PUBLIC = frozenset({"declined", "provider", "priority", "labels", "enabled", "reuse"})


def check_from_outside(
    request: NodeRequest, pool: PoolExplanation, store: Store, reloader: Reloader
) -> None:
    """Who does not hear the pool comes to the same conclusions about these."""
    if request.state is not RequestState.REQUESTED or pool.rules[0].name == "in-hand":
        return
    heard = {rule.name: rule.effect for rule in pool.rules if rule.name in PUBLIC}
    for component in store.components.pools():
        if component.id == pool.id and heard:
            judged = judge_pool(component, request, store, reloader.config)
            assert not judged.answered
            assert judged.effect is not Effect.PASSED
            seen = {rule.name: rule.effect for rule in judged.rules if rule.name in PUBLIC}
            assert seen == heard, f"{request.id}: {pool} and {judged}"


class StaticFarm:
    """One launcher, machines, clients and operators, at random."""

    def __init__(self, number: int) -> None:
        chance = self.chance = Random(number)
        self.world = World(HOSTS)
        self.world.start(self.config())
        self.out_of_service = [host_record(chance.choice(HOSTS)), provider_record("p0")]
        self.taken_out: list[int] = []

    def config(self) -> Config:
        chance = self.chance
        hosts = list(HOSTS)
        chance.shuffle(hosts)
        providers = {}
        for number in range(chance.randint(1, 3)):
            share, hosts = hosts[:2], hosts[2:]
            providers[f"p{number}"] = self.provider(f"p{number}", share)
        return Config(
            providers=FrozenMapping(providers),
            tenant_resource_limits=FrozenMapping(
                {"t": FrozenMapping({"instances": float(chance.randint(0, 3))})}
            ),
        )

    def provider(self, name: str, hosts: list[str]) -> StaticProvider:
        chance = self.chance
        nodes = tuple(
            StaticNode(
                name=host,
                labels=tuple(chance.sample(LABELS, chance.randint(1, 3))),
                max_parallel_jobs=chance.choice([1, 1, 2, 3]),
            )
            for host in hosts
        )
        pool = StaticPool(
            name="main",
            provider_name=name,
            nodes=nodes,
            labels=frozenset(label for node in nodes for label in node.labels),
            priority=chance.choice([None, None, 50, 150]),
            max_servers=chance.choice([float("inf")] * 5 + [0.0]),
        )
        concurrency = chance.choice([-1, -1, -1, 1, 0])
        return StaticProvider(
            name=name, driver="static", max_concurrency=concurrency, pools=(pool,)
        )

    def do_ask(self) -> None:
        chance, now = self.chance, self.world.clock.seconds()
        for _ in range(chance.randint(1, 4)):
            request = NodeRequest(
                state=RequestState.REQUESTED,
                state_time=now,
                created_time=now,
                node_types=tuple(chance.choices(LABELS, k=chance.choice([1, 1, 1, 2, 3]))),
                requestor="zuul",
                tenant_name=chance.choice([None, "t", "u"]),
                provider=chance.choice([None] * 6 + ["p0", "p1"]),
                relative_priority=chance.randint(0, 2),
                reuse=chance.random() < 0.95,
            )
            prefix = f"{paths.REQUESTS}/{chance.choice([100, 200])}-"
            self.world.inspector.create(prefix, encode_request(request), sequence=True)

    def do_accept(self) -> None:
        leased = {lease.request_id for lease in self.world.leases}
        for request_id, request in self.world.requests().items():
            if request.state is RequestState.FULFILLED and request_id not in leased:
                self.world.accept(request_id)

    def do_go_on(self) -> None:
        for lease in tuple(self.world.leases):
            if self.chance.random() < 0.7:
                hold = self.chance.random() < 0.1
                self.world.go_on(lease, NodeState.HOLD if hold else NodeState.USED)

    def do_give_back(self) -> None:
        for lease in tuple(self.world.leases):
            self.world.give_back(lease)

    def do_hosts(self) -> None:
        name = self.chance.choice(HOSTS)
        self.chance.choice([self.world.hosts.kill, self.world.hosts.bring_up])(name)

    def do_operator(self) -> None:
        which = self.chance.randrange(len(self.out_of_service))
        record = self.out_of_service[which]
        if which in self.taken_out:
            put_back(self.world.inspector, record)
            self.taken_out.remove(which)
        else:
            now = self.world.clock.seconds()
            take_out(self.world.inspector, attrs.evolve(record, since=now))
            self.taken_out.append(which)

    def do_reload(self) -> None:
        self.world.process.reloader.apply(self.config())

    def do_wait(self) -> None:
        self.world.wait(self.chance.choice([1.0, 20.0, 320.0]))

    def run(self, steps: int) -> int:
        """A random life; how many waiting requests were looked at."""
        waiting = 0
        names = ["ask", "ask", "ask", "accept", "accept", "go_on", "go_on", "give_back"]
        names += ["hosts", "operator", "reload", "wait", "wait"]
        try:
            for _ in range(steps):
                getattr(self, f"do_{self.chance.choice(names)}")()
                self.world.settle()
                # Looks at machines that are silent take a while.
                self.world.wait(12.0, 1.0)
                waiting += check(self.world.process.store, self.world.process.reloader)
        finally:
            self.end()
        assert not self.world.failures
        return waiting

    def end(self) -> None:
        stopped = self.world.process.stop()
        self.world.settle()
        self.world.wait(20.0)
        assert stopped.called
        self.world.close()


# In the last three much is kept for requests that have waited long.
@pytest.mark.parametrize("number", [*range(9), 1043, 1045, 1059])
def test_static_farms(number: int) -> None:
    """Machines go down, nodes are held, tenants reach limits, operators and reloads come."""
    assert StaticFarm(number).run(25) > 0


@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.integers(min_value=100))
def test_any_static_farm(number: int) -> None:
    """The same, never twice alike."""
    StaticFarm(number).run(15)


#: What happens to launchers and clouds while explanations are looked at.
STEPS = (
    *("ask", "ask", "ask", "wait", "wait", "take", "go_on", "give_back", "outage", "quota"),
    *("fail_calls", "fail_servers", "slow_deletion", "reload", "withdraw", "silence"),
)


@pytest.mark.parametrize("number", range(8))
def test_cloud_farms(number: int) -> None:
    """Quotas, breakers, failing calls, reloads: in several launchers at once."""
    schedule, chance = Schedule(number), Random(number)
    waiting = 0
    try:
        for _ in range(30):
            schedule.do(chance.choice(STEPS), chance.randrange(1 << 30))
            schedule.farm.settle()
            schedule.farm.wait(2.0, 0.5)
            for process in schedule.farm.processes:
                assert process.store.current
                waiting += check(process.store, process.reloader)
    finally:
        schedule.farm.close()
    assert waiting > 0
