"""Drivers: where the nodes of a provider come from, found by name.

Some are built in.  Packages add theirs through the entry point group
``nodepool_tx.drivers``: an object, or a class without arguments, with the
driver's ``name``, a ``read`` for its section of the configuration (see
:class:`nodepool_tx.config.drivers.DriverSection`) and a ``build`` for its
services (see :class:`nodepool_tx.providers.interface.ProviderDescription`).
Nothing is imported before a driver is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import metadata
from typing import TYPE_CHECKING, Any

from nodepool_tx.config.drivers import ENTRY_POINT_GROUP, NODEPOOL_DRIVERS

if TYPE_CHECKING:
    from nodepool_tx.providers.interface import ProviderDescription

__all__ = [
    "ENTRY_POINT_GROUP",
    "BrokenDriver",
    "DriverError",
    "DriverRegistry",
    "DriverUnavailable",
    "UnknownDriver",
]

#: Driver name -> ``module:attribute`` of its description.
BUILT_IN: Mapping[str, str] = {
    "fake": "nodepool_tx.providers.fake.driver:DRIVER",
    "metastatic": "nodepool_tx.providers.metastatic.driver:DRIVER",
    "openstack": "nodepool_tx.providers.openstack.driver:DRIVER",
    "static": "nodepool_tx.providers.static.driver:DRIVER",
}


class DriverError(Exception):
    """There is no service to be had for a driver's name.

    :ivar driver: the name.
    """

    def __init__(self, driver: str, message: str) -> None:
        super().__init__(message)
        self.driver = driver


class UnknownDriver(DriverError):
    """Nobody has ever heard of a driver of that name."""


class DriverUnavailable(DriverError):
    """Nodepool 11 has the driver, this version does not."""


class BrokenDriver(DriverError):
    """An installed package offers the driver, but it cannot be used."""


class DriverRegistry:
    """Finds a driver's description by its name.

    :param installed: entry points by name; those installed, if not given.
    """

    def __init__(self, installed: Mapping[str, metadata.EntryPoint] | None = None) -> None:
        if installed is None:
            points = metadata.entry_points(group=ENTRY_POINT_GROUP)
            installed = {point.name: point for point in points}
        self._installed = {n: p for n, p in installed.items() if n not in BUILT_IN}
        self._found: dict[str, ProviderDescription] = {}

    def names(self) -> frozenset[str]:
        """The drivers there are, whether or not they can be loaded."""
        return frozenset(BUILT_IN) | frozenset(self._installed)

    def find(self, name: str) -> ProviderDescription:
        """The driver of that name.

        :raises UnknownDriver: it is a mistake.
        :raises DriverUnavailable: it is a driver of Nodepool 11.
        :raises BrokenDriver: it cannot be imported, or is no driver.
        """
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def _load(self, name: str) -> ProviderDescription:
        if name in BUILT_IN:
            module, _, attribute = BUILT_IN[name].partition(":")
            built_in: ProviderDescription = getattr(importlib.import_module(module), attribute)
            return built_in
        if name in self._installed:
            return _describe(name, self._installed[name])
        if name in NODEPOOL_DRIVERS:
            raise DriverUnavailable(name, f"the driver {name} is not available in this version")
        near = get_close_matches(name, self.names() | NODEPOOL_DRIVERS, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        there_is = ", ".join(sorted(self.names()))
        raise UnknownDriver(name, f"there is no driver {name}{hint} (there is: {there_is})")


def _describe(name: str, point: metadata.EntryPoint) -> ProviderDescription:
    from nodepool_tx.providers.interface import ProviderDescription

    try:
        loaded: Any = point.load()
        driver = loaded() if isinstance(loaded, type) else loaded
    except Exception as e:
        raise BrokenDriver(name, f"the driver {name} ({point.value}) fails: {e!r}") from e
    build = getattr(driver, "build", None)
    if not callable(build):
        raise BrokenDriver(name, f"the driver {name} ({point.value}) has no build function")
    return ProviderDescription(name, build, getattr(driver, "adapter", None))
