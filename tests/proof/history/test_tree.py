"""The tree that a history makes."""

from __future__ import annotations

from proof.history.transactions import Operation, SessionClosed, SessionOpened, Transaction
from proof.history.tree import Tree
from tests.proof.history.play import check, contender, create, remove, write

LOCK = "/nodepool/nodes/1/lock"


def _tree(*deeds: tuple[int, tuple[Operation, ...]]) -> Tree:
    tree = Tree()
    for zxid, (session, operations) in enumerate(deeds, 1):
        tree.apply(Transaction(zxid, 0, session, operations))
    return tree


def test_znodes_come_change_and_go() -> None:
    """It is known who made each, and which transaction wrote it last."""
    tree = _tree((7, (create("/a", {"x": 1}),)), (8, (Operation("set", "/a", b"{", 1),)))
    znode = tree.get("/a")
    assert znode is not None
    assert (znode.version, znode.creator, znode.created, znode.modified) == (1, 7, 1, 2)
    assert (znode.data, znode.record, len(tree)) == (b"{", None, 1)
    step = tree.apply(Transaction(3, 0, 8, (remove("/a"),)))
    assert step.changes == {"/a": (znode, None)}
    assert (tree.get("/a"), list(tree.children("")), len(tree)) == (None, [], 0)


def test_a_transaction_that_undoes_itself_leaves_no_trace() -> None:
    """Before and after are those of the whole."""
    tree = _tree((7, (create("/a"),)))
    step = tree.apply(
        Transaction(2, 0, 7, (remove("/a"), create("/a"), create("/b"), remove("/b")))
    )
    before, after = step.changes["/a"]
    assert before is not None
    assert after is tree.get("/a") is not before
    assert step.changes["/b"] == (None, None)
    assert step.before("/a") is before
    assert step.before("/c") is None


def test_what_is_ephemeral_goes_with_its_session() -> None:
    """All of it at once, and nothing else."""
    tree = _tree(
        (7, (create("/a", ephemeral=True), create("/b"))),
        (8, (create("/c", ephemeral=True),)),
        (7, (create("/d", ephemeral=True), create("/e", ephemeral=True), remove("/e"))),
        (8, (write("/a", b"x"),)),
    )
    assert list(tree.owned(7)) == ["/a", "/d"]
    tree.apply(SessionOpened(5, 0, 9, 1000))
    step = tree.apply(SessionClosed(6, 0, 7))
    assert set(step.changes) == {"/a", "/d"}
    assert all(after is None for _, after in step.changes.values())
    assert [path for path in ("/a", "/b", "/c", "/d") if tree.get(path)] == ["/b", "/c"]
    assert list(tree.owned(7)) == []


def test_the_first_in_line_holds_a_lock() -> None:
    """By the number at the end of its name; who stands there is known for the moment before too."""
    tree = _tree((1, (create(LOCK),)))
    assert tree.holder(LOCK) is None
    for zxid, (session, sequence) in enumerate(((11, 5), (12, 3), (13, 4)), 2):
        made = create(contender(LOCK, sequence), ephemeral=True)
        tree.apply(Transaction(zxid, 0, session, (made, create(f"{LOCK}/x{zxid}"))))
    assert [znode.owner for znode in tree.contenders(LOCK)] == [12, 13, 11]
    swap = (remove(contender(LOCK, 3)), create(contender(LOCK, 2)))
    step = tree.apply(Transaction(9, 0, 12, swap))
    assert [znode.owner for znode in step.contenders_before(LOCK)] == [12, 13, 11]
    assert tree.holder(LOCK) == 0


def test_what_is_elsewhere_is_left_out() -> None:
    """And what was not seen made is there from the first that is heard of it."""
    tree = Tree(below="/nodepool")
    step = tree.apply(Transaction(1, 0, 7, (create("/zuul"), check("/nodepool/x"))))
    assert not step.changes
    tree.apply(Transaction(2, 0, 7, (Operation("set", "/nodepool/x", b"1", 4), remove("/zuul"))))
    znode = tree.get("/nodepool/x")
    assert znode is not None
    assert (znode.version, znode.created, len(tree)) == (4, 2, 1)
