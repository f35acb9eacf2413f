"""Tokens and endpoints of a cloud, kept at hand for everybody who needs them.

keystoneauth knows every way to log in there is, and blocks.  So it works in a
thread, rarely and once for all who wait: a token serves for an hour or more.
Nothing else of a cloud's calls goes through a thread.

Note: when a token is renewed
-----------------------------
When a quarter of its life is left, or ten minutes if that is less, the next
use of it starts a renewal in the background and goes on with the old one.  A
renewal that fails is tried again after a while; meanwhile the old token
serves.  Only after its end, or when a service has refused it, does a caller
wait for the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.providers.cloud.errors import CloudError, InvalidConfiguration
from nodepool_tx.providers.openstack.keystone import CloudSettings, Keystone, Token, look_up

__all__ = ["Access", "Credentials", "Offload"]

T = TypeVar("T")

Offload = Callable[[Callable[[], Any]], Deferred[Any]]

#: Seconds before its end from which a token is renewed; less for short-lived ones.
_AHEAD = 600.0
#: A token is not used in the last seconds of its life: the request takes time, too.
_SAFETY = 10.0
#: Seconds between attempts to renew a token that is still good.
_PAUSE = 30.0
#: Seconds for which refused credentials are not tried again: Keystone may lock users out.
_REFUSED = 10.0


@attrs.frozen(eq=False)
class Access:
    """A token in use; compares by identity.

    :ivar token: with its headers, which are secret.
    :ivar renew: from when on it is to be renewed; :ivar end: until when it is
        of use.  Seconds, the clock's; None: for ever.
    """

    token: Token = attrs.field(repr=False)
    renew: float | None
    end: float | None


class Credentials:
    """The log-in to one cloud and region.

    :param offload: runs a function in a thread.
    :param cloud: its name in ``clouds.yaml``; None leaves that to the environment.
    :param patience: seconds to wait for a token or an endpoint.
    :param find: looks the cloud up; blocks.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        offload: Offload,
        *,
        cloud: str | None = None,
        region: str | None = None,
        patience: float = 120.0,
        find: Callable[[str | None, str | None], Keystone] = look_up,
    ) -> None:
        self.cloud = cloud
        self._clock = clock
        self._offload = offload
        self._region = region
        self._patience = patience
        self._find = find
        self._keystone: Keystone | None = None
        self._access: Access | None = None
        self._endpoints: dict[str, str] = {}
        self._shared: dict[str, _Shared[Any]] = {}
        self._not_before = 0.0
        self._refused: tuple[float, InvalidConfiguration] | None = None

    @property
    def region(self) -> str | None:
        """As configured, or once it has been looked up, as used."""
        return self._keystone.settings.region if self._keystone else self._region

    async def settings(self) -> CloudSettings:
        """What ``clouds.yaml`` says; read again after credentials were refused.

        :raises InvalidConfiguration: there is no such cloud.
        """
        return (await self._found()).settings

    async def access(self) -> Access:
        """A token that is good now, as far as is known.

        :raises InvalidConfiguration: the credentials are refused, or there is
            no such cloud.
        :raises CloudError: Keystone does not answer.
        """
        now = self._clock.seconds()
        access = self._access
        if access is None or (access.end is not None and now >= access.end):
            return await self._together("token", self._fetch)
        if access.renew is not None and now >= max(access.renew, self._not_before):
            self._not_before = now + _PAUSE
            self._share("token", self._fetch).start()
        return access

    def refuse(self, access: Access) -> None:
        """A service does not accept this token: the next access is another one."""
        if self._access is access:
            self._access = None

    async def endpoint(self, service: str) -> str:
        """Where a service is, with its version and without a slash at the end.

        :raises Gone: the catalog has no such service.
        :raises CloudError: as :meth:`access`.
        """
        await self.access()
        if service in self._endpoints:
            return self._endpoints[service]
        return await self._together(f"endpoint of {service}", lambda: self._locate(service))

    async def _found(self) -> Keystone:
        if self._keystone is None:
            await self._together("settings", self._look_up)
        assert self._keystone is not None
        return self._keystone

    async def _look_up(self) -> None:
        self._keystone = await self._offload(lambda: self._find(self.cloud, self._region))

    async def _fetch(self) -> Access:
        now = self._clock.seconds()
        if self._refused is not None and now < self._refused[0]:
            raise self._refused[1]
        try:
            keystone = await self._found()
            token: Token = await self._offload(keystone.token)
        except InvalidConfiguration as error:
            self._refused = (self._clock.seconds() + _REFUSED, error)
            # Somebody may correct clouds.yaml.
            self._keystone = None
            raise
        self._refused = None
        # Counted from before the token was asked for: it may be younger, never older.
        access = _timed(token, now)
        self._access = access
        # They come with the token, and may have changed.
        self._endpoints = {}
        return access

    async def _locate(self, service: str) -> str:
        keystone = await self._found()
        found: str = await self._offload(lambda: keystone.locate(service))
        self._endpoints[service] = found.rstrip("/")
        return self._endpoints[service]

    def _share(self, what: str, work: Callable[[], Coroutine[Any, Any, T]]) -> _Shared[T]:
        if what not in self._shared:
            self._shared[what] = _Shared(work, lambda failure: self._unheard(what, failure))
        return self._shared[what]

    async def _together(self, what: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        waiting = self._share(what, work).join()
        waiting.addTimeout(self._patience, self._clock)
        try:
            return await waiting
        except DeferredTimeout as error:
            raise CloudError(
                f"the Keystone of the cloud {self.cloud} did not answer"
                f" within {self._patience:.0f} seconds ({what})"
            ) from error

    def _unheard(self, what: str, failure: Failure) -> None:
        self._log.warn(
            "{what} of cloud {cloud}: {reason}; trying again with the next use",
            what=what,
            cloud=self.cloud,
            reason=failure.getErrorMessage(),
        )


def _timed(token: Token, now: float) -> Access:
    if token.lifetime is None:
        return Access(token, None, None)
    ahead = min(_AHEAD, token.lifetime / 4)
    return Access(
        token,
        renew=now + token.lifetime - ahead,
        end=now + token.lifetime - min(_SAFETY, ahead / 2),
    )


class _Shared(Generic[T]):
    """Work that runs once at a time, for all who wait for it.

    Whoever stops waiting does not stop it: a thread cannot be stopped, and its
    result is welcome late, too.

    :param unheard: is told of a failure that nobody waits for any more.
    """

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, T]], unheard: Callable[[Failure], None]
    ) -> None:
        self._work = work
        self._unheard = unheard
        self._running = False
        self._waiting: list[Deferred[T]] = []

    def start(self) -> None:
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._work()).addBoth(self._finished)

    def join(self) -> Deferred[T]:
        waiter: Deferred[T] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        self.start()
        return waiter

    def _finished(self, result: T | Failure) -> None:
        self._running = False
        waiting, self._waiting = self._waiting, []
        if isinstance(result, Failure) and not waiting and not result.check(CancelledError):
            self._unheard(result)
        for waiter in waiting:
            waiter.callback(result)
