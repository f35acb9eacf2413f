"""From one configuration to the next, without two owners of anything.

Design note: the order of a replacement
---------------------------------------
For each provider whose configuration changed, independently of the others:

1. The successor is built.  If that fails, the old service never notices.
2. The old service is idled, and its decisions in flight are awaited.  From
   here on it begins nothing.
3. It leaves the service tree, and only then the successor enters it.  One that
   still has something to finish (launches) gives up its name instead, and
   leaves when it has retired.
4. If the successor cannot start, it is taken out again and the old one goes
   back in and is resumed.

The current children of the ``providers`` service have unique names, so a second
one for a name cannot even be added.  All changes to the tree are made one after
the other, by one single flight.

A provider that is no longer configured drains under its own name: it takes no
new work, gives up its nodes as they come free, and then leaves.  Should it be
configured again meanwhile, it is replaced as above.  Draining is noted in
ZooKeeper, so that a restarted launcher goes on with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodepool_tx.config.schema import Config, ProviderConfig
from nodepool_tx.events import Events
from nodepool_tx.periodic import Periodic
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.tenants import TenantLimits
from nodepool_tx.providers import DriverError
from nodepool_tx.providers.drains import DrainLedger
from nodepool_tx.providers.interface import Phase, ProviderService
from nodepool_tx.providers.ownership import Ownerships
from nodepool_tx.providers.tree import ProviderTree
from nodepool_tx.reload_plan import ReloadPlan, ReloadReport, plan_reload
from nodepool_tx.store.change import Uncertain
from nodepool_tx.work import SingleFlight, Tracker, shielded

__all__ = ["Reloader"]

#: Seconds after which a reload that takes long says what it waits for.
ANNOUNCE_AFTER = 10.0


class Reloader:
    """Applies configurations to the children of a service, one at a time.

    :ivar config: the configuration in force, from the moment its reload began.
    :ivar reports: of the reloads so far, newest last.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        providers: ProviderTree,
        build: Callable[[ProviderConfig], ProviderService],
        registry: PoolRegistry,
        ownerships: Ownerships,
        tenant_limits: TenantLimits,
        ledger: DrainLedger,
        events: Events | None = None,
    ) -> None:
        self._clock = clock
        self._providers = providers
        self._build = build
        self._registry = registry
        self._ownerships = ownerships
        self._tenant_limits = tenant_limits
        self._ledger = ledger
        self._events = events or Events()
        #: Names of services in the tree that are being given up.
        self._draining: set[str] = set()
        self._drains = Tracker(clock)
        self._drained: list[ProviderService] = []
        #: Waiting for services to retire.
        self._retirements = Tracker(clock)
        self._retired: list[ProviderService] = []
        #: What is being done to providers, and since when (seconds, the clock's).
        self._steps: dict[str, tuple[str, float]] = {}
        #: Waiting for services to be idle.
        self._idling: set[Deferred[None]] = set()
        self._next: Config | None = None
        self._flight = SingleFlight(self._change_tree, "reload")
        self.config: Config | None = None
        self.reports: list[ReloadReport] = []
        self._stopping = False

    @property
    def running(self) -> bool:
        """A reload is under way."""
        return self._flight.running

    def apply(self, config: Config) -> Deferred[None]:
        """Bring ``config`` into force; fires when this, or a later one, is.

        One that comes while another is applied waits; of several that wait
        only the last is applied.
        """
        self._next = config
        self._flight.wake()
        return self._flight.idle()

    def stop(self) -> Deferred[None]:
        """Begin no further reload; fires when the present one is over.

        That waits for nothing that a service has in flight, which ends with
        the service.  What drains goes on draining at the next start.
        """
        self._stopping = True
        self._drains.cancel()
        self._retirements.cancel()
        for waiter in tuple(self._idling):
            waiter.cancel()
        return self._flight.idle()

    def services(self) -> dict[str, ProviderService]:
        """Every provider service that decides, by name."""
        return self._providers.current()

    def is_replacing(self, name: str) -> bool:
        """A provider is in the hands of a reload, and to be left to it."""
        return name in self._steps

    def tasks(self) -> tuple[tuple[str, float], ...]:
        """What is in flight and since when (seconds, the clock's): reloads and what they left."""
        later = (*self._retirements.tasks(), *self._drains.tasks())
        return (*self._steps.values(), *((task.what, task.since) for task in later))

    def retiring(self) -> tuple[ProviderService, ...]:
        """Services that were replaced and have something left to finish."""
        return self._providers.retiring()

    async def _change_tree(self) -> None:
        await self._remove_retired()
        await self._remove_drained()
        config, self._next = self._next, None
        if config is not None and not self._stopping:
            await self._apply(config)

    # -- applying --------------------------------------------------------

    async def _apply(self, config: Config) -> None:
        started = self._clock.seconds()
        services = self.services()
        running = {n: s.config for n, s in services.items() if n not in self._draining}
        plan = plan_reload(running, config)
        self.config = config
        self._tenant_limits.limits = config.tenant_resource_limits
        self._log_unavailable(config, plan)
        rolled_back: dict[str, str] = {}

        async def attempt(name: str) -> None:
            self._steps[name] = (f"reload of provider {name}", self._clock.seconds())
            try:
                reason = await self._install(config.providers[name], services.get(name))
            except Exception as e:
                self._log.failure("provider {provider} is left as it is", provider=name)
                reason = f"it and its old service failed: {e}"
            del self._steps[name]
            if reason:
                rolled_back[name] = reason

        async def announce() -> None:
            self._announce(started, plan)

        for name in plan.removed:
            self._drain(services[name])
        slow = Periodic(self._clock, "announcing a slow reload", ANNOUNCE_AFTER, announce)
        slow.startService()
        await _all(attempt(name) for name in (*plan.replaced, *plan.added))
        await slow.stopService()
        report = ReloadReport(plan, rolled_back, self._clock.seconds() - started)
        self.reports = [*self.reports[-99:], report]
        self._log_report(report)
        self._events.publish(report.as_event())

    async def _install(self, config: ProviderConfig, old: ProviderService | None) -> str:
        """Put a provider in place of ``old``; returns why not, if not."""
        name = config.name
        try:
            new = self._build(config)
        except Exception as e:
            self._log.failure("provider {provider} cannot be built", provider=name)
            return f"it cannot be built: {e}"
        was_draining = name in self._draining
        self._draining.discard(name)
        if old is not None:
            self._log.debug("provider {provider}: idling its old service", provider=name)
            try:
                await self._idle(old)
            except Exception as e:
                if self._stopping:
                    return "the launcher is stopping"
                self._log.failure("provider {provider} cannot be idled", provider=name)
                self._go_on(old, was_draining)
                return f"its old service cannot be idled: {e}"
            if self._stopping:
                return "the launcher is stopping"
            await self._make_way(old)
        try:
            self._put_in(new)
        except Exception as e:
            self._log.failure("provider {provider} cannot start", provider=name)
            await self._take_out(new)
            if old is None:
                await self._withdraw(name)
            else:
                await self._show_only(old.config)
                self._put_back(old)
                self._go_on(old, was_draining)
            return f"it cannot start: {e}"
        await self._show_only(config)
        if was_draining:
            await self._in_ledger(self._ledger.strike(name), name)
        return ""

    async def _idle(self, service: ProviderService) -> None:
        """Idle a service and wait for it, unless the launcher stops before."""
        waiter = shielded(service.idle())
        self._idling.add(waiter)
        try:
            await waiter
        finally:
            self._idling.discard(waiter)

    async def _make_way(self, old: ProviderService) -> None:
        """Free the name of an idle service; it stays while it has something to finish."""
        self._providers.retire(old)
        retirement = self._retirements.run(
            f"retiring provider {old.name}", self._wait_until_retired(old)
        )
        if retirement.called:
            await self._remove_retired()

    def _put_back(self, old: ProviderService) -> None:
        if old in self._providers.retiring():
            # What waits for its retirement finds that it has its name again.
            self._providers.reinstate(old)
        else:
            self._put_in(old)

    async def _wait_until_retired(self, old: ProviderService) -> None:
        self._log.debug("provider {provider}: its old service is finishing", provider=old.name)
        await shielded(old.retired())
        self._retired.append(old)
        self._flight.wake()

    async def _remove_retired(self) -> None:
        retired, self._retired = self._retired, []
        for service in retired:
            if service in self._providers.retiring():
                await self._take_out(service)

    def _go_on(self, old: ProviderService, draining: bool) -> None:
        """The old service stays, for want of a successor."""
        old.resume()
        self._log.warn("provider {provider} goes on as it was", provider=old.name)
        if draining:
            self._drain(old)

    def _put_in(self, service: ProviderService) -> None:
        service.setServiceParent(self._providers)

    async def _take_out(self, service: ProviderService) -> None:
        """Stop a service and wait until nothing of it is left in the tree.

        It was idled or drained, or never ran, so one that stops badly has
        nothing to write all the same.
        """
        if service not in (self.services().get(service.name), *self._providers.retiring()):
            return
        try:
            stopped = service.disownServiceParent()
            if stopped is not None:
                await stopped
        except Exception:
            self._log.failure("provider {provider} stopped badly", provider=service.name)

    async def _show_only(self, config: ProviderConfig) -> None:
        """Take the pools of a provider off that it does not have any more."""
        pools = frozenset(pool.name for pool in config.pools)
        await self._registry.keep_only_of(config.name, pools)

    async def _withdraw(self, name: str) -> None:
        """Nothing of this name is here any more: leave it to other launchers."""
        await self._registry.keep_only_of(name, frozenset())
        await self._ownerships.give_up(name)

    # -- draining --------------------------------------------------------

    def _drain(self, service: ProviderService) -> None:
        name = service.name
        self._draining.add(name)
        self._log.info(
            "provider {provider} is no longer configured and gives up its nodes", provider=name
        )
        self._drains.run(f"draining provider {name}", self._wait_until_drained(service))

    async def _wait_until_drained(self, service: ProviderService) -> None:
        name = service.name
        await self._in_ledger(self._ledger.note(name, service.config.driver), name)
        if not self._is_draining(service):
            return
        # Its successor gives up whatever they were about to finish.
        for old in self._providers.retiring():
            if old.name == name:
                await self._take_out(old)
        # It knows its own registrations, as long as they are there.
        by_hand = service.phase is Phase.IDLE
        if by_hand:
            await shielded(service.idle())
            if not self._is_draining(service):
                return
        drained = service.drain()
        if by_hand:
            service.resume()
        both: list[Deferred[Any]] = [drained, self._registry.keep_only_of(name, frozenset())]
        await gatherResults(both, consumeErrors=True)
        self._drained.append(service)
        self._flight.wake()

    async def _remove_drained(self) -> None:
        drained, self._drained = self._drained, []
        for service in drained:
            if not self._is_draining(service) or self._stopping:
                continue
            name = service.name
            await self._take_out(service)
            self._draining.discard(name)
            await self._in_ledger(self._ledger.strike(name), name)
            await self._withdraw(name)
            self._log.info("provider {provider} is gone", provider=name)

    def _is_draining(self, service: ProviderService) -> bool:
        """It is to go, and was not configured again meanwhile."""
        return service.name in self._draining and self.services().get(service.name) is service

    async def _in_ledger(self, entry: Awaitable[None], provider: str) -> None:
        """Keep the books; what they miss concerns only a restart at the wrong moment."""
        try:
            await entry
        except Uncertain as e:
            self._log.info(
                "provider {provider}: its draining could not be noted: {reason}",
                provider=provider,
                reason=str(e),
            )

    async def resume_drains(self) -> None:
        """Go on emptying providers that an earlier process began to empty.

        :raises Uncertain: ZooKeeper cannot be asked now.
        """
        for name, driver in (await self._ledger.open()).items():
            if self.config is not None and name in self.config.providers:
                await self._in_ledger(self._ledger.strike(name), name)
            elif name not in self.services() and not self._stopping:
                await self._resume_drain(ProviderConfig(name=name, driver=driver))

    async def _resume_drain(self, config: ProviderConfig) -> None:
        try:
            service = self._build(config)
        except DriverError as e:
            self._log.error(
                "provider {provider} cannot be emptied: {reason}",
                provider=config.name,
                reason=str(e),
            )
            return
        except Exception:
            self._log.failure("provider {provider} cannot be emptied", provider=config.name)
            return
        try:
            self._put_in(service)
        except Exception:
            self._log.failure("provider {provider} cannot be emptied", provider=config.name)
            await self._take_out(service)
            return
        self._drain(service)

    # -- telling ---------------------------------------------------------

    def _announce(self, started: float, plan: ReloadPlan) -> None:
        waiting = [
            f"{name}: {', '.join(what for what, _ in service.status().tasks)}"
            for name, service in self.services().items()
            if name in plan.replaced and service.status().tasks
        ]
        self._log.warn(
            "the reload has taken {seconds:.0f} s so far and waits for {waiting}",
            seconds=self._clock.seconds() - started,
            waiting="; ".join(waiting) or "ZooKeeper",
        )

    def _log_unavailable(self, config: Config, plan: ReloadPlan) -> None:
        for name in plan.unavailable:
            self._log.error(
                "provider {provider}: driver {driver} is not available in this version, "
                "nothing is served from it",
                provider=name,
                driver=config.providers[name].driver,
            )

    def _log_report(self, report: ReloadReport) -> None:
        self._log.info(
            "configuration applied {applied} in {seconds:.3f} s: kept {kept}; replaced {replaced}; "
            "added {added}; removed {removed}; rolled back {rolled_back}",
            **report.in_words(),
        )


async def _all(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of them together and wait for all."""
    await gatherResults([Deferred.fromCoroutine(coroutine) for coroutine in coroutines])
