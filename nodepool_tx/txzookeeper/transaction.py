"""Transactions: several changes in one request, all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kazoo.exceptions import BadArgumentsError, RolledBackError, RuntimeInconsistency
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.interface import TransactionFailed
from nodepool_tx.txzookeeper.wire import (
    Decoder,
    Multi,
    Record,
    check_operation,
    create_operation,
    delete_operation,
    read_multi,
    set_operation,
)

__all__ = ["MultiTransaction", "creation_flags"]

#: What the server reports for operations that are only carried along by the failure.
_CARRIED = (RolledBackError, RuntimeInconsistency)


def creation_flags(ephemeral: bool, sequence: bool) -> int:
    """ZooKeeper's numbers for the kind of a znode."""
    return int(ephemeral) | int(sequence) << 1


class MultiTransaction:
    """ZooKeeper's ``multi``, as :class:`~.interface.Transaction` describes it.

    :param absolute: puts the chroot before a path; None if the path is bad.
    :param relative: takes it away again.
    :param acl: of what it creates, packed.
    """

    __slots__ = ("_absolute", "_acl", "_ask", "_bad", "_names", "_operations", "_relative")

    def __init__(
        self,
        ask: Callable[[Record, Decoder], Deferred[Any]],
        absolute: Callable[[str, bool], str | None],
        relative: Callable[[str], str],
        acl: bytes,
    ) -> None:
        self._ask = ask
        self._absolute = absolute
        self._relative = relative
        self._acl = acl
        self._names: list[str] = []
        self._operations: list[bytes] = []
        self._bad: TransactionFailed | None = None

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False
    ) -> None:
        flags = creation_flags(ephemeral, sequence)
        full = self._path("create", path, sequence)
        self._operations.append(create_operation(full, data, self._acl, flags))

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        self._operations.append(set_operation(self._path("set", path), data, version))

    def delete(self, path: str, version: int = -1) -> None:
        self._operations.append(delete_operation(self._path("delete", path), version))

    def check(self, path: str, version: int = -1) -> None:
        self._operations.append(check_operation(self._path("check", path), version))

    def commit(self) -> Deferred[list[Any]]:
        if self._bad is not None:
            return fail(self._bad)
        if not self._operations:
            return succeed([])
        return self._ask(Multi(self._operations), self._read)

    def _path(self, operation: str, path: str, sequence: bool = False) -> str:
        full = self._absolute(path, sequence)
        if full is None and self._bad is None:
            self._bad = TransactionFailed(len(self._names), operation, BadArgumentsError(path))
        self._names.append(operation)
        return full or path

    def _read(self, frame: bytes, offset: int) -> list[Any] | Failure:
        results = read_multi(frame, offset)
        for index, result in enumerate(results):
            if isinstance(result, str):
                results[index] = self._relative(result)
            elif isinstance(result, Exception) and not isinstance(result, _CARRIED):
                return Failure(TransactionFailed(index, self._names[index], result))
        return results
