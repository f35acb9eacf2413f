"""The fences of tenants: what keeps two launchers from giving out the same room.

Design note: deciding on the same view
--------------------------------------
A tenant's limit holds for all launchers together, and each decides on what it
sees.  Two that see the same room and both fill it would exceed the limit,
though no record was changed by both.  So a transaction that gives anything to a
tenant with a limit also writes the tenant's *fence*, a znode without content,
at the version at which its launcher looked.  Of two that looked at the same
version only one succeeds; the other looks again.

A fence seen at a version is of use only if all that was given up to that
version is seen, too.  The fence is the last thing a transaction writes, so
what it gave was announced before; what had to be read for that is answered
before anything asked afterwards.  One more read is therefore enough, and none
where the last to pass the fence were we.

Nodepool 11 knows no fences: what it gives out beside us is seen a moment later.
"""

from __future__ import annotations

from kazoo import exceptions as zke

from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain, connection_errors
from nodepool_tx.txzookeeper.interface import ZookeeperAPI
from nodepool_tx.txzookeeper.treecache import TreeCache

__all__ = ["FenceTable"]


class FenceTable:
    """The versions of all fences."""

    def __init__(self, client: ZookeeperAPI, cache: TreeCache) -> None:
        self._client = client
        self._cache = cache
        #: The versions that our own last passage led to.
        self._ours: dict[str, int] = {}

    def version(self, tenant: str) -> int | None:
        """The version of a tenant's fence, or None if there is none."""
        znode = self._cache.get(paths.tenant(tenant))
        return None if znode is None or znode.stat is None else znode.stat.version

    async def approach(self, tenant: str) -> int:
        """A version at which all is seen that was given to the tenant up to it.

        :raises Uncertain: the connection broke.
        """
        try:
            while (version := self.version(tenant)) is None:
                await self._client.ensure_path(paths.tenant(tenant))
                await self._cache.barrier()
            if self._ours.get(tenant) != version:
                await self._client.exists(paths.TENANTS)
        except connection_errors as e:
            raise Uncertain(str(e) or type(e).__name__) from e
        except zke.ZookeeperError as e:
            raise Uncertain(str(e) or type(e).__name__) from e
        return version

    def passed(self, tenant: str, version: int) -> None:
        """We passed it at ``version``."""
        self._ours[tenant] = version + 1
