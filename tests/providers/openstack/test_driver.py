"""The driver is found by its name, and says what it lacks."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from nodepool_tx.config.openstack import OpenStackProvider
from nodepool_tx.events import Events
from nodepool_tx.providers import DriverRegistry
from nodepool_tx.providers.openstack.adapter import OpenStackAdapter
from nodepool_tx.providers.openstack.driver import DRIVER, make_adapter


@attrs.frozen
class Surroundings:
    """As much of a launcher as an adapter needs."""

    clock: Any = attrs.field(factory=Clock)
    reactor: Any = attrs.field(factory=Clock)
    offload: Any = lambda work: succeed(work())
    events: Events = attrs.field(factory=Events)


CONFIG = OpenStackProvider(name="cloud", driver="openstack", cloud="example", region_name="r")


def test_the_driver_is_found() -> None:
    """It is built in."""
    assert DriverRegistry({}).find("openstack") is DRIVER


def test_an_adapter_over_http() -> None:
    """It is made and stopped without the cloud being asked or looked up."""
    adapter: Any = make_adapter(CONFIG, Surroundings())  # type: ignore[arg-type]
    assert isinstance(adapter, OpenStackAdapter)
    adapter.start()
    stopped = Deferred.fromCoroutine(adapter.stop())
    assert stopped.called


@pytest.mark.parametrize(
    ("config", "around", "said"),
    [
        (attrs.evolve(CONFIG, cloud=None), Surroundings(), "which cloud"),
        (CONFIG, Surroundings(reactor=None), "a reactor"),
        (CONFIG, Surroundings(offload=None), "threads"),
    ],
)
def test_what_is_lacking(config: OpenStackProvider, around: Any, said: str) -> None:
    """Without an account or a network there is no adapter."""
    with pytest.raises(ValueError, match=said):
        make_adapter(config, around)
