"""The static driver, as :class:`nodepool_tx.providers.DriverRegistry` finds it."""

from __future__ import annotations

from nodepool_tx.config.schema import ProviderConfig, StaticProvider
from nodepool_tx.providers.interface import ProviderContext, ProviderDescription, ProviderService
from nodepool_tx.providers.static.service import StaticProviderService

__all__ = ["DRIVER"]


def _build(config: ProviderConfig, context: ProviderContext) -> ProviderService:
    if type(config) is ProviderConfig:
        # A provider that is only left to be emptied.
        config = StaticProvider(name=config.name, driver=config.driver)
    if not isinstance(config, StaticProvider):
        raise TypeError(f"provider {config.name} is not configured as a static one")
    return StaticProviderService(config, context)


DRIVER = ProviderDescription("static", _build)
