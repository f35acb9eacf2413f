"""A cloud that exists only in this process: its state and its rules.

It has what an OpenStack project has, and is asked in the same way, through
:class:`nodepool_tx.providers.fake.transport.SimulatedTransport`.  Time and
chance are given to it, so that the same questions get the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from twisted.internet.interfaces import IReactorTime

from nodepool_tx.config.fake import FakeSimulation
from nodepool_tx.providers.fake.images import Images
from nodepool_tx.providers.fake.rules import Identities, lasting
from nodepool_tx.providers.fake.servers import Flavor, Servers
from nodepool_tx.providers.fake.volumes import Volumes

__all__ = ["SimulatedOpenStack"]


class SimulatedOpenStack:
    """One project of a simulated cloud.

    :param simulation: how it behaves.
    :param random: what happens by chance; by default from the simulation's seed.
    :ivar compute: its servers, flavors and key pairs.
    :ivar overloaded_until: the moment before which every call is refused.
    """

    def __init__(
        self, clock: IReactorTime, simulation: FakeSimulation, random: Random | None = None
    ) -> None:
        self.clock = clock
        self.random = Random(simulation.seed) if random is None else random
        identities = Identities(self.random)
        self.images = Images(clock, identities)
        self.volumes = Volumes(clock, identities, simulation)
        self.compute = Servers(
            clock, self.random, identities, simulation, self.images, self.volumes
        )
        self.networks = self.compute.networks
        self.overloaded_until = -1.0
        self.configure(simulation)

    @property
    def simulation(self) -> FakeSimulation:
        """How it behaves at present."""
        return self.compute.simulation

    def configure(self, simulation: FakeSimulation) -> None:
        """Behave like this from now on; what there is stays."""
        self.compute.simulation = self.volumes.simulation = simulation
        self.networks.delay = simulation.boot_delay
        self.images.configure(simulation.images)
        self.compute.flavors = {
            (flavor := Flavor(lasting("flavor", f.name), f.name, f.vcpus, f.ram, f.disk)).id: flavor
            for f in simulation.flavors
        }

    def accept(
        self,
        *,
        networks: Iterable[str] = (),
        keys: Iterable[str] = (),
        security_groups: Iterable[str] = (),
    ) -> None:
        """Have networks, key pairs and security groups of these names, too."""
        for network in networks:
            self.networks.add_public(network)
        self.compute.keys.update(keys)
        for group in security_groups:
            self.networks.add_security_group(group)

    def overload(self, seconds: float) -> None:
        """Refuse every call for so long, and say until when."""
        self.overloaded_until = self.clock.seconds() + seconds
