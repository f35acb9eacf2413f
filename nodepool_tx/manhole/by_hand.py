"""What an operator does to the launcher by hand, without breaking what reloads promise.

Design note: idling by hand
---------------------------
``idle`` may come at any time: a service that is idle is no danger to anybody.
``resume`` waits until the service is really idle, and is refused while a
reload has the provider in its hands: that reload counts on the old service
staying idle.  A reload that replaces the provider ends the idling, as the new
service knows nothing of it; so does one that removes it.
"""

from __future__ import annotations

import math
import re

from nodepool_tx.model import Maintenance, MaintenanceMode
from nodepool_tx.providers.interface import Phase, ProviderService
from nodepool_tx.reload import Reloader
from nodepool_tx.status.farm import Farm
from nodepool_tx.store.maintenance import in_words
from nodepool_tx.work import shielded

__all__ = ["idle", "maintain", "resume", "return_to_service", "seconds_of"]

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def _service(reloader: Reloader, name: str) -> ProviderService:
    service = reloader.services().get(name)
    if service is None:
        known = ", ".join(sorted(reloader.services())) or "none"
        raise KeyError(f"there is no provider {name}; there are {known}")
    return service


async def idle(reloader: Reloader, name: str) -> str:
    """Have a provider begin nothing more, and wait until nothing of it is in flight.

    It stays so if that takes too long for whoever waits.

    :raises KeyError: there is no such provider.
    """
    service = _service(reloader, name)
    await shielded(service.idle())
    return f"{name} is idle until resume({name!r}), or until a reload replaces it"


async def resume(reloader: Reloader, name: str) -> str:
    """Have an idle provider go on, as soon as it is idle indeed.

    :raises KeyError: there is no such provider.
    :raises RuntimeError: it is in the hands of a reload, or was not idle.
    """
    service = _service(reloader, name)
    _check(reloader, service)
    await shielded(service.idle())
    # A reload may have come while that was waited for.
    if reloader.services().get(name) is not service:
        return f"a reload has replaced {name} meanwhile: its new service is at work"
    _check(reloader, service)
    service.resume()
    return f"{name} is {service.phase.value}"


def _check(reloader: Reloader, service: ProviderService) -> None:
    if reloader.is_replacing(service.name):
        raise RuntimeError(f"a reload is replacing {service.name}: see tasks()")
    if service.phase is not Phase.IDLE:
        raise RuntimeError(f"{service.name} is not idle but {service.phase.value}")


def seconds_of(length: str | float) -> float:
    """Such as ``90``, ``"30min"`` or ``"2h"``, in seconds.

    :raises ValueError: it is no length of time.
    """
    if isinstance(length, str):
        found = _LENGTH.fullmatch(length.strip())
        if found is None:
            raise ValueError(f"{length!r} is no length of time such as '30min', '2h' or '1d'")
        length = float(found[1]) * _UNITS[found[2]]
    if not 0 < length < math.inf:
        raise ValueError("a length of time is more than nothing")
    return float(length)


async def maintain(
    farm: Farm, by: str, target: str, reason: str, duration: str | float | None
) -> str:
    """Take a host or a provider out of service, for all launchers.

    :param duration: after which it returns by itself; None: when it is returned.
    :raises KeyError: nothing that is configured here has that name.
    """
    host, provider = _target(farm, target)
    record = Maintenance(
        mode=MaintenanceMode.MAINTAIN,
        host=host,
        provider=provider,
        reason=reason,
        since=farm.now,
        until=None if duration is None else farm.now + seconds_of(duration),
        by=by,
    )
    return in_words(await farm.store.maintenance.put(record), farm.now)


async def return_to_service(farm: Farm, target: str) -> str:
    """Return a host or a provider to service.

    :raises KeyError: nothing of that name is out of service.
    """
    table = farm.store.maintenance
    record = table.of_host(target) or table.of_provider(target)
    if record is None:
        raise KeyError(f"{target} is not out of service")
    await table.remove(record)
    return f"{record.target} is back in service"


def _target(farm: Farm, name: str) -> tuple[str | None, str | None]:
    """A name as that of a host, or of a provider."""
    config = farm.reloader.config
    if config is not None:
        if name in config.providers:
            return None, name
        for pool in config.pools:
            if any(node.name == name for node in getattr(pool, "nodes", ())):
                return name, None
    raise KeyError(f"there is neither a provider nor a static host {name}")
