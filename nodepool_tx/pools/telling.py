"""What waits in a pool, and why.

Everything is told by the very functions that the pool decides with, so that
what is said is what is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

import attrs

from nodepool_tx.model import Node, NodeRequest, RequestState
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.backlog import Backlog
from nodepool_tx.pools.deciding import Course, Deciding
from nodepool_tx.pools.explaining import Effect, Insight, PoolExplanation, Reason, Rule
from nodepool_tx.pools.inhand import InHand
from nodepool_tx.pools.interface import Objection, PoolSettings
from nodepool_tx.pools.outcomes import Outcomes
from nodepool_tx.pools.patience import PATIENCE, Patience, age_of
from nodepool_tx.pools.planning import Plan, Planner
from nodepool_tx.pools.queue import Group, WaitingRequests
from nodepool_tx.pools.reasons import (
    coming_rule,
    concurrency_rule,
    disabled_rule,
    limit_rules,
    nodes_rule,
    queue_rule,
    rule_of,
    state_rule,
    verdict_of,
)
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.reservations import Reservations
from nodepool_tx.pools.rules import MAINTENANCE, Answer, Wish
from nodepool_tx.pools.standing import Standing
from nodepool_tx.pools.stock import Stock, look_at_nodes
from nodepool_tx.store.maintenance import age_in_words
from nodepool_tx.store.store import Store

__all__ = ["NoInsight", "Telling", "what_waits", "why_not_served"]

#: Seconds for which the reason of many equal requests is good enough.
FRESH = 1.0


class NoInsight:
    """The insight of a provider that knows no more than its pools."""

    def disabled(self, pool: str) -> Collection[str]:
        return ()

    def rules(self, pool: str, labels: Sequence[str]) -> Sequence[Rule]:
        return ()

    def about(self, node: Node) -> str:
        return ""

    def vacancies(self, pool: str, labels: object) -> tuple[()]:
        return ()


@attrs.define(kw_only=True, eq=False)
class Telling:
    """What one pool says about requests; looks at everything and changes nothing.

    :ivar accepting: whether the pool takes requests at all.
    :ivar makes: it makes nodes.
    """

    store: Store
    settings: PoolSettings
    registry: PoolRegistry
    standing: Standing
    reservations: Reservations
    backlog: Backlog
    patience: Patience
    planner: Planner
    deciding: Deciding
    hands: InHand
    admission: Admission
    outcomes: Outcomes
    accepting: Callable[[], bool]
    makes: bool
    _reasons: dict[Group, Reason] = attrs.field(factory=dict, init=False)
    _reasons_at: float = attrs.field(default=0.0, init=False)

    # -- in a line -------------------------------------------------------

    def why(self, request_id: str) -> str:
        """Why the pool has not served a request, in words; "" if it is not waiting here."""
        if reason := self.hands.why(request_id):
            return reason
        group = self.backlog.queue.group_of(request_id)
        request = self.store.requests.get(request_id)
        if group is None or request is None:
            return ""
        ahead = group.ahead_of(request_id)
        return self._why(request, group) + (f", {ahead} like it are ahead" if ahead else "")

    def reason(self, request_id: str) -> Reason | None:
        """As :meth:`why`, for lists of many: costs next to nothing where many wish the same.

        Of those, all are told what one of them waits for, as it was up to a
        second ago.
        """
        group = self.backlog.queue.group_of(request_id)
        request = self.store.requests.get(request_id)
        if group is None or request is None:
            in_hand = self.hands.why(request_id)
            return self._reason(in_hand, True) if in_hand else None
        now = self.store.clock.seconds()
        if not 0 <= now - self._reasons_at < FRESH:
            self._reasons, self._reasons_at = {}, now
        reason = self._reasons.get(group)
        if reason is None:
            words = self._why(request, group)
            serves = group.verdict is None or group.verdict.answer is Answer.SERVE
            reason = self._reasons[group] = self._reason(words, serves)
        return reason

    def _reason(self, words: str, serves: bool) -> Reason:
        return Reason(self.settings.provider, self.settings.name, words, serves)

    def _why(self, request: NodeRequest, group: Group) -> str:
        if not self.accepting() or self.admission.closed:
            return "the pool accepts no requests"
        if not self.store.current:
            return "out of touch with ZooKeeper"
        verdict = group.verdict
        if verdict is None or verdict.rule == MAINTENANCE:
            # For how long it is out of service changes from moment to moment.
            online = self.store.components.pools()
            verdict = self.deciding.judge(group.wish, self.standing.view(), online)
        if verdict.answer is not Answer.SERVE:
            return verdict.reason
        held_back = self.patience.kept_from(request.id)
        course = self.deciding.decide(request, held_back)
        held_up = self.backlog.is_held_up(group)
        return why_not_served(request, course, self._count_free(held_back), held_up)

    # -- in full ---------------------------------------------------------

    def explain(self, request_id: str, insight: Insight) -> PoolExplanation | None:
        """What the pool says about a request, rule by rule; None if there is none of that id."""
        request = self.store.requests.get(request_id)
        if request is None:
            return None
        component = self.registry.get(self.settings.provider, self.settings.name)
        stock, declined = Stock(Counter()), None
        rules = [state_rule(request, self._promised(request), self.store.clock.seconds())]
        if request.id in self.hands:
            rules, stock = self._in_hand(request, insight)
        elif request.state is RequestState.REQUESTED:
            stock = self._stock(request, insight)
            rules += self._unanswered(request, stock, insight)
        elif declined := self._declined(request):
            rules.append(declined)
        return PoolExplanation(
            launcher=component.hostname if component else "",
            provider=self.settings.provider,
            pool=self.settings.name,
            # That it failed is said of the request; of a pool, why it declined it.
            verdict=declined.words if declined else verdict_of(rules),
            rules=tuple(rules),
            nodes=stock.nodes,
            more_nodes=stock.more,
            id=component.id if component else "",
        )

    def _promised(self, request: NodeRequest) -> list[Node]:
        return self.store.nodes.of_request(request.id)

    def _stock(self, request: NodeRequest, insight: Insight) -> Stock:
        settings = self.settings
        if settings.labels.isdisjoint(request.node_types):
            return Stock(Counter())
        return look_at_nodes(
            self.store.nodes,
            (settings.provider, settings.name),
            request.node_types,
            request.id,
            self.store.clock.seconds(),
            kept=self.patience.kept_from(request.id),
            new_only=self.makes and (request.is_min_ready or not request.reuse),
            about=insight.about,
            vacancies=insight.vacancies(settings.name, set(request.node_types)),
        )

    def _in_hand(self, request: NodeRequest, insight: Insight) -> tuple[list[Rule], Stock]:
        """What becomes of a request that this pool works on."""
        nodes = self._promised(request)
        stock = self._stock(request, insight)
        mine = {node.id for node in nodes}
        shown = tuple(each for each in stock.nodes if each.node_id in mine)
        since = request.state_time if request.state is RequestState.PENDING else None
        rule = coming_rule(nodes, self.hands.why(request.id), since)
        in_hand = Rule("in-hand", Effect.PASSED, "this pool has it in hand", since)
        return [in_hand, rule], Stock(stock.uses, shown, len(nodes) - len(shown))

    def _unanswered(self, request: NodeRequest, stock: Stock, insight: Insight) -> list[Rule]:
        """What is in the way of a request that nobody has answered."""
        obstacles = self._obstacles(request)
        if not self.accepting():
            return obstacles
        wish, online = Wish.of(request), self.store.components.pools()
        verdicts = self.deciding.verdicts(wish, self.standing.view(), online)
        rules = [*obstacles, *(rule_of(each) for each in verdicts)]
        if declined := self._declined(request):
            rules = [declined if each.name == "declined" else each for each in rules]
        off = insight.disabled(self.settings.name)
        rules = [disabled_rule(each, off, request.node_types) for each in rules]
        if all(verdict.answer is Answer.SERVE for verdict in verdicts):
            rules += self._to_be_served(request, stock, insight)
        if all(rule.effect is Effect.PASSED for rule in rules):
            rules.append(Rule("turn", Effect.WAITS, "its turn comes in a moment"))
        return rules

    def _obstacles(self, request: NodeRequest) -> list[Rule]:
        """What keeps the pool from looking at it at all."""
        rules: list[Rule] = []
        if self.store.requests.is_locked(request.id):
            words = "somebody holds its lock, perhaps to change its priority"
            rules.append(Rule("lock", Effect.WAITS, words))
        if not self.store.current:
            words = "the launcher is out of touch with ZooKeeper, and decides nothing"
            rules.append(Rule("zookeeper", Effect.WAITS, words))
        if not self.accepting():
            words = "the pool accepts no requests: its provider is stopped, idle or being removed"
            rules.append(Rule("accepting", Effect.WAITS, words))
        elif all(pool.id != self.standing.id for pool in self.store.components.pools()):
            words = "the pool's own registration has not arrived yet"
            rules.append(Rule("registration", Effect.WAITS, words))
        return rules

    def _declined(self, request: NodeRequest) -> Rule | None:
        """That this pool has said no, and why if that is remembered."""
        component = self.registry.get(self.settings.provider, self.settings.name)
        if component is None or component.id not in request.declined_by:
            return None
        remembered = self.outcomes.why_declined(request.id)
        if remembered is None:
            return Rule("declined", Effect.REFUSED, "this pool has declined it")
        reason, since = remembered
        age = age_in_words(self.store.clock.seconds() - since)
        return Rule("declined", Effect.REFUSED, f"this pool declined it {age} ago: {reason}", since)

    def _to_be_served(self, request: NodeRequest, stock: Stock, insight: Insight) -> list[Rule]:
        """What is in the way of a request that is the pool's to serve."""
        held_back = self.patience.kept_from(request.id)
        course = self.deciding.decide(request, held_back)
        planned = course.plan or self.planner.plan(request, held_back)
        plan = planned if isinstance(planned, Plan) else None
        rules = self._provider_rules(request, course, plan, insight)
        rules += self._limits(request, course)
        if plan is not None:
            rules.append(
                nodes_rule(
                    self.settings.provider,
                    request.node_types,
                    plan,
                    stock.uses,
                    self._count_free(held_back),
                    self.makes,
                    every_machine=True,
                )
            )
        group = self.backlog.queue.group_of(request.id)
        held_up = group is not None and self.backlog.is_held_up(group)
        rules.append(concurrency_rule(self.admission, held_up))
        rules.append(queue_rule(self.backlog.queue.ahead_of(request)))
        if self.patience.keeps_for(request.id):
            waits = age_in_words(self.store.clock.seconds() - age_of(request)[0])
            words = (
                f"it has waited {waits}, more than {PATIENCE:g} s: what comes free of "
                "what it lacks is kept for it"
            )
            rules.append(Rule("patience", Effect.PASSED, words))
        return rules

    def _count_free(self, held_back: dict[str, str]) -> Callable[[str], int]:
        """How many nodes of a label could be had."""
        nodes, settings = self.store.nodes, self.settings

        def count(label: str) -> int:
            kept = sum(
                nodes.is_free(node_id)
                and (node := nodes.get(node_id)) is not None
                and (node.provider, node.pool) == (settings.provider, settings.name)
                and label in node.type
                for node_id in held_back
            )
            return nodes.count_free(settings.provider, settings.name, label) - kept

        return count

    def _provider_rules(
        self, request: NodeRequest, course: Course, plan: Plan | None, insight: Insight
    ) -> list[Rule]:
        labels: Sequence[str] = request.node_types
        if plan is not None:
            pairs = zip(plan.labels, plan.nodes, strict=True)
            labels = [label for label, node in pairs if node is None]
        rules = list(insight.rules(self.settings.name, labels)) if labels and self.makes else []
        if course.objection is not None and not any(
            rule.effect is not Effect.PASSED for rule in rules
        ):
            rules.append(_objecting(course.objection))
        return rules

    def _limits(self, request: NodeRequest, course: Course) -> list[Rule]:
        plan, short = course.plan, course.shortages
        charges = plan.charges if plan is not None and self.makes else None
        if charges is None:
            charges = self.planner.if_all_were_new(request.node_types, request.tenant_name) or ()
        if course.objection is not None:
            short = self.reservations.shortages(charges, self.planner.limits(), age_of(request))
        accounts = {account: None for charge in charges for account in charge.accounts}
        return limit_rules(
            charges,
            self.reservations.with_tenants(accounts, self.planner.limits()),
            self.reservations.used,
            short,
            self.backlog.waiting_for,
        )


def _objecting(objection: Objection) -> Rule:
    effect = Effect.REFUSED if objection.lasting else Effect.WAITS
    return Rule(objection.rule, effect, objection.reason, objection.since)


def what_waits(queue: WaitingRequests, why: Callable[[str], str]) -> tuple[str, ...]:
    """A line for the requests that wish the same.

    :param why: tells of a request why it waits.
    """
    return tuple(
        f"{len(group)} for {', '.join(group.wish.labels)}, first {request_id}: {why(request_id)}"
        for request_id, group in queue.in_order()
    )


def why_not_served(
    request: NodeRequest,
    course: Course,
    count_free: Callable[[str], int],
    held_up: bool,
) -> str:
    """What stands in the way of a request.

    :param course: what would be done about it now.
    :param count_free: how many nodes of a label it could have.
    :param held_up: it waits for ``max-concurrency``.
    """
    if course.objection is not None:
        return course.objection.reason
    if course.shortages:
        return "; ".join(str(short) for short in course.shortages)
    if course.plan is not None and not course.plan.complete:
        return _missing(request, count_free)
    if held_up:
        return "max-concurrency is reached"
    return "its turn has not come"


def _missing(request: NodeRequest, count_free: Callable[[str], int]) -> str:
    short = [
        f"{label} ({free} of {count} free)"
        for label, count in sorted(Counter(request.node_types).items())
        if (free := count_free(label)) < count
    ]
    if short:
        return f"no free node for {'; '.join(short)}"
    return "the free nodes do not suffice for all of its labels at once"
