"""A command's visit to ZooKeeper: connect, know what is there, work, leave in order."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
from kazoo.exceptions import AuthFailedError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.ssh import Spawner
from nodepool_tx.cli.target import Target
from nodepool_tx.cli.terminal import Terminal
from nodepool_tx.config import Config
from nodepool_tx.store.change import Uncertain, connection_errors
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.interface import ZookeeperAPI

__all__ = ["BROKEN", "Connect", "Verb", "Visit", "World", "visiting"]

#: Seconds to read all that is in ZooKeeper, and to leave.
_READING = 60.0
_LEAVING = 5.0

#: The connection broke; what was asked may have happened.
BROKEN: tuple[type[Exception], ...] = (Uncertain, *connection_errors)

#: Makes a client for a target; it is not connected yet.
Connect = Callable[[Target], ZookeeperAPI]


@attrs.frozen(kw_only=True)
class World:
    """What a command finds around it, real or staged.

    :ivar reactor: tells the time.
    :ivar interactive: standard input and output are somebody's terminal.
    :ivar enough: waits until the person there has had enough.
    :ivar listens: that person, or program, can say so on standard input.
    :ivar typed: the next line that is typed there; None if nothing can be.
    """

    environ: Mapping[str, str]
    reactor: Any
    terminal: Terminal
    connect: Connect
    spawn: Spawner
    interactive: bool
    enough: Callable[[], Deferred[None]]
    listens: bool = True
    typed: Callable[[], Deferred[str]] | None = None


@attrs.frozen(kw_only=True)
class Visit:
    """All that a verb works with.

    :ivar store: current when the verb begins.
    """

    world: World
    client: ZookeeperAPI
    store: Store
    config: Config | None
    options: argparse.Namespace

    @property
    def clock(self) -> IReactorTime:
        clock: IReactorTime = self.world.reactor
        return clock

    @property
    def terminal(self) -> Terminal:
        return self.world.terminal


Verb = Callable[[Visit], Awaitable[int]]


async def visiting(world: World, target: Target, options: argparse.Namespace, verb: Verb) -> int:
    """Do ``verb`` while connected to ``target``; its exit code.

    Whatever the command leaves behind in ZooKeeper that is ephemeral is gone
    when this is over, also when it is cancelled.

    :raises Complaint: ZooKeeper does not answer, or stopped answering.
    """
    reactor = world.reactor
    try:
        client = world.connect(target)
    except (ValueError, OSError) as e:
        raise Complaint(f"cannot use ZooKeeper at {target.described}: {e}", ExitCode.USAGE) from e
    store = Store(client, reactor)
    try:
        await _connected(client, target, reactor, options.connect_timeout)
        store.startService()
        await _current(store, target, reactor)
        visit = Visit(
            world=world, client=client, store=store, config=target.config, options=options
        )
        return await verb(visit)
    except BROKEN as e:
        raise Complaint(
            f"the connection to ZooKeeper at {target.described} broke ({e or type(e).__name__}): "
            "what was asked for may have happened or not; look again",
            ExitCode.NO_ZOOKEEPER,
        ) from e
    finally:
        if store.running:
            await store.stopService()
        await _quietly(client.close().addTimeout(_LEAVING, reactor))


async def _connected(client: ZookeeperAPI, target: Target, reactor: Any, patience: float) -> None:
    try:
        await client.connect().addTimeout(patience, reactor)
    except TimeoutError:
        reason = getattr(client, "last_failure", "") or "no answer"
        raise Complaint(
            f"cannot reach ZooKeeper at {target.described} within {patience:g} s ({reason}): "
            "is it running?",
            ExitCode.NO_ZOOKEEPER,
        ) from None
    except AuthFailedError:
        raise Complaint(
            f"ZooKeeper at {target.described} refuses our credentials", ExitCode.NO_ZOOKEEPER
        ) from None


async def _current(store: Store, target: Target, reactor: Any) -> None:
    current: Deferred[None] = Deferred()

    def on_change(is_current: bool) -> None:
        if is_current and not current.called:
            current.callback(None)

    forget = store.when_current(on_change)
    try:
        if not store.current:
            await current.addTimeout(_READING, reactor)
    except TimeoutError:
        raise Complaint(
            f"ZooKeeper at {target.described} did not show what it holds within {_READING:g} s; "
            "--debug may tell why (it must be 3.6 or newer)",
            ExitCode.NO_ZOOKEEPER,
        ) from None
    finally:
        forget()
    # Not in the middle of what told us.
    await deferLater(reactor, 0)


async def _quietly(leaving: Deferred[None]) -> None:
    """The session ends by itself when this fails."""
    try:
        await leaving
    except (CancelledError, TimeoutError):
        return
    except BROKEN:
        return
