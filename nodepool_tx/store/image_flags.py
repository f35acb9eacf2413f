"""What people and builders say of an image beside its builds: paused, to be built, being built.

Format and paths: Nodepool 11.0.0, ``nodepool/zk/zookeeper.py``.  A flag is a
znode without data; a builder at work holds the lock of the image's builds.
"""

from __future__ import annotations

import attrs

from nodepool_tx.store import image_paths, paths
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache

__all__ = ["ImageFlags", "ImageRequest", "says_when"]


@attrs.frozen
class ImageRequest:
    """Somebody wants an image built out of turn.

    :ivar since: seconds since the epoch.
    """

    image: str
    since: float


def says_when(path: str) -> bool:
    """The age of what is at ``path`` matters, below the root of images."""
    parts = paths.below(paths.IMAGES, path)
    return len(parts) == 2 and parts[1] == image_paths.REQUEST


class ImageFlags:
    """The images that have a place in ZooKeeper, and their flags."""

    def __init__(self, cache: TreeCache) -> None:
        self._cache = cache
        self._requests: dict[str, ImageRequest] = {}
        cache.subscribe(self._on_change)

    def names(self) -> tuple[str, ...]:
        """Every image that was ever built, paused or asked for, sorted."""
        return tuple(sorted(self._cache.children(paths.IMAGES)))

    def is_known(self, image: str) -> bool:
        return image in self._cache.children(paths.IMAGES)

    def is_paused(self, image: str) -> bool:
        """No builder begins to build it."""
        return image_paths.pause(image) in self._cache

    def request(self, image: str) -> ImageRequest | None:
        """The wish to have it built, until a build has come of it."""
        return self._requests.get(image)

    def is_locked(self, image: str) -> bool:
        """A builder is at work on it, or was until its session ends."""
        return bool(self._cache.children(image_paths.builds_lock(image)))

    def _on_change(self, change: CacheChange) -> None:
        if change.kind in (ChangeKind.CURRENT, ChangeKind.STALE) or not says_when(change.path):
            return
        image = paths.below(paths.IMAGES, change.path)[0]
        if change.kind is ChangeKind.REMOVED or change.znode is None:
            self._requests.pop(image, None)
            return
        stat = change.znode.stat
        self._requests[image] = ImageRequest(image, stat.created if stat is not None else 0.0)
