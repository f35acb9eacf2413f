"""The setting of a test: a ZooKeeper, launchers, requesters and a look at all of them."""

from __future__ import annotations

import inspect
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.link import Pauses
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.requesters import Crowd, Requester
from tests.functional.launcher.settings import Slot, at_zookeeper, slots
from tests.functional.launcher.sight import Sight
from tests.functional.zk_clients import fresh_root
from tests.servers.zookeeper import ZookeeperServer, shared_server

__all__ = ["Scene"]

#: What a log holds only when something was not foreseen.
_UNFORESEEN = re.compile(r"Traceback|Unhandled|critical", re.IGNORECASE)


class Scene(TestCase):
    """Everything a test starts here has ended when the test has.

    :ivar server: a ZooKeeper, of which the test has :attr:`root` for itself.
    :ivar sight: what is in there.
    """

    timeout = 120

    #: Seconds after which the sessions of requesters end.
    patience = 30.0

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        self.directory = pathlib.Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.root = fresh_root()
        self.launchers: list[LauncherProcess] = []
        self.server = self.get_server()
        return Deferred.fromCoroutine(self._prepare())

    async def _prepare(self) -> None:
        steward = await self.client(chroot="")
        await steward.ensure_path(self.root)
        self.sight = Sight(await self.client())

    def get_server(self) -> ZookeeperServer:
        """The ZooKeeper of these tests."""
        return shared_server()

    # -- what to start ---------------------------------------------------

    async def client(
        self, address: str = "", chroot: str | None = None, **options: Any
    ) -> ZookeeperClient:
        """A connected client whose ``/`` is the test's own."""
        where = (address or self.server.address) + (self.root if chroot is None else chroot)
        options = {"session_timeout": self.patience, "pauses": Pauses(0.05, 0.2), **options}
        client = ZookeeperClient(reactor, where, close_timeout=1.0, **options)
        self.addCleanup(client.close)
        await client.connect()
        return client

    def at_server(self, config: Mapping[str, Any], timeout: float = 2) -> dict[str, Any]:
        """The configuration with the test's ZooKeeper."""
        return at_zookeeper(config, self.server.port, chroot=self.root, timeout=timeout)

    def launcher(self, config: Mapping[str, Any] | str, **more: Any) -> LauncherProcess:
        """A launcher with this configuration, not started."""
        directory = self.directory / f"launcher-{len(self.launchers)}"
        launcher = LauncherProcess(directory, **more)
        launcher.write(config)
        self.launchers.append(launcher)
        self.addCleanup(launcher.leave_nothing)
        return launcher

    async def serving(self, config: Mapping[str, Any], **more: Any) -> LauncherProcess:
        """A launcher that has started and has all its nodes in service."""
        launcher = self.launcher(config, **more)
        launcher.start()
        await self.until_all_free(slots(config))
        return launcher

    async def requester(self, **options: Any) -> Requester:
        """A requester with a session of its own."""
        return Requester(await self.client(**options))

    def crowd(
        self, requester: Requester, count: int, wishes: Sequence[Sequence[str]], **more: Any
    ) -> Crowd:
        """Requesters at work, until the test ends at the latest."""
        crowd = Crowd(requester, count, wishes, **more)
        self.addCleanup(crowd.abandon)
        return crowd

    # -- what to wait for ------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        await deferLater(reactor, seconds)

    async def until(
        self,
        what: str,
        look: Callable[[], Any],
        patience: float = 30.0,
    ) -> Any:
        """Look until there is something to see (neither None nor False); what it is.

        :param look: may be a coroutine function.
        """
        deadline = time.monotonic() + patience
        while True:
            seen = look()
            if inspect.isawaitable(seen):
                seen = await seen
            if seen is not None and seen is not False:
                return seen
            if time.monotonic() > deadline:
                raise AssertionError(f"in {patience} s never: {what}\n{self._logs()}")
            await self.sleep(0.02)

    def _logs(self) -> str:
        tails = [
            f"--- {launcher.directory.name}, running: {launcher.running}\n{launcher.log[-4000:]}"
            for launcher in self.launchers
        ]
        return "\n".join(tails)

    async def until_all_free(self, wanted: Iterable[Slot], patience: float = 30.0) -> None:
        """Exactly these slots are in service, and nobody has any of them."""
        expected = list(wanted)
        await self.until(
            f"all of {expected} free", lambda: self._all_free_or_not(expected), patience
        )

    async def _all_free_or_not(self, wanted: list[Slot]) -> bool:
        return await self.sight.all_free(wanted)

    async def until_served(self, crowd: Crowd, count: int) -> None:
        """Wait until so many further requests were answered, and nothing went wrong."""
        ledger = crowd.requester.ledger
        before = ledger.served

        def look() -> bool:
            crowd.check()
            return ledger.served >= before + count

        await self.until(f"{count} more requests served", look)

    async def until_logged(
        self, launcher: LauncherProcess, pattern: str, count: int = 1, patience: float = 30.0
    ) -> re.Match[str]:
        """Wait for the ``count``-th line of its present life that matches."""

        def look() -> re.Match[str] | None:
            found = list(re.finditer(pattern, launcher.log))
            return found[count - 1] if len(found) >= count else None

        found: re.Match[str] = await self.until(f"{pattern!r} in the log", look, patience)
        return found

    def assert_nothing_unforeseen(self, *launchers: LauncherProcess) -> None:
        """No traceback and no critical error in any log of any life."""
        for launcher in launchers or tuple(self.launchers):
            log = launcher.log_of_all_lives
            found = _UNFORESEEN.search(log)
            if found:
                self.fail(log[max(0, found.start() - 500) : found.end() + 3000])
