"""Who may write what, told from the history alone."""

from __future__ import annotations

from nodepool_tx.store import paths
from proof.history.cast import Role
from tests.proof.history.play import (
    ASKED,
    ASKED_LOCK,
    MINUTE,
    NODE,
    NODE_LOCK,
    Play,
    a_request,
    check,
    cloud_node,
    contender,
    create,
    free_proof,
    remove,
    static_node,
    write,
)


def _with_node() -> tuple[Play, int]:
    play = Play()
    ours = play.launcher("rack")
    play.good(ours, create(NODE, static_node()))
    play.good(ours, create(NODE_LOCK))
    return play, ours


def test_a_node_is_written_with_proof_that_nobody_has_its_lock() -> None:
    """The directory of its lock is made anew, or made, in the same transaction."""
    play, ours = _with_node()
    play.good(ours, *free_proof(NODE_LOCK), write(NODE, static_node(state="used")))
    play.good(ours, remove(NODE_LOCK))
    play.good(ours, create(NODE_LOCK), write(NODE, static_node(state="deleting")))


def test_a_node_is_written_by_the_holder_of_its_lock() -> None:
    """Also in the step that takes it, or gives it up."""
    play, ours = _with_node()
    play.good(ours, create(contender(NODE_LOCK), ephemeral=True))
    play.good(ours, check(contender(NODE_LOCK)), write(NODE, static_node(state="in-use")))
    play.good(ours, remove(contender(NODE_LOCK)), write(NODE, static_node(state="used")))
    play.good(
        ours,
        create(contender(NODE_LOCK, 1), ephemeral=True),
        write(NODE, static_node(state="deleting")),
    )


def test_a_node_written_without_its_lock_is_found() -> None:
    """By a launcher and by a client alike, though nobody has it at that moment."""
    play, ours = _with_node()
    play.bad("lock", ours, write(NODE, static_node(state="used")))
    play.bad("lock", play.session(), write(NODE, static_node(state="deleting")))


def test_a_node_written_under_the_lock_of_another_is_found() -> None:
    """Waiting in line for a lock is not holding it."""
    play, ours = _with_node()
    client = play.session()
    play.good(client, create(contender(NODE_LOCK), ephemeral=True))
    play.good(ours, create(contender(NODE_LOCK, 1), ephemeral=True))
    found = play.bad("lock", ours, write(NODE, static_node(state="in-use")))
    assert f"session {client:x} held" in found.words


def test_a_lock_goes_with_its_session() -> None:
    """The next in line may write, the one whose session ended may not."""
    play, ours = _with_node()
    client = play.session()
    play.good(client, create(contender(NODE_LOCK), ephemeral=True))
    play.good(ours, create(contender(NODE_LOCK, 1), ephemeral=True))
    assert not play.close(client)
    play.bad("lock", client, write(NODE, static_node(state="in-use")))
    play.good(ours, write(NODE, static_node(state="used")))


def test_a_lock_without_a_session_is_held_by_whoever_names_it() -> None:
    """That of a node which another provider's nodes run on."""
    play, ours = _with_node()
    play.good(
        ours,
        *free_proof(NODE_LOCK),
        write(NODE, static_node(state="in-use")),
        create(contender(NODE_LOCK)),
    )
    play.good(ours, check(contender(NODE_LOCK)), write(NODE, static_node(state="hold")))
    play.bad("lock", ours, write(NODE, static_node(state="used")))
    play.good(ours, remove(contender(NODE_LOCK)), write(NODE, static_node(state="deleting")))


def test_a_request_written_by_a_launcher_needs_its_lock() -> None:
    """And by its client it does not."""
    play, ours = Play(), 0
    ours, client = play.launcher(), play.session()
    play.good(client, create(ASKED, a_request()))
    play.good(client, write(ASKED, a_request(relative_priority=3)))
    proof = (create(ASKED_LOCK), remove(ASKED_LOCK))
    play.good(ours, *proof, write(ASKED, a_request(declined_by=["one"])))
    play.bad("lock", ours, write(ASKED, a_request(declined_by=["two"])))
    play.good(ours, create(contender(ASKED_LOCK), ephemeral=True))
    play.good(ours, write(ASKED, a_request(state="pending")))
    play.bad("lock", play.launcher(), write(ASKED, a_request()))


def test_a_client_s_request_is_not_removed_by_a_launcher() -> None:
    """Its own is, as clients do."""
    play = Play()
    ours, client = play.launcher(), play.session()
    play.good(client, create(ASKED, a_request()))
    play.bad("lock", ours, remove(ASKED))
    play.good(ours, create(ASKED, a_request()))
    play.good(ours, remove(ASKED))
    play.good(client, create(ASKED, a_request()))
    play.good(client, remove(ASKED))


def test_nobody_is_removed_from_a_line_by_others() -> None:
    """Everybody leaves it by themselves."""
    play, ours = _with_node()
    client = play.session()
    play.good(client, create(contender(NODE_LOCK), ephemeral=True))
    found = play.bad("contender", ours, remove(contender(NODE_LOCK)))
    assert found.paths == (NODE, NODE_LOCK)
    play.good(client, create(contender(NODE_LOCK, 1), ephemeral=True))
    play.good(client, remove(contender(NODE_LOCK, 1)))


def test_nobody_passes_the_holder_of_a_lock() -> None:
    """Standing behind it is fine."""
    play, ours = _with_node()
    client = play.session()
    play.good(client, create(contender(NODE_LOCK, 5), ephemeral=True))
    play.good(ours, create(contender(NODE_LOCK, 6), ephemeral=True))
    play.bad("contender", ours, create(contender(NODE_LOCK, 4), ephemeral=True))


def test_static_nodes_are_made_and_removed_by_their_owner() -> None:
    """By nobody else, the next in line for it included."""
    play = Play()
    ours = play.launcher("rack")
    other = play.session(Role.LAUNCHER)
    play.good(other, create(contender(paths.owner_lock("rack"), 1), ephemeral=True))
    play.bad("owner", other, create(NODE, static_node()))
    play.bad("owner", other, remove(NODE))
    play.good(ours, create(NODE, static_node()))
    play.good(ours, remove(NODE))
    play.good(other, create(NODE, cloud_node()))


def test_what_chaos_does_is_excused_until_it_is_gone() -> None:
    """What launchers do with it meanwhile, that is."""
    play, ours = _with_node()
    chaos = play.session(Role.CHAOS)
    play.good(chaos, write(NODE, b"rubbish"))
    play.good(ours, write(NODE, static_node()))
    play.good(ours, remove(NODE_LOCK), remove(NODE))
    play.good(ours, create(NODE, static_node()))
    play.bad("lock", ours, write(NODE, static_node()))


def test_whoever_lost_a_lock_to_chaos_has_time_to_notice() -> None:
    """Seconds, or longer if it does nothing at all: it may be frozen."""
    owner = paths.owner_lock("rack")
    nodes = [create(paths.node(f"{n:010d}"), static_node(slot=n)) for n in range(5)]
    play = Play()
    chaos, ours = play.session(Role.CHAOS), play.launcher("rack")
    play.good(chaos, remove(contender(owner)))
    play.good(ours, nodes[0], after=MINUTE)
    play.bad("owner", ours, nodes[1], after=MINUTE)
    play.good(ours, create(contender(owner, 1), ephemeral=True))
    play.good(chaos, remove(contender(owner, 1)))
    play.good(chaos, create(contender(owner, 2), ephemeral=True))
    play.good(ours, create(contender(owner, 3), ephemeral=True))
    play.good(ours, nodes[2])
    play.bad("owner", ours, nodes[3], after=MINUTE)


def test_nodepool_11_is_held_to_none_of_these() -> None:
    """It writes some nodes without their locks."""
    play, ours = _with_node()
    old = play.session(Role.NODEPOOL_11)
    play.good(old, write(NODE, static_node(state="used")))
    play.good(ours, create(contender(NODE_LOCK), ephemeral=True))
    play.good(old, remove(contender(NODE_LOCK)))
    play.good(old, create(paths.node("0000000003"), static_node(slot=3)))
