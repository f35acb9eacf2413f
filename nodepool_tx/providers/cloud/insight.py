"""What a cloud provider adds to the explanations of its pools."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from nodepool_tx.model import Node
from nodepool_tx.pools.explaining import Effect, NodeExplanation, Rule
from nodepool_tx.pools.interface import Objection
from nodepool_tx.providers.cloud.account import Account
from nodepool_tx.providers.cloud.breaker import OpenBreaker
from nodepool_tx.providers.cloud.launches import Launches
from nodepool_tx.providers.cloud.making import Making
from nodepool_tx.resources import Amounts, number
from nodepool_tx.store.maintenance import age_in_words

__all__ = ["CloudInsight"]

#: What a check says when it finds nothing.
_FINE = {
    "label": "the cloud can make it, and its image is there",
    "needs": "what a node of it counts for is known",
    "refusal": "the cloud refuses nothing for its quota",
    "breaker": "it is not left alone after failures",
}


class CloudInsight:
    """Answers for one provider; see :class:`nodepool_tx.pools.explaining.Insight`."""

    def __init__(self, account: Account, making: Making, launches: Launches) -> None:
        self._account = account
        self._making = making
        self._launches = launches

    def disabled(self, pool: str) -> Collection[str]:
        """Labels of which nothing is made any more."""
        configured = self._account.pool(pool)
        return () if configured is None else configured.cloud_labels.keys() - configured.labels

    def rules(self, pool: str, labels: Sequence[str]) -> Sequence[Rule]:
        """One rule for each kind of check, and how much of the quota others use."""
        objections: dict[str, Objection | None] = dict.fromkeys(_FINE)
        blamed: dict[str, str] = {}
        for label in dict.fromkeys(labels):
            for name, objection in self._making.checks(pool, label):
                if objection is not None and objections[name] is None:
                    objections[name] = objection
                    blamed[name] = label
        rules = [
            Rule(name, Effect.PASSED, _FINE[name])
            if objection is None
            else self._objecting(pool, blamed[name], objection)
            for name, objection in objections.items()
        ]
        return (*rules, self._cloud_quota())

    def _objecting(self, pool: str, label: str, objection: Objection) -> Rule:
        effect = Effect.REFUSED if objection.lasting else Effect.WAITS
        words, since = objection.reason, objection.since
        if objection.rule == "breaker":
            found = self._open(pool, label)
            if found is not None:
                words, since = f"{words}; {self._next_try(found)}", found.since
        elif objection.rule == "refusal":
            until = self._account.quota.describe().refused_until
            if until is not None:
                words = f"{words}; asked again in {self._in(until)}, or when a server is deleted"
        return Rule(objection.rule, effect, words, since)

    def _open(self, pool: str, label: str) -> OpenBreaker | None:
        """The breaker that counts: the provider's, the label's, or that of a zone."""
        zones = self._account.offers.zones_of(pool)
        for each in self._account.breakers.describe():
            if each.label is None or (
                each.label == label and (each.zone is None or each.zone in zones)
            ):
                return each
        return None

    def _next_try(self, breaker: OpenBreaker) -> str:
        since = f"for {age_in_words(self._account.clock.seconds() - breaker.since)}"
        if breaker.probing:
            return f"{since}, one attempt is on its way that decides"
        return f"{since}, next try in {self._in(breaker.until)}"

    def _in(self, moment: float) -> str:
        return age_in_words(moment - self._account.clock.seconds())

    def _cloud_quota(self) -> Rule:
        status = self._account.quota.describe()
        if status.quota is None:
            words = status.trouble or "the cloud's quota is not known yet"
        else:
            others = _amounts({r: status.others.get(r, 0) for r in status.quota}) or "nothing"
            words = f"the cloud's quota is {_amounts(status.quota)}; others use {others} of it"
            if status.read is not None:
                age = age_in_words(self._account.clock.seconds() - status.read)
                words = f"{words} (read {age} ago)"
        return Rule("cloud-quota", Effect.PASSED, words)

    def about(self, node: Node) -> str:
        """How far its launch has come, if it is made here."""
        return self._launches.about(node.id)

    def vacancies(self, pool: str, labels: Iterable[str]) -> Sequence[NodeExplanation]:
        """A cloud has no places."""
        return ()


def _amounts(amounts: Amounts) -> str:
    used = ((name, amount) for name, amount in sorted(amounts.items()) if amount)
    return ", ".join(f"{number(amount)} {name}" for name, amount in used)
