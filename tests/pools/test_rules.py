"""Which pool does what about a request."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.model import MIN_READY_REQUESTOR, NodeRequest, PoolComponent, RequestState
from nodepool_tx.pools.rules import Answer, PoolView, Verdict, Wish, all_declined, judge


def online(id: str, *labels: str, provider: str = "", **fields: Any) -> PoolComponent:
    return PoolComponent(
        id=id,
        name="main",
        provider_name=provider or f"provider-{id}",
        hostname="host",
        supported_labels=frozenset(labels),
        **fields,
    )


def view(pool: PoolComponent, **fields: Any) -> PoolView:
    return PoolView(
        id=pool.id,
        provider=pool.provider_name,
        name=pool.name,
        labels=pool.supported_labels,
        priority=pool.priority,
        **fields,
    )


class JudgeTests(SynchronousTestCase):
    """The verdict of pool ``me``, which has labels a and b."""

    def setUp(self) -> None:
        self.me = online("me", "a", "b")

    def judge(self, wish: Wish, *others: PoolComponent, **fields: Any) -> Verdict:
        return judge(wish, view(self.me, **fields), [*others, self.me])

    def answer(self, wish: Wish, *others: PoolComponent, **fields: Any) -> Answer:
        return self.judge(wish, *others, **fields).answer

    def test_serves_what_it_has(self) -> None:
        """A request for labels the pool has is served, alone or among equals."""
        self.assertIs(self.answer(Wish(("a", "b"))), Answer.SERVE)
        self.assertIs(self.answer(Wish(("a",)), online("other", "a")), Answer.SERVE)

    def test_says_no_once(self) -> None:
        """What the pool has declined it leaves alone, even if it could serve it now."""
        wish = Wish(("a",), declined_by=frozenset({"me"}))
        self.assertIs(self.answer(wish), Answer.LEAVE)

    def test_labels_nobody_has(self) -> None:
        """A request for a label that no pool online has is declined, by name."""
        verdict = self.judge(Wish(("a", "c")), online("other", "c"))
        self.assertIs(verdict.answer, Answer.DECLINE)
        self.assertIn("c", verdict.reason)

    def test_thousands_of_labels(self) -> None:
        """Only some of them are named."""
        reason = self.judge(Wish(tuple(f"l{number:04}" for number in range(5000)))).reason
        self.assertTrue(reason.startswith("no pool online has l0000, l0001"), reason)
        self.assertTrue(reason.endswith(", l0009 and 4990 more"), reason)

    def test_labels_others_have(self) -> None:
        """A request that others can serve and this pool cannot is left to them."""
        self.assertIs(self.answer(Wish(("a", "c")), online("other", "a", "c")), Answer.LEAVE)

    def test_labels_others_had_and_declined(self) -> None:
        """Those who have declined do not count among who can serve."""
        wish = Wish(("c",), declined_by=frozenset({"other"}))
        verdict = self.judge(wish, online("other", "c"))
        self.assertIs(verdict.answer, Answer.DECLINE)
        self.assertEqual(verdict.reason, "none of the pools left has c")

    def test_own_registration_out_of_date(self) -> None:
        """A label the pool has lost is not left to the pool itself, still shown with it."""
        stale = attrs.evolve(self.me, supported_labels=frozenset({"a", "c"}))
        verdict = judge(Wish(("c",)), view(self.me), [stale])
        self.assertIs(verdict.answer, Answer.DECLINE)

    def test_priority(self) -> None:
        """A pool with a lower number that could serve goes first, whatever it is doing."""
        ahead = online("ahead", "a", priority=10)
        self.assertIs(self.answer(Wish(("a",)), ahead), Answer.YIELD)
        verdict = self.judge(Wish(("a",)), ahead, online("first", "a", priority=5))
        self.assertIn("provider-first/main has priority 5", verdict.reason)

    def test_equal_and_higher_numbers(self) -> None:
        """Pools with the same or a higher number are not waited for."""
        others = [online("equal", "a"), online("later", "a", priority=200)]
        self.assertIs(self.answer(Wish(("a",)), *others), Answer.SERVE)

    def test_priority_of_who_cannot(self) -> None:
        """Who lacks a label, is paused or has declined is not waited for."""
        self.assertIs(
            self.answer(Wish(("a", "b")), online("x", "a", priority=1)),
            Answer.SERVE,
        )
        self.assertIs(
            self.answer(Wish(("a",)), online("x", "a", priority=1, paused=True)),
            Answer.SERVE,
        )
        self.assertIs(
            self.answer(Wish(("a",), declined_by=frozenset({"x"})), online("x", "a", priority=1)),
            Answer.SERVE,
        )

    def test_named_provider(self) -> None:
        """A request that names a provider which could serve is left to it, even if paused."""
        named = online("x", "a", provider="named", priority=300, paused=True)
        self.assertIs(self.answer(Wish(("a",), provider="named"), named), Answer.YIELD)

    def test_named_provider_that_cannot(self) -> None:
        """A named provider that is away, lacks a label or has declined is not waited for."""
        self.assertIs(self.answer(Wish(("a",), provider="named")), Answer.SERVE)
        without = online("x", "b", provider="named")
        self.assertIs(self.answer(Wish(("a",), provider="named"), without), Answer.SERVE)
        named = online("x", "a", provider="named")
        wish = Wish(("a",), provider="named", declined_by=frozenset({"x"}))
        self.assertIs(self.answer(wish, named), Answer.SERVE)

    def test_named_provider_is_ours(self) -> None:
        """A request that names this provider is served."""
        wish = Wish(("a",), provider="provider-me")
        self.assertIs(self.answer(wish, online("other", "a")), Answer.SERVE)

    def test_named_provider_yields_only_to_itself(self) -> None:
        """Who is named does not yield to the priority of those who yield to it."""
        wish = Wish(("a",), provider="provider-me")
        self.assertIs(self.answer(wish, online("x", "a", priority=1)), Answer.SERVE)
        sibling = online("x", "a", provider="provider-me", priority=1)
        self.assertIs(self.answer(wish, sibling), Answer.YIELD)

    def test_disabled(self) -> None:
        """A pool with max-servers 0 declines what it could serve, and leaves the rest."""
        self.assertIs(self.answer(Wish(("a",)), enabled=False), Answer.DECLINE)
        self.assertIs(self.answer(Wish(("c",)), online("x", "c"), enabled=False), Answer.LEAVE)

    def test_new_nodes(self) -> None:
        """Stock and new nodes are declined by who launches nothing, and served by who does."""
        for wish in (Wish(("a",), min_ready=True), Wish(("a",), reuse=False)):
            self.assertIs(self.answer(wish), Answer.DECLINE)
            self.assertIs(self.answer(wish, launches=True), Answer.SERVE)

    def test_every_reason_is_said(self) -> None:
        """Every verdict but serving comes with words."""
        wishes = [
            Wish(labels, provider, None, min_ready, True, declined)
            for labels, provider, min_ready, declined in itertools.product(
                (("a",), ("c",)), (None, "provider-x"), (False, True), (frozenset(), {"me"})
            )
        ]
        others = [online("x", "a", "c", priority=5)]
        for wish, rest in itertools.product(wishes, ([], others)):
            verdict = self.judge(wish, *rest)
            self.assertEqual(verdict.answer is Answer.SERVE, verdict.reason == "")


class WishTests(SynchronousTestCase):
    def test_equal_wishes(self) -> None:
        """Requests that differ only in order, age and who asks are one wish."""
        one = NodeRequest(
            id="100-1",
            state=RequestState.REQUESTED,
            node_types=("a", "b", "a"),
            requestor="zuul",
            declined_by=("x", "y"),
            relative_priority=3,
        )
        two = NodeRequest(
            id="200-2",
            state=RequestState.REQUESTED,
            node_types=("a", "a", "b"),
            requestor="person",
            declined_by=("y", "x"),
        )
        self.assertEqual(Wish.of(one), Wish.of(two))
        self.assertEqual(hash(Wish.of(one)), hash(Wish.of(two)))

    def test_different_wishes(self) -> None:
        """Whatever the rules look at tells wishes apart."""
        plain = NodeRequest(id="100-1", state=RequestState.REQUESTED, node_types=("a",))
        differences: list[dict[str, Any]] = [
            {"node_types": ("a", "a")},
            {"provider": "x"},
            {"tenant_name": "t"},
            {"requestor": MIN_READY_REQUESTOR},
            {"reuse": False},
            {"declined_by": ("x",)},
        ]
        wishes = {Wish.of(attrs.evolve(plain, **difference)) for difference in differences}
        self.assertEqual(len(wishes | {Wish.of(plain)}), len(differences) + 1)


class AllDeclinedTests(SynchronousTestCase):
    def test_someone_left(self) -> None:
        """As long as one pool online has not said no, the request has not failed."""
        pools = [online("x"), online("y")]
        self.assertFalse(all_declined(["x"], pools))
        self.assertTrue(all_declined(["x", "y", "gone"], pools))


labels = st.frozensets(st.sampled_from("abc"), min_size=1, max_size=3)
pools = st.lists(
    st.builds(
        lambda *fields: fields,
        labels,
        st.sampled_from([1, 100, 200]),
        st.booleans(),
        st.sampled_from("pq"),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(pools, labels, st.sampled_from([None, "p", "q", "gone"]), st.booleans())
def test_someone_answers_every_request(
    pools: list[tuple[frozenset[str], int, bool, str, bool]],
    wanted: frozenset[str],
    provider: str | None,
    min_ready: bool,
) -> None:
    """Among any pools there is one that serves or declines, until all have declined.

    Nobody waits for somebody who waits, so every request is served or fails.
    """
    registered = [
        online(f"pool{n}", *labels, priority=priority, paused=paused, provider=provider)
        for n, (labels, priority, paused, provider, _) in enumerate(pools)
    ]
    enabled = {f"pool{n}": fields[-1] for n, fields in enumerate(pools)}
    declined: frozenset[str] = frozenset()
    while not all_declined(declined, registered):
        wish = Wish(tuple(sorted(wanted)), provider, None, min_ready, True, declined)
        verdicts = {
            pool.id: judge(wish, view(pool, enabled=enabled[pool.id]), registered)
            for pool in registered
        }
        assert all((verdicts[id].answer is Answer.LEAVE) for id in declined)
        serving = {id for id, v in verdicts.items() if v.answer is Answer.SERVE}
        if serving:
            assert all(
                wanted <= pool.supported_labels and enabled[pool.id]
                for pool in registered
                if pool.id in serving
            )
            return
        says_no = {id for id, v in verdicts.items() if v.answer is Answer.DECLINE}
        assert says_no, verdicts
        declined |= says_no
    if not min_ready:
        assert not any(wanted <= pool.supported_labels and enabled[pool.id] for pool in registered)
