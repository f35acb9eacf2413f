"""Asking the clouds what there is of the providers that are configured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    FirstError,
    TimeoutError,
    gatherResults,
)
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.check.clouds import recorded_servers
from nodepool_tx.check.farm import CloudView, Farm
from nodepool_tx.config.schema import Config, ProviderConfig, StaticProvider
from nodepool_tx.providers.cloud.errors import Gone
from nodepool_tx.providers.cloud.interface import CloudAdapter, Resource

__all__ = ["Asker"]

#: Seconds for a cloud to list all there is, or to remove something.
PATIENCE = 60.0

#: Makes what talks to a provider's cloud; None where there is none to be seen from here.
MakeAdapter = Callable[[ProviderConfig], CloudAdapter | None]


class Asker:
    """The clouds of some providers.

    :ivar silent: providers whose clouds cannot be seen from here at all.
    """

    def __init__(
        self,
        config: Config | None,
        clock: IReactorTime,
        make_adapter: MakeAdapter,
        only: str | None = None,
    ) -> None:
        providers = config.providers if config is not None else {}
        self._providers = {
            name: provider
            for name, provider in providers.items()
            if not isinstance(provider, StaticProvider) and only in (None, name)
        }
        self._clock = clock
        self._make_adapter = make_adapter
        self.silent: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Whom to ask."""
        return tuple(self._providers)

    async def ask(self, farm: Farm, names: Iterable[str]) -> Mapping[str, CloudView]:
        """What their clouds show, all asked at a time.

        :param farm: what was recorded before.
        """
        asking = [Deferred.fromCoroutine(self._ask(self._providers[name], farm)) for name in names]
        try:
            views = await gatherResults(asking, consumeErrors=True)
        except FirstError as e:
            # Somebody has cancelled this; nothing else ends it.
            e.subFailure.raiseException()
        finally:
            for each in asking:
                each.cancel()
        found = {name: view for name, view in views if view is not None}
        self.silent = tuple(sorted({*self.silent, *(name for name, view in views if view is None)}))
        return found

    async def _ask(self, provider: ProviderConfig, farm: Farm) -> tuple[str, CloudView | None]:
        name, before = provider.name, recorded_servers(farm, provider.name)
        try:
            adapter = self._make_adapter(provider)
        except Exception as e:
            return name, CloudView(before=before, trouble=str(e) or type(e).__name__)
        if adapter is None:
            return name, None
        adapter.start()
        try:
            listing = Deferred.fromCoroutine(_list(adapter))
            resources = await listing.addTimeout(PATIENCE, self._clock)
        except TimeoutError:
            return name, CloudView(before=before, trouble=f"no answer within {PATIENCE:g} s")
        except CancelledError:
            raise
        except Exception as e:
            return name, CloudView(before=before, trouble=f"{type(e).__name__}: {e}")
        finally:
            await adapter.stop()
        return name, CloudView(resources=resources, before=before)

    async def remove(self, provider: str, resource: Resource) -> bool:
        """Remove something; False if it is gone already.

        :raises Exception: whatever the cloud has against it.
        """
        adapter = self._make_adapter(self._providers[provider])
        if adapter is None:
            return False
        adapter.start()
        try:
            removing = Deferred.fromCoroutine(adapter.delete_resource(resource))
            await removing.addTimeout(PATIENCE, self._clock)
        except Gone:
            return False
        except TimeoutError:
            raise TimeoutError(f"no answer within {PATIENCE:g} s") from None
        finally:
            await adapter.stop()
        return True


async def _list(adapter: CloudAdapter) -> tuple[Resource, ...]:
    return tuple(await adapter.list_resources())
