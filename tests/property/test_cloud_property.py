"""Whatever happens to several launchers and their clouds, in the end all is in order.

A schedule is a list of steps, each a name and a number; whatever else there is
to choose in a step follows from the number, so that a schedule that went wrong
can be written down and made shorter by leaving steps out.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from random import Random

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kazoo.exceptions import ConnectionLoss

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, Label
from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)
from nodepool_tx.store import paths
from tests.property.farm import MENDING, Farm, Process
from tests.providers.cloud.world import cloud_provider

HOSTS = ("h1", "h2", "h3")
PROVIDERS = ("sky", "cave")
LABELS = ("a", "b")

#: What can go wrong with a call.
ERRORS: dict[str, Callable[[], CloudError]] = {
    "broken": lambda: CloudError("broken"),
    "quota": lambda: OverQuota("cores"),
    "capacity": lambda: NoCapacity("full"),
    "later": lambda: RetryLater("slow down", 3.0),
    "invalid": lambda: InvalidConfiguration("no such flavor"),
}
METHODS = (
    *("create", "create", "create", "delete", "finish", "list_instances"),
    *("quota", "needs", "zones", "list_resources", "delete_resource"),
)


@attrs.frozen
class Offer:
    """How a provider is configured."""

    labels: tuple[str, ...] = LABELS
    max_servers: int = 4
    boot_timeout: float = 60.0
    max_concurrency: int = -1


@attrs.frozen
class Setup:
    """What the files say; None for a provider that is not in them."""

    offers: tuple[Offer | None, ...] = (Offer(), Offer())
    tenant_limit: int = 2
    min_ready: int = 1
    max_ready_age: int = 0

    def config(self, carried: tuple[str, ...]) -> Config:
        return Config(
            labels=FrozenMapping(
                {
                    "a": Label("a", min_ready=self.min_ready, max_ready_age=self.max_ready_age),
                    "b": Label("b"),
                }
            ),
            tenant_resource_limits=FrozenMapping(
                {"t": FrozenMapping({"instances": float(self.tenant_limit)})}
            ),
            providers=FrozenMapping(
                {
                    name: cloud_provider(
                        *offer.labels,
                        name=name,
                        boot_timeout=offer.boot_timeout,
                        launch_timeout=120.0,
                        max_concurrency=offer.max_concurrency,
                        pool_max_servers=offer.max_servers,
                    )
                    for name, offer in zip(PROVIDERS, self.offers, strict=True)
                    if offer is not None and name in carried
                }
            ),
        )

    def limit(self, provider: str) -> int:
        offer = self.offers[PROVIDERS.index(provider)]
        return offer.max_servers if offer is not None else 0


def some_offer(chance: Random) -> Offer | None:
    if chance.random() < 0.15:
        return None
    return Offer(
        labels=chance.choice([("a", "b"), ("a", "b"), ("a",), ("b",)]),
        max_servers=chance.choice([4, 4, 4, 6, 3, 1, 0]),
        boot_timeout=chance.choice([60.0, 61.0]),
        max_concurrency=chance.choice([-1, -1, 1]),
    )


def some_setup(chance: Random) -> Setup:
    return Setup(
        offers=(some_offer(chance), some_offer(chance)),
        tenant_limit=chance.choice([2, 1, 3]),
        min_ready=chance.choice([1, 0, 2]),
        max_ready_age=chance.choice([0, 100]),
    )


class Schedule:
    """Launchers, clouds and people, and what is done to them."""

    def __init__(self, number: int) -> None:
        chance = Random(number)
        carried = [PROVIDERS, PROVIDERS, PROVIDERS[:1], PROVIDERS[1:]]
        self.farm = Farm(latency=chance.choice([0.0, 0.01]))
        self.carried = {host: chance.choice(carried) for host in HOSTS[: chance.randint(1, 3)]}
        self.setup = chance.choice([Setup(), some_setup(chance)])
        self.staged: list[Callable[[], None]] = []
        self.ceilings: dict[str, float] = {}
        self.made = 0
        for host in self.carried:
            self.farm.start(host, self.config_of(host))
        self.farm.wait(5.0)

    def config_of(self, host: str) -> Config:
        return self.setup.config(self.carried[host])

    def do(self, step: str, number: int) -> None:
        """Do one step."""
        getattr(self, f"do_{step}")(Random(number))

    def process(self, chance: Random) -> Process | None:
        """One that runs, if one does."""
        return chance.choice(self.farm.processes) if self.farm.processes else None

    # -- time ------------------------------------------------------------

    def do_wait(self, chance: Random) -> None:
        seconds = chance.choice([0.25, 1.0, 1.0, 5.0, 5.0, 20.0, 30.0, 70.0, 130.0])
        self.farm.wait(seconds, 0.5 if seconds < 60 else 2.0)

    def do_moments(self, chance: Random) -> None:
        """So little that not all is carried out that is under way."""
        self.farm.clock.advance(0.002 * chance.randint(1, 20))

    def do_settle(self, chance: Random) -> None:
        self.farm.settle()

    # -- clients ---------------------------------------------------------

    def do_ask(self, chance: Random) -> None:
        for _ in range(chance.randint(1, 3)):
            labels = [chance.choice(LABELS) for _ in range(chance.choice([1, 1, 2, 3]))]
            tenant = chance.choice([None, "t", "t", "u"])
            self.farm.request(*labels, priority=chance.randint(0, 3), tenant=tenant)

    def open_requests(self) -> list[str]:
        taken = {lease.request_id for lease in self.farm.leases}
        requests = self.farm.requests().values()
        return sorted(r.id for r in requests if not r.is_min_ready and r.id not in taken)

    def do_take(self, chance: Random) -> None:
        """Take what was given, or see that nothing will be."""
        requests = self.farm.requests()
        for request_id in self.open_requests():
            state = requests[request_id].state
            over = state in (RequestState.FULFILLED, RequestState.FAILED)
            if over and chance.random() < 0.7:
                self.take_one(request_id, chance.randint(0, 2))

    def take_one(self, request_id: str, stages: int) -> None:
        if self.farm.requests()[request_id].state is RequestState.FAILED:
            self.farm.inspector.delete_tree(paths.request(request_id))
            return
        lease = self.farm.accept(request_id)
        for _ in range(stages if lease else 0):
            self.farm.go_on(lease)  # type: ignore[arg-type]

    def do_go_on(self, chance: Random) -> None:
        for lease in tuple(self.farm.leases):
            if chance.random() < 0.7:
                hold = chance.random() < 0.1
                self.farm.go_on(lease, NodeState.HOLD if hold else NodeState.USED)

    def do_give_back(self, chance: Random) -> None:
        for lease in tuple(self.farm.leases):
            self.farm.give_back(lease)

    def do_withdraw(self, chance: Random) -> None:
        requests = self.open_requests()
        if requests:
            self.farm.inspector.delete_tree(paths.request(chance.choice(requests)))

    def do_client_dies(self, chance: Random) -> None:
        self.farm.client_dies()

    # -- people, and other programs --------------------------------------

    def do_interfere(self, chance: Random) -> None:
        """A node is deleted, or removed, or its lock is, whoever works on it."""
        ids = sorted(self.farm.nodes().keys() - self.farm.leased())
        if not ids:
            return
        node_id, how = chance.choice(ids), chance.choice(["delete", "delete", "remove", "unlock"])
        if how == "delete":
            self.farm.change_node(node_id, state=NodeState.DELETING)
        elif how == "remove":
            self.farm.inspector.delete_tree(paths.node(node_id))
        else:
            for path in self.farm.inspector.dump(f"{paths.node_lock(node_id)}/"):
                self.farm.inspector.delete(path)

    def do_foreign_deleter(self, chance: Random) -> None:
        self.farm.foreign_deleter()

    # -- clouds ----------------------------------------------------------

    def do_fail_calls(self, chance: Random) -> None:
        cloud = self.farm.clouds[chance.choice(PROVIDERS)]
        method, error = chance.choice(METHODS), chance.choice(sorted(ERRORS))
        done = method == "create" and error == "broken" and chance.random() < 0.5
        cloud.fail_next(method, ERRORS[error](), times=chance.randint(1, 4), done=done)

    def do_hang_call(self, chance: Random) -> None:
        cloud, method = self.farm.clouds[chance.choice(PROVIDERS)], chance.choice(METHODS)
        cloud.hang_next(method, done=method == "create" and chance.random() < 0.5)

    def do_fail_servers(self, chance: Random) -> None:
        error = ERRORS[chance.choice(["broken", "quota", "capacity"])]()
        self.farm.clouds[chance.choice(PROVIDERS)].fail_boot(error, times=chance.randint(1, 4))

    def do_slow_deletion(self, chance: Random) -> None:
        cloud, seconds = self.farm.clouds[chance.choice(PROVIDERS)], chance.choice([0, 100, 400])
        if seconds:
            cloud.slow_deletion(seconds)
        else:
            cloud.ignore_deletion()

    def do_outage(self, chance: Random) -> None:
        """A cloud fails altogether, or is back."""
        cloud = self.farm.clouds[chance.choice(PROVIDERS)]
        cloud.broken = None if cloud.broken else CloudError("503")

    def do_lose_server(self, chance: Random) -> None:
        cloud = self.farm.clouds[chance.choice(PROVIDERS)]
        if cloud.servers:
            cloud.lose_server(chance.choice(sorted(cloud.servers)))

    def do_fail_server(self, chance: Random) -> None:
        """One that is there turns out to have failed, perhaps one in stock."""
        cloud = self.farm.clouds[chance.choice(PROVIDERS)]
        if cloud.servers:
            cloud.fail_server(chance.choice(sorted(cloud.servers)), CloudError("the host died"))

    def do_silence(self, chance: Random) -> None:
        for scanner in self.farm.scanners:
            scanner.deaf = chance.randint(1, 2)

    def do_quota(self, chance: Random) -> None:
        self.farm.clouds["sky"].quota["instances"] = chance.choice([6, 6, 3, 1, 0])

    # -- launchers -------------------------------------------------------

    def do_kill(self, chance: Random) -> None:
        if process := self.process(chance):
            self.farm.kill(process)

    def do_kill_soon(self, chance: Random) -> None:
        """Between two answers of ZooKeeper."""
        if process := self.process(chance):
            requests, executed = chance.randint(1, 15), chance.random() < 0.5
            self.staged.append(self.farm.kill_at(process, requests, executed))

    def do_stop(self, chance: Random) -> None:
        if process := self.process(chance):
            self.farm.stop(process)

    def missing(self) -> list[str]:
        return sorted(self.carried.keys() - {p.host for p in self.farm.processes})

    def do_start(self, chance: Random) -> None:
        for host in self.missing():
            self.farm.start(host, self.config_of(host))

    def do_restart(self, chance: Random) -> None:
        if process := self.process(chance):
            self.farm.stop(process)
            self.farm.start(process.host, self.config_of(process.host))

    def do_reload(self, chance: Random) -> None:
        """Of all launchers, or of one of them before the others."""
        process = self.process(chance)
        if process:
            only = chance.random() < 0.3
            self.apply(some_setup(chance), [process] if only else self.farm.processes)

    def apply(self, setup: Setup, processes: list[Process]) -> None:
        for provider in PROVIDERS:
            before = self.ceilings.get(provider, 0)
            self.ceilings[provider] = max(before, self.setup.limit(provider))
        self.ceilings["t"] = max(self.ceilings.get("t", 0), self.setup.tenant_limit)
        self.setup = setup
        for process in processes:
            process.launcher.on_config(self.config_of(process.host))

    # -- ZooKeeper -------------------------------------------------------

    def do_cut(self, chance: Random) -> None:
        if process := self.process(chance):
            self.farm.inspector.cut(process.client, executes=chance.randint(0, 3))

    def do_lose_answer(self, chance: Random) -> None:
        if process := self.process(chance):
            inspector, client = self.farm.inspector, process.client
            op = chance.choice(["transaction", "transaction", "create", "get", "exists"])
            if chance.random() < 0.5:
                self.staged.append(inspector.lose_reply_next(op, client=client))
            else:
                self.staged.append(inspector.fail_next(op, ConnectionLoss(), client=client))

    def do_expire(self, chance: Random) -> None:
        if process := self.process(chance):
            self.farm.inspector.expire(process.client)

    def do_suspend(self, chance: Random) -> None:
        if process := self.process(chance):
            self.farm.inspector.suspend(process.client, executes=chance.randint(0, 3))
            self.farm.wait(chance.choice([3.0, 15.0]))
            if process in self.farm.processes:
                self.farm.inspector.resume(process.client)

    # -- what must hold --------------------------------------------------

    def holds(self) -> None:
        """What holds at any moment."""
        self.farm.check()
        self.check_limits()

    def check_limits(self) -> None:
        """Limits are not exceeded by what is given, but by what was before."""
        farm = self.farm
        for provider in PROVIDERS:
            if sum(provider in carried for carried in self.carried.values()) == 1:
                used = farm.used(provider=provider)
                limit = max(self.ceilings.get(provider, 0), self.setup.limit(provider))
                assert used <= limit, f"{used} of {limit} in {provider}"
        used = farm.used(tenant_name="t")
        limit = max(self.ceilings.get("t", 0), self.setup.tenant_limit)
        assert used <= limit, f"the tenant has {used} of {limit}"

    def mend(self) -> None:
        """End all trouble, and wait."""
        farm = self.farm
        for call_off in self.staged:
            call_off()
        for cloud in farm.clouds.values():
            cloud.broken = None
            cloud.forget_scripts()
            cloud._boot_faults.clear()
            cloud._deletions.clear()
        farm.clouds["sky"].quota["instances"] = 6
        for scanner in farm.scanners:
            scanner.deaf = 0
        for host in self.missing():
            farm.start(host, self.config_of(host))
        whole = tuple(offer or Offer() for offer in self.setup.offers)
        self.apply(attrs.evolve(self.setup, offers=whole, max_ready_age=0), farm.processes)
        for lease in tuple(farm.leases):
            farm.give_back(lease)
        for node_id in farm.held:
            farm.change_node(node_id, state=NodeState.DELETING)
        farm.held.clear()
        end = farm.clock.seconds() + MENDING
        while farm.clock.seconds() < end:
            farm.wait(60.0, 5.0)
            self.serve_clients()
            self.holds()
        self.made = sum(cloud.made for cloud in farm.clouds.values())
        farm.wait(120.0, 5.0)

    def serve_clients(self) -> None:
        """Take all that was given, use it, and give it back."""
        requests = self.farm.requests()
        for request_id in self.open_requests():
            if requests[request_id].state in (RequestState.FULFILLED, RequestState.FAILED):
                self.take_one(request_id, 0)
        for lease in tuple(self.farm.leases):
            self.farm.give_back(lease)

    def check_settled(self) -> None:
        """Everything has found its end."""
        farm = self.farm
        self.holds()
        assert farm.requests() == {}, f"not answered: {farm.requests()}"
        assert not farm.inspector.dump(f"{paths.REQUEST_LOCKS}/")
        nodes = farm.nodes()
        for node in nodes.values():
            state = (node.state, node.allocated_to, farm.locked(node.id))
            assert state == (NodeState.READY, None, False), node
        for name, cloud in farm.clouds.items():
            known = {str(node.external_id) for node in nodes.values() if node.provider == name}
            assert set(cloud.servers) == known, f"{name} has {cloud.servers}, and nodes {known}"
        for process in farm.processes:
            self.check_at_rest(process)
        self.check_owned()
        self.check_stock()

    def check_at_rest(self, process: Process) -> None:
        """Nothing is being done, apart from a look that ends within a minute."""
        for _ in range(60):
            try:
                process.check_at_rest()
                return
            except AssertionError:
                self.farm.wait(1.0, 0.25)
        process.check_at_rest()

    def check_owned(self) -> None:
        for name in PROVIDERS:
            owners = [
                process
                for process in self.farm.processes
                if name in (services := process.reloader.services()) and services[name].owner
            ]
            carried = any(name in each for each in self.carried.values())
            assert len(owners) == carried, f"{name} has {len(owners)} owners"

    def check_stock(self) -> None:
        """All of the stock is there that there is room for."""
        nodes = self.farm.nodes().values()
        stock = sum("a" in node.type for node in nodes)
        made = sum(cloud.made for cloud in self.farm.clouds.values()) - self.made
        assert not made or stock <= self.setup.min_ready, f"{made} made for a stock of {stock}"
        if stock >= self.setup.min_ready:
            return
        for name, offer in zip(PROVIDERS, self.setup.offers, strict=True):
            carried = any(name in each for each in self.carried.values())
            if offer is not None and carried and "a" in offer.labels:
                used = self.farm.used(provider=name)
                assert used >= offer.max_servers, f"{stock} in stock"

    def give_up(self) -> None:
        """Providers that are taken out leave nothing."""
        farm = self.farm
        self.apply(attrs.evolve(self.setup, offers=(None, None)), farm.processes)
        farm.wait(300.0, 5.0)
        self.holds()
        assert farm.nodes() == {}
        assert {name: dict(cloud.servers) for name, cloud in farm.clouds.items()} == {
            name: {} for name in PROVIDERS
        }
        below = farm.inspector.dump(f"{paths.DRAINING}/")
        assert not below, f"{below} is noted"
        for process in farm.processes:
            assert process.reloader.services() == {}
            assert process.reloader.retiring() == ()


#: How often what is done: trouble is rarer than work.
STEPS = {
    **dict.fromkeys(("wait", "ask"), 8),
    **dict.fromkeys(("take", "go_on"), 4),
    **dict.fromkeys(("moments", "start"), 3),
    **dict.fromkeys(("settle", "give_back", "withdraw", "interfere", "fail_calls"), 2),
    **dict.fromkeys(("reload", "kill_soon", "restart", "fail_servers", "outage"), 2),
    **dict.fromkeys(("client_dies", "foreign_deleter", "hang_call", "slow_deletion"), 1),
    **dict.fromkeys(("lose_server", "fail_server", "silence", "quota", "kill", "stop"), 1),
    **dict.fromkeys(("cut", "lose_answer", "expire", "suspend"), 1),
}
NAMES = [name for name, count in STEPS.items() for _ in range(count)]

Steps = list[tuple[str, int]]


def run(number: int, steps: Steps) -> None:
    """Do all of it, then end all trouble and see that everything finds its end."""
    schedule = Schedule(number)
    try:
        for step, choice in steps:
            schedule.do(step, choice)
            schedule.holds()
        schedule.mend()
        schedule.check_settled()
        schedule.give_up()
    finally:
        schedule.farm.close()


def generated(seed: int, length: int) -> Steps:
    chance = Random(seed)
    return [(chance.choice(NAMES), chance.randrange(1000)) for _ in range(length)]


numbers = st.integers(0, 999)


@pytest.fixture(autouse=True, scope="module")
def _nothing_left() -> Iterator[None]:
    """What is left of killed processes ends here, and not in somebody else's tests."""
    yield
    gc.collect()


@given(numbers, st.lists(st.tuples(st.sampled_from(NAMES), numbers), max_size=40))
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    # A failure is made shorter by hand: that takes long.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_any_schedule(number: int, steps: Steps) -> None:
    """Whatever happens, in the end all requests are answered and nothing is left over."""
    run(number, steps)


#: What went wrong once: a schedule's number, and its steps.
FOUND: dict[str, tuple[int, Steps]] = {
    "room kept for a request that an equal one has overtaken": (
        10192,
        [
            ("moments", 667),
            ("kill_soon", 725),
            ("kill_soon", 752),
            ("ask", 477),
            ("moments", 773),
            ("fail_servers", 841),
            ("give_back", 474),
            ("withdraw", 459),
            ("ask", 883),
            ("restart", 972),
            ("withdraw", 552),
            ("expire", 603),
            ("kill_soon", 92),
            ("restart", 156),
            ("ask", 300),
            ("fail_calls", 789),
            ("kill_soon", 998),
            ("lose_server", 76),
            ("give_back", 918),
            ("ask", 74),
            ("withdraw", 18),
            ("wait", 940),
            ("ask", 161),
            ("outage", 9),
            ("wait", 26),
            ("fail_calls", 171),
            ("interfere", 166),
            ("wait", 376),
            ("kill_soon", 589),
            ("ask", 533),
            ("ask", 719),
            ("start", 963),
        ],
    ),
    "a node removed as its launcher stops": (10010, [("interfere", 215), ("restart", 966)]),
    "stopped while a pool that drains is taken off": (104, [("reload", 534), ("restart", 751)]),
    "a pool that takes itself to be short of room for ever": (
        2229,
        [("reload", 57), ("ask", 671), ("ask", 47)],
    ),
    "a node kept for a request that waits behind one that waits for its room": (
        2150,
        [
            *(("outage", 570), ("reload", 354), ("ask", 683), ("ask", 568)),
            *(("kill", 815), ("wait", 756), ("expire", 283)),
        ],
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_found_before(name: str) -> None:
    """What went wrong once goes well."""
    run(*FOUND[name])


@pytest.mark.parametrize("seed", range(20))
def test_long_schedules(seed: int) -> None:
    """Trouble that goes on for a while."""
    run(seed, generated(seed, 100))
