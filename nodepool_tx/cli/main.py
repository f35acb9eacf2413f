"""``nodepool``: where the command line meets the world."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner

from nodepool_tx import names
from nodepool_tx.cli.commands import parse
from nodepool_tx.cli.options import LocalVerb
from nodepool_tx.cli.outcome import NotYet
from nodepool_tx.cli.question import TypedLine
from nodepool_tx.cli.running import run
from nodepool_tx.cli.ssh import ProcessSpawner
from nodepool_tx.cli.standard_input import EndOfPatience
from nodepool_tx.cli.target import Target, find_target
from nodepool_tx.cli.terminal import Terminal
from nodepool_tx.cli.visit import Connect, World, visiting
from nodepool_tx.logs import make_observer
from nodepool_tx.txzookeeper.client import ZookeeperClient

__all__ = ["execute", "main"]

#: Seconds between looks for a ZooKeeper that is being started.
_LOOK_AGAIN = 0.1


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit code."""
    options = parse(sys.argv[1:] if argv is None else argv, os.environ)
    from twisted.internet import reactor

    names.install(reactor)
    level = "debug" if options.debug else "critical"
    observer = make_observer(sys.stderr, "text", level)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    terminal = Terminal(sys.stdout, sys.stderr, reactor)
    patience = EndOfPatience(reactor, sys.stdin)
    world = World(
        environ=os.environ,
        reactor=reactor,
        terminal=terminal,
        connect=_client_maker(reactor),
        spawn=ProcessSpawner(reactor),
        interactive=sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty(),
        enough=patience.wait,
        listens=patience.listens,
        typed=TypedLine(reactor, sys.stdin).read if sys.stdin is not None else None,
    )
    code = run(reactor, lambda: execute(world, options), terminal, debug=options.debug)
    leave(sys.stdout)
    return code


def leave(stream: TextIO) -> None:
    """Keep the interpreter from complaining about a reader or a terminal that went away."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _client_maker(reactor: Any) -> Connect:
    def connect(target: Target) -> ZookeeperClient:
        return ZookeeperClient(
            reactor, target.servers, session_timeout=target.session_timeout, tls=target.tls
        )

    return connect


async def execute(world: World, options: argparse.Namespace) -> int:
    """Carry out one verb; its exit code.

    :raises Complaint: it did not work; the text says why and what to do.
    """
    known = options.known
    if known.local is not None:
        local: LocalVerb = known.local
        return await local(world, options)
    target = await _find_in_time(world, options)
    return await visiting(world, target, options, known.does)


async def _find_in_time(world: World, options: argparse.Namespace) -> Target:
    """Where ZooKeeper is; one that is being started is waited for."""
    deadline = world.reactor.seconds() + options.connect_timeout
    while True:
        try:
            return find_target(options, world.environ)
        except NotYet:
            if world.reactor.seconds() >= deadline:
                raise
            world.terminal.progress("the embedded ZooKeeper is being started")
            await deferLater(world.reactor, _LOOK_AGAIN)
