"""What the checker makes of a history besides applying rules."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nodepool_tx.store import paths
from proof.history import trails
from proof.history.cast import Cast, Role
from proof.history.checker import Checker
from proof.history.logs import CommittedLog
from proof.history.transactions import Transaction
from tests.proof.history.play import (
    NODE,
    NODE_LOCK,
    OTHER,
    Play,
    check,
    contender,
    create,
    free_proof,
    remove,
    static_node,
    write,
)
from tests.proof.history.written import Server


def _registered(play: Play, session: int, version: str) -> None:
    component = {"kind": "launcher", "hostname": "vm", "version": version}
    path = f"{paths.COMPONENTS}/launcher/vm{session:010d}"
    play.good(session, create(path, component, ephemeral=True))


def test_launchers_are_known_by_what_they_register() -> None:
    """Nodepool 11's by their version; whoever was named stays who they are."""
    play = Play()
    ours, old, named = play.session(), play.session(), play.session(Role.CHAOS)
    assert play.cast.role(ours) is Role.CLIENT
    _registered(play, ours, "0.1.0")
    _registered(play, old, "11.0.0 a1b2c3")
    _registered(play, named, "0.1.0")
    roles = [play.cast.role(each) for each in (ours, old, named)]
    assert roles == [Role.LAUNCHER, Role.NODEPOOL_11, Role.CHAOS]
    play.close(ours)
    assert play.cast.player(ours).name == f"launcher vm{ours:010d} 0.1.0"


def test_a_tainted_znode_is_excused_until_it_is_gone() -> None:
    """With what is below it, and with those it is in a violation with."""
    play = Play()
    ours = play.launcher("rack")
    play.good(ours, create(NODE, static_node()))
    play.checker.taint(NODE)
    play.good(ours, write(NODE, static_node()))
    play.good(ours, create(OTHER, static_node()))
    play.bad("lock", ours, write(OTHER, static_node()))
    play.good(ours, remove(NODE))
    play.good(ours, create(NODE, static_node(slot=4)))
    play.bad("lock", ours, write(NODE, static_node(slot=4)))


def test_what_was_put_right_counts_again() -> None:
    """From that moment on, not for what happened before and is read later."""
    play = Play()
    ours = play.launcher("rack")
    play.good(ours, create(NODE, static_node()))
    play.checker.taint(NODE)
    play.checker.untaint(NODE)
    play.good(ours, write(NODE, static_node()))
    play.milliseconds = int(time.time() * 1000) + 1000
    play.bad("lock", ours, write(NODE, static_node()))


def test_the_trail_tells_what_led_there() -> None:
    """Who did what to the znodes concerned, their locks included, and only what changed."""
    play = Play()
    ours, client = play.launcher("rack"), play.session()
    play.good(ours, create(NODE, static_node()), create(NODE_LOCK))
    play.good(ours, create(OTHER, static_node(slot=1)))
    play.good(client, create(contender(NODE_LOCK), ephemeral=True))
    violation = play.bad("lock", ours, write(NODE, static_node(state="used")))
    play.good(client, write(NODE, static_node(state="deleting")))
    lines = play.checker.trail(violation)
    assert [line.partition(": ")[2] for line in lines][2:] == [
        f"session {client:x} stands in line for {NODE_LOCK}",
        f'writes {NODE} state: "ready" -> "used"',
    ]
    assert "makes" in lines[0]
    assert f"launcher {ours:x}: " in lines[0]
    assert not any(OTHER in line for line in lines)


def test_trails_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In how many znodes they are about, and in how many steps of each."""
    monkeypatch.setattr(trails, "ZNODES", 3)
    play = Play()
    ours = play.launcher("rack")
    for number in range(10):
        play.good(ours, create(paths.node(f"{number:010d}"), static_node(slot=number)))
    last = paths.node("0000000009")
    lock = f"{last}/lock"
    play.good(ours, create(lock))
    for _ in range(2 * trails.STEPS):
        play.good(ours, *free_proof(lock), write(last, static_node(slot=9)))
    for number in (0, 6):
        node = paths.node(f"{number:010d}")
        violation = play.bad("lock", ours, write(node, static_node(slot=number)))
        assert len(play.checker.trail(violation)) == 1
    violation = play.bad("lock", ours, write(last, static_node(slot=9)))
    assert len(play.checker.trail(violation)) <= trails.STEPS


def test_a_hole_in_the_history_is_a_violation(tmp_path: Path) -> None:
    """It is told once."""
    server = Server(tmp_path)
    server.log(1, 2, 4)
    checker = Checker(CommittedLog([tmp_path], patience=0.0), Cast())
    assert [violation.rule for violation in checker.step()] == ["history"]
    assert checker.step() == []


def test_a_step_costs_little_however_many_nodes_there_are() -> None:
    """Two hundred times as many make it at most ten times as slow."""
    costs = []
    for nodes in (20, 4000):
        play = Play()
        ours, client = play.launcher("rack"), play.session()
        for number in range(nodes):
            node = paths.node(f"{number:010d}")
            deed = (create(node, static_node(slot=number)), create(f"{node}/lock"))
            play.good(ours, *deed)
        lock = contender(NODE_LOCK)
        began = time.process_time()
        for _ in range(200):
            play.good(client, create(lock, ephemeral=True))
            play.good(client, check(lock), write(NODE, static_node(slot=1)))
            play.good(client, remove(lock))
        costs.append(time.process_time() - began)
    assert costs[1] < 10 * costs[0]


def test_a_chroot_s_farm_is_judged_alone() -> None:
    """What others do beside it is left out."""
    checker = Checker(CommittedLog([]), Cast(), root="/farm")
    elsewhere = (create(NODE, static_node()), write(NODE, b"rubbish"))
    assert checker.judge(Transaction(1, 0, 5, elsewhere)) == []
    here = f"/farm{NODE}"
    assert checker.judge(Transaction(2, 0, 5, (create(here, static_node()),))) == []
    found = checker.judge(Transaction(3, 0, 5, (write(here, static_node()),)))
    assert [violation.paths[0] for violation in found] == [here]
    assert [line.split(": ", 1)[1][:25] for line in checker.trail(found[0])] == [
        "makes /nodepool/nodes/000",
        "writes /nodepool/nodes/00",
    ]
