"""Which launcher looks after a provider."""

from __future__ import annotations

import os

from kazoo.exceptions import ConnectionLoss

from nodepool_tx.providers.ownership import Ownership, Ownerships
from nodepool_tx.store import paths
from nodepool_tx.testing.zookeeper import MemoryClient
from nodepool_tx.txzookeeper.lock import Lock
from tests.pools.harness import ZookeeperTestCase


class OwnershipTests(ZookeeperTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.connected()
        self.ownerships = Ownerships(self.client, "one")
        self.rival = self.connected()
        self.rivals = Ownerships(self.rival, "two")

    def own(self, ownerships: Ownerships | None = None) -> Ownership:
        ownership = (ownerships or self.ownerships).of("rack")
        self.settle()
        return ownership

    def contenders(self) -> list[str]:
        """In the order in which they stand in line."""
        below = self.inspector.dump(f"{paths.owner_lock('rack')}/")
        return sorted(below, key=lambda path: path[-10:])

    def assert_owner(self, *held: Ownership, waits: tuple[Ownership, ...] = ()) -> None:
        """These hold it and those do not; in ZooKeeper everyone stands in line once."""
        self.assertEqual([one.held for one in held], [True] * len(held))
        self.assertEqual([one.held for one in waits], [False] * len(waits))
        self.assertEqual(len(self.contenders()), len(held) + len(waits))


class TakingTests(OwnershipTests):
    def test_first_come(self) -> None:
        """The first to ask is the owner, the next stands by; who they are is seen."""
        one, two = self.own(), self.own(self.rivals)
        self.assert_owner(one, waits=(two,))
        first = self.contenders()[0]
        self.assertEqual(self.inspector.dump(first), {first: f"one:{os.getpid()}".encode()})
        self.assertRegex(first, r"/[0-9a-f]{32}__lock__\d{10}$")

    def test_asked_again(self) -> None:
        """There is one ownership of a provider in a process, however often it is asked for."""
        self.assertIs(self.own(), self.own())
        self.assertEqual(len(self.contenders()), 1)

    def test_providers_are_separate(self) -> None:
        """Each provider has an owner of its own."""
        self.own()
        other = self.rivals.of("other")
        self.settle()
        self.assertTrue(other.held)

    def test_take_over(self) -> None:
        """When the owner stands down the next takes over, and both are told."""
        one, two = self.own(), self.own(self.rivals)
        told: list[tuple[str, bool]] = []
        one.subscribe(lambda held: told.append(("one", held)))
        unsubscribe = two.subscribe(lambda held: told.append(("two", held)))
        self.done(self.ownerships.give_up("rack"))
        self.assert_owner(two)
        self.assertFalse(one.held)
        self.assertEqual(told, [("one", False), ("two", True)])
        unsubscribe()
        self.done(self.rivals.give_up("rack"))
        self.assertEqual(len(told), 2)

    def test_back_in_line(self) -> None:
        """Who stands down and asks again is the last in line."""
        self.own()
        two = self.own(self.rivals)
        gone = self.ownerships.give_up("rack")
        again = self.own()
        self.done(gone)
        self.assert_owner(two, waits=(again,))

    def test_not_connected_yet(self) -> None:
        """It is asked for as soon as there is a connection."""
        client = self.zookeeper.client()
        ownership = Ownerships(client, "three").of("rack")
        self.settle()
        self.assertFalse(ownership.held)
        self.done(client.connect())
        self.assert_owner(ownership)

    def test_foreign_znodes_in_line(self) -> None:
        """What is no contender is nobody to wait for."""
        self.inspector.create(f"{paths.owner_lock('rack')}/rubbish")
        self.assertTrue(self.own().held)


class GivingUpTests(OwnershipTests):
    def test_while_standing_by(self) -> None:
        """Who stands by leaves the line, and the owner is not disturbed."""
        one = self.own()
        self.own(self.rivals)
        self.done(self.rivals.give_up("rack"))
        self.assert_owner(one)

    def test_before_it_stood_in_line(self) -> None:
        """Who gives up before the request went out never stands in line."""
        self.own()
        self.inspector.before(
            "create",
            lambda _: given_up.append(self.rivals.give_up("rack")),
            client=self.rival,
        )
        self.inspector.before(
            "exists",
            lambda _: given_up.append(self.rivals.give_up("rack")),
            client=self.rival,
        )
        given_up: list[object] = []
        two = self.rivals.of("rack")
        self.settle()
        self.successResultOf(given_up[0])  # type: ignore[arg-type]
        self.assertFalse(two.held)
        self.assertEqual(len(self.contenders()), 1)

    def test_what_is_not_owned(self) -> None:
        """A provider nobody asked for can be given up."""
        self.successResultOf(self.ownerships.give_up("unknown"))

    def test_keep_only(self) -> None:
        """Those that are not named are given up, the others kept."""
        kept, gone = self.own(), self.ownerships.of("other")
        self.settle()
        self.done(self.ownerships.keep_only({"rack", "unknown"}))
        self.assertTrue(kept.held)
        self.assertFalse(gone.held)

    def test_without_a_connection(self) -> None:
        """Without a connection it is given up when there is one."""
        self.own()
        two = self.own(self.rivals)
        self.inspector.suspend(self.client)
        self.successResultOf(self.ownerships.give_up("rack"))
        self.settle()
        self.assertFalse(two.held)
        self.inspector.resume(self.client)
        self.settle()
        self.assert_owner(two)

    def test_answers_lost(self) -> None:
        """Whichever answer is lost, nobody stands in line after giving up."""
        for op in ("create", "get_children", "delete", "exists", "sync"):
            for executed in (False, True):
                self.own()
                call_off = (
                    self.inspector.lose_reply_next(op, client=self.client)
                    if executed
                    else self.inspector.fail_next(op, ConnectionLoss(), client=self.client)
                )
                given_up = self.ownerships.give_up("rack")
                self.settle()
                call_off()
                self.successResultOf(given_up)
                self.assertEqual(self.contenders(), [], op)


class LosingTests(OwnershipTests):
    """What happens to the session happens to the ownership."""

    def test_suspended(self) -> None:
        """A lost connection takes nothing away as long as the session lives."""
        one, two = self.own(), self.own(self.rivals)
        told: list[bool] = []
        one.subscribe(told.append)
        self.inspector.cut(self.client)
        self.settle()
        self.assert_owner(one, waits=(two,))
        self.assertEqual(told, [])

    def test_expired(self) -> None:
        """When the session ends the next one takes over, and we stand in line again."""
        one, two = self.own(), self.own(self.rivals)
        told: list[bool] = []
        one.subscribe(told.append)
        self.inspector.expire(self.client)
        self.settle()
        self.assert_owner(two, waits=(one,))
        self.assertEqual(told, [False])
        self.inspector.expire(self.rival)
        self.settle()
        self.assert_owner(one, waits=(two,))
        self.assertEqual(told, [False, True])

    def test_expired_while_standing_by(self) -> None:
        """Who stands by and loses the session stands in line again, once."""
        one, two = self.own(), self.own(self.rivals)
        for _ in range(3):
            self.inspector.expire(self.rival)
            self.settle()
        self.assert_owner(one, waits=(two,))

    def test_connection_lost_while_taking_it(self) -> None:
        """However the connection breaks meanwhile, we stand in line once and get our turn."""
        for op in ("create", "get_children", "exists", "get", "sync"):
            for executed in (False, True):
                call_off = (
                    self.inspector.lose_reply_next(op, client=self.client)
                    if executed
                    else self.inspector.fail_next(op, ConnectionLoss(), client=self.client)
                )
                one = self.own()
                call_off()
                self.assert_owner(one)
                self.done(self.ownerships.give_up("rack"))

    def test_each_request_lost_in_turn(self) -> None:
        """A session that ends at any request on the way leads to one owner in the end."""
        for count in range(8):
            seen = 0

            def expire(_: object, count: int = count) -> None:
                nonlocal seen
                seen += 1
                if seen == count + 1:
                    self.inspector.expire(self.client)

            call_off = self.inspector.after("*", expire, client=self.client, times=None)
            one = self.own()
            call_off()
            self.assert_owner(one)
            self.done(self.ownerships.give_up("rack"))

    def test_contender_removed_by_hand(self) -> None:
        """An owner whose contender somebody removes knows, and stands in line again."""
        one, two = self.own(), self.own(self.rivals)
        told: list[bool] = []
        one.subscribe(told.append)
        self.delete(self.contenders()[0])
        self.settle()
        self.assert_owner(two, waits=(one,))
        self.assertEqual(told, [False])

    def test_removed_with_its_directory(self) -> None:
        """Even if the whole directory is removed, there is one owner again afterwards."""
        one, two = self.own(), self.own(self.rivals)
        self.delete(paths.OWNERS)
        self.settle()
        self.assertEqual(len(self.contenders()), 2)
        self.assertEqual(sorted([one.held, two.held]), [False, True])

    def test_a_lock_of_anyone(self) -> None:
        """Whoever takes the lock, with kazoo's recipe or by hand, is the owner."""
        guest: MemoryClient = self.connected()
        lock = Lock(guest, paths.owner_lock("rack"), "somebody else")
        self.done(guest.ensure_path(paths.owner_lock("rack")))
        self.done(lock.acquire())
        one = self.own()
        self.assertFalse(one.held)
        self.done(lock.release())
        self.assertTrue(one.held)
