"""Who did what, for those who have to account for it later.

Every entry goes to the launcher's log, and to a file of its own if there is
one: a JSON object on each line, readable by the launcher's user alone.
Nothing secret is ever handed in: no password, no token, no key.
"""

from __future__ import annotations

import datetime
import json
import os
import stat
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["LONGEST", "Audit"]

#: Longer texts are cut.
LONGEST = 10_000


class Audit:
    """The audit log.

    :param path: of the file, which is opened by :meth:`reopen` or the first
        entry; None for the launcher's log only.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, path: str | None = None) -> None:
        self._clock = clock
        self._path = path
        self._file: int | None = None
        #: The last entry was written in part, as when the disk was full.
        self._torn = False
        self._trouble = ""

    def use(self, path: str | None) -> None:
        """Write to another file from now on, or to none."""
        if path != self._path:
            self._path = path
            self.reopen()

    def reopen(self) -> None:
        """Begin anew with whatever is there under the file's name, after a rotation."""
        self._torn = False
        self._begin()

    def _begin(self) -> None:
        self.close()
        if self._path is not None:
            try:
                self._file = _open(self._path)
            except OSError as e:
                self._tell(e)

    def close(self) -> None:
        """Let go of the file; the next entry opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def record(self, who: str, where: str, what: str, outcome: str = "", **more: Any) -> None:
        """Write one entry.

        :param who: the user's name, as far as it is known.
        :param where: the way in and the address, such as ``console 127.0.0.1``.
        :param what: such as ``log-in``, or what was typed.
        :param outcome: such as ``ok``, or why not.
        :param more: further fields; values that JSON does not have become text.
        """
        who, where, what, outcome = (text[:LONGEST] for text in (who, where, what, outcome))
        # Texts of others are quoted, so that none can pass for another entry.
        self._log.info(
            "audit: {who!r} at {where}: {what!r}: {outcome!r}",
            who=who,
            where=where,
            what=what,
            outcome=outcome,
            **more,
        )
        if self._path is None:
            return
        when = datetime.datetime.fromtimestamp(self._clock.seconds(), datetime.timezone.utc)
        told = {
            "time": when.isoformat(timespec="milliseconds"),
            "who": who,
            "where": where,
            "what": what,
            "outcome": outcome,
        }
        self._write(json.dumps({**more, **told}, default=str) + "\n")

    def _write(self, line: str) -> None:
        if self._file is None:
            self._begin()
        if self._file is None:
            return
        data = line.encode()
        if self._torn:
            # This one is not to be lost with it.
            data = b"\n" + data
        try:
            while data:
                data = data[os.write(self._file, data) :]
                self._torn = bool(data)
            self._trouble = ""
        except OSError as e:
            self._tell(e)
            self.close()

    def _tell(self, error: OSError) -> None:
        """Once for each kind of trouble: entries are in the launcher's log all the same."""
        trouble = error.strerror or str(error)
        if trouble != self._trouble:
            self._trouble = trouble
            self._log.error(
                "the audit log {path} cannot be written: {reason}", path=self._path, reason=trouble
            )


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    file = os.open(path, flags, 0o600)
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) & 0o077:
        try:
            os.fchmod(file, 0o600)
        except OSError:
            os.close(file)
            raise
    return file
