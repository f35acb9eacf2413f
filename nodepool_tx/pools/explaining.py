"""Why a request waits: frozen values that the command line, the web and the console show.

Each pool gives its own :class:`PoolExplanation`; put together they answer
"why does this request wait" rule by rule, pool by pool and node by node.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import attrs

from nodepool_tx.model import Node

__all__ = ["Effect", "Insight", "NodeExplanation", "PoolExplanation", "Reason", "Rule"]


class Effect(enum.Enum):
    """What a rule does to a request."""

    #: It is satisfied.
    PASSED = "passed"
    #: The request waits because of it, and may be served when that changes.
    WAITS = "waits"
    #: This pool will not serve the request, another may.
    REFUSED = "refused"


@attrs.frozen
class Rule:
    """One rule and what it says about one request.

    :ivar name: short and stable, for programs, such as ``labels``,
        ``priority``, ``max-servers``, ``tenant-limit``, ``quota``, ``breaker``,
        ``maintenance``, ``max-concurrency``, ``queue``.
    :ivar words: for people, with the numbers that count.
    :ivar since: when it began to hold the request back (seconds since the
        epoch), if that is known.
    """

    name: str
    effect: Effect
    words: str
    since: float | None = None


@attrs.frozen
class NodeExplanation:
    """A node with a label that the request asks for, and why it is not given.

    :ivar node_id: "" for a place where a node could be and is none, such as a
        machine that is down.
    :ivar state: of the node; of the machine where there is no node.
    :ivar usable: it could be given this moment.
    :ivar use: in a word or two what is done with it, equal for many nodes.
    :ivar host: the machine's name, if it has one.
    """

    node_id: str
    labels: tuple[str, ...]
    state: str
    usable: bool
    words: str
    use: str = ""
    host: str | None = None


@attrs.frozen
class PoolExplanation:
    """What one pool of one launcher says about a request.

    :ivar launcher: its host name.
    :ivar verdict: one line: what this pool does about the request now.
    :ivar rules: all that were looked at, in the order in which they apply.
    :ivar nodes: the most telling first; ``more_nodes`` counts those left out.
    :ivar id: what the pool is registered as; it is what a request's
        ``declined_by`` names.
    :ivar answered: False if its launcher was not heard, and this is what can
        be told from ZooKeeper and the configuration alone.
    """

    launcher: str
    provider: str
    pool: str
    verdict: str
    rules: tuple[Rule, ...] = ()
    nodes: tuple[NodeExplanation, ...] = ()
    more_nodes: int = 0
    id: str = ""
    answered: bool = True

    @property
    def effect(self) -> Effect:
        """What all rules together do to the request."""
        effects = {rule.effect for rule in self.rules}
        for effect in (Effect.REFUSED, Effect.WAITS):
            if effect in effects:
                return effect
        return Effect.PASSED


@attrs.frozen
class Reason:
    """Why a request waits in one pool, in a line.

    :ivar serves: the pool would serve it; else it leaves it to others.
    """

    provider: str
    pool: str
    words: str
    serves: bool


class Insight(Protocol):
    """What a provider knows beyond what its pools decide with.

    Everything is answered from memory, at once.
    """

    def disabled(self, pool: str) -> Collection[str]:
        """Labels that are configured in a pool and switched off by ``min-ready: -1``."""

    def rules(self, pool: str, labels: Sequence[str]) -> Sequence[Rule]:
        """What the provider says about nodes to be made for these labels."""

    def about(self, node: Node) -> str:
        """More about one of its nodes, in words; "" where there is nothing."""

    def vacancies(self, pool: str, labels: Iterable[str]) -> Sequence[NodeExplanation]:
        """Where nodes with any of these labels could be, and why there is none."""
