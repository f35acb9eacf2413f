"""Logging in with a password, the same way for everything that asks for one."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodepool_tx.audit import Audit
from nodepool_tx.auth.attempts import Attempts
from nodepool_tx.auth.interface import Denied, Directory, DirectoryTrouble, LockedOut, Principal

__all__ = ["LogIns"]

#: Of names in logs: nobody has a longer one, but anybody can send one.
LONGEST_NAME = 100


class LogIns:
    """Checks passwords against a directory; failures are delayed, limited and written down.

    :param attempts: shared with all other ways in.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, directory: Directory, attempts: Attempts, audit: Audit
    ) -> None:
        self._clock = clock
        self._directory = directory
        self._attempts = attempts
        self._audit = audit

    async def log_in(
        self, user: str, password: str, *, way_in: str, address: str, group: str | None = None
    ) -> Principal:
        """See who somebody is; takes longer the more often they have failed.

        :param way_in: such as ``console``, for the audit log.
        :param address: where they are.
        :raises LockedOut: no attempt was made, at once.
        :raises Denied: they may not.
        :raises DirectoryTrouble: it cannot be told.
        """
        where = f"{way_in} {address}"
        shown = user[:LONGEST_NAME]
        try:
            attempt = self._attempts.begin(user, address)
        except LockedOut as e:
            self._refused(shown, where, str(e))
            raise
        began = self._clock.seconds()
        try:
            principal = await self._directory.log_in(user, password, group)
        except Denied as e:
            delay = attempt.failed()
            self._refused(shown, where, str(e))
            # Counted from the begin: how long the directory took tells whether it knows the name.
            taken = max(0.0, self._clock.seconds() - began)
            await deferLater(self._clock, delay - taken % delay)
            raise
        except DirectoryTrouble as e:
            attempt.abandoned()
            self._log.error("log-ins cannot be checked: {reason}", reason=str(e))
            self._audit.record(shown, where, "log-in", f"cannot be checked: {e}", how="password")
            raise
        except BaseException:
            # Whoever asked has gone.
            attempt.abandoned()
            raise
        attempt.succeeded()
        self._audit.record(principal.name, where, "log-in", "ok", how="password")
        return principal

    def _refused(self, user: str, where: str, reason: str) -> None:
        self._log.warn(
            "log-in of {user!r} at {where} refused: {reason}",
            user=user,
            where=where,
            reason=reason,
        )
        self._audit.record(user, where, "log-in", f"refused: {reason}", how="password")
