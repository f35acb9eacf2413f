"""Launchers of either program on one ZooKeeper, started and stopped in turns beneath clients."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.threads import deferToThread

from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.daemons import Daemon, Launcher
from nodepool_tx.txzookeeper.tls import TLSFiles
from tests.functional.launcher.requesters import Ledger, Requester
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import Slot, at_zookeeper
from tests.functional.launcher.sight import Sight
from tests.functional.zk_clients import fresh_root
from tests.interop.migrants import Doubles, Incident, Migrants
from tests.servers.zookeeper import shared_authority

__all__ = ["THEIRS", "Move"]

#: How the launcher that has served is ended, and the word for it.
ENDS = ((signal.SIGTERM, "stopped"), (signal.SIGKILL, "killed"))

#: Seconds after which the session of a killed launcher ends.
SESSION = 4.0

#: Seconds in which everything that a test waits for has to happen, on a busy machine.
PATIENCE = 120.0

#: Seconds between sweeps of Nodepool 11, which takes 60.
SWEEPS = 5

#: Seconds between its looks for nodes that came back, for which it takes 5.
RETURNS = 1

_PROGRAM = Path(__file__).with_name("short_sweeps_program.py")


def _theirs(config: Path, state: Path) -> list[str]:
    python = environment(NODEPOOL) / "python"
    program = [str(python), "-I", str(_PROGRAM), str(SWEEPS), str(RETURNS)]
    return [*program, "-f", "--no-webapp", "-c", str(config)]


THEIRS = Daemon("Nodepool 11", _theirs)
"""Nodepool 11 that puts right sooner what it gets wrong, and has more occasions to."""


def at_tls(config: Mapping[str, Any], port: int, chroot: str, files: TLSFiles) -> dict[str, Any]:
    """A configuration that both programs take, with the test's ZooKeeper."""
    tls = {"cert": files.cert, "key": files.key, "ca": files.ca}
    return {**at_zookeeper(config, port, chroot=chroot, timeout=SESSION), "zookeeper-tls": tls}


@attrs.define
class Move:
    """A part of ZooKeeper with clients at work, in which one launcher follows the other.

    :ivar running: the launchers, in the order of their starts.
    """

    scene: Scene
    name: str
    config: dict[str, Any]
    root: str
    sight: Sight
    migrants: Migrants
    doubles: Doubles
    environ: dict[str, str]
    running: list[Launcher] = attrs.field(factory=list)
    started: list[Launcher] = attrs.field(factory=list)

    @classmethod
    async def begin(
        cls,
        scene: Scene,
        name: str,
        config: Mapping[str, Any],
        ledger: Ledger,
        *,
        environ: Mapping[str, str] | None = None,
        **crowd: Any,
    ) -> Move:
        """Clients that do nothing yet.

        :param crowd: of :class:`Migrants`.
        """
        root = fresh_root()
        steward = await scene.client(chroot="")
        await steward.ensure_path(root)
        files = shared_authority().client()
        requester = Requester(
            await scene.client(scene.server.tls_address, chroot=root, tls=files), ledger
        )
        migrants = Migrants(requester, **crowd)
        scene.addCleanup(migrants.abandon)
        doubles = Doubles(stage=lambda: migrants.stage)
        watching = await scene.client(chroot=root)
        cache = await doubles.watch(watching)
        scene.addCleanup(cache.stop)
        full = at_tls(config, scene.server.tls_port, root, files)
        return cls(scene, name, full, root, Sight(watching), migrants, doubles, dict(environ or {}))

    # -- launchers

    async def start(self, daemon: Daemon) -> Launcher:
        """Start one, and wait until its pools are there."""
        pools = len(await self.sight.components("pool"))
        folder = self.scene.directory / f"{self.name}-{len(self.started)}"
        launcher = Launcher(daemon, self.config, folder, self.environ)
        self.started.append(launcher)
        self.scene.addCleanup(launcher.stop, signal.SIGKILL)
        self.running.append(launcher)
        await self._until_pools(pools + self._pools_of_each)
        return launcher

    async def stop(self, number: int = signal.SIGTERM) -> set[str]:
        """Stop the one that has run for longest; the requests that waited then."""
        launcher = self.running.pop(0)
        waiting = set(self.migrants.waiting)
        await deferToThread(launcher.stop, number)
        await self._until_pools(len(self.running) * self._pools_of_each)
        return waiting

    @property
    def _pools_of_each(self) -> int:
        return sum(len(provider["pools"]) for provider in self.config["providers"])

    async def _until_pools(self, count: int) -> None:
        async def look() -> bool:
            for launcher in self.running:
                launcher.check()
            return len(await self.sight.components("pool")) == count

        await self.until(f"{count} pools are there", look)

    # -- stages

    async def until(self, what: str, look: Callable[[], Any], patience: float = PATIENCE) -> Any:
        try:
            return await self.scene.until(f"{self.name}: {what}", look, patience)
        except AssertionError as e:
            logs = "\n".join(f"--- {each.log}\n{each.log_end()}" for each in self.started)
            raise AssertionError(f"{e}\n{logs}") from None

    async def stage(self, name: str, count: int, before: Collection[str] = ()) -> None:
        """Let so many more be served, and all those that waited before."""
        self.migrants.stage = name
        goal = self.migrants.served.total() + count

        def look() -> bool:
            still = self.migrants.waiting.intersection(before)
            return not still and self.migrants.served.total() >= goal

        await self.until(f"{count} served in {name}", look)

    async def roll(self, other: Daemon, served: int, wanted: Counter[Slot] | None) -> None:
        """From Nodepool 11 to the other and back, once for each way to end.

        :param served: how many in each stage.
        :param wanted: what is there at rest, see :meth:`rest`.
        """
        await self.start(THEIRS)
        self.migrants.go_on()
        for number, words in ENDS:
            await self.stage(f"old, to be {words}", served)
            await self.start(other)
            await self.stage(f"old to be {words} and new", served)
            waiting = await self.stop(number)
            await self.stage(f"new, old {words}", served, waiting)
            await self.rest(wanted)
            await self.start(THEIRS)
            await self.stage(f"new to be {words} and old", served)
            waiting = await self.stop(number)
            await self.stage(f"old, new {words}", served, waiting)
            await self.rest(wanted)
        await self.migrants.rest()

    async def rest(self, wanted: Counter[Slot] | None = None) -> None:
        """Let the clients end what they do: then no request is left.

        :param wanted: each of these has a node, and all are free; None if no node is left.
        """
        await self.migrants.rest()
        await self.until("at rest", lambda: self._at_rest(wanted))
        self.migrants.go_on()

    async def _at_rest(self, wanted: Counter[Slot] | None) -> bool:
        if await self.sight.requests():
            return False
        if wanted is None:
            return not await self.sight.nodes()
        return await self.sight.all_free(wanted.elements())

    # -- what came of it

    @property
    def incidents(self) -> list[Incident]:
        return self.migrants.incidents

    def told(self) -> str:
        """What became of it, in a few lines."""
        crowd = self.migrants
        waits = {name: f"{seconds:.1f}" for name, seconds in crowd.longest_wait.items()}
        lines = [
            f"{self.name}: {crowd.served.total()} served: {dict(crowd.served)}",
            f"  longest waits in seconds: {waits}",
            f"  incidents: {len(self.incidents)}, slots doubled: {len(self.doubles.found)}",
            *(f"    {each.stage}: {each.words[:200]}" for each in self.incidents),
            *(f"    {each}" for each in self.doubles.found),
        ]
        return "\n".join(lines)

    def logs_of(self, daemon: Daemon) -> str:
        return "".join(each.log.read_text() for each in self.started if each.daemon is daemon)
