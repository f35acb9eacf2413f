"""A launcher of Nodepool 11 that has the same machines.

It does not know the owner lock, and registers whatever slot it finds empty
when it looks: at its start, in its sweeps, and where it has deleted a node.  It
reads node by node, so a slot that is renewed meanwhile looks empty to it.  If we
went on, both would register the same slots.  So for as long as one of its
launchers has the provider, the machines are left to it, and we only hand their
nodes out.

Design note: before it shows its pools
--------------------------------------
Nodepool 11 registers itself, then its machines, then its pools.  In between
nothing says which providers it has, but that it begins can be seen: it calls
itself running only when it has come to its pools.  One that never gets there is
not waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.model import Component, ComponentState, is_ours
from nodepool_tx.store.components import ComponentTable

__all__ = ["Incumbent"]

#: Seconds that a launcher gets to call itself running, from when it is first seen.
BEGINS_WITHIN = 60.0

#: Seconds that it then gets to show its pools.
SHOWS_POOLS_WITHIN = 5.0


@attrs.frozen
class _Seen:
    """A launcher of another program.

    :ivar until: until when it may be about to show pools of any provider.
    :ivar running: it calls itself so.
    """

    until: float
    running: bool


class Incumbent:
    """Whether the machines of a provider are to be left to a launcher of another program.

    :param current: whether ``components`` shows what is in ZooKeeper.
    :param changed: called when that begins or ends.
    :ivar why: the reason, in words; "" if they are ours to look after.
    """

    _log = Logger()

    def __init__(
        self,
        provider: str,
        clock: IReactorTime,
        components: ComponentTable,
        current: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._components = components
        self._current = current
        self._changed = changed
        self._launchers: dict[str, _Seen] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._timer: IDelayedCall | None = None
        self.why = ""

    def start(self) -> None:
        """Look from now on."""
        if self._unsubscribe is None:
            self._look()
            self._unsubscribe = self._components.subscribe(self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._set_timer(None)

    def _look(self) -> None:
        now = self._clock.seconds()
        others = [c for c in self._components.all() if not is_ours(c)]
        launchers = [c for c in others if c.kind == "launcher"]
        self._launchers = {c.path: self._seen(c, now) for c in launchers}
        waits = [seen.until - now for seen in self._launchers.values() if seen.until > now]
        self._set_timer(min(waits, default=None))
        before, self.why = self.why, next(self._reasons(launchers, now), "")
        if bool(self.why) != bool(before):
            self._tell()
            self._changed()

    def _seen(self, launcher: Component, now: float) -> _Seen:
        running = launcher.state is ComponentState.RUNNING
        before = self._launchers.get(launcher.path)
        if before is None:
            # What was there before us has shown its pools; what came since may not have.
            known = self._unsubscribe is None or not self._current()
            shows_within = 0.0 if known else SHOWS_POOLS_WITHIN
            return _Seen(now + (shows_within if running else BEGINS_WITHIN), running)
        if running and not before.running:
            return _Seen(min(before.until, now + SHOWS_POOLS_WITHIN), running)
        return before

    def _reasons(self, launchers: list[Component], now: float) -> Iterator[str]:
        for pool in self._components.pools():
            if pool.provider_name == self._provider and not is_ours(pool):
                yield f"a launcher of Nodepool {pool.version} on {pool.hostname} has them"
        for launcher in launchers:
            if self._launchers[launcher.path].until > now:
                yield f"a launcher of Nodepool {launcher.version} starts on {launcher.hostname}"

    def _tell(self) -> None:
        if self.why:
            text = "the machines of {provider} are left alone: {reason}"
        else:
            text = "the machines of {provider} are not left to others any more"
        self._log.info(text, provider=self._provider, reason=self.why)

    def _set_timer(self, delay: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if delay is None else self._clock.callLater(delay, self._look)
