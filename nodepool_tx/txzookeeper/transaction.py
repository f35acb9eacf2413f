"""Transactions: several changes in one request, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kazoo.exceptions import BadArgumentsError, RolledBackError, RuntimeInconsistency
from kazoo.protocol.serialization import CheckVersion, Create, Delete, SetData
from kazoo.protocol.serialization import Transaction as Multi
from kazoo.security import ACL
from twisted.internet.defer import Deferred, fail, succeed

from nodepool_tx.txzookeeper.interface import TransactionFailed
from nodepool_tx.txzookeeper.wire import Decoder, Record, read_multi

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
    """

    def __init__(
        self,
        ask: Callable[[Record, Decoder], Deferred[Any]],
        absolute: Callable[[str, bool], str | None],
        relative: Callable[[str], str],
        acl: Sequence[ACL],
    ) -> None:
        self._ask = ask
        self._absolute = absolute
        self._relative = relative
        self._acl = acl
        self._names: list[str] = []
        self._operations: list[Record] = []
        self._bad: TransactionFailed | None = None

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False
    ) -> None:
        flags = creation_flags(ephemeral, sequence)
        full = self._path("create", path, sequence)
        self._operations.append(Create(full, data, self._acl, flags))

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        self._operations.append(SetData(self._path("set", path), data, version))

    def delete(self, path: str, version: int = -1) -> None:
        self._operations.append(Delete(self._path("delete", path), version))

    def check(self, path: str, version: int = -1) -> None:
        self._operations.append(CheckVersion(self._path("check", path), version))

    def commit(self) -> Deferred[list[Any]]:
        if self._bad is not None:
            return fail(self._bad)
        if not self._operations:
            return succeed([])
        return self._ask(Multi(tuple(self._operations)), read_multi).addCallback(self._judge)

    def _path(self, operation: str, path: str, sequence: bool = False) -> str:
        full = self._absolute(path, sequence)
        if full is None and self._bad is None:
            self._bad = TransactionFailed(len(self._names), operation, BadArgumentsError(path))
        self._names.append(operation)
        return full or path

    def _judge(self, results: list[Any]) -> list[Any]:
        for index, result in enumerate(results):
            if isinstance(result, Exception) and not isinstance(result, _CARRIED):
                raise TransactionFailed(index, self._names[index], result)
        return [self._relative(result) if isinstance(result, str) else result for result in results]
