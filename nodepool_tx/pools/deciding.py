"""What is to be done about one request, from what there is at this moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import attrs

from nodepool_tx.model import NodeRequest, PoolComponent
from nodepool_tx.pools.accounts import Shortage
from nodepool_tx.pools.interface import NodeMaker, Objection
from nodepool_tx.pools.patience import age_of
from nodepool_tx.pools.planning import Plan, Planner
from nodepool_tx.pools.reservations import Reservation, Reservations
from nodepool_tx.pools.rules import MAINTENANCE, Answer, PoolView, Verdict, Wish, judge, verdicts
from nodepool_tx.store.nodes import NodeTable

__all__ = ["Course", "Deciding"]


@attrs.frozen
class Course:
    """What is to be done about a request now.

    :ivar plan: what it gets; in a pool that makes no nodes some may be missing.
    :ivar shortages: the limits for which it has to wait.
    :ivar objection: why nodes cannot be made for it.
    """

    plan: Plan | None = None
    shortages: tuple[Shortage, ...] = ()
    objection: Objection | None = None


class Deciding:
    """Decides for one pool; looks at everything and changes nothing but reservations."""

    def __init__(
        self,
        nodes: NodeTable,
        reservations: Reservations,
        planner: Planner,
        maker: NodeMaker | None,
    ) -> None:
        self._nodes = nodes
        self._reservations = reservations
        self._planner = planner
        self._maker = maker

    def judge(self, wish: Wish, me: PoolView, online: Iterable[PoolComponent]) -> Verdict:
        """What this pool does about all requests with one wish.

        What cannot be served even if nothing were in use is declined, also
        while the provider is out of service.
        """
        verdict = judge(wish, me, online)
        if verdict.answer is not Answer.SERVE and verdict.rule != MAINTENANCE:
            return verdict
        alone = self._alone(wish)
        return verdict if alone.answer is Answer.SERVE else alone

    def verdicts(
        self, wish: Wish, me: PoolView, online: Iterable[PoolComponent]
    ) -> tuple[Verdict, ...]:
        """What each rule says of which :meth:`judge` makes one answer."""
        return (*verdicts(wish, me, online), self._alone(wish))

    def _alone(self, wish: Wish) -> Verdict:
        """Whether it could be served if nothing were in use."""
        charges = self._planner.if_all_were_new(wish.labels, wish.tenant)
        short: tuple[Shortage, ...] = ()
        if charges is not None:
            short = self._reservations.alone(charges, self._planner.limits())
        if not short:
            return Verdict(Answer.SERVE, "it fits into every limit if nothing is in use", "alone")
        reasons = "; ".join(f"{s.account}: {s.resource}" for s in short)
        return Verdict(Answer.DECLINE, f"it alone exceeds the limit of {reasons}", "alone")

    def decide(self, request: NodeRequest, held_back: Collection[str]) -> Course:
        """What to do about a request that the rules say is ours to serve.

        :param held_back: ids of nodes that are kept for others.
        """
        if self._maker is None:
            # Who waits for a tenant's limit must keep nothing from others.
            charges = self._planner.if_all_were_new(request.node_types, request.tenant_name)
            short = self._reservations.shortages(charges or (), {}, age_of(request))
            if short:
                return Course(shortages=short)
        plan = self._planner.plan(request, held_back)
        if isinstance(plan, Objection):
            return Course(objection=plan)
        limits = self._planner.limits()
        short = self._reservations.shortages(plan.charges, limits, age_of(request))
        return Course(plan, short)

    def reserve(self, plan: Plan) -> Reservation:
        """Keep what a plan uses from being used by another."""
        self._nodes.reserve([node.id for node in plan.present])
        return self._reservations.reserve(plan.charges)

    def find_room(
        self, request: NodeRequest, labels: Sequence[str], zone: str | None, has: Collection[str]
    ) -> tuple[Plan, Reservation] | None:
        """More nodes for a request that has some; None if there is no room for them now."""
        plan = self._planner.plan(request, has, labels, zone)
        if isinstance(plan, Objection):
            return None
        if self._reservations.shortages(plan.charges, self._planner.limits(), age_of(request)):
            return None
        return plan, self.reserve(plan)
