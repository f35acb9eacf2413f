"""What logging in is to those who ask for it."""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

__all__ = ["Denied", "Directory", "DirectoryTrouble", "LockedOut", "NotAMember", "Principal"]


@attrs.frozen
class Principal:
    """Somebody who has proven who they are.

    :ivar name: as the audit log names them.
    :ivar how: ``password``, ``key`` or ``token``.
    :ivar groups: those that were looked at and have them as a member.
    :ivar tenant: in whose name they ask for nodes, if that is fixed.
    """

    name: str
    how: str
    groups: tuple[str, ...] = ()
    tenant: str | None = None


class Denied(Exception):
    """Somebody may not log in; the text is for the log, not for them."""


class NotAMember(Denied):
    """They are who they say, and not in the group that may log in."""


class LockedOut(Denied):
    """There were too many failures: no attempt is made.

    :ivar retry_after: seconds until another may be.
    """

    def __init__(self, what: str, retry_after: float) -> None:
        super().__init__(f"{what} is locked for another {retry_after:.0f} s")
        self.retry_after = retry_after


class DirectoryTrouble(Exception):
    """It cannot be told whether somebody may log in; the text is for the log."""


class Directory(Protocol):
    """Where it is known who may log in with what password."""

    def log_in(self, user: str, password: str, group: str | None = None) -> Deferred[Principal]:
        """Check a password, and that its owner is in a group.

        :param group: the DN of the group; None for the directory's own.

        The Deferred fails with :exc:`Denied` or :exc:`DirectoryTrouble`, and
        fires in bounded time whatever the directory does.  Cancelling it lets
        go of the connection.
        """
