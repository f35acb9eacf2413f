"""Which providers are being emptied, kept in ZooKeeper.

A provider that was taken out of the configuration may have nodes in use for
hours.  Should the launcher restart meanwhile, nothing in its configuration
would tell it to remove them when they return; this ledger does.  One znode
per provider, ``/nodepool/draining/<provider>``, with the driver's name.
"""

from __future__ import annotations

import json

from kazoo import exceptions as zke
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain, connection_errors
from nodepool_tx.txzookeeper.interface import SessionState, ZookeeperAPI

__all__ = ["DrainLedger"]


class DrainLedger:
    """The providers that somebody began to empty and nobody has finished with.

    What could not be written for want of a connection is written when there is one.
    """

    _log = Logger()

    def __init__(self, client: ZookeeperAPI) -> None:
        self._client = client
        #: What is still to be written: an entry, or None where there is to be none.
        self._owed: dict[str, bytes | None] = {}
        client.observe(self._on_state)

    @property
    def settled(self) -> bool:
        """All is written."""
        return not self._owed

    async def note(self, provider: str, driver: str) -> None:
        """Write down that a provider is being emptied.

        :raises Uncertain: the connection broke.
        """
        await self._write(provider, json.dumps({"driver": driver}).encode())

    async def strike(self, provider: str) -> None:
        """It is empty, or configured again.

        :raises Uncertain: the connection broke.
        """
        await self._write(provider, None)

    async def _write(self, provider: str, entry: bytes | None) -> None:
        path = paths.draining(provider)
        self._owed[provider] = entry
        try:
            if entry is None:
                await self._client.delete(path)
            else:
                await self._client.create(path, entry, makepath=True)
        except (zke.NoNodeError, zke.NodeExistsError):
            pass
        except connection_errors as e:
            raise Uncertain(str(e)) from e
        if provider in self._owed and self._owed[provider] is entry:
            del self._owed[provider]

    def _on_state(self, state: SessionState) -> None:
        if state is SessionState.CONNECTED:
            for provider, entry in tuple(self._owed.items()):
                # What is lost again is written with the next connection.
                Deferred.fromCoroutine(self._write(provider, entry)).addErrback(_not_now)

    async def open(self) -> dict[str, str]:
        """Provider to driver, of all that are noted.

        :raises Uncertain: the connection broke.
        """
        try:
            names = await self._client.get_children(paths.DRAINING)
            entries = await gatherResults(
                [Deferred.fromCoroutine(self._entry(name)) for name in names], consumeErrors=True
            )
        except zke.NoNodeError:
            return {}
        except FirstError as e:
            why = e.subFailure.value
            raise Uncertain(str(why) or type(why).__name__) from e
        except connection_errors as e:
            raise Uncertain(str(e)) from e
        drivers: dict[str, str] = {}
        for name, data in zip(names, entries, strict=True):
            if data is None:
                continue
            try:
                drivers[name] = str(json.loads(data)["driver"])
            except (ValueError, TypeError, KeyError, RecursionError):
                self._log.warn("{path} is unreadable", path=paths.draining(name))
        return drivers

    async def _entry(self, provider: str) -> bytes | None:
        """What is noted of a provider; None if that was struck while we looked."""
        try:
            data, _ = await self._client.get(paths.draining(provider))
        except zke.NoNodeError:
            return None
        return data


def _not_now(failure: Failure) -> None:
    failure.trap(Uncertain)
