"""Whole paths and trees, against others who undo what we do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kazoo.exceptions import (
    BadArgumentsError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from kazoo.protocol.serialization import Create, Delete
from kazoo.security import OPEN_ACL_UNSAFE
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.txzookeeper.interface import TransactionFailed
from nodepool_tx.txzookeeper.transaction import MultiTransaction
from nodepool_tx.txzookeeper.trees import create_path, delete_tree, ensure_path
from nodepool_tx.txzookeeper.wire import Exists, GetChildren, packed_acl


class Tree:
    """A tree of paths that answers at once, and lets a test interfere."""

    def __init__(self, *paths: str) -> None:
        self.paths = {"/", *paths}
        self.asked: list[Any] = []
        self.before: Callable[[Any], None] = lambda record: None
        self.forbidden: set[str] = set()

    def ask(self, record: Any, decode: Any) -> Deferred[Any]:
        self.before(record)
        self.asked.append(record)
        try:
            return succeed(self.carry_out(record))
        except Exception as error:
            return fail(error)

    def carry_out(self, record: Any) -> Any:
        path = record.path
        below = {each for each in self.paths if each != "/" and _parent(each) == path}
        if isinstance(record, Exists):
            return path if path in self.paths else None
        if isinstance(record, Create):
            if _parent(path) in self.forbidden:
                raise NoAuthError(path)
            if path in self.paths:
                raise NodeExistsError(path)
            if _parent(path) not in self.paths:
                raise NoNodeError(path)
            self.paths.add(path)
            return path
        if path not in self.paths:
            raise NoNodeError(path)
        if isinstance(record, GetChildren):
            return [each.rpartition("/")[2] for each in below]
        assert isinstance(record, Delete)
        if below:
            raise NotEmptyError(path)
        self.paths.remove(path)
        return None

    def kinds(self) -> list[str]:
        return [type(record).__name__ for record in self.asked]


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class TreeTests(SynchronousTestCase):
    """The three operations."""

    def ensure(self, tree: Tree, path: str) -> Deferred[None]:
        return Deferred.fromCoroutine(ensure_path(tree.ask, path, OPEN_ACL_UNSAFE))

    def test_path_that_is_there(self) -> None:
        """A path that exists costs one look."""
        tree = Tree("/a", "/a/b")
        self.successResultOf(self.ensure(tree, "/a/b"))
        self.assertEqual(tree.kinds(), ["Exists"])

    def test_path_that_is_not_there(self) -> None:
        """A path that is missing is created back to back."""
        tree = Tree("/a")
        self.successResultOf(self.ensure(tree, "/a/b/c"))
        self.assertEqual(tree.kinds(), ["Exists", "Create", "Create", "Create"])
        self.assertIn("/a/b/c", tree.paths)

    def test_parent_removed_meanwhile(self) -> None:
        """A parent removed between two creations is made again."""
        tree = Tree()
        removals = ["/a", "/a", "/a/b"]

        def interfere(record: Any) -> None:
            if isinstance(record, Create) and removals and _parent(record.path) == removals[0]:
                tree.paths.discard(removals.pop(0))

        tree.before = interfere
        self.successResultOf(self.ensure(tree, "/a/b/c"))
        self.assertIn("/a/b/c", tree.paths)
        self.assertEqual(removals, [])

    def test_parent_always_removed(self) -> None:
        """Somebody who never stops removing it is given way to in the end."""
        tree = Tree()

        def interfere(record: Any) -> None:
            if isinstance(record, Create) and record.path == "/a/b":
                tree.paths.discard("/a")

        tree.before = interfere
        self.failureResultOf(self.ensure(tree, "/a/b"), NoNodeError)
        self.assertLess(len(tree.asked), 100)

    def test_forbidden_parents(self) -> None:
        """Existing parents we may not create are fine, missing ones are said."""
        tree = Tree("/a", "/a/b")
        tree.forbidden = {"/"}
        self.successResultOf(self.ensure(tree, "/a/b/c"))
        tree.forbidden = {"/a/b/c"}
        self.failureResultOf(self.ensure(tree, "/a/b/c/d/e"), NoAuthError)

    def test_create_with_parents(self) -> None:
        """Parents that are there cost nothing; missing ones are made, again if need be."""
        tree = Tree("/a")

        def create(path: str) -> Deferred[str]:
            creation = Create(path, b"", OPEN_ACL_UNSAFE, 0)
            return Deferred.fromCoroutine(create_path(tree.ask, creation, OPEN_ACL_UNSAFE))

        self.successResultOf(create("/a/b"))
        self.assertEqual(tree.kinds(), ["Create"])
        removals = [1, 2, 3]

        def interfere(record: Any) -> None:
            if isinstance(record, Create) and record.path == "/x/y" and removals:
                removals.pop()
                tree.paths.discard("/x")

        tree.before = interfere
        self.assertEqual(self.successResultOf(create("/x/y")), "/x/y")
        self.failureResultOf(create("/x/y"), NodeExistsError)

    def test_tree_is_removed_from_the_bottom(self) -> None:
        """Each znode is listed once and deleted once, children before parents."""
        tree = Tree("/t", "/t/a", "/t/a/1", "/t/a/2", "/t/b")
        self.successResultOf(Deferred.fromCoroutine(delete_tree(tree.ask, "/t")))
        self.assertEqual(tree.paths, {"/"})
        self.assertEqual(tree.kinds(), ["GetChildren"] * 5 + ["Delete"] * 5)

    def test_tree_grows_while_it_is_removed(self) -> None:
        """What is added meanwhile is removed, too."""
        tree = Tree("/t", "/t/a", "/t/a/1", "/tt")
        additions = ["/t/a/2", "/t/new", "/t/newer"]

        def interfere(record: Any) -> None:
            if isinstance(record, Delete) and additions and record.path == _parent(additions[0]):
                tree.paths.add(additions.pop(0))

        tree.before = interfere
        self.successResultOf(Deferred.fromCoroutine(delete_tree(tree.ask, "/t")))
        self.assertEqual(tree.paths, {"/", "/tt"})
        self.assertEqual(additions, [])

    def test_tree_that_never_stops_growing(self) -> None:
        """Somebody who never stops adding is given way to in the end."""
        tree = Tree("/t")
        tree.before = lambda record: tree.paths.update(["/t/again", "/t"])
        self.failureResultOf(Deferred.fromCoroutine(delete_tree(tree.ask, "/t")), NotEmptyError)

    def test_transaction_with_a_bad_path(self) -> None:
        """A path that cannot be one refuses the transaction before it is sent."""
        transaction = MultiTransaction(
            lambda record, decode: self.fail("sent"),
            lambda path, sequence: path if path.startswith("/") else None,
            lambda path: path,
            packed_acl(OPEN_ACL_UNSAFE),
        )
        transaction.create("/a")
        transaction.set("b", b"")
        transaction.check("c")
        failed = self.failureResultOf(transaction.commit(), TransactionFailed).value
        self.assertEqual((failed.index, failed.operation), (1, "set"))
        self.assertIsInstance(failed.error, BadArgumentsError)
