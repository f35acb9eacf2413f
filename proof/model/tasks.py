"""What launchers that make nodes are about to do, in :mod:`proof.model.taking`."""

from __future__ import annotations

from typing import NamedTuple

from proof.model.clients import Client
from proof.model.mirror import (
    marks,
    mirrored_operations,
    mirrored_session,
    mirrored_text,
)
from proof.model.seen import Operations
from proof.model.zookeeper import Tree

__all__ = ["Job", "Launcher", "State", "place", "renamed"]


class Job(NamedTuple):
    """A task of a launcher, which does one thing after the other.

    :ivar kind: ``give``, ``janitor``: one transaction.  ``take``: a request
        under its lock.  ``make``, ``fail``, ``remove``: a node under its lock.
    :ivar phase: ``queued``, ``held``, ``taken``, ``leaving``, or ``once`` for
        one transaction.
    :ivar flight: what it has sent and not heard of.
    :ivar over: its lock is given up when that has arrived.
    """

    kind: str
    subject: str
    phase: str
    lock: str = ""
    contender: str = ""
    nodes: tuple[str, ...] = ()
    flight: Operations = ()
    over: bool = False

    @property
    def words(self) -> str:
        return f"{self.kind} {self.subject}"


class Launcher(NamedTuple):
    """:ivar pool: what it is registered as."""

    number: int
    session: int
    pool: str
    up: bool = True
    jobs: tuple[Job, ...] = ()


class State(NamedTuple):
    tree: Tree
    launchers: tuple[Launcher, ...]
    clients: tuple[Client, ...]
    losses: int
    crashes: int
    failures: int
    silences: int


def place(launcher: Launcher, tree: Tree) -> tuple[object, ...]:
    """Which of two launchers comes first: by all but their names."""
    jobs = tuple(
        (job.kind, job.subject, job.phase, job.nodes, len(job.flight), job.over)
        for job in launcher.jobs
    )
    registered = launcher.pool.count("'")
    lost = launcher.session // 100
    return (lost, registered, launcher.up, jobs, marks(tree, launcher.session, launcher.pool))


def renamed(launcher: Launcher) -> Launcher:
    """As if the other one were this one."""
    jobs = (
        job._replace(contender=mirrored_text(job.contender), flight=mirrored_operations(job.flight))
        for job in launcher.jobs
    )
    return Launcher(
        1 - launcher.number,
        mirrored_session(launcher.session),
        mirrored_text(launcher.pool),
        launcher.up,
        tuple(sorted(jobs)),
    )
