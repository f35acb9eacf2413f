"""Any sequence of reloads and trouble, with the real static provider.

After each step: at no time do two services that are not idle exist for one
provider name, no node is given twice, and none that somebody has is touched.
When everything has settled, ZooKeeper holds exactly what the configuration in
force says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kazoo.exceptions import ConnectionLoss
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, Label, StaticNode, StaticPool, StaticProvider
from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.store import paths
from tests.launcher_world import Lease, World

#: The machines that each provider may have.
MACHINES = {"rack": ("r1", "r2", "r3"), "lab": ("l1", "l2")}
HOSTS = tuple(host for hosts in MACHINES.values() for host in hosts)
LABELS = ("a", "b")


@attrs.frozen
class Setup:
    """A configuration, told in short.

    ``providers`` holds for each its name, its max-concurrency and whether its
    nodes have attributes; then for each machine its name, pool, labels and slots.
    """

    providers: tuple[tuple[str, int, bool, tuple[tuple[str, str, str, int], ...]], ...]

    @property
    def config(self) -> Config:
        return Config(
            labels=FrozenMapping({name: Label(name) for name in LABELS}),
            providers=FrozenMapping({fields[0]: _provider(*fields) for fields in self.providers}),
        )


def _provider(
    name: str, concurrency: int, attributes: bool, machines: Iterable[tuple[str, str, str, int]]
) -> StaticProvider:
    pools: dict[str, list[StaticNode]] = {"main": []}
    for machine, pool, labels, slots in machines:
        node = StaticNode(name=machine, labels=tuple(labels), max_parallel_jobs=slots)
        pools.setdefault(pool, []).append(node)
    return StaticProvider(
        name=name,
        driver="static",
        max_concurrency=concurrency,
        pools=tuple(
            StaticPool(
                name=pool,
                provider_name=name,
                nodes=tuple(nodes),
                labels=frozenset(label for node in nodes for label in node.labels),
                node_attributes=FrozenMapping({"key": "value"}) if attributes else None,
            )
            for pool, nodes in pools.items()
        ),
    )


#: A machine's pool, labels and slots; none if it is not configured.
MACHINE = st.tuples(
    st.sampled_from(["main", "main", "extra"]),
    st.sampled_from(["a", "b", "ab"]),
    st.sampled_from([1, 1, 2]),
)
MAYBE = st.one_of(MACHINE, MACHINE, MACHINE, st.none())


def providers(name: str) -> st.SearchStrategy[Any]:
    names = MACHINES[name]
    machines = st.tuples(*(MAYBE for _ in names)).map(
        lambda chosen: tuple(
            (machine, *fields) for machine, fields in zip(names, chosen, strict=True) if fields
        )
    )
    return st.tuples(st.just(name), st.sampled_from([-1, -1, 1]), st.booleans(), machines)


def setups() -> st.SearchStrategy[Setup]:
    names = st.sampled_from([("rack",), ("rack", "lab"), ("rack", "lab"), ("lab",), ()])
    return names.flatmap(lambda names: st.tuples(*map(providers, names))).map(Setup)


class Schedule(RuleBasedStateMachine):
    """What may happen, in any order."""

    @initialize(rack=providers("rack"), lab=providers("lab"))
    def begin(self, rack: Any, lab: Any) -> None:
        self.world = World(HOSTS)
        self.away = False
        self.setup = Setup((rack, lab))
        self.world.start(self.setup.config)

    def settle(self) -> None:
        self.world.settle()

    @property
    def config(self) -> Config:
        """What was read last."""
        return self.setup.config

    # -- configuration ---------------------------------------------------

    def reload(self, setup: Setup) -> None:
        self.setup = setup
        self.world.process.reloader.apply(setup.config)

    @rule(setups=st.lists(setups(), min_size=1, max_size=3))
    def reload_at_once(self, setups: list[Setup]) -> None:
        for setup in setups:
            self.reload(setup)
        self.settle()

    @rule(name=st.sampled_from(sorted(MACHINES)), data=st.data())
    def provider_changes(self, name: str, data: st.DataObject) -> None:
        """One is added, removed, or changed as a whole."""
        others = tuple(fields for fields in self.setup.providers if fields[0] != name)
        changed = data.draw(st.one_of(providers(name), providers(name), st.none()))
        self.reload(Setup((*others, *([changed] if changed else []))))
        self.settle()

    @precondition(lambda self: self.setup.providers)
    @rule(which=st.integers(0, 10), machine=st.integers(0, 10), fields=MAYBE)
    def machine_changes(self, which: int, machine: int, fields: Any) -> None:
        """One is added, removed, or changed."""
        present = list(self.setup.providers)
        name, concurrency, attributes, machines = present[which % len(present)]
        host = MACHINES[name][machine % len(MACHINES[name])]
        kept = {entry[0]: entry for entry in machines if entry[0] != host}
        if fields:
            kept[host] = (host, *fields)
        ordered = tuple(kept[each] for each in MACHINES[name] if each in kept)
        present[which % len(present)] = (name, concurrency, attributes, ordered)
        self.reload(Setup(tuple(present)))
        self.settle()

    # -- clients ---------------------------------------------------------

    def open_requests(self) -> list[str]:
        taken = {lease.request_id for lease in self.world.leases}
        return sorted(self.world.requests().keys() - taken)

    @rule(requests=st.lists(st.sampled_from(["a", "b", "ab", "aa"]), min_size=1, max_size=4))
    def ask(self, requests: list[str]) -> None:
        for labels in requests:
            self.world.request(*labels)
        self.settle()

    @precondition(lambda self: self.world.free())
    @rule(count=st.integers(1, 4), stages=st.integers(0, 3))
    def jobs_begin(self, count: int, stages: int) -> None:
        """Ask for what is there, and take it if it is given at once."""
        nodes = self.world.nodes()
        asked = [self.world.request(nodes[each].type[0]) for each in self.world.free()[:count]]
        self.settle()
        self.take_given(asked, stages)

    @precondition(lambda self: self.open_requests())
    @rule(count=st.integers(1, 3), stages=st.integers(0, 2))
    def take(self, count: int, stages: int) -> None:
        """Take what was given to those who wait."""
        self.take_given(self.open_requests()[:count], stages)

    def take_given(self, request_ids: list[str], stages: int) -> None:
        """Lock what was given, and go on with it so many steps."""
        requests = self.world.requests()
        for request_id in request_ids:
            if requests[request_id].state is RequestState.FULFILLED:
                self.world.accept(request_id)
                lease = self.world.leases[-1]
                for _ in range(stages):
                    self.world.go_on(lease)
        self.settle()

    @precondition(lambda self: self.world.leases)
    @rule(which=st.integers(0, 10), hold=st.booleans())
    def go_on(self, which: int, hold: bool) -> None:
        lease = self.world.leases[which % len(self.world.leases)]
        self.world.go_on(lease, NodeState.HOLD if hold else NodeState.USED)
        self.settle()

    @precondition(lambda self: self.world.leases)
    @rule()
    def give_all_back(self) -> None:
        for lease in tuple(self.world.leases):
            self.world.give_back(lease)
        self.settle()

    @precondition(lambda self: self.open_requests())
    @rule(which=st.integers(0, 10))
    def withdraw(self, which: int) -> None:
        requests = self.open_requests()
        self.world.inspector.delete_tree(paths.request(requests[which % len(requests)]))
        self.settle()

    @precondition(lambda self: self.world.leases)
    @rule()
    def client_dies(self) -> None:
        self.world.client_dies()

    @precondition(lambda self: self.world.held)
    @rule()
    def unhold(self) -> None:
        self.world.unhold(self.world.held[0])
        self.settle()

    @precondition(lambda self: self.world.free())
    @rule(which=st.integers(0, 10))
    def operator_deletes(self, which: int) -> None:
        free = self.world.free()
        self.world.change_node(free[which % len(free)], state=NodeState.DELETING)
        self.settle()

    # -- machines --------------------------------------------------------

    @rule(
        host=st.sampled_from(HOSTS), how=st.sampled_from(["kill", "take_down", "silence", "hold"])
    )
    def machine_fails(self, host: str, how: str) -> None:
        getattr(self.world.hosts, how)(host)
        self.settle()

    @rule()
    def machines_return(self) -> None:
        self.world.mend_machines()
        self.settle()

    # -- time ------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 3.0, 12.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    # -- ZooKeeper -------------------------------------------------------

    @rule(executes=st.integers(0, 3))
    def connection_breaks(self, executes: int) -> None:
        self.world.inspector.cut(self.world.process.client, executes=executes)
        self.settle()

    @rule(
        op=st.sampled_from(["transaction", "transaction", "create", "set", "delete", "get"]),
        happens=st.booleans(),
    )
    def next_answer_is_lost(self, op: str, happens: bool) -> None:
        inspector, client = self.world.inspector, self.world.process.client
        if happens:
            inspector.lose_reply_next(op, client=client)
        else:
            inspector.fail_next(op, ConnectionLoss(), client=client)

    @rule()
    def session_expires(self) -> None:
        self.world.inspector.expire(self.world.process.client)
        self.settle()

    @rule(executes=st.integers(0, 3), seconds=st.sampled_from([0, 3, 15, None]))
    def zookeeper_is_away(self, executes: int, seconds: float | None) -> None:
        """For so long, or until it returns."""
        self.world.inspector.suspend(self.world.process.client, executes=executes)
        self.away = True
        self.settle()
        if seconds is not None:
            self.world.wait(seconds)
            self.zookeeper_is_back()

    @precondition(lambda self: self.away)
    @rule()
    def zookeeper_returns(self) -> None:
        self.zookeeper_is_back()

    def zookeeper_is_back(self) -> None:
        self.away = False
        self.world.inspector.resume(self.world.process.client)
        self.settle()

    # -- the process -----------------------------------------------------

    def can_be_gone_on_with(self) -> bool:
        """A new process can know what the present one is about.

        One that ends before it could write down that it empties a provider
        does not leave that to its successor: to that, the provider never was.
        """
        known = {*self.config.providers, *self.world.draining()}
        provided = {str(node.provider) for node in self.world.nodes().values()}
        return provided <= known and self.world.process.ledger.settled

    @precondition(can_be_gone_on_with)
    @rule(in_order=st.booleans(), executes=st.integers(0, 5))
    def new_process(self, in_order: bool, executes: int) -> None:
        if in_order and not self.away:
            self.world.restart(self.config)
        else:
            self.world.kill(executes)
            self.away = False
            self.world.start(self.config)

    # -- what must hold --------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.mend()
            self.world.check()
            self.world.check_settled(self.config)
            self.world.check_serves(self.config)
        finally:
            self.world.close()


class FoundBefore(SynchronousTestCase):
    """Sequences that were found to go wrong once."""

    def setUp(self) -> None:
        self.world = World(HOSTS)
        self.addCleanup(self.world.close)
        self.setup = Setup((("lab", -1, False, (("l1", "main", "a", 1), ("l2", "main", "b", 2))),))
        self.world.start(self.setup.config)

    def finish(self, setup: Setup) -> None:
        self.world.mend()
        self.world.check()
        self.world.check_settled(setup.config)
        self.world.check_serves(setup.config)

    def test_others_are_gone_but_that_is_not_known(self) -> None:
        """A provider is not left to launchers that only seem to be there.

        The process before was killed, so its registrations are still seen when
        the provider is removed; and ZooKeeper is away when the time is over
        that others have to give it up as well.
        """
        self.world.kill(0)
        self.world.start(self.setup.config)
        self.world.process.reloader.apply(Setup(()).config)
        self.world.settle()
        self.world.inspector.suspend(self.world.process.client)
        self.world.wait(100.0)
        self.world.inspector.resume(self.world.process.client)
        self.finish(Setup(()))

    def test_removal_is_noted_when_zookeeper_is_back(self) -> None:
        """A provider removed while ZooKeeper is away is emptied by the next process, too."""
        (lease,) = self.lease("a")
        self.world.inspector.suspend(self.world.process.client)
        self.world.process.reloader.apply(Setup(()).config)
        self.world.settle()
        self.world.inspector.resume(self.world.process.client)
        self.world.settle()
        self.world.kill(0)
        self.world.start(Setup(()).config)
        self.world.wait(60.0)
        self.assertEqual(sorted(self.world.nodes()), sorted(lease.nodes))
        self.finish(Setup(()))

    def test_pool_removed_while_zookeeper_is_away(self) -> None:
        """A pool removed while ZooKeeper is away does not stay registered afterwards."""
        self.world.inspector.suspend(self.world.process.client)
        self.world.process.reloader.apply(Setup(()).config)
        self.world.settle()
        self.world.wait(3.0)
        self.finish(Setup(()))

    def lease(self, *labels: str) -> list[Lease]:
        """Nodes in use, one for each label."""
        for label in labels:
            request_id = self.world.request(label)
            self.world.settle()
            self.world.accept(request_id)
            for _ in range(2):
                self.world.go_on(self.world.leases[-1])
        self.world.settle()
        return list(self.world.leases)


TestSchedule = Schedule.TestCase
TestSchedule.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
