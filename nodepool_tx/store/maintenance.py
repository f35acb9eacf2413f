"""What operators took out of service, as all launchers see it.

Design note: an unreadable record keeps its target out of service
------------------------------------------------------------------
A record is there because somebody took something out of service, and its
znode's name alone says what.  So one whose content makes no sense still counts,
without an end and with that as its reason, until it is removed (``nodepool
return``): a machine that somebody works on is not to be given to a job because
of a typing mistake.  The same goes for content that speaks of something else
than the name does.  A znode whose name says nothing counts for nothing.

Design note: when a record is over
----------------------------------
``until`` passes by itself.  From that moment on the table does not show the
record, and tells so, whether or not its znode is still there.  Launchers remove
the znode (:mod:`nodepool_tx.maintenance`); nothing depends on when.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import attrs
from kazoo import exceptions as zke
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.model import Maintenance, MaintenanceMode
from nodepool_tx.store import paths
from nodepool_tx.store.change import Moved, Uncertain, Vanished, connection_errors
from nodepool_tx.store.codec import EMPTY, Unreadable
from nodepool_tx.txzookeeper.interface import ZookeeperAPI
from nodepool_tx.txzookeeper.treecache import CacheChange, CachedZnode, ChangeKind, TreeCache

__all__ = [
    "LATEST",
    "MaintenanceTable",
    "age_in_words",
    "decode_maintenance",
    "encode_maintenance",
    "in_words",
    "moment_in_words",
    "shown",
]

#: Times beyond the year 9999, wherever that ends last, cannot be shown to anybody.
LATEST = 253402300799.0 - 86400

#: Seconds after which an alarm is set anew, so that a clock that was put right
#: meanwhile is heeded.
LONGEST_ALARM = 3600.0


class MaintenanceTable:
    """The records of what is out of service.

    :ivar unreadable: path and reason of each znode that makes no sense.
    """

    _log = Logger()

    def __init__(self, client: ZookeeperAPI, cache: TreeCache, clock: IReactorTime) -> None:
        self._client = client
        self._clock = clock
        #: All that there are, by path; those that are over too.
        self._records: dict[str, Maintenance] = {}
        self._over: frozenset[str] = frozenset()
        self._alarm: IDelayedCall | None = None
        self._stopped = False
        self._observers: list[Callable[[], None]] = []
        self.unreadable: dict[str, str] = {}
        cache.subscribe(self._on_change)

    # -- reading ---------------------------------------------------------

    def all(self) -> tuple[Maintenance, ...]:
        """Everything that is out of service now, hosts first, by name."""
        return tuple(
            record for path, record in sorted(self._records.items()) if path not in self._over
        )

    def over(self) -> tuple[Maintenance, ...]:
        """The records whose time has passed and whose znodes are still there."""
        return tuple(self._records[path] for path in sorted(self._over))

    def of_host(self, hostname: str) -> Maintenance | None:
        """The record of a host that is out of service now."""
        # Asked for every slot of a provider, and mostly nothing is out of service.
        return self._current(paths.maintenance_of_host(hostname)) if self._records else None

    def of_provider(self, name: str) -> Maintenance | None:
        """The record of a provider that is out of service now, as a whole."""
        return self._current(paths.maintenance_of_provider(name)) if self._records else None

    def providers_in_words(self) -> dict[str, str]:
        """Each provider that is out of service as a whole now, and why."""
        now = self._clock.seconds()
        return {
            record.provider: in_words(record, now)
            for record in self._records.values()
            if record.provider is not None and not self._is_over(record)
        }

    def _current(self, path: str) -> Maintenance | None:
        record = self._records.get(path)
        return None if record is None or self._is_over(record) else record

    def _is_over(self, record: Maintenance) -> bool:
        return record.until is not None and record.until <= self._clock.seconds()

    # -- following -------------------------------------------------------

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Hear when something is taken out of service or returned; returns the removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def stop(self) -> None:
        """Tell nobody any more when a time has passed."""
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _on_change(self, change: CacheChange) -> None:
        if change.kind in (ChangeKind.CURRENT, ChangeKind.STALE):
            return
        parts = paths.below(paths.MAINTENANCE, change.path)
        if len(parts) != 1:
            return
        before = self._records.pop(change.path, None)
        self.unreadable.pop(change.path, None)
        if change.kind is not ChangeKind.REMOVED:
            assert change.znode is not None
            self._read(change.path, parts[0], change.znode)
        after = self._records.get(change.path)
        self._judge()
        if before != after or getattr(before, "version", None) != getattr(after, "version", None):
            self._tell()

    def _read(self, path: str, name: str, znode: CachedZnode) -> None:
        assert znode.stat is not None
        stat = znode.stat
        try:
            target = paths.maintained(name)
            if target is None:
                raise Unreadable("its name says neither which host nor which provider")
            record = decode_maintenance(*target, znode.data or b"")
        except Unreadable as e:
            self.unreadable[path] = str(e)
            self._log.warn("{path} is unreadable: {reason}", path=path, reason=str(e))
            if target is None:
                return
            host, provider = target
            record = Maintenance(
                mode=MaintenanceMode.MAINTAIN,
                host=host,
                provider=provider,
                reason=f"its record is unreadable: {e}",
                since=stat.mtime / 1000,
            )
        self._records[path] = attrs.evolve(record, version=stat.version)

    def _judge(self) -> None:
        """See which records are over, and wake when the next one will be."""
        self._over = frozenset(path for path, r in self._records.items() if self._is_over(r))
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        ends = [
            record.until
            for path, record in self._records.items()
            if record.until is not None and path not in self._over
        ]
        if ends and not self._stopped:
            delay = min(max(0.0, min(ends) - self._clock.seconds()), LONGEST_ALARM)
            self._alarm = self._clock.callLater(delay, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        before = self._over
        self._judge()
        if before != self._over:
            self._tell()

    def _tell(self) -> None:
        for observer in tuple(self._observers):
            try:
                observer()
            except Exception:
                self._log.failure("an observer of what is out of service failed")

    # -- changing --------------------------------------------------------

    async def put(self, record: Maintenance) -> Maintenance:
        """Take something out of service, or change the record of that.

        A record of version -1 is a new one; another must be what it was when
        it was read.  Gives the record with its version.

        :raises Moved: there is one already, or it was changed meanwhile.
        :raises Vanished: it was returned meanwhile.
        :raises Uncertain: the connection broke: look again.
        """
        path, data = _path(record), encode_maintenance(record)
        try:
            if record.version < 0:
                await self._client.create(path, data, makepath=True)
                return attrs.evolve(record, version=0)
            stat = await self._client.set(path, data, record.version)
        except (zke.NodeExistsError, zke.BadVersionError) as e:
            raise Moved("maintenance", record.target) from e
        except zke.NoNodeError as e:
            raise Vanished("maintenance", record.target) from e
        except connection_errors as e:
            raise Uncertain(str(e) or type(e).__name__) from e
        return attrs.evolve(record, version=stat.version)

    async def remove(self, record: Maintenance) -> bool:
        """Return something to service; False if that has happened already.

        :raises Moved: the record was changed since it was read.
        :raises Uncertain: the connection broke: look again.
        """
        try:
            await self._client.delete(_path(record), record.version)
        except zke.NoNodeError:
            return False
        except zke.BadVersionError as e:
            raise Moved("maintenance", record.target) from e
        except connection_errors as e:
            raise Uncertain(str(e) or type(e).__name__) from e
        return True


def _path(record: Maintenance) -> str:
    if record.host is not None:
        return paths.maintenance_of_host(record.host)
    assert record.provider is not None
    return paths.maintenance_of_provider(record.provider)


# -- JSON --------------------------------------------------------------------


def encode_maintenance(record: Maintenance) -> bytes:
    """The content of a record's znode."""
    values: dict[str, Any] = {
        "mode": record.mode.value,
        "host": record.host,
        "provider": record.provider,
        "reason": record.reason,
        "since": record.since,
        "until": record.until,
        "by": record.by,
    }
    return json.dumps(values).encode()


def decode_maintenance(host: str | None, provider: str | None, data: bytes) -> Maintenance:
    """The record in the znode of a host or a provider.

    :raises Unreadable: that is not what is there.
    """
    if not data:
        raise Unreadable(EMPTY)
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise Unreadable(f"it is not JSON: {e}") from e
    if not isinstance(values, dict):
        raise Unreadable("it is not an object")
    if (values.get("host"), values.get("provider")) != (host, provider):
        raise Unreadable("it is about something else than its name says")
    try:
        mode = MaintenanceMode(values.get("mode"))
    except ValueError as e:
        raise Unreadable(f"mode: {e}") from e
    until = values.get("until")
    return Maintenance(
        mode=mode,
        host=host,
        provider=provider,
        reason=_text(values, "reason"),
        since=_time("since", values.get("since", 0.0)),
        until=None if until is None else _time("until", until),
        by=_text(values, "by"),
    )


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise Unreadable(f"{key} is not text")
    return value


def _time(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable(f"{key} is not a number")
    if not (math.isfinite(value) and 0 <= value <= LATEST):
        raise Unreadable(f"{key} is no time")
    return float(value)


def shown(record: Maintenance | None) -> dict[str, Any] | None:
    """What a status shows of a record; its target is known there."""
    if record is None:
        return None
    return {
        "mode": record.mode.value,
        "reason": record.reason,
        "since": record.since,
        "until": record.until,
        "by": record.by,
    }


# -- words -------------------------------------------------------------------


def in_words(record: Maintenance, now: float) -> str:
    """What is out of service, since when, until when, by whom and why."""
    how = "drained" if record.mode is MaintenanceMode.DRAIN else "in maintenance"
    until = "" if record.until is None else f" until {moment_in_words(record.until)}"
    by = f" by {_plain(record.by)}" if record.by else ""
    reason = _plain(record.reason) or "no reason given"
    return (
        f"{record.target} is {how} since {moment_in_words(record.since)} "
        f"({age_in_words(now - record.since)}){until}{by}: {reason}"
    )


def _plain(text: str) -> str:
    """On one line, and without anything that would steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def moment_in_words(seconds: float) -> str:
    """A time for people, the same wherever they are."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def age_in_words(seconds: float) -> str:
    """A length of time in its two greatest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
