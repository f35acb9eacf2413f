"""What the tests of adapters need of the cloud under test, and their common steps."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from nodepool_tx.config.cloud import CloudLabel, CloudPool
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    Gone,
)
from nodepool_tx.providers.cloud.interface import (
    NODE_ID,
    POOL_NAME,
    PROVIDER_NAME,
    CloudAdapter,
    ImageUploadOrder,
    Instance,
    InstanceState,
    Order,
    Resource,
)

__all__ = ["ABILITIES", "AdapterStage", "VirtualTime", "contract"]

_S = InstanceState
_Test = Callable[[Any], Coroutine[Any, Any, None]]

#: What can be done to a cloud, by the method that does it.
ABILITIES = frozenset(
    {
        "add_unmanaged",
        "ask_for_peace",
        "bad_label",
        "break_the_api",
        "exhaust_quota",
        "fail_a_server",
        "fill_up",
        "image_file",
        "impossible_label",
        "leave_leftover",
        "leave_orphan",
        "lose_an_answer",
        "missing_image",
        "remove_server",
        "silence_the_api",
    }
)


def contract(*abilities: str) -> Callable[[_Test], Callable[[Any], Any]]:
    """A test of the contract, which needs these abilities of the cloud."""
    assert set(abilities) <= ABILITIES, abilities

    def decorate(test: _Test) -> Callable[[Any], Any]:
        @functools.wraps(test)
        def run(self: Any) -> Any:
            return self.drive(Deferred.fromCoroutine(test(self)))

        run.abilities = frozenset(abilities)  # type: ignore[attr-defined]
        return run

    return decorate


class AdapterStage:
    """The cloud under test, as :mod:`tests.contract.cloud` uses it."""

    #: Seconds of real time a single test may take (trial's own limit).
    timeout = 120

    #: Ability -> why this cloud cannot be made to do that.
    cannot: Mapping[str, str] = {}

    #: Seconds in which a server is to be active and finished, or gone.
    patience = 60.0

    #: What the servers of these tests call their provider.
    provider = "contract"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in dir(cls):
            needed = getattr(getattr(cls, name, None), "abilities", frozenset())
            if needed & set(cls.cannot):
                setattr(cls, name, None)

    # -- what the cloud under test provides ------------------------------

    def make_adapter(self) -> CloudAdapter:
        """An adapter of the one account of this test; it is not started yet.

        When called again in a test: another one of the same account, as after
        a restart.
        """
        raise NotImplementedError

    def label(self) -> CloudLabel:
        """A label that works, and wants an address."""
        raise NotImplementedError

    def pool(self) -> CloudPool:
        """The pool that servers are ordered for."""
        return CloudPool(name="main", provider_name=self.provider)

    def image_id(self) -> str | None:
        """The uploaded image for :meth:`label`; None if it names its own."""
        return None

    def wait(self, seconds: float) -> Deferred[None]:
        """Let time pass."""
        from twisted.internet import reactor

        return deferLater(reactor, seconds)  # type: ignore[arg-type]

    def drive(self, test: Deferred[None]) -> Any:
        """Run a test to its end; here the reactor does."""
        return test

    # -- abilities: what can be done to the cloud.  All fire when it is done.

    async def exhaust_quota(self) -> None:
        """Have no quota left for another server."""
        raise NotImplementedError

    async def fill_up(self) -> str | None:
        """Have no room for another server in a zone; returns it, None for all."""
        raise NotImplementedError

    async def bad_label(self) -> CloudLabel:
        """A label asking for an image, network or the like that does not exist."""
        raise NotImplementedError

    async def impossible_label(self) -> CloudLabel:
        """A label for which it can be told beforehand that there is no such server."""
        raise NotImplementedError

    async def missing_image(self) -> CloudLabel:
        """A label whose own image is not there."""
        raise NotImplementedError

    async def ask_for_peace(self) -> float | None:
        """Let the next call be refused for now; returns for how many seconds."""
        raise NotImplementedError

    async def break_the_api(self) -> None:
        """Let every call fail from now on, as when the service is down."""
        raise NotImplementedError

    async def silence_the_api(self) -> None:
        """Let no call be answered from now on."""
        raise NotImplementedError

    async def mend_the_api(self) -> None:
        """End what :meth:`break_the_api` or :meth:`silence_the_api` began.

        To be provided with either of them.
        """
        raise NotImplementedError

    async def lose_an_answer(self) -> None:
        """Let the next call that makes a server make it, and lose the answer."""
        raise NotImplementedError

    async def fail_a_server(self) -> None:
        """Let the next server that is made never run."""
        raise NotImplementedError

    async def remove_server(self, external_id: str) -> None:
        """Delete a server behind the adapter's back."""
        raise NotImplementedError

    async def add_unmanaged(self) -> str:
        """Make a server that is none of ours; returns its id."""
        raise NotImplementedError

    async def leave_leftover(self, metadata: Mapping[str, str]) -> Resource:
        """Leave something that carries our metadata and is no server."""
        raise NotImplementedError

    async def leave_orphan(self) -> Resource:
        """Leave something without metadata that shows by itself that it was ours."""
        raise NotImplementedError

    async def image_file(self) -> ImageUploadOrder:
        """An image that can be uploaded."""
        raise NotImplementedError

    # -- steps -----------------------------------------------------------

    def adapter(self) -> Any:
        """A started adapter, stopped when the test is over."""
        adapter = self.make_adapter()
        adapter.start()
        self.addCleanup(  # type: ignore[attr-defined]
            lambda: self.drive(Deferred.fromCoroutine(adapter.stop()))  # type: ignore[arg-type]
        )
        return adapter

    def order(self, node_id: str = "0000000001", **changes: Any) -> Order:
        """An order as the engine writes it."""
        order = Order(
            node_id=node_id,
            name=f"np{node_id}",
            pool=self.pool(),
            label=self.label(),
            metadata={NODE_ID: node_id, POOL_NAME: "main", PROVIDER_NAME: self.provider},
            image_id=self.image_id(),
        )
        return attrs.evolve(order, **changes)

    async def create(self, adapter: CloudAdapter, order: Order | None = None) -> str:
        """Make a server that is deleted when the test is over."""
        external_id = await adapter.create(order or self.order())
        self.clean_up(adapter)
        return external_id

    def clean_up(self, adapter: CloudAdapter) -> None:
        """See to it that nothing of ours is left in the account."""
        self.addCleanup(  # type: ignore[attr-defined]
            lambda: self.drive(Deferred.fromCoroutine(self._remove_all(adapter)))
        )

    async def _remove_all(self, adapter: CloudAdapter) -> None:
        for instance in await self.ours(adapter):
            await self.delete(adapter, instance.external_id)

    async def delete(self, adapter: CloudAdapter, external_id: str) -> None:
        """Delete a server and wait until it is gone."""
        try:
            await adapter.delete(external_id)
        except Gone:
            return
        await self.until(lambda: self._is_gone(adapter, external_id), "the server to be gone")

    async def _is_gone(self, adapter: CloudAdapter, external_id: str) -> bool:
        return await self.find(adapter, external_id) is None

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str) -> Any:
        """Wait for something to be true; returns it."""
        waited = 0.0
        while not (result := await condition()):
            if waited > self.patience:
                raise AssertionError(f"waited {waited} seconds for {what}")
            await self.wait(self.patience / 60)
            waited += self.patience / 60
        return result

    async def find(self, adapter: CloudAdapter, external_id: str) -> Instance | None:
        """A server, as a listing shows it."""
        found = [i for i in await adapter.list_instances() if i.external_id == external_id]
        self.check(len(found) <= 1, f"listed more than once: {found}")
        return found[0] if found else None

    async def ours(self, adapter: CloudAdapter) -> Sequence[Instance]:
        """The servers these tests have made."""
        return [
            instance
            for instance in await adapter.list_instances()
            if instance.metadata.get(PROVIDER_NAME) == self.provider
        ]

    async def finished(self, adapter: CloudAdapter, external_id: str, order: Order) -> Instance:
        """Wait for a server as the engine does; returns it in its final form."""

        async def finish() -> Instance | None:
            instance = await self.find(adapter, external_id)
            if instance is None or instance.state is not _S.ACTIVE:
                self.check(
                    instance is not None and instance.state is _S.BUILDING,
                    f"did not become active: {instance}",
                )
                return None
            return await adapter.finish(order, instance)

        instance = await self.until(finish, "the server to be finished")
        assert isinstance(instance, Instance)
        return instance

    async def refused(self, call: Awaitable[Any], *errors: type[Exception]) -> Exception:
        """The error, one of these, with which a call fails."""
        try:
            result = await call
        except errors as error:
            self.check(bool(str(error)), "an error without a text")
            self.check("\n" not in str(error), f"the text is no single line: {error}")
            return error
        raise AssertionError(f"expected {errors}, got {result!r}")

    async def given_up(self, call: Deferred[Any]) -> None:
        """See that a call has ended without a result."""
        self.check(call.called, "goes on although it was cancelled")
        try:
            await call
        except (CancelledError, CloudError):
            return
        raise AssertionError("a cancelled call went well")

    def mend_later(self) -> None:
        """Have the API mended before anything else is cleaned up."""
        self.addCleanup(  # type: ignore[attr-defined]
            lambda: self.drive(Deferred.fromCoroutine(self.mend_the_api()))
        )

    def check(self, true: bool, otherwise: str) -> None:
        if not true:
            raise AssertionError(otherwise)


class VirtualTime:
    """Runs the tests of a contract on a ``Clock``, as fast as they go.

    Mix in before the contract, and give ``clock`` to the cloud.
    """

    #: Virtual seconds that a test may take.
    longest = 3600.0

    @functools.cached_property
    def clock(self) -> Clock:
        return Clock()

    def wait(self, seconds: float) -> Deferred[None]:
        return deferLater(self.clock, seconds)

    def drive(self, test: Deferred[None]) -> Any:
        end = self.clock.seconds() + self.longest
        while not test.called:
            calls = self.clock.getDelayedCalls()
            if not calls or self.clock.seconds() > end:
                raise AssertionError(f"the test does not end: {test}")
            due = min(call.getTime() for call in calls)
            self.clock.advance(max(0.0, due - self.clock.seconds()))
        return test
