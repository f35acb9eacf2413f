"""What is done about one slot.  The first three tests show the idea."""

from __future__ import annotations

import attrs
import pytest

from nodepool_tx.model import RETURNED_STATES, NodeState
from nodepool_tx.providers.static.observed import HostFacts, HostState
from nodepool_tx.providers.static.plan import (
    LAUNCHER,
    Deregister,
    Mode,
    Probe,
    Recycle,
    Register,
    Step,
    Update,
    Wait,
    WaitFor,
    fresh_node,
    plan,
)
from tests.providers.static.values import (
    DOWN,
    HOST,
    KEYS,
    NOW,
    UNKNOWN,
    UP,
    key,
    node,
    seen,
    slot,
)

ACTIVE, DRAINING = Mode.ACTIVE, Mode.DRAINING


def waits_for(steps: tuple[Step, ...]) -> list[WaitFor]:
    assert all(isinstance(step, Wait) for step in steps), steps
    return [step.what for step in steps if isinstance(step, Wait)]


# -- three steps in the life of a node -----------------------------------------


def test_an_empty_slot_is_filled_once_its_host_was_looked_at() -> None:
    """First the host is asked, then the node is registered as it was found."""
    assert plan(HOST, slot(), UNKNOWN, ACTIVE, NOW) == (Probe(HOST.identity, "slot 0 is empty"),)
    assert plan(HOST, slot(), UP, ACTIVE, NOW) == (Register(fresh_node(HOST, 0, UP, NOW)),)


def test_a_free_node_that_is_as_defined_is_left_alone() -> None:
    """Whatever is known of its host, short of its being down: nothing to do."""
    assert plan(HOST, slot(node()), UP, ACTIVE, NOW) == ()
    assert plan(HOST, slot(node()), UNKNOWN, ACTIVE, NOW) == ()


def test_a_returned_node_is_replaced_once_its_host_was_looked_at_again() -> None:
    """A look from before the node came back does not count."""
    used = node(state=NodeState.USED)
    came_back = slot(seen(used, at=11))
    assert plan(HOST, came_back, UP, ACTIVE, NOW) == (
        Probe(HOST.identity, "node 0000000001 came back (used)"),
    )
    looked_at = attrs.evolve(UP, checked=12)
    assert plan(HOST, came_back, looked_at, ACTIVE, NOW) == (
        Recycle(used, fresh_node(HOST, 0, looked_at, NOW)),
    )


# -- records -------------------------------------------------------------------


def test_the_record_of_a_fresh_node() -> None:
    """It says all that a client needs, in the words of Nodepool 11."""
    host = attrs.evolve(HOST, attributes={"rack": 4}, shell_type="cmd", python_path="/py")
    made = fresh_node(host, 1, UP, NOW)
    assert (made.id, made.state, made.state_time, made.created_time) == (
        "",
        NodeState.READY,
        NOW,
        NOW,
    )
    assert (made.provider, made.pool, made.launcher) == ("rack", "main", LAUNCHER)
    assert LAUNCHER == "static driver"
    assert made.type == ("small", "any")
    assert made.external_id == made.hostname == made.interface_ip == "web1"
    assert (made.username, made.connection_port, made.connection_type) == ("zuul", 22, "ssh")
    assert (made.shell_type, made.python_path) == ("cmd", "/py")
    assert (made.public_ipv4, made.public_ipv6) == ("192.0.2.1", None)
    assert made.host_keys == KEYS
    assert made.attributes == {"rack": 4}
    assert made.slot == 1
    assert (made.allocated_to, made.tenant_name, made.comment, made.resources) == (None,) * 4


# -- states --------------------------------------------------------------------

FREE, BACK, KEPT, STRANGE = "free", "back", "kept", "strange"

MEANING = {
    NodeState.INIT: STRANGE,
    NodeState.TESTING: STRANGE,
    NodeState.READY: FREE,
    NodeState.HOLD: KEPT,
    **dict.fromkeys(RETURNED_STATES, BACK),
}


def test_every_state_has_a_meaning() -> None:
    """No state that a node may be in was forgotten."""
    assert set(MEANING) == set(NodeState)


@pytest.mark.parametrize("state", list(NodeState))
def test_what_a_state_means_in_a_wanted_slot(state: NodeState) -> None:
    """Free nodes stay, returned ones are replaced, kept ones hold their slot."""
    there = node(state=state)
    steps = plan(HOST, slot(there), UP, ACTIVE, NOW)
    new = fresh_node(HOST, 0, UP, NOW)
    meaning = MEANING[state]
    if meaning == FREE:
        assert steps == ()
    elif meaning == BACK:
        assert steps == (Recycle(there, new),)
    elif meaning == KEPT:
        assert waits_for(steps) == [WaitFor.HOLD]
    else:
        assert [type(step) for step in steps] == [Wait, Register]


@pytest.mark.parametrize("state", list(NodeState))
def test_what_a_state_means_in_a_slot_that_nothing_wants(state: NodeState) -> None:
    """Free and returned nodes go, the others stay as long as they are kept."""
    there = node(state=state)
    steps = plan(None, slot(there), UNKNOWN, ACTIVE, NOW)
    if MEANING[state] in (FREE, BACK):
        assert steps == (Deregister(there, "no longer configured"),)
    else:
        assert len(waits_for(steps)) == 1


@pytest.mark.parametrize("state", list(NodeState))
@pytest.mark.parametrize("hands", ["locked", "reserved"])
@pytest.mark.parametrize("host", [UNKNOWN, UP, DOWN])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_node_in_hands_is_never_touched(
    state: NodeState, hands: str, host: HostFacts, wanted: bool
) -> None:
    """Whatever its state, its host's and the configuration's."""
    in_hands = seen(node(state=state, type=("other",)), **{hands: True})
    for mode in Mode:
        steps = plan(HOST if wanted else None, slot(in_hands), host, mode, NOW)
        assert not [s for s in steps if isinstance(s, Update | Deregister | Recycle)]


@pytest.mark.parametrize("host", [UNKNOWN, UP, DOWN])
@pytest.mark.parametrize("mode", list(Mode))
def test_defect_6_a_promised_node_is_never_taken_away(host: HostFacts, mode: Mode) -> None:
    """A node of a fulfilled request stays until its client has had it, whatever changes."""
    promised = node(allocated_to="100-0000000007", type=("other",))
    for desired in (HOST, None):
        assert waits_for(plan(desired, slot(promised), host, mode, NOW)) == [WaitFor.PROMISE]


def test_a_promise_does_not_keep_a_used_node() -> None:
    """Nodes keep the id of their request to the end; that is not a promise any more."""
    used = node(state=NodeState.USED, allocated_to="100-0000000007")
    assert plan(HOST, slot(used), UP, ACTIVE, NOW) == (Recycle(used, fresh_node(HOST, 0, UP, NOW)),)


def test_a_node_deleted_by_an_operator_comes_back() -> None:
    """``nodepool delete`` on a static node means: look at it, then a fresh one."""
    deleted = node(state=NodeState.DELETING)
    assert plan(HOST, slot(deleted), UNKNOWN, ACTIVE, NOW) == (
        Probe(HOST.identity, "node 0000000001 came back (deleting)"),
    )
    assert plan(HOST, slot(deleted), UP, ACTIVE, NOW) == (
        Recycle(deleted, fresh_node(HOST, 0, UP, NOW)),
    )


# -- hosts that are down -------------------------------------------------------


def test_a_host_that_is_down_gives_up_its_free_and_returned_nodes() -> None:
    """They leave service with the reason; what is in use stays."""
    for state in (NodeState.READY, NodeState.USED):
        there = node(state=state)
        assert plan(HOST, slot(there), DOWN, ACTIVE, NOW) == (
            Deregister(there, "web1:22: refused"),
        )
    in_use = seen(node(state=NodeState.IN_USE), locked=True)
    assert waits_for(plan(HOST, slot(in_use), DOWN, ACTIVE, NOW)) == [WaitFor.HANDS]


def test_a_host_that_is_down_is_asked_again_when_it_is_due() -> None:
    """Until then its slots wait, and say until when."""
    assert plan(HOST, slot(), DOWN, ACTIVE, 104.9) == (
        Wait(WaitFor.HOST, "web1:22: refused", until=105.0),
    )
    assert plan(HOST, slot(), DOWN, ACTIVE, 105.0) == (Probe(HOST.identity, "is it back?"),)


def test_an_empty_slot_needs_a_look_since_it_was_emptied() -> None:
    """What was known of the host when the node was lost may be why it was lost."""
    emptied = slot(empty_since=11)
    assert plan(HOST, emptied, UP, ACTIVE, NOW) == (Probe(HOST.identity, "slot 0 is empty"),)
    looked_at = attrs.evolve(UP, checked=12)
    assert plan(HOST, emptied, looked_at, ACTIVE, NOW) == (
        Register(fresh_node(HOST, 0, looked_at, NOW)),
    )


# -- definitions that change ---------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "recorded"),
    [
        ("labels", ("small", "large"), {"type": ("small", "large")}),
        ("labels", ("any", "small"), {"type": ("any", "small")}),
        ("shell_type", "powershell", {"shell_type": "powershell"}),
        ("python_path", "/usr/bin/python3", {"python_path": "/usr/bin/python3"}),
        ("pool", "other", {"pool": "other"}),
        ("connection_type", "network_cli", {"connection_type": "network_cli"}),
        ("connection_type", "winrm", {"connection_type": "winrm", "host_keys": ()}),
        ("attributes", {"rack": 4}, {"attributes": {"rack": 4}}),
    ],
)
def test_a_changed_definition_reaches_free_nodes_in_place(
    field: str, value: object, recorded: dict[str, object]
) -> None:
    """The node keeps its id; only what changed is written."""
    before = node()
    desired = attrs.evolve(HOST, **{field: value})
    expected = (Update(before, attrs.evolve(before, **recorded)),)
    assert plan(desired, slot(before), UNKNOWN, ACTIVE, NOW) == expected
    after = expected[0].after
    assert plan(desired, slot(after), UNKNOWN, ACTIVE, NOW) == ()


def test_defect_38_changed_node_attributes_reach_free_nodes() -> None:
    """Also when they are taken away, and when only a type differs."""
    before = node(attributes={"a": 1})
    gone = plan(HOST, slot(before), UNKNOWN, ACTIVE, NOW)
    assert gone == (Update(before, attrs.evolve(before, attributes=None)),)
    desired = attrs.evolve(HOST, attributes={"a": True})
    (update,) = plan(desired, slot(before), UNKNOWN, ACTIVE, NOW)
    assert isinstance(update, Update)
    assert update.after.attributes is not None
    assert update.after.attributes["a"] is True


def test_no_attributes_and_empty_ones_are_the_same() -> None:
    """Nothing is written for a difference that nobody can see."""
    assert plan(HOST, slot(node(attributes={})), UNKNOWN, ACTIVE, NOW) == ()
    nan = attrs.evolve(HOST, attributes={"a": float("nan")})
    assert plan(nan, slot(node(attributes={"a": float("nan")})), UNKNOWN, ACTIVE, NOW) == ()


def test_an_update_keeps_what_is_not_defined() -> None:
    """Comments, foreign keys, times and the address stay."""
    before = node(comment="mine", extra={"x": 1}, public_ipv4="192.0.2.9", type=("old",))
    (update,) = plan(HOST, slot(before), UP, ACTIVE, NOW)
    assert isinstance(update, Update)
    assert update.after == attrs.evolve(before, type=HOST.labels)


# -- host keys -----------------------------------------------------------------


def test_recorded_keys_are_trusted_until_a_look_shows_others() -> None:
    """A fresh process does not scan every host because it starts."""
    recorded = node(host_keys=("ssh-rsa OLD",))
    assert plan(HOST, slot(recorded), UNKNOWN, ACTIVE, NOW) == ()
    assert plan(HOST, slot(recorded), UP, ACTIVE, NOW) == (
        Update(recorded, attrs.evolve(recorded, host_keys=KEYS)),
    )


def test_the_order_of_host_keys_means_nothing() -> None:
    """Nodepool 11 gathers them in another order."""
    assert plan(HOST, slot(node(host_keys=KEYS[::-1])), UP, ACTIVE, NOW) == ()


def test_a_configured_key_that_is_not_recorded_calls_for_a_look() -> None:
    """Only the host can tell whether it has it."""
    desired = attrs.evolve(HOST, host_keys=("ssh-rsa NEW",))
    why = "the host keys of node 0000000001 have to be gathered"
    assert plan(desired, slot(node()), UNKNOWN, ACTIVE, NOW) == (Probe(HOST.identity, why),)
    known = attrs.evolve(HOST, host_keys=KEYS[:1])
    assert plan(known, slot(node()), UNKNOWN, ACTIVE, NOW) == ()


def test_a_node_without_keys_gets_them() -> None:
    """A node that was of another connection type, or unchecked, has none."""
    bare = node(host_keys=())
    assert isinstance(plan(HOST, slot(bare), UNKNOWN, ACTIVE, NOW)[0], Probe)
    assert plan(HOST, slot(bare), UP, ACTIVE, NOW) == (
        Update(bare, attrs.evolve(bare, host_keys=KEYS)),
    )


def test_unchecked_hosts_have_the_configured_keys() -> None:
    """With host-key-checking off nothing is gathered, and nothing is asked."""
    desired = attrs.evolve(HOST, host_key_checking=False, host_keys=("ssh-rsa MINE",))
    (update,) = plan(desired, slot(node()), UNKNOWN, ACTIVE, NOW)
    assert isinstance(update, Update)
    assert update.after.host_keys == ("ssh-rsa MINE",)


# -- too many nodes ------------------------------------------------------------


def test_of_two_nodes_in_one_slot_the_one_in_use_stays() -> None:
    """Then a free one before a returned one, then the older."""
    old, new = node("0000000001"), node("0000000002")
    reason = "slot 0 has another node"
    assert plan(HOST, slot(new, old), UP, ACTIVE, NOW) == (Deregister(new, reason),)
    used = node("0000000000", NodeState.USED)
    assert plan(HOST, slot(used, old), UP, ACTIVE, NOW) == (Deregister(used, reason),)
    steps = plan(HOST, slot(old, seen(new, locked=True)), UP, ACTIVE, NOW)
    assert [s for s in steps if not isinstance(s, Wait)] == [Deregister(old, reason)]


def test_a_reduction_removes_free_nodes_and_waits_for_the_others() -> None:
    """A slot that is no longer wanted is emptied as its nodes come free."""
    surplus = node(slot=7)
    assert plan(None, slot(surplus, number=7), UNKNOWN, ACTIVE, NOW) == (
        Deregister(surplus, "no longer configured"),
    )
    in_use = seen(node(slot=7, state=NodeState.IN_USE), locked=True)
    assert waits_for(plan(None, slot(in_use, number=7), UNKNOWN, ACTIVE, NOW)) == [WaitFor.HANDS]


def test_no_node_is_added_to_a_host_that_has_too_many() -> None:
    """max-parallel-jobs counts nodes still in use that are no longer wanted."""
    assert waits_for(plan(HOST, slot(room=0), UP, ACTIVE, NOW)) == [WaitFor.ROOM]
    assert isinstance(plan(HOST, slot(room=1), UP, ACTIVE, NOW)[0], Register)


def test_a_record_without_a_slot_takes_one_that_is_empty() -> None:
    """Old versions wrote no slot; one record at a time moves in."""
    a, b = node("0000000001", slot=None), node("0000000002", slot=None)
    steps = plan(HOST, slot(b, a, number=None, spare=1), UNKNOWN, ACTIVE, NOW)
    assert steps[0] == Update(a, attrs.evolve(a, slot=1))
    assert waits_for(steps[1:]) == [WaitFor.ROOM]


def test_a_record_without_a_slot_goes_when_there_is_none() -> None:
    """Unless it is in use: then it goes when it comes back."""
    a = node(slot=None)
    steps = plan(HOST, slot(a, number=None, spare=None), UNKNOWN, ACTIVE, NOW)
    assert steps == (Deregister(a, "its host has no slot for it"),)
    in_use = seen(node(slot=None, state=NodeState.IN_USE), locked=True)
    steps = plan(HOST, slot(in_use, number=None, spare=1), UNKNOWN, ACTIVE, NOW)
    assert waits_for(steps) == [WaitFor.HANDS]
    back = node(slot=None, state=NodeState.USED)
    steps = plan(HOST, slot(back, number=None, spare=1), UNKNOWN, ACTIVE, NOW)
    assert steps == (Deregister(back, "it names no slot"),)


# -- draining ------------------------------------------------------------------


def test_draining_gives_up_everything_that_may_be() -> None:
    """Free and returned nodes go now, empty slots stay empty, the rest is waited for."""
    reason = "the provider is no longer configured"
    for state in (NodeState.READY, NodeState.USED):
        there = node(state=state)
        assert plan(HOST, slot(there), UP, DRAINING, NOW) == (Deregister(there, reason),)
    assert plan(HOST, slot(), UP, DRAINING, NOW) == ()
    in_use = seen(node(state=NodeState.IN_USE), locked=True)
    assert waits_for(plan(HOST, slot(in_use), UP, DRAINING, NOW)) == [WaitFor.HANDS]


def test_steps_can_be_compared() -> None:
    """Plans are values; the version a record was read at is no part of them."""
    one = plan(HOST, slot(node(state=NodeState.USED)), UP, ACTIVE, NOW)
    other = plan(HOST, slot(node(state=NodeState.USED, version=4)), UP, ACTIVE, NOW)
    assert one == other
    assert key() == key()
    assert HostState("up") is HostState.UP


# -- out of service ------------------------------------------------------------

WHY = "host web1 is in maintenance"


def test_a_withdrawn_slot_that_is_empty_waits_for_an_operator() -> None:
    """Whatever is known of its host; and it is said why."""
    for host in (UP, DOWN, UNKNOWN):
        assert plan(HOST, slot(), host, ACTIVE, NOW, WHY) == (Wait(WaitFor.OPERATOR, WHY),)
    assert plan(HOST, slot(number=None), UP, ACTIVE, NOW, WHY) == ()
    assert plan(None, slot(), UP, ACTIVE, NOW, WHY) == ()


@pytest.mark.parametrize("state", list(NodeState))
def test_what_a_state_means_in_a_withdrawn_slot(state: NodeState) -> None:
    """Free and returned nodes go, the others stay as long as they are kept."""
    there = node(state=state)
    steps = plan(HOST, slot(there), UP, ACTIVE, NOW, WHY)
    if MEANING[state] in (FREE, BACK):
        assert steps == (Deregister(there, WHY),)
    else:
        assert waits_for(steps) in ([WaitFor.HOLD], [WaitFor.STRANGE])


def test_what_a_job_has_or_will_have_is_left_alone() -> None:
    """Though its host is withdrawn."""
    promised = node(allocated_to="100-1")
    assert waits_for(plan(HOST, slot(promised), UP, ACTIVE, NOW, WHY)) == [WaitFor.PROMISE]
    locked = seen(node(state=NodeState.IN_USE), locked=True)
    assert waits_for(plan(HOST, slot(locked), UP, ACTIVE, NOW, WHY)) == [WaitFor.HANDS]


def test_a_provider_that_is_given_up_is_given_up_all_the_same() -> None:
    """That its host is withdrawn, too, makes no difference."""
    (step,) = plan(HOST, slot(node()), UP, DRAINING, NOW, WHY)
    assert step == Deregister(node(), "the provider is no longer configured")
    assert plan(HOST, slot(), UP, DRAINING, NOW, WHY) == ()
