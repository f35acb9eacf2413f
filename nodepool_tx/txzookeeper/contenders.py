"""Who stands in the queue for a lock: kazoo's names, kazoo's order."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs
from kazoo.exceptions import NoNodeError
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.claim import LOCK_MARK, all_answers
from nodepool_tx.txzookeeper.interface import ZookeeperAPI

__all__ = ["Contender", "contenders", "predecessor"]

# A name may begin with anything: other implementations choose other prefixes.
# Readers and writers of kazoo's shared locks carry other marks and do not count.
_contender = re.compile(re.escape(LOCK_MARK) + r"(-?\d{10})$")


@attrs.frozen
class Contender:
    """One who holds a lock or waits for it.

    :ivar identifier: what it calls itself; may be empty.
    :ivar session: the session it goes with; 0 if it stays without.
    """

    path: str
    identifier: str
    session: int


def _queue(names: Iterable[str]) -> list[tuple[str, str]]:
    """Sequence and name of every contender, the first in the queue first.

    Sequences are compared as text, as kazoo does: they all have ten digits,
    until they overflow and turn negative.
    """
    found = ((match.group(1), name) for name in names if (match := _contender.search(name)))
    return sorted(found)


def predecessor(names: Iterable[str], sequence: str) -> str | None:
    """The name to wait for before it is the turn of the one with ``sequence``."""
    ahead = [name for other, name in _queue(names) if other < sequence]
    return ahead[-1] if ahead else None


def contenders(client: ZookeeperAPI, path: str) -> Deferred[tuple[Contender, ...]]:
    """Who contends for the lock at ``path``, the holder first.

    A lock that does not exist has no contenders.  Takes two round trips.
    """
    return Deferred.fromCoroutine(_contenders(client, path))


async def _contenders(client: ZookeeperAPI, path: str) -> tuple[Contender, ...]:
    try:
        names = await client.get_children(path)
    except NoNodeError:
        return ()
    paths = [f"{path}/{name}" for _, name in _queue(names)]
    found = []
    for contender, answer in zip(
        paths, await all_answers([client.get(one) for one in paths]), strict=True
    ):
        if not isinstance(answer, Failure):
            data, stat = answer
            identifier = data.decode("utf-8", "replace")
            found.append(Contender(contender, identifier, stat.ephemeralOwner))
        elif not answer.check(NoNodeError):
            answer.raiseException()
    return tuple(found)
