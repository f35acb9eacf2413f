"""How many nodes to ask for, and when to ask again: pure decisions."""

from __future__ import annotations

import attrs

__all__ = ["FIRST_REST", "LONGEST_REST", "Plan", "Rest", "View", "plan"]

#: Seconds a label is left alone after a first failure, and at most.
FIRST_REST, LONGEST_REST = 15.0, 600.0

#: By how much of itself a rest may be shorter, so that labels do not ask in step.
_JITTER = 0.25


@attrs.frozen
class Rest:
    """What failed requests have taught.

    :ivar failures: how many times in a row asking was of no use.
    :ivar until: when to ask again (the clock's seconds).
    """

    failures: int = 0
    until: float = 0.0

    def after_failure(self, now: float, luck: float) -> Rest:
        """A longer rest; several that fail during one make it no longer.

        :param luck: a random number from 0 to 1.
        """
        if now < self.until:
            return self
        length: float = min(LONGEST_REST, FIRST_REST * 2 ** min(self.failures, 30))
        return Rest(self.failures + 1, now + length * (1 - _JITTER * luck))


@attrs.frozen
class View:
    """A label, as its keeper sees it.

    Everything counts once: a node that is promised to a request that waits is
    in ``requested`` alone.

    :ivar ready: nodes that are in stock, or will be without anybody's doing.
    :ivar building: nodes on their way that are promised to nobody.
    :ivar requested: nodes that ``min-ready`` requests of any launcher wait for.
    :ivar own: how many of those this launcher wrote.
    :ivar untaken: how many of these nobody works on yet.
    :ivar possible: somebody online may have nodes of it made.
    :ivar resting: asking was of no use a short while ago.
    :ivar failures: how many times in a row that was so.
    """

    ready: int = 0
    building: int = 0
    requested: int = 0
    own: int = 0
    untaken: int = 0
    possible: bool = True
    resting: bool = False
    failures: int = 0


@attrs.frozen
class Plan:
    """Requests to write, one for each node, or to take back; never both."""

    ask: int = 0
    withdraw: int = 0


def plan(wanted: int, view: View) -> Plan:
    """What to do so that ``wanted`` nodes are in stock.

    After a failure one request is risked, and the others wait for its outcome.
    """
    missing = wanted - view.ready - view.building - view.requested
    if missing <= 0:
        return Plan(withdraw=min(-missing, view.untaken))
    if not view.possible or view.resting:
        return Plan()
    if view.failures:
        return Plan(ask=0 if view.own else 1)
    return Plan(ask=missing)
