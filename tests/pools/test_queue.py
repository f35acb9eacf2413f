"""Waiting requests, grouped and in order, against a list that is searched through."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.pools.agenda import Agenda
from nodepool_tx.pools.queue import Group, WaitingRequests
from nodepool_tx.pools.rules import Wish


def request(id: str, *labels: str, **fields: Any) -> NodeRequest:
    return NodeRequest(id=id, state=RequestState.REQUESTED, node_types=labels, **fields)


def first_of(group: Group) -> str | None:
    first = group.first()
    return first[1] if first else None


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue = WaitingRequests()

    def test_order_within_a_group(self) -> None:
        """Precedence comes first, then relative priority, then who came first."""
        requests = [
            request("200-0000000001", "a"),
            request("100-0000000002", "a", relative_priority=2),
            request("100-0000000004", "a", relative_priority=1),
            request("100-0000000003", "a", relative_priority=1),
        ]
        group = None
        for one in requests:
            group = self.queue.put(one)
        assert group is not None
        order = []
        while (first := first_of(group)) is not None:
            order.append(first)
            self.queue.discard(first)
        self.assertEqual(
            order, ["100-0000000003", "100-0000000004", "100-0000000002", "200-0000000001"]
        )

    def test_moved_to_another_group(self) -> None:
        """A request that wishes something else now is in one group only."""
        old = self.queue.put(request("100-1", "a"))
        new = self.queue.put(request("100-1", "a", declined_by=("x",)))
        self.assertIsNot(old, new)
        self.assertEqual((first_of(old), first_of(new)), (None, "100-1"))
        self.assertEqual(len(self.queue), 1)
        self.assertEqual(list(self.queue), [new])
        self.assertIs(self.queue.group_of("100-1"), new)

    def test_empty_groups_go(self) -> None:
        """A group without requests is found by nobody."""
        self.queue.put(request("100-1", "a", "b", tenant_name="t"))
        self.queue.discard("100-1")
        self.assertEqual(list(self.queue), [])
        self.assertEqual(self.queue.with_labels(["a", "b"]), set())
        self.assertEqual(self.queue.of_tenant("t"), set())
        self.assertIsNone(self.queue.group_of("100-1"))

    def test_discarding_what_is_not_there(self) -> None:
        """A request that does not wait can be discarded."""
        self.queue.discard("100-1")
        self.assertEqual(len(self.queue), 0)

    def test_moves_leave_nothing_behind(self) -> None:
        """A request whose priority changes again and again does not fill the memory."""
        group = self.queue.put(request("100-1", "a"))
        for priority in range(1000):
            self.queue.put(request("100-1", "a", relative_priority=priority))
        self.assertEqual(first_of(group), "100-1")
        self.assertLess(len(group._heap), 50)

    def test_same_place_is_not_kept_twice(self) -> None:
        """A request that is put again unchanged takes no room."""
        group = self.queue.put(request("100-1", "a"))
        for _ in range(1000):
            self.queue.put(request("100-1", "a"))
        self.assertEqual(len(group._heap), 1)

    def test_back_to_an_old_place(self) -> None:
        """A request may return to a place it had before."""
        for priority in (1, 2, 1):
            self.queue.put(request("100-1", "a", relative_priority=priority))
        group = self.queue.put(request("100-2", "a", relative_priority=1))
        self.assertEqual(first_of(group), "100-1")
        self.queue.discard("100-1")
        self.assertEqual(first_of(group), "100-2")


class AgendaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue = WaitingRequests()
        self.agenda = Agenda()

    def test_order(self) -> None:
        """Groups come in the order of their first requests, whenever they were added."""
        second = self.queue.put(request("100-2", "a"))
        self.agenda.add([second])
        first, third = self.queue.put(request("100-1", "b")), self.queue.put(request("300-0", "c"))
        self.agenda.add([third, first])
        order = [self.agenda.next() for _ in range(4)]
        self.assertEqual(order, [first, second, third, None])

    def test_added_once(self) -> None:
        """A group is looked at once, unless it is entered again on purpose."""
        group = self.queue.put(request("100-1", "a"))
        self.assertTrue(self.agenda.add([group, group]))
        self.assertFalse(self.agenda.add([group]))
        self.assertIs(self.agenda.next(), group)
        self.assertFalse(self.agenda.add([group]))
        self.assertIsNone(self.agenda.next())
        self.agenda.again(group)
        self.assertIs(self.agenda.next(), group)
        self.assertEqual(len(self.agenda), 1)

    def test_empty_groups(self) -> None:
        """A group whose requests have gone is not looked at."""
        group = self.queue.put(request("100-1", "a"))
        self.queue.discard("100-1")
        self.assertFalse(self.agenda.add([group]))
        self.agenda.again(group)
        self.assertIsNone(self.agenda.next())


ids = st.builds(
    "{}-{:010}".format, st.sampled_from([100, 200]), st.integers(min_value=0, max_value=9)
)
requests = st.builds(
    NodeRequest,
    id=ids,
    state=st.just(RequestState.REQUESTED),
    node_types=st.lists(st.sampled_from("ab"), min_size=1, max_size=2).map(tuple),
    relative_priority=st.sampled_from([0, 1, 2.5]),
    tenant_name=st.sampled_from([None, "t", "u"]),
)


class QueueMachine(RuleBasedStateMachine):
    """Random puts and discards; the model is a dictionary that is sorted each time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = WaitingRequests()
        self.model: dict[str, NodeRequest] = {}

    @rule(request=requests)
    def put(self, request: NodeRequest) -> None:
        group = self.queue.put(request)
        self.model[request.id] = request
        assert group.wish == Wish.of(request)
        assert self.queue.group_of(request.id) is group

    @rule(id=ids)
    def discard(self, id: str) -> None:
        self.queue.discard(id)
        self.model.pop(id, None)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), priority=st.sampled_from([0, 1, 2.5]))
    def reprioritise(self, data: st.DataObject, priority: float) -> None:
        request = data.draw(st.sampled_from(sorted(self.model.values(), key=lambda r: r.id)))
        self.put(attrs.evolve(request, relative_priority=priority))

    @invariant()
    def same_as_the_model(self) -> None:
        assert len(self.queue) == len(self.model)
        groups: dict[Wish, list[NodeRequest]] = {}
        for request in sorted(self.model.values(), key=lambda r: r.sort_key):
            groups.setdefault(Wish.of(request), []).append(request)
        found = {group.wish: group for group in self.queue}
        assert found.keys() == groups.keys()
        for wish, members in groups.items():
            group = found[wish]
            assert len(group) == len(members)
            assert first_of(group) == members[0].id
            assert all(member.id in group for member in members)
            ahead = [group.ahead_of(member.id) for member in members]
            assert ahead == list(range(len(members)))
        for label in "ab":
            having = {wish for wish in groups if label in wish.labels}
            assert {group.wish for group in self.queue.with_labels([label])} == having
            larger = {wish for wish in having if len(wish.labels) > 1}
            assert {group.wish for group in self.queue.larger_with_labels([label])} == larger
        for tenant in "tu":
            of_tenant = {wish for wish in groups if wish.tenant == tenant}
            assert {group.wish for group in self.queue.of_tenant(tenant)} == of_tenant


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
