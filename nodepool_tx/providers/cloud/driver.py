"""Making a driver of a cloud's configuration and its adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from twisted.logger import Logger

from nodepool_tx.config.cloud import CloudLabel, CloudProvider
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import (
    CloudAdapter,
    ImageUploadOrder,
    Instance,
    Order,
    Resource,
)
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.interface import ProviderContext, ProviderDescription, ProviderService
from nodepool_tx.resources import Amounts

__all__ = ["NoAccount", "cloud_driver"]

_log = Logger()

C = TypeVar("C", bound=CloudProvider)


def cloud_driver(
    name: str,
    config_class: type[C],
    make_adapter: Callable[[C, ProviderContext], CloudAdapter],
    scanner: Callable[[C, ProviderContext], Scanner] | None = None,
    paced: bool = True,
    shared: bool = True,
) -> ProviderDescription:
    """A driver, as :class:`nodepool_tx.providers.DriverRegistry` finds it.

    A provider that was taken out of the configuration and is still to be
    emptied after a restart has nothing but its name: ``make_adapter`` gets a
    configuration with defaults then, and raises when it cannot tell the account
    from that; an adapter for some other account would take servers that it
    does not show for gone.

    :param make_adapter: makes the adapter, without asking the cloud.
    :param scanner: what looks at servers, where it is not the launcher's own.
    :param paced: ``rate`` counts; not so where there is nobody to be gentle with.
    :param shared: other launchers see the same cloud; not so where it is in this process.
    """

    def mine(config: ProviderConfig) -> C:
        if not isinstance(config, config_class):
            raise TypeError(f"provider {config.name} is not configured for the driver {name}")
        return config

    def build(config: ProviderConfig, context: ProviderContext) -> ProviderService:
        if type(config) is ProviderConfig:
            return _build_to_be_emptied(config, context)
        return serve(mine(config), context)

    def adapter(config: ProviderConfig, context: ProviderContext) -> CloudAdapter:
        return make_adapter(mine(config), context)

    def serve(config: C, context: ProviderContext) -> CloudProviderService:
        return CloudProviderService(
            config,
            context,
            make_adapter(config, context),
            scanner=scanner(config, context) if scanner is not None else None,
            paced=paced,
            shared=shared,
        )

    def _build_to_be_emptied(config: ProviderConfig, context: ProviderContext) -> ProviderService:
        try:
            return serve(config_class(name=config.name, driver=config.driver), context)
        except Exception as e:
            _log.error(
                "provider {provider} is not configured any more, and without its account its "
                "servers cannot be deleted ({reason}): configure it again, and take it out "
                "again while a launcher runs",
                provider=config.name,
                reason=str(e),
            )
            bare = CloudProvider(name=config.name, driver=config.driver)
            return CloudProviderService(bare, context, NoAccount(config.name))

    return ProviderDescription(name, build, adapter if shared else None)


class NoAccount:
    """Stands for a cloud of which nothing is known any more: nothing can be asked of it."""

    poll_interval = 60.0

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def start(self) -> None:
        """There is nothing to start."""

    async def stop(self) -> None:
        """There is nothing to stop."""

    def _refuse(self) -> NoReturn:
        raise CloudError(f"the account of provider {self._provider} is not configured any more")

    async def create(self, order: Order) -> str:
        self._refuse()

    async def finish(self, order: Order, instance: Instance) -> Instance | None:
        self._refuse()

    async def delete(self, external_id: str) -> None:
        self._refuse()

    async def list_instances(self) -> Sequence[Instance]:
        self._refuse()

    async def console(self, external_id: str) -> str | None:
        self._refuse()

    async def quota(self) -> Amounts:
        self._refuse()

    async def needs(self, label: CloudLabel) -> Amounts:
        self._refuse()

    async def zones(self) -> Sequence[str]:
        self._refuse()

    async def image_ready(self, label: CloudLabel) -> bool:
        self._refuse()

    async def list_resources(self) -> Sequence[Resource]:
        self._refuse()

    async def delete_resource(self, resource: Resource) -> None:
        self._refuse()

    async def upload_image(self, order: ImageUploadOrder) -> str:
        self._refuse()

    async def delete_image(self, external_id: str) -> None:
        self._refuse()
