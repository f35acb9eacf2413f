"""What ZooKeeper has done, as values."""

from __future__ import annotations

from typing import Literal

import attrs

Kind = Literal["create", "delete", "set", "check"]


@attrs.frozen
class Operation:
    """One part of a transaction.

    :ivar data: what was written; None for `delete` and `check`.
    :ivar version: the version the znode has after it, or was checked for; None for `create`
        and `delete`.
    :ivar ephemeral: whether a created znode goes with its session.
    """

    kind: Kind
    path: str
    data: bytes | None = None
    version: int | None = None
    ephemeral: bool = False


@attrs.frozen
class Transaction:
    """Operations that happened at once, and who asked for them.

    Those that were refused are not among them: they changed nothing.

    :ivar milliseconds: the wall clock of the server that led, since 1970.
    """

    zxid: int
    milliseconds: int
    session: int
    operations: tuple[Operation, ...]


@attrs.frozen
class SessionOpened:
    """:ivar timeout: in milliseconds."""

    zxid: int
    milliseconds: int
    session: int
    timeout: int


@attrs.frozen
class SessionClosed:
    """By its owner or by expiry; its ephemeral znodes are gone with it."""

    zxid: int
    milliseconds: int
    session: int


Entry = Transaction | SessionOpened | SessionClosed
