"""What faults know of the farm they strike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

from nodepool_tx.txzookeeper.client import ZookeeperClient
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.sight import Sight
from tests.servers.proxy import Proxy
from tests.servers.simulated_openstack import OpenStackServer
from tests.servers.zookeeper import Ensemble


class FarmHosts(Protocol):
    """The static machines: each listens on an address of its own."""

    def names(self) -> Sequence[str]: ...

    async def take_down(self, name: str) -> None:
        """Nobody listens any more."""

    async def bring_up(self, name: str) -> None: ...


class Disk(Protocol):
    """What one of the ZooKeeper servers keeps its data on; small."""

    #: The index of the server in the ensemble.
    server: int

    def fill(self) -> None: ...

    def empty(self) -> None:
        """Give the room back; the server may have to be started again."""


class FarmLauncher(Protocol):
    """One launcher, its way to ZooKeeper and its clock."""

    number: int
    #: One for each server of the ensemble, in its order.
    proxies: Sequence[Proxy]
    #: The last good one that it was given; what is to be in force once all is healed.
    configuration: Mapping[str, Any]

    @property
    def process(self) -> LauncherProcess: ...

    def skew(self, seconds: float) -> None:
        """Set its wall clock that much ahead (behind, if negative); its monotonic one goes on."""

    def write(self, config: Mapping[str, Any] | str) -> None:
        """Give it another configuration file.

        Text is written as it is, and changes nothing about :attr:`configuration`.
        """


class Farm(Protocol):
    """Everything there is, for faults to strike."""

    reactor: Any
    ensemble: Ensemble
    #: Chaos's own eyes and hands, past all proxies.
    client: ZookeeperClient
    sight: Sight
    #: Writes configurations for all launchers at random, all of which serve all wishes.
    some_configuration: Callable[[Random], Mapping[str, Any]]

    @property
    def launchers(self) -> Sequence[FarmLauncher]: ...

    @property
    def clouds(self) -> Mapping[str, OpenStackServer]: ...

    @property
    def hosts(self) -> FarmHosts: ...

    @property
    def disk(self) -> Disk | None:
        """Of one server of the ensemble; None where no file system can be mounted."""

    async def sleep(self, seconds: float) -> None: ...

    def note(self, words: str) -> None:
        """Write a line into the story of this run, with its time."""

    def taint(self, path: str) -> None:
        """The checker excuses what chaos itself has done to this znode, until it is gone.

        Clients give up without complaint what they have to do with it.  Called before it is done.
        """

    def untaint(self, path: str) -> None:
        """It was put right, or it never goes: what happens to it from now on counts again."""


class Fault(Protocol):
    """Something that goes wrong, and is put right again.

    `strike` may take as long as the fault lasts, or leave it in place; after `heal` it is over.
    Both are safe to call at any time in any order.
    """

    name: str

    async def strike(self, farm: Farm, rng: Random) -> None: ...

    async def heal(self, farm: Farm) -> None: ...
