"""The disk images that builders have made, and which provider has which.

Format and paths: Nodepool 11.0.0, ``nodepool/zk/zookeeper.py``.  Builders
write them; launchers only read.  What people change is in
:mod:`nodepool_tx.store.image_changes`.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import Logger

from nodepool_tx.model import ImageBuild, ImageState, ImageUpload
from nodepool_tx.store import paths
from nodepool_tx.store.codec import EMPTY, Unreadable, decode_image_build, decode_image_upload
from nodepool_tx.store.image_flags import ImageFlags, ImageRequest, says_when
from nodepool_tx.txzookeeper.treecache import CacheChange, CachedZnode, ChangeKind, TreeCache

__all__ = ["ImageChange", "ImageRequest", "ImageTable", "has_image_data"]

#: Image and build, or image, build, provider and upload.
_Key = tuple[str, ...]

#: How many parts the key of a build has.
_BUILD = 2


@attrs.frozen
class ImageChange:
    """What became of one build or upload.

    :ivar provider: whose upload it is; None for a build.
    """

    image: str
    provider: str | None
    before: ImageBuild | ImageUpload | None
    after: ImageBuild | ImageUpload | None


def _key(path: str) -> _Key:
    """What a path stands for; nothing for those of locks, flags and directories."""
    parts = paths.below(paths.IMAGES, path)
    if len(parts) == 3 and parts[1] == "builds" and parts[2] != "lock":
        return (parts[0], parts[2])
    if len(parts) == 7 and parts[1::2] == ("builds", "providers", "images") and parts[6] != "lock":
        return (parts[0], parts[2], parts[4], parts[6])
    return ()


def has_image_data(path: str) -> bool:
    """What is at ``path``, below the root of images, is worth reading."""
    return bool(_key(path)) or says_when(path)


@attrs.define
class _Ready:
    """The uploads of one image that one provider can use."""

    uploads: dict[_Key, ImageUpload] = attrs.field(factory=dict)
    newest: ImageUpload | None = None

    def add(self, key: _Key, upload: ImageUpload) -> None:
        self.uploads[key] = upload
        if self.newest is None or _age(upload) > _age(self.newest):
            self.newest = upload

    def discard(self, key: _Key) -> None:
        gone = self.uploads.pop(key, None)
        if gone is not None and gone is self.newest:
            self.newest = max(self.uploads.values(), key=_age, default=None)


def _age(upload: ImageUpload) -> tuple[float, str, str]:
    """The later, the greater; the ids only so that everyone chooses the same."""
    return (upload.state_time, upload.build_id, upload.id)


class ImageTable:
    """The builds and uploads in ZooKeeper, and what is asked of builders.

    :ivar flags: which images there are, paused or asked for.
    :ivar unreadable: path and reason of each znode that makes no sense.
    """

    _log = Logger()

    def __init__(self, cache: TreeCache) -> None:
        self._builds: dict[_Key, ImageBuild] = {}
        self._uploads: dict[_Key, ImageUpload] = {}
        #: Provider to the uploads there are, readable or not.
        self._by_provider: dict[str, set[_Key]] = {}
        self._ready: dict[tuple[str, str], _Ready] = {}
        self._observers: list[Callable[[ImageChange], None]] = []
        self.unreadable: dict[str, str] = {}
        self.flags = ImageFlags(cache)
        cache.subscribe(self._on_change)

    # -- reading ---------------------------------------------------------

    def builds(self) -> tuple[ImageBuild, ...]:
        """Every build of every image, in no order."""
        return tuple(self._builds.values())

    def build(self, image: str, build_id: str) -> ImageBuild | None:
        return self._builds.get((image, build_id))

    def uploads(self) -> tuple[ImageUpload, ...]:
        """Every upload of every image to every provider, in no order."""
        return tuple(self._uploads.values())

    def upload(
        self, image: str, build_id: str, provider: str, upload_id: str
    ) -> ImageUpload | None:
        return self._uploads.get((image, build_id, provider, upload_id))

    def is_being_built(self, image: str) -> bool:
        """A builder is at work on it, and has said which build it is."""
        return self.flags.is_locked(image) and any(
            build.image == image and build.state is ImageState.BUILDING
            for build in self._builds.values()
        )

    def newest(self, image: str, provider: str) -> ImageUpload | None:
        """What new servers with this image are made of."""
        ready = self._ready.get((image, provider))
        return ready.newest if ready else None

    def uploads_of(self, provider: str) -> tuple[ImageUpload, ...]:
        """Every upload to a provider, whatever its state, in no order."""
        keys = self._by_provider.get(provider, ())
        return tuple(self._uploads[key] for key in keys if key in self._uploads)

    def upload_ids(self, provider: str) -> frozenset[tuple[str, str]]:
        """Build and upload of each upload znode of a provider.

        Those that cannot be read are among them: nothing in the cloud that
        carries one of these is leaked.
        """
        return frozenset((key[1], key[3]) for key in self._by_provider.get(provider, ()))

    # -- following -------------------------------------------------------

    def subscribe(self, observer: Callable[[ImageChange], None]) -> Callable[[], None]:
        """Hear of every change, after the table shows it; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def _on_change(self, change: CacheChange) -> None:
        if change.kind in (ChangeKind.CURRENT, ChangeKind.STALE):
            return
        key = _key(change.path)
        if not key:
            return
        znode = None if change.kind is ChangeKind.REMOVED else change.znode
        if len(key) == _BUILD:
            self._on_build(key, change.path, znode)
        else:
            self._on_upload(key, change.path, znode)

    def _on_build(self, key: _Key, path: str, znode: CachedZnode | None) -> None:
        before, after = self._builds.pop(key, None), None
        if znode is not None:
            try:
                after = self._builds[key] = _decode_build(key, znode)
            except Unreadable as e:
                self._note(path, str(e))
        if after is not None or znode is None:
            self.unreadable.pop(path, None)
        if before is not after:
            self._tell(ImageChange(key[0], None, before, after))

    def _on_upload(self, key: _Key, path: str, znode: CachedZnode | None) -> None:
        image, _, provider, _ = key
        before, after = self._uploads.pop(key, None), None
        if znode is not None:
            self._by_provider.setdefault(provider, set()).add(key)
            try:
                after = self._uploads[key] = _decode_upload(key, znode)
            except Unreadable as e:
                self._note(path, str(e))
        else:
            self._forget(provider, key)
        if after is not None or znode is None:
            self.unreadable.pop(path, None)
        if before is after:
            return
        self._index(image, provider, key, after)
        self._tell(ImageChange(image, provider, before, after))

    def _forget(self, provider: str, key: _Key) -> None:
        keys = self._by_provider.get(provider)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._by_provider[provider]

    def _index(self, image: str, provider: str, key: _Key, upload: ImageUpload | None) -> None:
        ready = self._ready.setdefault((image, provider), _Ready())
        ready.discard(key)
        if upload is not None and upload.state is ImageState.READY:
            ready.add(key, upload)
        if not ready.uploads:
            del self._ready[image, provider]

    def _note(self, path: str, reason: str) -> None:
        self.unreadable[path] = reason
        # A builder's lock keeps the place of what it has removed, without data.
        say = self._log.debug if reason == EMPTY else self._log.warn
        say("{path} is unreadable and is left alone: {reason}", path=path, reason=reason)

    def _tell(self, change: ImageChange) -> None:
        for observer in tuple(self._observers):
            try:
                observer(change)
            except Exception:
                self._log.failure("observer of images failed on {image}", image=change.image)


def _decode_build(key: _Key, znode: CachedZnode) -> ImageBuild:
    assert znode.stat is not None
    image, build_id = key
    stat, data = znode.stat, znode.data or b""
    return decode_image_build(image, build_id, data, version=stat.version, mzxid=stat.mzxid)


def _decode_upload(key: _Key, znode: CachedZnode) -> ImageUpload:
    assert znode.stat is not None
    image, build_id, provider, upload_id = key
    stat, data = znode.stat, znode.data or b""
    return decode_image_upload(
        image, build_id, provider, upload_id, data, version=stat.version, mzxid=stat.mzxid
    )
