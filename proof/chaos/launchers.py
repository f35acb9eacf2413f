"""Launchers under fire: each with a way of its own to ZooKeeper, and with a clock of its own."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import gatherResults

from proof.chaos.clock import FakedClock
from tests.functional.launcher.process import LauncherProcess
from tests.servers.proxy import Proxy
from tests.servers.zookeeper import Ensemble

__all__ = ["ChaosLauncher", "at_ensemble"]

#: Seconds after which a launcher's session ends that is not heard of.
SESSION = 3

_SERVING = re.compile(r"serving HTTP on \S+ port (\d+)")

#: What takes minutes or hours otherwise takes seconds.
_HASTE = {
    "NODEPOOL_CLEANUP_INTERVAL": "2",
    "NODEPOOL_LOCK_CLEANUP": "10",
    "NODEPOOL_STATS_INTERVAL": "5",
}


def at_ensemble(config: Mapping[str, Any], ports: Sequence[int]) -> dict[str, Any]:
    """The configuration with ZooKeeper's servers on these ports of loopback."""
    servers = [{"host": "127.0.0.1", "port": port} for port in ports]
    return {**config, "zookeeper-servers": servers, "zookeeper-timeout": SESSION}


class ChaosLauncher:
    """One launcher, not started, with a configuration."""

    def __init__(
        self,
        reactor: Any,
        number: int,
        directory: pathlib.Path,
        ensemble: Ensemble,
        clouds: pathlib.Path,
        configuration: Mapping[str, Any],
    ) -> None:
        self.number = number
        self.configuration = configuration
        self.proxies: Sequence[Proxy] = [Proxy(reactor, server.port) for server in ensemble.servers]
        directory.mkdir()
        self._clock = FakedClock(directory / "clock")
        self.process = LauncherProcess(
            directory,
            environ={
                **_HASTE,
                **self._clock.environ,
                "OS_CLIENT_CONFIG_FILE": str(clouds),
            },
            simulated=None,
        )
        self._serving: tuple[int, int] | None = None
        self.write(configuration)

    @property
    def skewed(self) -> float:
        """Seconds by which its clock is ahead."""
        return self._clock.seconds

    @property
    def http_port(self) -> int | None:
        """Where it serves HTTP; None if it does not."""
        if not self.process.running:
            return None
        pid = self.process.pid
        if self._serving is None or self._serving[0] != pid:
            found = _SERVING.search(self.process.log)
            self._serving = (pid, int(found[1])) if found is not None else None
        return None if self._serving is None else self._serving[1]

    def skew(self, seconds: float) -> None:
        """Set its wall clock that much ahead (behind, if negative); its monotonic one goes on."""
        self._clock.skew(seconds)

    def write(self, config: Mapping[str, Any] | str) -> None:
        """Give it another configuration file."""
        if isinstance(config, str):
            self.process.write(config)
            return
        self.configuration = config
        self.process.write(at_ensemble(config, [proxy.port for proxy in self.proxies]))

    async def stop(self) -> None:
        """End it, and all that belongs to it."""
        self.process.leave_nothing()
        self._clock.clean()
        await gatherResults([proxy.stop() for proxy in self.proxies])
