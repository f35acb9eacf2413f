"""Asking all launchers why a request waits."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TypeVar

from kazoo import exceptions as zke
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from nodepool_tx.config.schema import Config
from nodepool_tx.explain.here import unreadable
from nodepool_tx.explain.judging import judge_pool
from nodepool_tx.explain.questions import (
    answer_path,
    encode_question,
    launcher_id,
    question_path,
)
from nodepool_tx.explain.summary import in_order, summary_of
from nodepool_tx.explain.values import Explanation, decode_answer, request_as_value
from nodepool_tx.model import LauncherComponent
from nodepool_tx.pools.explaining import PoolExplanation
from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain, connection_errors
from nodepool_tx.store.codec import Unreadable
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.interface import ZookeeperAPI
from nodepool_tx.work import shielded

__all__ = ["PATIENCE", "ask"]

T = TypeVar("T")

#: Seconds for which answers are waited for.
PATIENCE = 2.0

_log = Logger()


async def ask(
    store: Store, request_id: str, *, config: Config | None = None, patience: float = PATIENCE
) -> Explanation | None:
    """What every pool that is online says about a request; None if there is none of that id.

    Who does not answer in time is told of from what ZooKeeper shows.

    :param config: for the limits of those who do not answer.
    :raises Uncertain: the connection broke.
    """
    if request_id in store.requests.unreadable:
        return unreadable(request_id, store)
    if store.requests.get(request_id) is None:
        return None
    try:
        answers = await _ask_all(store, request_id, patience)
        locked_by = await _holder(store, request_id)
    except connection_errors as e:
        raise Uncertain(str(e) or type(e).__name__) from e
    # It may have gone on meanwhile.
    request = store.requests.get(request_id)
    if request is None:
        return None
    heard = [pool for pools in answers.values() if pools for pool in pools]
    known = {pool.id for pool in heard}
    online = store.components.pools()
    judged = [judge_pool(pool, request, store, config) for pool in online if pool.id not in known]
    now, pools = store.clock.seconds(), in_order([*heard, *judged])
    return Explanation(
        request=request_as_value(
            request,
            now=now,
            locked=store.requests.is_locked(request_id),
            locked_by=locked_by,
        ),
        summary=summary_of(request, pools, online, now, locked_by),
        pools=pools,
        silent=tuple(launcher for launcher, found in sorted(answers.items()) if found is None),
    )


async def _ask_all(
    store: Store, request_id: str, patience: float
) -> Mapping[str, tuple[PoolExplanation, ...] | None]:
    """By launcher what it answered; None if it did not, or nothing that makes sense."""
    launchers = {
        launcher_id(each.path)
        for each in store.components.all()
        if isinstance(each, LauncherComponent) and each.kind == "launcher"
    }
    if not launchers:
        return {}
    client, name = store.client, uuid.uuid4().hex
    question = encode_question(request_id, store.clock.seconds())
    try:
        await client.create(question_path(name), question, makepath=True)
        await _wait_for_answers(store, name, launchers, patience)
        return {each: await _read(client, name, each) for each in launchers}
    finally:
        await _remove(client, name)


async def _wait_for_answers(store: Store, name: str, launchers: set[str], patience: float) -> None:
    """Until all have answered, or the time is over."""
    clock = store.clock
    deadline = clock.seconds() + patience

    def in_time(deferred: Deferred[T]) -> Deferred[T]:
        return shielded(deferred).addTimeout(max(0.0, deadline - clock.seconds()), clock)

    try:
        while True:
            listing, changed = store.client.get_children_and_watch(question_path(name))
            answered: list[str] = await in_time(listing)
            if launchers <= set(answered) or clock.seconds() >= deadline:
                return
            await in_time(changed)
    except (TimeoutError, zke.NoNodeError):
        return


async def _read(
    client: ZookeeperAPI, name: str, launcher: str
) -> tuple[PoolExplanation, ...] | None:
    try:
        data, _ = await client.get(answer_path(name, launcher))
        return decode_answer(data)
    except zke.NoNodeError:
        return None
    except Unreadable as e:
        _log.debug("{launcher} answers: {reason}", launcher=launcher, reason=str(e))
        return None


async def _remove(client: ZookeeperAPI, name: str) -> None:
    """What stays because this fails, launchers remove after a while."""
    try:
        await client.delete_tree(question_path(name))
    except (zke.NotEmptyError, *connection_errors) as e:
        _log.debug("question {name} stays: {reason}", name=name, reason=str(e))


async def _holder(store: Store, request_id: str) -> str | None:
    """What whoever holds the lock of a request calls itself."""
    if not store.requests.is_locked(request_id):
        return None
    client, directory = store.client, paths.request_lock(request_id)
    try:
        contenders = await client.get_children(directory)
        if not contenders:
            return None
        first = min(contenders, key=lambda name: name[-10:])
        data, _ = await client.get(f"{directory}/{first}")
    except zke.NoNodeError:
        return None
    return data.decode("utf-8", "replace") or None
