"""What a preview says is what a reload then does.

Any two configurations of static machines, any nodes in stock, promised, in use
and held, and any machines out of service: the preview is taken, then the new
configuration is really reloaded, by the real reloader and providers, with all
machines up.  First what was said to happen at once is compared with what there
is; then everybody gives back what they have, and the rest is compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, Label, StaticNode, StaticPool, StaticProvider
from nodepool_tx.model import Maintenance, MaintenanceMode, Node, NodeState, RequestState
from nodepool_tx.preview.nodes import Effect, NodeEffect
from nodepool_tx.preview.reload import Preview, preview
from nodepool_tx.store import paths
from nodepool_tx.store.maintenance import encode_maintenance
from tests.launcher_world import World, same

HOSTS = ("h1", "h2", "h3")
PROVIDERS = ("rack", "lab")
LABELS = ("a", "b")

#: What of a node's record a preview speaks of.
TOLD = (
    "pool",
    "type",
    "connection_type",
    "shell_type",
    "python_path",
    "host_keys",
    "attributes",
)

#: Provider, machine, user, port and slot.
Slot = tuple[Any, ...]


@attrs.frozen(kw_only=True)
class Machine:
    """One entry of a configuration; ``keys`` says how it is looked at."""

    host: str
    provider: str
    pool: str
    labels: str
    slots: int
    port: int
    shell: str | None
    python: str
    keys: str

    def node(self) -> StaticNode:
        return StaticNode(
            name=self.host,
            labels=tuple(self.labels),
            max_parallel_jobs=self.slots,
            connection_port=self.port,
            shell_type=self.shell,
            python_path=self.python,
            connection_type="winrm" if self.keys == "port" else "ssh",
            host_key_checking=self.keys != "trusted",
            host_keys=(f"ssh-ed25519 {self.host}",) if self.keys == "listed" else (),
        )


@attrs.frozen
class Setup:
    """A configuration, told in short: machines, and providers with attributes."""

    machines: tuple[Machine, ...]
    providers: frozenset[str]
    attributes: frozenset[str]

    @property
    def config(self) -> Config:
        used = self.providers | {machine.provider for machine in self.machines}
        return Config(
            labels=FrozenMapping({name: Label(name) for name in LABELS}),
            providers=FrozenMapping(
                {name: self._provider(name) for name in PROVIDERS if name in used}
            ),
        )

    def _provider(self, name: str) -> StaticProvider:
        pools: dict[str, list[StaticNode]] = {"main": []}
        for machine in self.machines:
            if machine.provider == name:
                pools.setdefault(machine.pool, []).append(machine.node())
        attributes = FrozenMapping({"key": "value"}) if name in self.attributes else None
        return StaticProvider(
            name=name,
            driver="static",
            pools=tuple(
                StaticPool(
                    name=pool,
                    provider_name=name,
                    nodes=tuple(nodes),
                    labels=frozenset(label for node in nodes for label in node.labels),
                    node_attributes=attributes,
                )
                for pool, nodes in pools.items()
            ),
        )


def machines(host: str) -> st.SearchStrategy[Machine | None]:
    usual = st.builds(
        Machine,
        host=st.just(host),
        provider=st.sampled_from(["rack", "rack", "rack", "lab"]),
        pool=st.sampled_from(["main", "main", "extra"]),
        labels=st.sampled_from(["a", "a", "ab", "b"]),
        slots=st.sampled_from([1, 2, 2, 3]),
        port=st.sampled_from([22, 22, 22, 22, 23]),
        shell=st.sampled_from([None, None, "sh"]),
        python=st.sampled_from(["auto", "auto", "/usr/bin/python3"]),
        keys=st.sampled_from(["gathered", "gathered", "listed", "trusted", "port"]),
    )
    return st.one_of(usual, usual, usual, st.none())


SETUPS = st.builds(
    lambda found, providers, attributes: Setup(
        tuple(machine for machine in found if machine is not None), providers, attributes
    ),
    st.tuples(*map(machines, HOSTS)),
    st.frozensets(st.sampled_from(PROVIDERS)),
    st.frozensets(st.sampled_from(PROVIDERS)),
)


@st.composite
def successors(draw: st.DrawFn, setup: Setup) -> Setup:
    """The same configuration but for a few values, or quite another."""
    if draw(st.integers(0, 4)) == 0:
        return draw(SETUPS)
    found = {machine.host: machine for machine in setup.machines}
    for host in draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3)):
        other = draw(machines(host))
        if host not in found or other is None:
            found.pop(host, None)
            if other is not None:
                found[host] = other
            continue
        fields = [field.name for field in attrs.fields(Machine) if field.name != "host"]
        field = draw(st.sampled_from([*fields, "slots", "slots", "slots"]))
        found[host] = attrs.evolve(found[host], **{field: getattr(other, field)})
    attributes = draw(st.sampled_from([setup.attributes, setup.attributes, frozenset({"rack"})]))
    return Setup(tuple(found[host] for host in HOSTS if host in found), setup.providers, attributes)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Setup, Setup, Setup]:
    """Three configurations, one after the other."""
    base = draw(SETUPS)
    old = draw(st.one_of(st.just(base), successors(base)))
    return base, old, draw(successors(old))


#: What somebody does with a node, by the order of the nodes.
_DOES = st.sampled_from(["free", "promised", "used", "used", "held"])
HANDS = st.tuples(*[_DOES] * 8).map(list)
AWAY = st.lists(st.sampled_from([*((host, None) for host in HOSTS), (None, "rack")]), max_size=1)


def slot_of(node: Node) -> Slot:
    return (node.provider, node.hostname, node.username, node.connection_port, node.slot)


def slot_in(effect: NodeEffect) -> Slot:
    """The slot of an effect, from what it shows to people."""
    user, _, place = effect.name.rpartition("@")
    host, _, port = place.partition(":")
    return (effect.provider, host, user, int(port), effect.slot)


def told(node: Node) -> dict[str, Any]:
    return {field: getattr(node, field) for field in TOLD}


class Trial:
    """One reload, seen before and after."""

    def __init__(
        self, base: Setup, hands: list[str], away: list[Any], old: Setup, returned: list[bool]
    ) -> None:
        self.world = World(HOSTS)
        for host in HOSTS:
            self.world.hosts.add(host, port=23, keys=(f"ssh-ed25519 {host}",))
        self.promised: list[str] = []
        self.world.start(base.config)
        self.world.wait(30.0)
        self._take(hands)
        for host, provider in away:
            self._withdraw(host, provider)
        self._reload(old)
        for lease, back in zip(tuple(self.world.leases), returned, strict=False):
            if back:
                self.world.give_back(lease)
        self.world.settle()
        self.world.wait(90.0)

    def _reload(self, setup: Setup) -> None:
        self.world.process.reloader.apply(setup.config)
        self.world.settle()
        self.world.wait(90.0)

    def _withdraw(self, host: str | None, provider: str | None) -> None:
        path = (
            paths.maintenance_of_host(host)
            if host is not None
            else paths.maintenance_of_provider(str(provider))
        )
        record = Maintenance(mode=MaintenanceMode.DRAIN, host=host, provider=provider)
        self.world.inspector.create(path, encode_maintenance(record))
        self.world.settle()

    def _take(self, hands: list[str]) -> None:
        """Somebody asks for as many nodes, and does this and that with what is given."""
        skipped: set[str] = set()
        for what in hands:
            free = [each for each in self.world.free() if each not in skipped]
            if not free:
                return
            if what == "free":
                skipped.add(free[0])
                continue
            request_id = self.world.request(self.world.nodes()[free[0]].type[0])
            self.world.settle()
            if self.world.requests()[request_id].state is not RequestState.FULFILLED:
                self.world.inspector.delete_tree(paths.request(request_id))
                self.world.settle()
            elif what == "promised":
                self.promised.append(request_id)
            else:
                self._use(request_id, held=what == "held")

    def _use(self, request_id: str, held: bool) -> None:
        self.world.accept(request_id)
        lease = self.world.leases[-1]
        self.world.go_on(lease)
        self.world.go_on(lease)
        if held:
            self.world.go_on(lease, NodeState.HOLD)
            self.world.go_on(lease)
        self.world.settle()

    def give_all_back(self) -> None:
        for lease in tuple(self.world.leases):
            self.world.give_back(lease)
        for node_id in tuple(self.world.held):
            self.world.unhold(node_id)
        for request_id in self.promised:
            self.world.inspector.delete_tree(paths.request(request_id))
        self.world.settle()
        self.world.wait(200.0)

    def compare(self, old: Setup, new: Setup) -> None:
        store, now = self.world.process.store, self.world.clock.seconds()
        before = self.world.nodes()
        said = preview(old.config, new.config, store, now)
        concerned = {*said.plan.replaced, *said.plan.added, *said.plan.removed}
        assert {effect.provider for effect in said.nodes} <= concerned
        self._reload(new)
        self._compare_at_once(said, before)
        self.give_all_back()
        self.world.check()
        self._compare_in_the_end(said, before, concerned)

    def _compare_at_once(self, said: Preview, before: dict[str, Node]) -> None:
        after = self.world.nodes()
        at_once = [effect for effect in said.nodes if not effect.in_use]
        gone = ids(at_once, Effect.DEREGISTERED)
        same("gone at once", before.keys() - after.keys(), gone)
        same(
            "registered at once",
            sorted(map(str, map(slot_of, (after[each] for each in after.keys() - before.keys())))),
            sorted(str(slot_in(each)) for each in at_once if each.effect is Effect.REGISTERED),
        )
        changed = {
            node_id
            for node_id in before.keys() & after.keys()
            if told(before[node_id]) != told(after[node_id])
        }
        same("changed at once", changed, ids(at_once, Effect.CHANGED))

    def _compare_in_the_end(
        self, said: Preview, before: dict[str, Node], concerned: set[str]
    ) -> None:
        """What stands in each slot, and whether it is what it was."""
        found = {slot_of(n): n for n in self.world.nodes().values() if n.provider in concerned}
        gone, changed = ids(said.nodes, Effect.DEREGISTERED), ids(said.nodes, Effect.CHANGED)
        stays = {
            node_id: node
            for node_id, node in before.items()
            if node.provider in concerned and node_id not in gone
        }
        came = [slot_in(each) for each in said.nodes if each.effect is Effect.REGISTERED]
        same(
            "slots",
            sorted(map(str, found)),
            sorted(map(str, [*came, *(slot_of(node) for node in stays.values())])),
        )
        for node_id, node in stays.items():
            is_changed = told(found[slot_of(node)]) != told(node)
            same(f"node {node_id} changed", is_changed, node_id in changed)


def ids(effects: Iterable[NodeEffect], kind: Effect) -> set[str | None]:
    return {effect.node_id for effect in effects if effect.effect is kind}


ONE = Machine(
    host="h1",
    provider="rack",
    pool="main",
    labels="a",
    slots=3,
    port=22,
    shell=None,
    python="auto",
    keys="gathered",
)


def only(**fields: Any) -> Setup:
    return Setup((attrs.evolve(ONE, **fields),), frozenset(), frozenset())


@settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@example(
    history=(only(keys="trusted"), only(keys="trusted"), only()), hands=[], away=[], returned=[]
)
@example(
    history=(only(), only(slots=1), only(slots=2)),
    hands=["used"] * 3,
    away=[],
    returned=[False, True, False],
)
@example(
    history=(only(), only(slots=1), only(slots=2)),
    hands=["used"] * 3,
    away=[],
    returned=[True, True, False],
)
@given(history=histories(), hands=HANDS, away=AWAY, returned=st.lists(st.booleans(), max_size=8))
def test_a_preview_is_true(
    history: tuple[Setup, Setup, Setup], hands: list[str], away: list[Any], returned: list[bool]
) -> None:
    """Whatever is configured, used, held and out of service.

    Where the first two configurations differ, nodes of the first may still be in use.
    """
    base, old, new = history
    trial = Trial(base, hands, away, old, returned)
    try:
        trial.compare(old, new)
    finally:
        trial.world.close()
