"""States, slots, and records that come before servers."""

from __future__ import annotations

from proof.history.cast import Role
from tests.proof.history.play import (
    ASKED,
    ASKED_LOCK,
    NODE,
    NODE_LOCK,
    OTHER,
    Play,
    a_request,
    cloud_node,
    contender,
    create,
    free_proof,
    remove,
    static_node,
    write,
)


def test_states_move_as_the_table_allows() -> None:
    """By anybody's hand."""
    play = Play()
    ours, client = play.launcher(), play.session()
    play.good(ours, create(NODE, cloud_node()))
    play.good(ours, create(contender(NODE_LOCK), ephemeral=True))
    for state in ("building", "ready"):
        play.good(ours, write(NODE, cloud_node(state=state)))
    play.bad("state", ours, write(NODE, cloud_node(state="building")))
    play.good(ours, remove(contender(NODE_LOCK)))
    play.good(client, create(contender(NODE_LOCK, 1), ephemeral=True))
    play.good(client, write(NODE, cloud_node(state="deleting")))
    play.bad("state", client, write(NODE, cloud_node(state="ready")))


def test_a_request_that_is_over_stays_over() -> None:
    """A launcher that opens it again is found."""
    play = Play()
    ours, client = play.launcher(), play.session()
    play.good(client, create(ASKED, a_request()))
    play.good(ours, create(contender(ASKED_LOCK), ephemeral=True))
    for state in ("pending", "requested", "failed"):
        play.good(ours, write(ASKED, a_request(state=state)))
    play.bad("state", ours, write(ASKED, a_request()))


def test_what_cannot_be_read_is_found() -> None:
    """Only an empty node, left by a client who locked one that was gone, is nobody's fault."""
    play = Play()
    ours, client = play.launcher("rack"), play.session()
    play.good(client, create(NODE))
    play.good(client, remove(NODE))
    play.bad("state", ours, create(NODE))
    play.bad("state", client, *free_proof(NODE_LOCK), write(NODE, b"{"))
    play.good(client, create(ASKED, a_request()))
    play.bad("state", ours, create(ASKED_LOCK), remove(ASKED_LOCK), write(ASKED, b"[]"))


def test_a_slot_has_one_node() -> None:
    """Another one takes its place in the step that removes it."""
    play = Play()
    ours = play.launcher("rack")
    play.good(ours, create(NODE, static_node()))
    play.good(ours, remove(NODE), create(OTHER, static_node()))
    found = play.bad("slot", ours, create(NODE, static_node()))
    assert found.paths == (NODE, OTHER)
    play.good(ours, create("/nodepool/nodes/0000000003", static_node(slot=1)))
    play.good(ours, create("/nodepool/nodes/0000000004", static_node(connection_port=2222)))


def test_a_slot_that_nodepool_11_fills_too_is_its_own_affair() -> None:
    """It knows nothing of owners."""
    play = Play()
    ours, old = play.launcher("rack"), play.session(Role.NODEPOOL_11)
    play.good(old, create(NODE, static_node()))
    play.good(ours, create(OTHER, static_node()))


def test_a_server_comes_after_its_record() -> None:
    """Made with a server, or given one before it is said to be made, it is found."""
    play = Play()
    ours = play.launcher()
    play.bad("intent", ours, create(OTHER, cloud_node(state="building", external_id="s")))
    play.good(ours, create(NODE, cloud_node()))
    play.good(ours, create(contender(NODE_LOCK), ephemeral=True))
    play.bad("intent", ours, write(NODE, cloud_node(external_id="s")))
    play.good(ours, write(NODE, cloud_node()))
    play.good(ours, write(NODE, cloud_node(state="building")))
    play.good(ours, write(NODE, cloud_node(state="building", external_id="s")))
    play.good(ours, write(NODE, cloud_node(state="ready", external_id="s")))
    play.bad("intent", ours, create("/nodepool/nodes/0000000005", cloud_node(state="ready")))
