"""Removing what ZooKeeper holds of a provider's images, without asking its cloud."""

from __future__ import annotations

import attrs

from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.change import Locked, Moved, Uncertain, connection_errors
from nodepool_tx.store.image_tree import read_tree
from nodepool_tx.txzookeeper.interface import TransactionFailed, ZookeeperAPI

__all__ = ["ProviderBuild", "ProviderImages"]

#: How often a build is read again at which somebody else is working, too.
_ATTEMPTS = 5

#: What the name of everyone who holds or waits for a lock contains.
_CONTENDER = "__lock__"


@attrs.frozen(order=True)
class ProviderBuild:
    """A build that a provider has, had or was to have.

    :ivar uploads: their ids.
    """

    image: str
    build_id: str
    uploads: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.image}-{self.build_id}"


class ProviderImages:
    """The records of one provider's uploads, below every build."""

    def __init__(self, client: ZookeeperAPI, provider: str) -> None:
        self._client = client
        self._provider = provider

    async def builds(self) -> tuple[ProviderBuild, ...]:
        """Every build with a place for this provider, sorted.

        :raises Uncertain: the connection broke.
        """
        found: dict[tuple[str, str], list[str]] = {}
        for path in await read_tree(self._client, paths.IMAGES):
            match paths.below(paths.IMAGES, path):
                case (image, "builds", build_id, "providers", self._provider):
                    found[image, build_id] = []
            place = image_paths.place_of(path)
            if place is not None and place.upload_id is not None:
                assert place.build_id is not None
                if place.provider == self._provider:
                    found[place.image, place.build_id].append(place.upload_id)
        return tuple(
            ProviderBuild(image, build_id, tuple(uploads))
            for (image, build_id), uploads in sorted(found.items())
        )

    async def erase(self, build: ProviderBuild) -> int:
        """Remove the provider's records of one build, all of them or none.

        :returns: how many uploads that were.
        :raises Locked: a builder is at work on one of them.
        :raises Moved: somebody changes them all the time.
        :raises Uncertain: the connection broke.
        """
        what = ("uploads", f"of build {build} to {self._provider}")
        root = image_paths.provider(build.image, build.build_id, self._provider)
        for _ in range(_ATTEMPTS):
            znodes = await read_tree(self._client, root)
            if any(_CONTENDER in path.rpartition("/")[2] for path in znodes):
                raise Locked(*what)
            txn = self._client.transaction()
            for path, znode in reversed(znodes.items()):
                txn.delete(path, znode.stat.version)
            try:
                await txn.commit()
            except TransactionFailed:
                # Somebody has taken a lock, written or removed something.
                continue
            except connection_errors as e:
                raise Uncertain(str(e) or type(e).__name__) from e
            return sum(image_paths.place_of(path) is not None for path in znodes)
        raise Moved(*what)
