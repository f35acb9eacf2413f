"""Questions and answers through ZooKeeper, in memory."""

from __future__ import annotations

from kazoo.exceptions import ConnectionLoss
from twisted.internet.defer import CancelledError

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config
from nodepool_tx.explain.answers import LEFT_OVER_AFTER
from nodepool_tx.explain.here import explain_here
from nodepool_tx.explain.questions import encode_question, question_path
from nodepool_tx.model import RequestState
from nodepool_tx.pools.explaining import Effect
from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.codec import encode_request
from tests.explain.world import ChannelTestCase
from tests.providers.static.values import KEYS


class AskingTests(ChannelTestCase):
    def test_all_answer(self) -> None:
        """Every pool of every launcher is heard, and at once; nothing is left behind."""
        self.hosts.add("web2", keys=KEYS)
        self.process("l1", self.config())
        self.process("l2", self.config("other", "web2"))
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.settle()
        began = self.clock.seconds()
        found = self.ask(request_id)
        self.assertEqual(self.clock.seconds(), began)
        self.assertEqual([pool.provider for pool in found.pools], ["other", "rack"])
        self.assertEqual({pool.launcher for pool in found.pools}, {"l1", "l2"})
        self.assertTrue(all(pool.answered for pool in found.pools))
        self.assertEqual(found.silent, ())
        self.assertEqual(
            found.summary,
            "waits for a free node with label a at provider other: 1 in use; "
            "1 more pool waits with it",
        )
        self.assertEqual((found.request["id"], found.request["state"]), (request_id, "requested"))
        self.assertEqual(self.questions(), [])

    def test_a_silent_launcher(self) -> None:
        """After two seconds its pools are told of from outside, and it is named."""
        self.process("l1", self.config())
        silent = self.register_elsewhere("old", "a", "b")
        self.occupy()
        request_id = self.stage.put_request("a")
        asking = self.begin(request_id)
        self.stage.wait(1.75)
        self.assertNoResult(asking)
        self.stage.wait(0.5)
        found = self.successResultOf(asking)
        assert found is not None
        self.assertEqual(found.silent, (silent,))
        heard, judged = found.pools
        self.assertEqual((heard.provider, heard.answered), ("rack", True))
        self.assertEqual((judged.provider, judged.answered), ("old", False))
        self.assertEqual(judged.rules[-1].name, "unheard")
        self.assertEqual(judged.effect, Effect.WAITS)
        self.assertEqual(self.questions(), [])

    def test_what_can_be_seen_from_outside(self) -> None:
        """Labels, limits, nodes: by the same rules."""
        self.register_elsewhere("old", "a", provider="rack")
        self.register_elsewhere("older", "b", provider="other")
        config = Config(
            providers=FrozenMapping({"rack": self.config()}),
            tenant_resource_limits=FrozenMapping({"t": FrozenMapping({"instances": 0.0})}),
        )
        request_id = self.stage.put_request("a")
        found = {pool.provider: pool for pool in self.ask(request_id, config).pools}
        self.assertEqual(
            found["rack"].verdict,
            "waits for a free node with label a at provider rack: there are none",
        )
        self.assertEqual(found["other"].verdict, "this pool has no a, others have")

    def test_no_such_request(self) -> None:
        """Nobody is asked."""
        self.process("l1", self.config())
        self.inspector.requests.clear()
        self.assertIsNone(self.successResultOf(self.begin("200-0000000077")))
        self.assertEqual(self.inspector.requests["create"], 0)

    def test_an_unreadable_request(self) -> None:
        """It is told as such."""
        path = self.inspector.create(f"{paths.REQUESTS}/200-", b"{", sequence=True)
        self.stage.settle()
        found = self.ask(path.rpartition("/")[2])
        self.assertIn("its record is unreadable", found.summary)

    def test_no_launcher(self) -> None:
        """There is nobody to wait for."""
        request_id = self.stage.put_request("a")
        self.stage.settle()
        began = self.clock.seconds()
        found = self.ask(request_id)
        self.assertEqual(self.clock.seconds(), began)
        self.assertIn("no pool is online", found.summary)

    def test_a_pending_request(self) -> None:
        """Who has its lock is told, though that launcher says nothing."""
        self.register_elsewhere("old", "a")
        request_id = self.stage.put_request("a")
        self.stage.settle()
        directory = paths.request_lock(request_id)
        self.inspector.create(
            f"{directory}/{'0' * 32}__lock__",
            b"old-PoolWorker.old-main",
            owner=self.stage.visitor,
            sequence=True,
        )
        request = self.stage.request(request_id)
        pending = request.in_state(RequestState.PENDING, self.clock.seconds())
        self.inspector.set(paths.request(request_id), encode_request(pending))
        self.stage.settle()
        found = self.ask(request_id)
        self.assertEqual(
            found.summary, "old-PoolWorker.old-main has it in hand, and prepares its nodes"
        )
        self.assertEqual(found.request["locked_by"], "old-PoolWorker.old-main")

    def test_a_request_that_goes_meanwhile(self) -> None:
        """There is nothing left to explain."""
        self.register_elsewhere("old", "a")
        request_id = self.stage.put_request("a")
        self.stage.settle()
        asking = self.begin(request_id)
        self.inspector.delete(paths.request(request_id))
        self.stage.wait(3)
        self.assertIsNone(self.successResultOf(asking))

    def test_garbage_for_an_answer(self) -> None:
        """Counts as none."""
        silent = self.register_elsewhere("old", "a")
        request_id = self.stage.put_request("a")
        self.stage.settle()
        asking = self.begin(request_id)
        (question,) = self.questions()
        self.inspector.create(f"{question}/{silent}", b'{"pools": 5}')
        self.stage.settle()
        found = self.successResultOf(asking)
        assert found is not None
        self.assertEqual(found.silent, (silent,))
        self.assertFalse(found.pools[0].answered)

    def test_an_asker_that_gives_up(self) -> None:
        """Takes its question back."""
        self.register_elsewhere("old", "a")
        request_id = self.stage.put_request("a")
        self.stage.settle()
        asking = self.begin(request_id)
        self.assertEqual(len(self.questions()), 1)
        asking.cancel()
        self.stage.settle()
        self.failureResultOf(asking, CancelledError)
        self.assertEqual(self.questions(), [])

    def test_a_session_that_ends_while_asking(self) -> None:
        """It is told; what stays of the question, launchers remove."""
        process = self.process("l1", self.config())
        self.register_elsewhere("old", "a")
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.settle()
        asking = self.begin(request_id)
        self.inspector.expire(self.client)
        self.stage.settle()
        self.failureResultOf(asking, Uncertain)
        self.assertEqual(len(self.questions()), 2)
        self.stage.wait(LEFT_OVER_AFTER + 1, step=5)
        self.assertEqual(self.questions(), [])
        self.assertTrue(process.store.current)

    def test_a_connection_that_breaks(self) -> None:
        """Whatever was asked for."""
        self.process("l1", self.config())
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.settle()
        self.inspector.fail_next("create", ConnectionLoss())
        asking = self.begin(request_id)
        self.failureResultOf(asking, Uncertain)


class AnsweringTests(ChannelTestCase):
    def put_question(self, data: bytes, name: str = "q") -> None:
        self.inspector.create(question_path(name), data)
        self.stage.settle()

    def test_garbage_for_a_question(self) -> None:
        """Is not answered, and goes in the end."""
        self.process("l1", self.config())
        self.put_question(b"explain this!")
        self.put_question(b"", "p")
        self.assertEqual(self.questions(), [question_path("p"), question_path("q")])
        self.stage.wait(LEFT_OVER_AFTER + 1, step=5)
        self.assertEqual(self.questions(), [])

    def test_questions_of_the_dead(self) -> None:
        """They are answered like any other, and removed by whoever is there."""
        process = self.process("l1", self.config())
        self.process("l2")
        request_id = self.stage.put_request("b")
        self.stage.settle()
        self.put_question(encode_question(request_id, 0.0))
        self.assertIn(f"{question_path('q')}/{process.id}", self.questions())
        self.stage.wait(LEFT_OVER_AFTER + 1, step=5)
        self.assertEqual(self.questions(), [])

    def test_questions_from_before_the_start(self) -> None:
        """A launcher that starts later removes them, too."""
        self.put_question(encode_question("200-0000000001", 0.0))
        self.process("l1", self.config())
        self.stage.wait(LEFT_OVER_AFTER + 1, step=5)
        self.assertEqual(self.questions(), [])

    def test_removing_that_does_not_work(self) -> None:
        """Is tried again."""
        self.process("l1", self.config())
        self.put_question(b"garbage")
        self.inspector.fail_next("delete", ConnectionLoss())
        self.stage.wait(LEFT_OVER_AFTER + 1, step=5)
        self.assertEqual(self.questions(), [question_path("q")])
        self.stage.wait(LEFT_OVER_AFTER, step=5)
        self.assertEqual(self.questions(), [])

    def test_an_answer_that_nobody_waits_for(self) -> None:
        """The question is gone: so be it."""
        process = self.process("l1", self.config())
        request_id = self.stage.put_request("b")
        self.stage.settle()
        self.inspector.before(
            "create",
            lambda _: self.inspector.delete_tree(question_path("q")),
            times=1,
            path=f"{question_path('q')}/{process.id}",
        )
        self.put_question(encode_question(request_id, 0.0))
        self.assertEqual(self.questions(), [])

    def test_while_the_store_is_not_current(self) -> None:
        """It is waited for, but not for long: then that is the answer."""
        process = self.process("l1", self.config())
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.settle()
        out_of_touch = [True]
        store = process.store
        self.patch(type(store), "current", property(lambda s: s is not store or not out_of_touch))
        asking = self.begin(request_id)
        self.assertNoResult(asking)
        self.stage.wait(1.25)
        found = self.successResultOf(asking)
        assert found is not None
        self.assertIn("out of touch with ZooKeeper", found.summary)
        self.assertTrue(found.pools[0].answered)

    def test_a_store_that_becomes_current(self) -> None:
        """Is answered from at that moment."""
        process = self.process("l1", self.config())
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.settle()
        self.inspector.suspend(process.launcher.client)
        asking = self.begin(request_id)
        self.assertNoResult(asking)
        self.inspector.resume(process.launcher.client)
        self.stage.wait(1)
        found = self.successResultOf(asking)
        assert found is not None
        self.assertIn("1 in use", found.summary)
        self.assertEqual(found.silent, ())

    def test_stopping(self) -> None:
        """Nothing of it runs any more; what is asked then is not answered."""
        process = self.process("l1", self.config())
        self.put_question(b"garbage", "g")
        stopped = process.answers.stopService()
        self.stage.settle()
        self.successResultOf(stopped)
        self.put_question(encode_question("200-1", 0.0))
        self.stage.wait(LEFT_OVER_AFTER + 1, step=5)
        self.assertEqual(self.questions(), [question_path("g"), question_path("q")])
        process.answers.startService()
        self.stage.settle()
        self.stage.wait(LEFT_OVER_AFTER + 1, step=5)
        self.assertEqual(self.questions(), [])


class HereTests(ChannelTestCase):
    def test_this_process_alone(self) -> None:
        """At once, from memory; of a pool and its successor the one that counts."""
        process = self.process("l1", self.config())
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.settle()
        self.inspector.requests.clear()
        services = [*process.services, *process.services]
        found = explain_here(request_id, services, process.store)
        assert found is not None
        self.assertEqual(len(found.pools), 1)
        self.assertEqual(
            found.summary, "waits for a free node with label a at provider rack: 1 in use"
        )
        self.assertEqual(sum(self.inspector.requests.values()), 0)
        self.assertIsNone(explain_here("200-0000000077", services, process.store))

    def test_an_unreadable_request(self) -> None:
        """It is told as such."""
        path = self.inspector.create(f"{paths.REQUESTS}/200-", b"{", sequence=True)
        self.stage.settle()
        found = explain_here(path.rpartition("/")[2], [], self.store)
        assert found is not None
        self.assertEqual(found.request["state"], "unreadable")
