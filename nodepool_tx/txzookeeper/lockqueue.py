"""Joining the queue for a lock and moving up in it, over lost connections too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kazoo.exceptions import NoNodeError
from kazoo.protocol.states import ZnodeStat
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.caughtup import caught_up
from nodepool_tx.txzookeeper.claim import NO_ANSWER, Claim, all_answers
from nodepool_tx.txzookeeper.contenders import predecessor
from nodepool_tx.txzookeeper.interface import ZookeeperAPI
from nodepool_tx.txzookeeper.retry import retry_reads

__all__ = ["Answers", "LockQueue"]

#: What was read, in the order asked for; None for what does not exist.
Answers = tuple[tuple[bytes, ZnodeStat] | None, ...]


class LockQueue:
    """The directory of a lock, as one who wants it sees it.

    :param data: what our contenders hold.
    :param makepath: make the directory's parents if they are missing.
    """

    def __init__(self, client: ZookeeperAPI, path: str, data: bytes, makepath: bool) -> None:
        self._client = client
        self._path = path
        self._data = data
        self._makepath = makepath

    async def enter(
        self, ephemeral: bool, reads: tuple[str, ...], claimed: Callable[[Claim], None]
    ) -> tuple[Claim, list[str], Answers]:
        """Join the queue and read, in one round trip if nothing comes in between.

        Returns our claim, the names in the directory and what was read.

        :param claimed: called with each claim before it is made.
        """
        client = self._client
        while True:
            claim = Claim(client, self._path, self._data, ephemeral=ephemeral)
            claimed(claim)
            _, created, *looked = await all_answers(
                [
                    client.create(self._path),
                    claim.create(),
                    client.get_children(self._path),
                    *map(client.get, reads),
                ]
            )
            try:
                if isinstance(created, Failure):
                    created.raiseException()
                return claim, *_understand(looked)
            except NO_ANSWER:
                try:
                    names, answers = await self._look(claim, reads, unsure=True)
                except NoNodeError:
                    # The directory was not made either.
                    continue
                if claim.recognise(names):
                    return claim, names, answers
            except NoNodeError:
                if not self._makepath:
                    raise
                await retry_reads(client, lambda: client.ensure_path(self._path))

    async def _look(
        self, claim: Claim, reads: tuple[str, ...] = (), *, unsure: bool = False
    ) -> tuple[list[str], Answers]:
        """List the queue, again and again as long as the claim's session lasts.

        :param unsure: the contender may still be on its way to the server.
        """
        while await claim.session_lasts():
            requests: list[Deferred[Any]] = [caught_up(self._client)] if unsure else []
            requests += [self._client.get_children(self._path), *map(self._client.get, reads)]
            try:
                return _understand((await all_answers(requests))[-1 - len(reads) :])
            except NO_ANSWER:
                continue
        raise claim.refusal()

    async def wait_for_turn(self, claim: Claim, names: list[str]) -> bool:
        """Wait until nobody is ahead; False if our contender was removed meanwhile."""
        while claim.name in names:
            ahead = predecessor(names, claim.sequence)
            if ahead is None:
                return True
            reading, watch = self._client.get_and_watch(f"{self._path}/{ahead}")
            try:
                await reading
                await watch
            except (NoNodeError, *NO_ANSWER):
                pass
            names, _ = await self._look(claim)
        return False


def _understand(answers: list[Any]) -> tuple[list[str], Answers]:
    """The names in the queue and what was read; a read of nothing is None."""
    names, *reads = answers
    if isinstance(names, Failure):
        names.raiseException()
    found: list[tuple[bytes, ZnodeStat] | None] = []
    for read in reads:
        if not isinstance(read, Failure):
            found.append(read)
        elif read.check(NoNodeError):
            found.append(None)
        else:
            read.raiseException()
    return names, tuple(found)
