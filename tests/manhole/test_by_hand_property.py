"""Any sequence of reloads and trouble, while an operator idles providers and has them go on."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from twisted.internet.defer import Deferred

from nodepool_tx.manhole import by_hand
from nodepool_tx.providers.interface import Phase
from tests.test_reload_property import MACHINES, Schedule


class ByHand(Schedule):
    """What may happen, with somebody at the console."""

    def start(self, work: Coroutine[Any, Any, str]) -> Deferred[Any]:
        started: Deferred[Any] = Deferred.fromCoroutine(work)
        started.addErrback(lambda failure: failure.trap(KeyError, RuntimeError) and None)
        self.settle()
        return started

    @rule(name=st.sampled_from(sorted(MACHINES)), waits=st.booleans())
    def idle(self, name: str, waits: bool) -> None:
        started = self.start(by_hand.idle(self.world.process.reloader, name))
        if not waits and not started.called:
            started.addErrback(lambda failure: None)
            started.cancel()

    @rule(name=st.sampled_from(sorted(MACHINES)))
    def resume(self, name: str) -> None:
        self.start(by_hand.resume(self.world.process.reloader, name))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            # Whoever has idled something has it go on before they leave.
            self.world.mend_machines()
            self.world.inspector.resume(self.world.process.client)
            self.world.wait(20.0)
            reloader = self.world.process.reloader
            for name, service in reloader.services().items():
                if service.phase is Phase.IDLE:
                    self.start(by_hand.resume(reloader, name))
            self.world.wait(5.0)
        super().teardown()


TestByHand = ByHand.TestCase
TestByHand.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
