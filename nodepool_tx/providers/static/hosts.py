"""The machines of a provider: which are up, with which keys, and when to ask again.

Every machine is looked at on its own: one look at a time, however many of its
slots want one.  Looks run in parallel, in two lanes: a machine that is known
to be down is retried in the narrow one, so that any number of dead machines
never keeps a healthy one waiting.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodepool_tx.events import Events, HostChanged
from nodepool_tx.nodescan.interface import Address, ScanError, Scanner
from nodepool_tx.providers.static.desired import DesiredNode, Identity, Look
from nodepool_tx.providers.static.lane import Lane
from nodepool_tx.providers.static.observed import HostFacts, HostState
from nodepool_tx.work import Task, Tracker

__all__ = ["FIRST_RETRY", "LONGEST_RETRY", "HostKeyMismatch", "Hosts", "retry_delay"]

#: Seconds until a machine that is down is looked at again: the first time, and
#: at the most.
FIRST_RETRY = 1.0
LONGEST_RETRY = 10.0

#: Looks at the same time, at machines that may be up and at those that are not.
LOOKS_AT_ONCE = 50
RETRIES_AT_ONCE = 10

_UNKNOWN = HostFacts()

#: Behind every position in the sequence of events.
_FOR_GOOD = sys.maxsize


class HostKeyMismatch(Exception):
    """A machine does not show all the host keys it is configured with."""

    def __init__(self, host: DesiredNode, found: tuple[str, ...]) -> None:
        super().__init__(
            f"host key mismatch at {host.hostname}:{host.port}: configured "
            f"{', '.join(host.host_keys)}; found {', '.join(found) or 'none'}"
        )


def retry_delay(failures: int, jitter: float) -> float:
    """Seconds until the next look after so many failures in a row.

    :param jitter: from 0 to 1; spreads machines that went down together.
    """
    delay = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 30))
    return delay * (1.0 - 0.2 * jitter)


@attrs.frozen
class _Found:
    """What a look at a machine that is up has shown."""

    keys: tuple[str, ...]
    address: Address | None


class Hosts:
    """What is known of each machine.

    :param changed: called with a machine's identity after a look has ended,
        and whether its state or its keys are others than before.
    :param order: gives the next position in the sequence of events.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        scanner: Scanner,
        changed: Callable[[Identity, bool], None],
        order: Callable[[], int],
        *,
        rng: random.Random | None = None,
        events: Events | None = None,
    ) -> None:
        self._clock = clock
        self._scanner = scanner
        self._changed = changed
        self._order = order
        self._rng = rng or random.Random()
        self._events = events or Events()
        self._facts: dict[Identity, HostFacts] = {}
        self._looking: set[Identity] = set()
        self._tracker = Tracker(clock)
        self._lane: Lane[DesiredNode] = Lane(LOOKS_AT_ONCE, self._start)
        self._retries: Lane[DesiredNode] = Lane(RETRIES_AT_ONCE, self._start)
        self._open = True

    # -- life ------------------------------------------------------------

    def open(self) -> None:
        """Look at machines again."""
        self._open = True

    def close(self) -> Deferred[None]:
        """Begin no further look; fires when those under way have ended."""
        self._open = False
        for host in (*self._lane.clear(), *self._retries.clear()):
            self._looking.discard(host.identity)
        return self._tracker.idle()

    def cancel(self) -> None:
        """End what is under way, now."""
        self._tracker.cancel()

    def tasks(self) -> tuple[Task, ...]:
        return self._tracker.tasks()

    # -- knowing ---------------------------------------------------------

    def facts(self, identity: Identity) -> HostFacts:
        return self._facts.get(identity, _UNKNOWN)

    def is_looking(self, identity: Identity) -> bool:
        return identity in self._looking

    def forget(self) -> None:
        """Somebody else may have looked after the machines: know nothing."""
        self._facts.clear()

    def forget_one(self, identity: Identity) -> None:
        """As :meth:`forget`, of one machine."""
        self._facts.pop(identity, None)

    # -- looking ---------------------------------------------------------

    def look(self, host: DesiredNode) -> None:
        """Find out all there is to know of a machine, unless that is under way."""
        if host.identity in self._looking or not self._open:
            return
        self._looking.add(host.identity)
        down = self.facts(host.identity).state is HostState.DOWN
        (self._retries if down else self._lane).put(host)

    def _start(self, host: DesiredNode) -> Deferred[None]:
        return self._tracker.run(f"looking at {host.hostname}:{host.port}", self._look(host))

    async def alive(self, host: DesiredNode) -> bool:
        """Whether a machine takes connections now; if not, it is down.

        One whose host keys are not to be checked is taken at its word.
        """
        if not host.host_key_checking:
            return True
        try:
            await self._scanner.probe(host.hostname, host.port, host.timeout)
        except CancelledError:
            raise
        except ScanError as e:
            self._note_down(host, str(e))
            return False
        except Exception as e:
            self._log.failure("the probe of {hostname} failed", hostname=host.hostname)
            self._note_down(host, repr(e))
            return False
        return True

    async def _look(self, host: DesiredNode) -> None:
        try:
            changed = await self._ask_and_note(host)
        finally:
            self._looking.discard(host.identity)
        self._changed(host.identity, changed)

    async def _ask_and_note(self, host: DesiredNode) -> bool:
        """Look, and remember what was found; True if that is news."""
        before = self.facts(host.identity)
        try:
            found = await self._ask(host)
        except CancelledError:
            raise
        except (ScanError, HostKeyMismatch) as e:
            self._set_down(host, str(e))
        except Exception as e:
            self._log.failure("the look at {hostname} failed", hostname=host.hostname)
            self._set_down(host, repr(e))
        else:
            self._set_up(host, found)
        after = self.facts(host.identity)
        return (before.state, before.keys) != (after.state, after.keys)

    async def _ask(self, host: DesiredNode) -> _Found:
        where = (host.hostname, host.port)
        if host.look is Look.PORT:
            return _Found((), await self._scanner.probe(*where, host.timeout))
        if host.look is Look.NONE:
            try:
                return _Found(host.host_keys, await self._scanner.resolve(*where))
            except ScanError as e:
                # It may well be known by this name only to those who use it.
                self._log.info(
                    "{hostname} of {provider} has no address that is known here: {reason}",
                    hostname=host.hostname,
                    provider=host.provider,
                    pool=host.pool,
                    reason=str(e),
                )
                return _Found(host.host_keys, None)
        address = await self._scanner.resolve(*where)
        keys = tuple(await self._scanner.scan_keys(*where, host.timeout))
        if not set(host.host_keys) <= set(keys):
            raise HostKeyMismatch(host, keys)
        return _Found(keys, address)

    # -- remembering -----------------------------------------------------

    def _set_up(self, host: DesiredNode, found: _Found) -> None:
        before = self.facts(host.identity)
        now = self._clock.seconds()
        was_up = before.state is HostState.UP
        self._facts[host.identity] = HostFacts(
            state=HostState.UP,
            keys=found.keys,
            ipv4=found.address.ipv4 if found.address else None,
            ipv6=found.address.ipv6 if found.address else None,
            checked=_FOR_GOOD if host.never_changes else self._order(),
            since=before.since if was_up else now,
        )
        if not was_up:
            self._tell(host, True)
        if before.state is HostState.DOWN:
            self._log.info(
                "{hostname}:{port} of {provider}/{pool} is back after {seconds:.1f} s",
                hostname=host.hostname,
                port=host.port,
                provider=host.provider,
                pool=host.pool,
                seconds=now - before.since,
            )

    def _tell(self, host: DesiredNode, up: bool, reason: str = "") -> None:
        self._events.publish(
            HostChanged(provider=host.provider, hostname=host.hostname, up=up, reason=reason)
        )

    def _note_down(self, host: DesiredNode, reason: str) -> None:
        """A node of it was to be handed out; many may have been at once."""
        before = self.facts(host.identity)
        if before.state is HostState.DOWN and self._clock.seconds() < before.retry_at:
            return
        self._set_down(host, reason)
        self._changed(host.identity, before.state is not HostState.DOWN)

    def _set_down(self, host: DesiredNode, reason: str) -> None:
        before = self.facts(host.identity)
        now = self._clock.seconds()
        was_down = before.state is HostState.DOWN
        failures = before.failures + 1
        wait = retry_delay(failures, self._rng.random())
        self._facts[host.identity] = attrs.evolve(
            before,
            state=HostState.DOWN,
            keys=(),
            reason=reason,
            since=before.since if was_down else now,
            failures=failures,
            retry_at=now + wait,
        )
        if not was_down:
            self._tell(host, False, reason)
        emit = self._log.debug if was_down and before.reason == reason else self._log.warn
        emit(
            "{hostname}:{port} of {provider}/{pool} is down, next look in {wait:.1f} s: {reason}",
            hostname=host.hostname,
            port=host.port,
            provider=host.provider,
            pool=host.pool,
            reason=reason,
            wait=wait,
        )
