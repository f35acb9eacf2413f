"""How a command ends: its exit code, and one line that says what to do."""

from __future__ import annotations

import enum

__all__ = ["Complaint", "ExitCode", "NotYet"]


class ExitCode(enum.IntEnum):
    """What the shell is told.

    ``request LABEL -- COMMAND`` ends with the command's own code instead, if
    the command ran; the codes from 124 up are those that ``timeout`` and
    shells use, so that they do not collide with a command's usual ones.
    """

    OK = 0
    #: It was tried and did not work: no such node, locked, request failed.
    FAILED = 1
    #: Wrong arguments, or a configuration that cannot be used.
    USAGE = 2
    #: ZooKeeper does not answer, or the embedded one does not run.
    NO_ZOOKEEPER = 3
    #: ``--timeout`` passed before there were nodes, or before a drained place was empty.
    TIMED_OUT = 124
    #: The session ended while nodes were in use: they are no longer ours.
    LOST = 125
    INTERRUPTED = 130


class Complaint(Exception):
    """The reason a command cannot go on, in words for the person who typed it."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


class NotYet(Complaint):
    """Something is about to be there: it is worth asking again in a moment."""
