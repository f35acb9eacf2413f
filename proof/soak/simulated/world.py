"""ZooKeeper, clouds, machines, two launchers and their clients, for hours of simulated time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import log
from random import Random
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred

from benchmarks.day import LABELS, SIZES, _drawn
from benchmarks.day_world import FLAVORS, LATENCY, MIDNIGHT, TroubledCloud, Wish
from nodepool_tx.config.cloud import CloudImage, CloudLabel, CloudPool, CloudProvider
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, Label, ProviderConfig, StaticNode, StaticPool
from nodepool_tx.config.schema import StaticProvider as Static
from nodepool_tx.providers.cloud.memory_cloud import MemoryCloud, Timing
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from proof.soak.simulated.clock import SoakClock
from proof.soak.simulated.launcher import SimulatedLauncher
from proof.soak.simulated.users import SteadyUsers

__all__ = ["Load", "World"]

HOSTS = ("launcher-1", "launcher-2")
MIN_READY = {"small": 20, "medium": 10, "large": 0}
TENANTS = 6


@attrs.frozen(kw_only=True)
class Load:
    """How much there is, and how often what happens; times in seconds.

    :ivar static: slots of static hosts.
    :ivar clouds: how many; each has room for ``servers``.
    :ivar jobs: clients that ask, use what they get, give it back, and ask again.
    :ivar job: how long that is used, on the average.
    :ivar restart: between two ends of the second launcher; every third time it hangs until its
        session has ended.  The first one lives from the beginning to the end.
    """

    static: int = 2000
    clouds: int = 4
    servers: int = 240
    jobs: int = 200
    job: float = 680.0
    reload: float = 600.0
    cut: float = 900.0
    expire: float = 2700.0
    restart: float = 4000.0


class World:
    """Everything there is.

    :ivar done: how often what was done.
    """

    def __init__(self, load: Load, seed: int) -> None:
        self.load = load
        self._random = Random(seed)
        self.clock = SoakClock(MIDNIGHT)
        time = cast(Any, self.clock)
        self.zookeeper = MemoryZookeeper(time, latency=LATENCY)
        self.inspector = self.zookeeper.inspector
        self.done: Counter[str] = Counter()
        self._configurations = 0
        self._over = False
        self.clouds: dict[str, MemoryCloud] = {
            f"cloud-{number}": self._cloud() for number in range(load.clouds)
        }
        self.launchers: dict[str, SimulatedLauncher] = {}
        for host in HOSTS:
            self._start(host)
        self.users = SteadyUsers(self, Random(self._random.random()))

    def _cloud(self) -> MemoryCloud:
        random = Random(self._random.random())
        servers = self.load.servers
        quota = {"instances": servers, "cores": 4 * servers, "ram": 8192 * servers}
        return TroubledCloud(
            random,
            0.01,
            0.02,
            self.clock,
            timing=Timing(
                answer=lambda: random.uniform(0.1, 0.5),
                boot=lambda: random.uniform(15.0, 60.0),
                delete=lambda: random.uniform(3.0, 15.0),
            ),
            flavors=FLAVORS,
            quota=quota,
            zones=("az1", "az2"),
        )

    # -- configurations ----------------------------------------------------

    def configuration(self) -> Config:
        """The one that is due: hosts, limits and stock are not always the same."""
        odd = self._configurations % 2
        providers: dict[str, ProviderConfig] = {"rack": self._rack(self.load.static + 10 * odd)}
        for name in self.clouds:
            providers[name] = self._provider(name, self.load.servers - 10 * odd)
        labels = {name: Label(name, count + odd) for name, count in MIN_READY.items()}
        labels["static"] = Label("static", 0)
        return Config(labels=FrozenMapping(labels), providers=FrozenMapping(providers))

    @staticmethod
    def _rack(slots: int) -> Static:
        nodes = tuple(
            StaticNode(f"host-{number}", ("static",), max_parallel_jobs=2)
            for number in range(slots // 2)
        )
        pool = StaticPool(
            name="main", provider_name="rack", labels=frozenset({"static"}), nodes=nodes
        )
        return Static(name="rack", driver="static", pools=(pool,))

    @staticmethod
    def _provider(name: str, servers: int) -> CloudProvider:
        image = CloudImage("image", username="zuul")
        labels = {label: CloudLabel(label, image) for label in MIN_READY}
        pool = CloudPool(
            name="main",
            provider_name=name,
            labels=frozenset(labels),
            cloud_labels=FrozenMapping(labels),
            max_servers=servers,
        )
        return CloudProvider(name=name, driver="memory", pools=(pool,), rate=20.0)

    # -- what happens ------------------------------------------------------

    def begin(self) -> None:
        """From now on clients ask, and things happen."""
        load = self.load
        for _ in range(load.jobs):
            self.users.begin(self._wish())
        self._every(load.reload, self._reload)
        self._every(load.cut, self._cut)
        self._every(load.expire, self._expire)
        self._every(load.restart, self._restart)

    def _every(self, seconds: float, act: Any) -> None:
        def again() -> None:
            if not self._over:
                self.clock.callLater(seconds, again)
                act()

        self.clock.callLater(seconds, again)

    def _wish(self) -> Wish:
        """What one client asks for, again and again: so there is always as much in use."""
        random = self._random
        label = "static"
        if random.random() >= 0.6:
            label = _drawn(random, LABELS[:3])
        size = _drawn(random, SIZES)
        seconds = random.lognormvariate(log(self.load.job) - 0.8**2 / 2, 0.8)
        tenant = f"tenant-{random.randrange(TENANTS)}"
        return Wish((label,) * size, tenant, min(3600.0, seconds))

    def _reload(self) -> None:
        self._configurations += 1
        config = self.configuration()
        for launcher in self.launchers.values():
            launcher.launcher.on_config(config)
        self.done["configurations"] += 1

    def _someone(self) -> SimulatedLauncher:
        return self._random.choice(list(self.launchers.values()))

    def _cut(self) -> None:
        self.inspector.cut(self._someone().client)
        self.done["connections cut"] += 1

    def _expire(self) -> None:
        self.inspector.expire(self._someone().client)
        self.done["sessions that ended"] += 1

    def _start(self, host: str) -> None:
        self.launchers[host] = SimulatedLauncher(
            self.clock,
            self.zookeeper,
            self.clouds,
            host,
            self.configuration(),
            Random(self._random.random()),
        )

    def _restart(self) -> None:
        host = HOSTS[1]
        launcher = self.launchers.pop(host)
        hangs = self.done["restarts"] % 3 == 2
        self.done["restarts"] += 1
        if hangs:
            launcher.clock.die()
            self.inspector.suspend(launcher.client)
            self.clock.callLater(300.0, self._stop, launcher)
            self.done["of which after it hung"] += 1
        else:
            self._stop(launcher)
        self.clock.callLater(60.0, self._start, host)

    def _stop(self, launcher: SimulatedLauncher) -> Deferred[None]:
        launcher.clock.revive()
        self.inspector.resume(launcher.client)

        def stopped(_: object) -> None:
            launcher.clock.bury()
            self.inspector.forget(launcher.client)

        return launcher.stop().addCallback(stopped)

    def stop(self) -> None:
        """Ask no more, and end all launchers."""
        self._over = self.users.over = True
        for launcher in self.launchers.values():
            self._stop(launcher)
        self.launchers = {}
        self.clock.run_until(self.clock.seconds() + 120.0)

    # -- looking -------------------------------------------------------------

    def znodes(self) -> Mapping[str, int]:
        """How many there are below each of Nodepool's."""
        found: Counter[str] = Counter()
        for path in self.inspector.dump("/nodepool"):
            found[path.split("/")[2] if path.count("/") > 1 else ""] += 1
        return found
