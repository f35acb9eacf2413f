"""The oldest request has its turn, whatever comes after it."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodepool_tx.pools.patience import PATIENCE
from tests.pools.maker import MakingTestCase


class Stream(MakingTestCase):
    """A large request, and small ones that come and go."""

    __test__ = False

    def runTest(self) -> None:
        """Driven from outside."""

    def small(self) -> None:
        request_id = self.add_request("a")
        self.settle()
        if self.state(request_id) == "pending":
            self.ready(*self.nodes_for(request_id))
        self.small_ones.append(request_id)

    def run_out(self, quota: int, large: int, arrivals: list[int]) -> None:
        self.maker.limits = {"instances": quota}
        self.small_ones: list[str] = []
        for _ in range(quota):
            self.small()
        oldest = self.add_request(*["b"] * large)
        self.settle()
        self.clock.advance(PATIENCE + 1)
        returned = 0
        while self.state(oldest) == "requested":
            for _ in range(arrivals[returned % len(arrivals)]):
                self.small()
            running = [r for r in self.small_ones if self.state(r) == "fulfilled"]
            assert running, "everything has ended, and the oldest still waits"
            request_id = running[returned % len(running)]
            self.small_ones.remove(request_id)
            self.give_back(request_id)
            returned += 1
        assert returned == large
        assert self.state(oldest) == "pending"


@given(
    st.integers(1, 5).flatmap(lambda quota: st.tuples(st.just(quota), st.integers(1, quota))),
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_oldest_is_not_starved(sizes: tuple[int, int], arrivals: list[int]) -> None:
    """Once its patience has ended it is served with the first room that suffices."""
    stage = Stream()
    stage.setUp()
    try:
        stage.run_out(*sizes, arrivals)
    finally:
        stage.doCleanups()
