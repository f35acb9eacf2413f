"""The service tree's branch of providers: one current object for a name.

A replaced service that still has something to finish, a server being launched
for instance, stays in the branch as *retiring*, without its name, beside the
successor that has taken the name over.  It is stopped with the others if the
process ends first.
"""

from __future__ import annotations

from typing import cast

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred

from nodepool_tx.providers.interface import ProviderService

__all__ = ["ProviderTree"]


class ProviderTree(MultiService):
    """The parent of all provider services.

    A second service with a current name cannot be added: that is the base
    class's own rule, and the reason why reloads go through here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setName("providers")
        self._retiring: list[ProviderService] = []

    def current(self) -> dict[str, ProviderService]:
        """The services that decide, by name."""
        return {name: cast(ProviderService, child) for name, child in self.namedServices.items()}

    def retiring(self) -> tuple[ProviderService, ...]:
        """Those that only finish what they have begun, oldest first."""
        return tuple(self._retiring)

    def retire(self, service: ProviderService) -> None:
        """Free the name of a service that goes on finishing."""
        del self.namedServices[service.name]
        self._retiring.append(service)

    def reinstate(self, service: ProviderService) -> None:
        """Give a retiring service its name back."""
        if service.name in self.namedServices:
            raise RuntimeError(f"provider {service.name} has a successor")
        self._retiring.remove(service)
        self.namedServices[service.name] = service

    def removeService(self, service: IService) -> Deferred[None] | None:
        """See :meth:`twisted.application.service.MultiService.removeService`."""
        retiring = cast(ProviderService, service)
        if retiring not in self._retiring:
            return cast("Deferred[None] | None", super().removeService(service))
        self._retiring.remove(retiring)
        self.services.remove(service)
        return cast("Deferred[None] | None", service.stopService()) if self.running else None
