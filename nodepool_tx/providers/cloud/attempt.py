"""One attempt to make a server for a node, from asking for it to its host keys."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from nodepool_tx.config.cloud import CloudLabel, CloudPool
from nodepool_tx.model import Node
from nodepool_tx.nodescan.interface import ScanError
from nodepool_tx.providers.cloud.account import Account
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    Gone,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)
from nodepool_tx.providers.cloud.holding import Hold
from nodepool_tx.providers.cloud.interface import (
    HearsOfFailedBoots,
    Instance,
    InstanceState,
    Order,
)
from nodepool_tx.providers.cloud.records import ready, with_instance
from nodepool_tx.providers.cloud.within import TooLate, within
from nodepool_tx.work import shielded

__all__ = ["Attempt", "BootFailed", "NoAddress", "NotActiveInTime"]

#: Seconds that an answer on its way is waited for when everything else stops.
LAST_WORDS = 5.0

#: Seconds for which a server may be missing in listings before it is seen in one.
LATE = 30.0

#: Lines of a console that are shown.
CONSOLE_LINES = 500

#: With these nothing was made.
_NOTHING_MADE = (OverQuota, NoCapacity, RetryLater, InvalidConfiguration)

#: Connections over which host keys can be gathered.
_OVER_SSH = ("ssh", "network_cli")


class BootFailed(CloudError):
    """The server runs, but it cannot be reached."""


class NoAddress(BootFailed):
    """The server runs, but it has no address."""


class NotActiveInTime(CloudError):
    """The server was not made in the time that launches may take."""


@attrs.define(eq=False, kw_only=True)
class Attempt:
    """What one attempt has come to.

    It always knows what may be there in the cloud: that is what has to be
    cleaned up when it failed, whatever the reason.

    :ivar external_id: the server; known from the start when it was found.
    :ivar unknown: a server was asked for, and whether it was made is not known.
    :ivar seen: the server has been listed.
    """

    account: Account
    hold: Hold
    pool: CloudPool
    label: CloudLabel
    order: Order
    external_id: str | None = None
    unknown: bool = False
    seen: Instance | None = None
    what: str = "asking for a server"

    _log = Logger()

    async def run(self) -> Callable[[Node], Node]:
        """Have the server made, and see that it can be reached.

        Returns what makes the node's record one of a node that is ready.

        :raises CloudError: it failed; clean up what may be there.
        :raises NotHeld: the node is not ours any more.
        """
        clock, config = self.account.clock, self.account.config
        began = clock.seconds()
        if self.external_id is None:
            began = await self._create()
        self.what = "waiting for its server"
        try:
            left = began + config.launch_timeout - clock.seconds()
            instance = await within(clock, left, self._until_finished())
        except TooLate:
            trouble = self.account.poller.trouble
            raise NotActiveInTime(
                f"server {self.external_id} was not active within {config.launch_timeout:g} "
                f"seconds{f' ({trouble})' if trouble else ''}"
            ) from None
        keys: tuple[str, ...] | None = None
        if self.label.host_key_checking:
            self.what = "waiting for its host keys"
            node = await self.hold.write(lambda node: with_instance(node, instance, self.pool))
            keys = await self._reach(node)
        return lambda node: ready(with_instance(node, instance, self.pool), clock.seconds(), keys)

    # -- asking ----------------------------------------------------------

    async def _create(self) -> float:
        """Ask for the server; returns when that was."""
        clock = self.account.clock
        began: list[float] = []

        async def create() -> str:
            began.append(clock.seconds())
            return await self.account.adapter.create(self.order)

        while self.external_id is None:
            asking = Deferred.fromCoroutine(self.account.calls.call("create", create))
            try:
                self.external_id = await shielded(asking)
            except CancelledError:
                await self._last_words(asking, bool(began))
                raise
            except RetryLater:
                # The next turn comes when the cloud allows.
                began.clear()
            except CloudError as e:
                self.unknown = not isinstance(e, _NOTHING_MADE)
                raise
        await self.hold.write(self._with_id)
        return began[0]

    async def _last_words(self, asking: Deferred[str], begun: bool) -> None:
        """Everything stops: let an answer arrive that is on its way, and write it down."""
        self.unknown = begun
        try:
            if begun:
                answer = _answer(shielded(asking))
                self.external_id = await within(self.account.clock, LAST_WORDS, answer)
                self.unknown = False
                if not self.hold.lost:
                    await within(self.account.clock, LAST_WORDS, self._write_id())
        except (CloudError, TooLate) as e:
            self.unknown = self.external_id is None and not isinstance(e, _NOTHING_MADE)
        finally:
            if not asking.called:
                asking.addErrback(lambda failure: failure.trap(CancelledError, CloudError))
                asking.cancel()

    async def _write_id(self) -> None:
        await self.hold.write(self._with_id)

    def _with_id(self, node: Node) -> Node:
        return node.changed(external_id=self.external_id)

    # -- waiting ---------------------------------------------------------

    async def _until_finished(self) -> Instance:
        poller, clock = self.account.poller, self.account.clock
        external_id = self.external_id
        assert external_id is not None
        began = clock.seconds()
        now = (await poller.next_listing()).get(external_id)
        while now is None and clock.seconds() - began < LATE:
            now = (await poller.next_listing()).get(external_id)
        while True:
            if now is None or now.state is InstanceState.DELETING:
                raise Gone(f"server {external_id} is gone")
            self.seen = instance = now
            if instance.state is InstanceState.FAILED:
                raise instance.fault or CloudError(f"server {external_id} failed")
            if instance.state is InstanceState.BUILDING:
                now = await poller.change_of(external_id, instance)
                continue
            try:
                finished = await self._finish(instance)
            except RetryLater:
                finished = None
            if finished is not None:
                return finished
            now = (await poller.next_listing()).get(external_id)

    async def _finish(self, instance: Instance) -> Instance | None:
        account, order = self.account, self.order
        return await account.calls.call(
            "finish", lambda: account.adapter.finish(order, instance), first=True
        )

    # -- reaching --------------------------------------------------------

    async def _reach(self, node: Node) -> tuple[str, ...] | None:
        """See that the server can be reached; its host keys, where there are any."""
        port, scanner = node.connection_port, self.account.scanner
        if node.interface_ip is None:
            raise NoAddress(f"server {self.external_id} has no address")
        if not isinstance(port, int):
            return None
        timeout = self.account.config.boot_timeout
        try:
            if (node.connection_type or "ssh") in _OVER_SSH:
                return await scanner.scan_keys(node.interface_ip, port, timeout, wait=True)
            await scanner.probe(node.interface_ip, port, timeout, wait=True)
        except ScanError as e:
            if self.label.console_log:
                await self._show_console()
            await self._tell_of_failed_boot()
            raise BootFailed(str(e)) from e
        return None

    async def _tell_of_failed_boot(self) -> None:
        """Let the adapter draw its conclusions, if it draws any."""
        adapter, external_id = self.account.adapter, self.external_id
        assert external_id is not None
        if not isinstance(adapter, HearsOfFailedBoots):
            return
        hears = adapter
        try:
            await self.account.calls.call("boot_failed", lambda: hears.boot_failed(external_id))
        except CloudError as e:
            self._log.info(
                "that server {external_id} cannot be reached is of no further consequence: "
                "{reason}",
                external_id=external_id,
                reason=str(e),
            )

    async def _show_console(self) -> None:
        external_id = self.external_id
        assert external_id is not None
        try:
            console = await self.account.calls.call(
                "console", lambda: self.account.adapter.console(external_id)
            )
        except CloudError as e:
            self._log.info(
                "the console of server {external_id} cannot be shown: {reason}",
                external_id=external_id,
                reason=str(e),
            )
            return
        for line in (console or "").splitlines()[-CONSOLE_LINES:]:
            self._log.info(
                "console of node {node_id}, server {external_id}: {line}",
                node_id=self.hold.node_id,
                external_id=external_id,
                line=line.rstrip(),
            )


async def _answer(asking: Deferred[str]) -> str:
    return await asking
