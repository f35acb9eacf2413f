"""Why a request waits: frozen values that the command line, the web and the console show.

Each pool gives its own :class:`PoolExplanation`; put together they answer
"why does this request wait" rule by rule, pool by pool and node by node.
"""

from __future__ import annotations

import enum

import attrs

__all__ = ["Effect", "NodeExplanation", "PoolExplanation", "Rule"]


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

    :ivar usable: it could be given this moment.
    """

    node_id: str
    labels: tuple[str, ...]
    state: str
    usable: bool
    words: str


@attrs.frozen
class PoolExplanation:
    """What one pool of one launcher says about a request.

    :ivar launcher: its host name.
    :ivar verdict: one line: what this pool does about the request now.
    :ivar rules: all that were looked at, in the order in which they apply.
    :ivar nodes: the most telling first; ``more_nodes`` counts those left out.
    """

    launcher: str
    provider: str
    pool: str
    verdict: str
    rules: tuple[Rule, ...] = ()
    nodes: tuple[NodeExplanation, ...] = ()
    more_nodes: int = 0
