"""Who looks after a provider's nodes: one launcher, by a lock in ZooKeeper.

The lock belongs to the process and not to the provider's object, so that a
reload hands it on without letting another launcher in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from kazoo import exceptions as zke
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.store import paths
from nodepool_tx.store.change import Change, connection_errors
from nodepool_tx.txzookeeper.interface import SessionState, ZookeeperAPI
from nodepool_tx.txzookeeper.lock import Lock
from nodepool_tx.work import SingleFlight

__all__ = ["Ownership", "Ownerships"]


class Ownership:
    """Standing in line for one provider, for as long as it is configured."""

    _log = Logger()

    def __init__(self, client: ZookeeperAPI, provider: str, identifier: str) -> None:
        self.provider = provider
        self._client = client
        self._identifier = identifier
        self._wanted = True
        self._lock: Lock | None = None
        self._queued: Deferred[None] | None = None
        self._observers: list[Callable[[bool], None]] = []
        self._was_held = False
        self._flight = SingleFlight(self._stand)
        self._unobserve = client.observe(self._on_state)
        self._flight.wake()

    @property
    def held(self) -> bool:
        """We are the owner, as far as can be known now."""
        return self._lock is not None and self._lock.held

    def prove(self, change: Change) -> None:
        """Let a change fail unless we are the owner at the moment it is made.

        :raises RuntimeError: we never were.
        """
        if self._lock is None:
            raise RuntimeError(f"never looked after provider {self.provider}")
        change.also("owner lock of provider", self.provider, self._lock.check_in)

    def subscribe(self, observer: Callable[[bool], None]) -> Callable[[], None]:
        """Hear whenever :attr:`held` changes; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def release(self) -> Deferred[None]:
        """Stand down; fires when another launcher can take over.

        Without a connection it fires at once: another can take over as soon as
        there is one, or when the session has ended.
        """
        self._wanted = False
        self._unobserve()
        if self._queued is not None:
            self._queued.cancel()
        self._flight.wake()
        return self._flight.idle()

    def _on_state(self, state: SessionState) -> None:
        if state in (SessionState.CONNECTED, SessionState.EXPIRED):
            self._flight.wake()
        self._tell()

    def _not_released(self, failure: Failure) -> None:
        failure.trap(*connection_errors)
        self._log.info(
            "ownership of {provider} ends with the session: {reason}",
            provider=self.provider,
            reason=failure.getErrorMessage(),
        )

    def _on_lost(self) -> None:
        self._flight.wake()
        self._tell()

    def _tell(self) -> None:
        held = self.held
        if held == self._was_held:
            return
        self._was_held = held
        if held:
            self._log.info("this launcher looks after provider {provider}", provider=self.provider)
        else:
            self._log.info("no longer looking after provider {provider}", provider=self.provider)
        for observer in tuple(self._observers):
            observer(held)

    async def _stand(self) -> None:
        if not self._wanted:
            lock, self._lock = self._lock, None
            self._tell()
            if lock is not None:
                released = lock.release().addErrback(self._not_released)
                if self._client.state is SessionState.CONNECTED:
                    await released
            return
        if self._client.state is not SessionState.CONNECTED or self.held:
            return
        path = paths.owner_lock(self.provider)
        lock = self._lock = Lock(self._client, path, self._identifier, guard=True)
        lock.on_lost(self._on_lost)
        try:
            await self._client.ensure_path(path)
            if self._wanted:
                self._queued = lock.acquire()
                await self._queued
        except (*connection_errors, zke.NoNodeError, CancelledError) as e:
            self._log.info(
                "waiting to look after provider {provider}: {reason}",
                provider=self.provider,
                reason=repr(e),
            )
        finally:
            self._queued = None
        if not lock.held and self._client.state is SessionState.CONNECTED and self._wanted:
            self._flight.wake()
        self._tell()


class Ownerships:
    """The ownerships of every provider of this process.

    :param host: what others see of us, with the number of the process.
    """

    def __init__(self, client: ZookeeperAPI, host: str) -> None:
        self._client = client
        self._host = host
        self._ownerships: dict[str, Ownership] = {}

    def of(self, provider: str) -> Ownership:
        """The ownership of a provider; asked for at the first call."""
        if provider not in self._ownerships:
            # The process has this number only since twistd went to the background.
            identifier = f"{self._host}:{os.getpid()}"
            self._ownerships[provider] = Ownership(self._client, provider, identifier)
        return self._ownerships[provider]

    def keep_only(self, providers: set[str]) -> Deferred[list[None]]:
        """Stand down from every provider that is not named; fires when done."""
        gone = [name for name in self._ownerships if name not in providers]
        return gatherResults([self.give_up(name) for name in gone])

    def give_up(self, provider: str) -> Deferred[None]:
        """Stand down from a provider; fires when another launcher can take over."""
        ownership = self._ownerships.pop(provider, None)
        return succeed(None) if ownership is None else ownership.release()
