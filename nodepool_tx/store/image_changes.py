"""What people change of images while builders work with them.

Builders write without looking at versions, under locks.  So a record is changed
here under the very lock that a builder would take for it, at the version that
was read, in a transaction that fails if the lock was lost and gives it up
otherwise: neither of the two overwrites the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import attrs
from kazoo import exceptions as zke
from twisted.internet.defer import TimeoutError
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.model import ImageBuild, ImageState, ImageUpload
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.change import Locked, Moved, Uncertain, Vanished, connection_errors
from nodepool_tx.store.codec import (
    decode_image_build,
    decode_image_upload,
    encode_image_build,
    encode_image_upload,
)
from nodepool_tx.txzookeeper.interface import TransactionFailed, ZookeeperAPI
from nodepool_tx.txzookeeper.lock import Lock

__all__ = ["AtWork", "ImageChanges"]

#: How often a record is read again that others write at the same time.
_ATTEMPTS = 5

R = TypeVar("R", ImageBuild, ImageUpload)


class AtWork(Exception):
    """A builder is still making it, so it cannot be taken away."""


@attrs.frozen
class _Record:
    """A znode whose state is to be changed, and the lock for that."""

    what: str
    id: str
    path: str
    lock_path: str


class ImageChanges:
    """Flags, and marks for builders.

    All methods raise :class:`Uncertain` when the connection breaks.

    :param patience: seconds to wait for a builder to let go of a record.
    """

    def __init__(self, client: ZookeeperAPI, clock: IReactorTime, patience: float = 5.0) -> None:
        self._client = client
        self._clock = clock
        self._patience = patience

    # -- flags -----------------------------------------------------------

    async def pause(self, image: str) -> bool:
        """Have no builder begin a build; False if that was so already."""
        return await self._put(image_paths.pause(image))

    async def unpause(self, image: str) -> bool:
        """Let builders build it; False if they could already."""
        try:
            await self._client.delete(image_paths.pause(image))
        except zke.NoNodeError:
            return False
        except connection_errors as e:
            raise Uncertain(str(e)) from e
        return True

    async def request_build(self, image: str) -> bool:
        """Have it built out of turn; False if somebody else has asked already."""
        return await self._put(image_paths.build_request(image))

    async def _put(self, path: str) -> bool:
        try:
            await self._client.create(path, makepath=True)
        except zke.NodeExistsError:
            return False
        except connection_errors as e:
            raise Uncertain(str(e)) from e
        return True

    # -- marks -----------------------------------------------------------

    async def delete_build(self, image: str, build_id: str) -> ImageBuild:
        """Have builders remove a build, its files and its uploads; as it is then.

        :raises AtWork: it is being built.
        :raises Conflict: it is gone, or a builder does not let go of it.
        :raises Unreadable: it makes no sense, so its state is not known.
        """
        record = _Record(
            "build",
            f"{image}-{build_id}",
            paths.image_build(image, build_id),
            image_paths.build_lock(image, build_id),
        )

        def decode(data: bytes, version: int) -> ImageBuild:
            return decode_image_build(image, build_id, data, version=version)

        return await self._mark(record, decode, encode_image_build)

    async def delete_upload(
        self, image: str, build_id: str, provider: str, upload_id: str
    ) -> ImageUpload:
        """Have builders remove an upload from its cloud; as it is then.

        :raises AtWork: it is being uploaded.
        :raises Conflict: it is gone, or a builder does not let go of it.
        :raises Unreadable: it makes no sense, so its state is not known.
        """
        record = _Record(
            "upload",
            f"{upload_id} of build {image}-{build_id} to {provider}",
            paths.image_upload(image, build_id, provider, upload_id),
            image_paths.upload_lock(image, build_id, provider, upload_id),
        )

        def decode(data: bytes, version: int) -> ImageUpload:
            return decode_image_upload(image, build_id, provider, upload_id, data, version=version)

        return await self._mark(record, decode, encode_image_upload)

    async def _mark(
        self, record: _Record, decode: Callable[[bytes, int], R], encode: Callable[[R], bytes]
    ) -> R:
        lock = Lock(self._client, record.lock_path, clock=self._clock)
        try:
            await self._look(record, decode)
            await lock.acquire(self._patience)
            for _ in range(_ATTEMPTS):
                before = await self._look(record, decode)
                if before.state is ImageState.DELETING:
                    return before
                now = self._clock.seconds()
                after = attrs.evolve(before, state=ImageState.DELETING, state_time=now)
                if await self._write(lock, record, encode(after), before.version):
                    return after
            raise Moved(record.what, record.id)
        except zke.LockTimeout as e:
            raise Locked(record.what, record.id) from e
        except zke.NoNodeError as e:
            raise Vanished(record.what, record.id) from e
        except connection_errors as e:
            raise Uncertain(str(e)) from e
        finally:
            await self._let_go(lock)

    async def _let_go(self, lock: Lock) -> None:
        """Give a lock up; without a connection that goes on by itself, or ends with the session."""
        # Who hears of it is told in time, whatever the servers do.
        with contextlib.suppress(TimeoutError):
            await lock.release().addTimeout(self._patience, self._clock)

    async def _look(self, record: _Record, decode: Callable[[bytes, int], R]) -> R:
        data, stat = await self._client.get(record.path)
        found = decode(data, stat.version)
        if found.state in (ImageState.BUILDING, ImageState.UPLOADING):
            raise AtWork(f"{record.what} {record.id} is {found.state.value}")
        return found

    async def _write(self, lock: Lock, record: _Record, data: bytes, version: int) -> bool:
        """Whether it was written; not so when somebody has written meanwhile."""
        txn = self._client.transaction()
        lock.release_in(txn)
        txn.set(record.path, data, version)
        try:
            await txn.commit()
        except TransactionFailed as e:
            if isinstance(e.error, zke.BadVersionError):
                return False
            raise (Vanished if e.index else Locked)(record.what, record.id) from e
        lock.released()
        return True
