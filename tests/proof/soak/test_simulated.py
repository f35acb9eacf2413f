"""Hours in memory, made short: what is flat, and that whatever leaks is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO

import pytest

from proof.soak.part import Part
from proof.soak.simulated.run import SimulatedSoak
from proof.soak.simulated.world import HOSTS, Load, World

LOAD = Load(
    static=20,
    clouds=1,
    servers=60,
    jobs=6,
    job=40.0,
    reload=120.0,
    cut=200.0,
    expire=310.0,
    restart=250.0,
)


def soak(each_look: Callable[[World], object] = lambda world: None) -> Part:
    """Twelve minutes, of which four are warm-up."""
    return SimulatedSoak(0.2, LOAD, seed=2, every=30.0, warm_up=240.0, each_look=each_look).run()


def growing(part: Part) -> set[str]:
    return {each.name for each in part.verdicts() if each.grows}


def test_flat() -> None:
    """Nothing grows in a launcher as it is, whatever is done to it and those around it."""
    part = soak()
    assert part.troubles == ()
    assert part.facts["requests fulfilled"] > 30
    assert part.facts["configurations"] >= 5
    assert part.facts["restarts"] >= 2
    # Minutes are not enough for what Python keeps to be all there.
    memory = {each.name: each for each in part.verdicts() if "memory" in each.name}
    objects = {each.name: each for each in part.verdicts() if "objects" in each.name}
    assert growing(part) - memory.keys() - objects.keys() == set()
    assert all(each.growth < 3000 for each in objects.values())


class Leak:
    """A launcher that keeps one more of something with each look."""

    def __init__(self, kind: str) -> None:
        self._leak = getattr(self, kind)
        self.kept: list[Any] = []

    def __call__(self, world: World) -> None:
        self._leak(world, world.launchers[HOSTS[0]])

    def watch(self, world: World, launcher: Any) -> None:
        launcher.client.watch(f"/nodepool/nodes/{len(self.kept)}", self.kept.append)
        self.kept.append(None)

    def timer(self, world: World, launcher: Any) -> None:
        launcher.clock.callLater(1e6, self.kept.clear)
        launcher.clock.callLater(1e6, self.kept.clear)

    def znode(self, world: World, launcher: Any) -> None:
        launcher.client.create("/nodepool/tenants/left-", sequence=True)

    def file(self, world: World, launcher: Any) -> None:
        file: TextIO = open("/dev/null")  # noqa: SIM115
        self.kept.append(file)

    def memory(self, world: World, launcher: Any) -> None:
        launcher.left = [*getattr(launcher, "left", ()), *([str(i)] for i in range(1000))]


@pytest.mark.parametrize(
    ("kind", "series"),
    [
        ("watch", "watches"),
        ("timer", f"delayed calls of {HOSTS[0]}"),
        ("znode", "other znodes"),
        ("file", "open files"),
        ("memory", "objects, without histories"),
    ],
)
def test_leak(kind: str, series: str) -> None:
    """What leaks is named, and the other kinds are not."""
    leak = Leak(kind)
    part = soak(leak)
    leak.kept.clear()
    kinds = {"watches", f"delayed calls of {HOSTS[0]}", "other znodes", "open files"}
    assert growing(part) & (kinds | {series}) == {series}
