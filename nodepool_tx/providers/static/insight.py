"""What a static provider adds to the explanations of its pools: its machines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from twisted.internet.interfaces import IReactorTime

from nodepool_tx.model import Node
from nodepool_tx.pools.explaining import NodeExplanation, Rule
from nodepool_tx.pools.stock import AT_MOST
from nodepool_tx.providers.static.desired import Desired, DesiredNode, Identity, SlotKey, key_of
from nodepool_tx.providers.static.observed import HostState
from nodepool_tx.providers.static.plan import Wait
from nodepool_tx.providers.static.reconciler import Reconciler
from nodepool_tx.store.maintenance import age_in_words

__all__ = ["StaticInsight"]


class StaticInsight:
    """Answers for one provider; see :class:`nodepool_tx.pools.explaining.Insight`.

    :param withdrawn: why a machine is out of service; "" if it is not.
    :param owner: whether this launcher looks after the machines: it alone
        knows how they are.
    """

    def __init__(
        self,
        desired: Desired,
        reconciler: Reconciler,
        clock: IReactorTime,
        withdrawn: Callable[[Identity], str],
        owner: Callable[[], bool],
    ) -> None:
        self._desired = desired
        self._reconciler = reconciler
        self._clock = clock
        self._withdrawn = withdrawn
        self._owner = owner
        self._by_label: dict[tuple[str, str], list[DesiredNode]] = {}
        for host in desired.hosts.values():
            for label in host.labels:
                self._by_label.setdefault((host.pool, label), []).append(host)

    def disabled(self, pool: str) -> Collection[str]:
        """Machines are there, whatever is kept in stock."""
        return ()

    def rules(self, pool: str, labels: Sequence[str]) -> Sequence[Rule]:
        """Nothing is made here."""
        return ()

    def about(self, node: Node) -> str:
        """How its machine is, where that is worth a word."""
        key = key_of(node)
        host = self._desired.hosts.get(key.identity)
        if host is None:
            return "its host is not configured"
        use, words = self._host(host)
        return "" if use == _PREPARED else words

    def vacancies(self, pool: str, labels: Iterable[str]) -> Sequence[NodeExplanation]:
        """Slots of machines that have one of the labels, and no node."""
        hosts = {
            host.identity: host
            for label in labels
            for host in self._by_label.get((pool, label), ())
        }
        found: list[NodeExplanation] = []
        counted: dict[str, NodeExplanation] = {}
        for host in hosts.values():
            empty = [key for key in host.slot_keys() if not self._reconciler.slots.ids_at(key)]
            for key in empty:
                use, words = self._host(host)
                if len(found) < AT_MOST or use not in counted:
                    counted[use] = self._vacancy(host, key, use, words)
                found.append(counted[use])
        return found

    def _vacancy(self, host: DesiredNode, key: SlotKey, use: str, words: str) -> NodeExplanation:
        if use == _PREPARED:
            waits = [s.reason for s in self._reconciler.explain(key) if isinstance(s, Wait)]
            words = "; ".join(waits) or words
        state = self._reconciler.hosts.facts(host.identity).state.value
        where = f"{host.hostname}:{host.port}"
        named = f"no node at {where}, slot {key.slot}: {words}"
        return NodeExplanation("", host.labels, state, False, named, use, host.hostname)

    def _host(self, host: DesiredNode) -> tuple[str, str]:
        """What a machine's trouble is called, and what it is."""
        withdrawn = self._withdrawn(host.identity)
        if withdrawn:
            return "in maintenance", withdrawn
        hosts, now = self._reconciler.hosts, self._clock.seconds()
        facts = hosts.facts(host.identity)
        if facts.state is HostState.DOWN:
            words = f"its host is down for {age_in_words(now - facts.since)}: {facts.reason}"
            if hosts.is_looking(host.identity):
                return "down", f"{words}; being looked at now"
            return "down", f"{words}; next look in {age_in_words(facts.retry_at - now)}"
        if hosts.is_looking(host.identity):
            return "being looked at", "its host is being looked at"
        if not self._owner():
            return _PREPARED, "another launcher looks after its host"
        return _PREPARED, "it is about to be registered"


#: Nothing is wrong with its machine, as far as is known.
_PREPARED = "not registered yet"
