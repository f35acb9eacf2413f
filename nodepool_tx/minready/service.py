"""The keeping of stock in one launcher: which labels, and when to look."""

from __future__ import annotations

import os
import random as _random
from collections.abc import Callable, Iterable

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodepool_tx.config.schema import Config
from nodepool_tx.minready.desired import Wanted, desired
from nodepool_tx.minready.keeper import LabelKeeper, Surroundings
from nodepool_tx.minready.stock import Stock
from nodepool_tx.model import Node
from nodepool_tx.periodic import Periodic
from nodepool_tx.store.images import ImageChange
from nodepool_tx.store.store import Store

__all__ = ["ABANDONED", "MinReady"]

#: Seconds after which a node that is made where nobody is online counts no more.
ABANDONED = 600.0


class MinReady(MultiService):
    """Keeps labels in stock, each together with all launchers that have it.

    :param config: gives the configuration in force.
    :param host: what others see of us, with the number of the process.
    :param interval: seconds between two looks at everything, in case an event
        was missed.
    :param random: a number from 0 to 1, another one at each call.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        config: Callable[[], Config],
        host: str,
        *,
        interval: float,
        random: Callable[[], float] = _random.random,
    ) -> None:
        super().__init__()
        self.setName("min-ready")
        self._clock = clock
        self._store = store
        self._config = config
        self._host = host
        self._random = random
        self._applied: Config | None = None
        self._wanted: dict[str, Wanted] = {}
        self._keepers: dict[str, LabelKeeper] = {}
        #: Label to the providers that are online with it.
        self._online: dict[str, set[str]] = {}
        self._providers: frozenset[str] = frozenset()
        #: Providers that an operator took out of service: they make no stock.
        self._out_of_service: frozenset[str] = frozenset()
        self._stock = Stock(store, self._look_at)
        self._unsubscribe: list[Callable[[], None]] = []
        self.sweep = Periodic(clock, "min-ready sweep", interval, self._sweep)
        self.sweep.setServiceParent(self)

    def startService(self) -> None:
        super().startService()
        # The process has this number only since twistd went to the background.
        self._around = Surroundings(
            clock=self._clock,
            store=self._store,
            stock=self._stock,
            identifier=f"{self._host}:{os.getpid()}",
            random=self._random,
            possible=self._possible,
            counts=self._counts,
        )
        self._unsubscribe = [
            self._store.components.subscribe(self._on_components),
            self._store.maintenance.subscribe(self._on_maintenance),
            self._store.images.subscribe(self._on_image),
            self._store.when_current(self._on_current),
        ]
        self._read_components()
        self._out_of_service = frozenset(self._store.maintenance.providers_in_words())
        self.reconfigure()

    def stopService(self) -> Deferred[object]:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        stopped: Deferred[object] = Deferred.fromCoroutine(self._stop(super().stopService()))
        return stopped

    async def _stop(self, children: Deferred[object]) -> None:
        keepers, self._keepers = tuple(self._keepers.values()), {}
        stopping = [keeper.stop() for keeper in keepers]
        await children
        await gatherResults(stopping)
        self._stock.stop()
        self._applied = None

    # -- looking ---------------------------------------------------------

    def keepers(self) -> tuple[LabelKeeper, ...]:
        """Of every label that is kept here, or was and has requests left."""
        return tuple(self._keepers.values())

    def _possible(self, label: str) -> bool:
        """Somebody online and in service has the label, and an image for it as far as we know."""
        return any(self._can_make(provider, label) for provider in self._online.get(label, ()))

    def _can_make(self, provider: str, label: str) -> bool:
        wanted = self._wanted.get(label)
        if wanted is None or provider in self._out_of_service:
            return False
        images = wanted.images.get(provider)
        if images is None:
            # One that only other launchers have; one of ours would be named.
            return self._applied is not None and provider not in self._applied.providers
        newest = self._store.images.newest
        return any(image is None or newest(image, provider) is not None for image in images)

    def _counts(self, node: Node) -> bool:
        """Somebody goes on with it, or may come back for it soon."""
        age = self._clock.seconds() - node.state_time
        return node.provider in self._providers or age < ABANDONED

    # -- events ----------------------------------------------------------

    def reconfigure(self) -> None:
        """Take up the configuration in force; what is the same changes nothing."""
        config = self._config()
        if not self.running or config is self._applied or config == self._applied:
            return
        self._applied = config
        self._wanted = desired(config)
        if self._wanted:
            # Where nothing is kept in stock nothing is counted.
            self._stock.start()
        for label in self._wanted.keys() - self._keepers.keys():
            self._keepers[label] = LabelKeeper(self._around, label)
        for label, keeper in self._keepers.items():
            wanted = self._wanted.get(label)
            keeper.forgive()
            keeper.want(wanted.count if wanted is not None else 0)
        self._forget_done()

    def _on_current(self, current: bool) -> None:
        if current:
            self._look_at(tuple(self._keepers))

    def _on_components(self) -> None:
        self._read_components()
        self._look_at(tuple(self._keepers))

    def _on_maintenance(self) -> None:
        out_of_service = frozenset(self._store.maintenance.providers_in_words())
        if out_of_service == self._out_of_service:
            return
        self._out_of_service = out_of_service
        for keeper in self._keepers.values():
            keeper.forgive()
        self._look_at(tuple(self._keepers))

    def _read_components(self) -> None:
        pools = self._store.components.pools()
        self._online = {}
        for pool in pools:
            for label in pool.supported_labels:
                self._online.setdefault(label, set()).add(pool.provider_name)
        self._providers = frozenset(pool.provider_name for pool in pools)

    def _on_image(self, change: ImageChange) -> None:
        if change.provider is None:
            return
        self._look_at(
            label
            for label, wanted in self._wanted.items()
            if change.image in wanted.images.get(change.provider, ())
        )

    def _look_at(self, labels: Iterable[str]) -> None:
        for label in labels:
            keeper = self._keepers.get(label)
            if keeper is None and self._left_behind(label):
                keeper = self._keepers[label] = LabelKeeper(self._around, label)
            if keeper is not None:
                keeper.look()

    def _left_behind(self, label: str) -> bool:
        """A request turns up that nobody here knows, its writing having been uncertain."""
        requests = self._stock.requests(label)
        is_own = self._store.is_request_of_this_session
        return bool(requests) and any(is_own(request.id) for request in requests)

    async def _sweep(self) -> None:
        self.reconfigure()
        self._look_at(tuple(self._keepers))
        self._forget_done()

    def _forget_done(self) -> None:
        """Let go of labels that were given up."""
        for label in [label for label, keeper in self._keepers.items() if keeper.done]:
            self._keepers.pop(label).stop()
