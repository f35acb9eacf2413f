"""A real cloud and the simulated one, asked the same, give answers of the same form."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nodepool_tx.config.fake import FakeSimulation
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.transport import SimulatedTransport
from nodepool_tx.providers.openstack.credentials import Credentials
from nodepool_tx.providers.openstack.http import HttpTransport
from nodepool_tx.providers.openstack.transport import Transport
from tests.functional.openstack.conversation import Conversation, Names

REAL = Names(
    flavor="m1.tiny",
    image="tiny",
    inside="private",
    outside="public",
    zone="az1",
    key="key",
    full={"flavorRef": "m1.impossible"},
)
SIMULATED = Names(
    flavor="Fake Flavor",
    image="Debian",
    inside="fake-private-network-name",
    outside="fake-public-network-name",
    zone="az1",
    key="key",
    full={"availability_zone": "az2"},
)

#: What is said of images by the tool that uploaded them, or of where they are
#: kept, and the rules of security groups: nothing here looks at them.
LEFT_OUT = re.compile(r"/(owner_specified\..*|stores|security_group_rules): ")


def differences(real: Any, simulated: Any, path: str = "") -> Iterator[str]:
    """Where two shapes differ, and how."""
    if isinstance(real, Mapping) and isinstance(simulated, Mapping):
        for key in sorted({*real, *simulated}):
            if key not in simulated:
                yield f"{path}/{key}: only real: {real[key]}"
            elif key not in real:
                yield f"{path}/{key}: only simulated: {simulated[key]}"
            else:
                yield from differences(real[key], simulated[key], f"{path}/{key}")
    elif isinstance(real, list) and isinstance(simulated, list) and real and simulated:
        for number, pair in enumerate(zip(real, simulated, strict=False)):
            yield from differences(*pair, f"{path}[{number}]")
    elif real != simulated:
        yield f"{path}: real {real!r}, simulated {simulated!r}"


class FaithfulTests(TestCase):
    timeout = 300

    def real(self, cloud: str) -> Transport:
        credentials = Credentials(reactor, deferToThread, cloud=cloud)
        transport = HttpTransport(reactor, credentials, deferToThread)
        transport.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(transport.stop()))
        return transport

    def file(self) -> Path:
        file = Path(self.mktemp())
        file.write_bytes(b"x" * 3_000_000)
        return file

    def to_the_real_one(self, cloud: str) -> Conversation:
        return Conversation(self.real(cloud), REAL, lambda seconds: deferLater(reactor, seconds))

    def to_the_simulated_one(self, **simulation: Any) -> Conversation:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        settings = FakeSimulation(
            boot_delay=2.0, delete_delay=1.0, images=(SIMULATED.image,), seed=1, **simulation
        )
        cloud = SimulatedOpenStack(self.clock, settings)
        cloud.accept(keys=[SIMULATED.key])
        return Conversation(
            SimulatedTransport(cloud), SIMULATED, lambda seconds: deferLater(self.clock, seconds)
        )

    def finish(self, talk: Coroutine[Any, Any, None]) -> None:
        """Have the whole of a simulated conversation."""
        talking = Deferred.fromCoroutine(talk)
        while not talking.called:
            self.clock.advance(0.05)
        self.successResultOf(talking)

    def compare(self, real: Mapping[str, Any], simulated: Mapping[str, Any]) -> None:
        found = [
            f"{step}: {line}"
            for step in real
            for line in differences(real[step], simulated.get(step))
            if not LEFT_OUT.search(line)
        ]
        self.assertEqual(found, [], "\n".join(found))
        self.assertEqual(list(real), list(simulated))

    async def test_the_same_answers(self) -> None:
        """Statuses, keys, kinds of values, and what errors are taken for, are the same."""
        simulated = self.to_the_simulated_one(capacity=FrozenMapping({"az2": 0}))
        self.finish(simulated.run(self.file()))
        real = self.to_the_real_one("real-member")
        await real.run(self.file())
        self.compare(real.said, simulated.said)
        self.assertGreater(len(real.said), 100)

    async def test_the_same_quota(self) -> None:
        """The server that is one too many is refused in the same way."""
        simulated = self.to_the_simulated_one(max_instances=3)
        self.finish(simulated.run_into_the_quota())
        real = self.to_the_real_one("real-quota")
        await real.run_into_the_quota()
        self.compare(real.said, simulated.said)
        self.assertEqual(real.said["how many"], 3)
