"""What a pool says about a request is what it does about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from nodepool_tx.model import MIN_READY_REQUESTOR, Node, NodeState, RequestState
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.explaining import (
    Effect,
    NodeExplanation,
    PoolExplanation,
    Rule,
)
from nodepool_tx.pools.interface import Objection
from nodepool_tx.pools.patience import PATIENCE
from nodepool_tx.store import paths
from tests.pools.harness import PoolTestCase
from tests.pools.maker import MakingTestCase


class ScriptedInsight:
    """A provider that knows more."""

    def __init__(self) -> None:
        self.said: list[Rule] = []
        self.asked: list[tuple[str, ...]] = []

    def disabled(self, pool: str) -> Collection[str]:
        return {"z"}

    def rules(self, pool: str, labels: Sequence[str]) -> Sequence[Rule]:
        self.asked.append(tuple(labels))
        return self.said

    def about(self, node: Node) -> str:
        return f"all about {node.id}"

    def vacancies(self, pool: str, labels: Iterable[str]) -> Sequence[NodeExplanation]:
        return [NodeExplanation("", tuple(labels), "down", False, "no node", "down", "h9")]


class Explained:
    """Shortcuts for looking at an explanation."""

    def explained(self, request_id: str, insight: ScriptedInsight | None = None) -> PoolExplanation:
        found = self.pool.explain(request_id, insight)  # type: ignore[attr-defined]
        assert found is not None
        return found

    def rules(self, request_id: str) -> dict[str, Rule]:
        return {rule.name: rule for rule in self.explained(request_id).rules}

    def waits_for(self, request_id: str) -> list[str]:
        """The names of the rules that are not satisfied."""
        rules = self.explained(request_id).rules
        return [rule.name for rule in rules if rule.effect is not Effect.PASSED]


class ExplainingTests(Explained, PoolTestCase):
    def test_no_such_request(self) -> None:
        """There is nothing to explain."""
        self.assertIsNone(self.pool.explain("100-0000000099"))

    def test_no_free_node(self) -> None:
        """The decisive thing is one line; every rule that was passed is there, too."""
        used = self.add_node("a", state=NodeState.IN_USE)
        self.lock_node(used)
        request_id = self.add_request("a")
        self.settle()
        found = self.explained(request_id)
        self.assertEqual(
            found.verdict, "waits for a free node with label a at provider rack: 1 in use"
        )
        self.assertEqual(self.waits_for(request_id), ["nodes"])
        self.assertEqual(
            [rule.name for rule in found.rules],
            [
                *("state", "declined", "provider", "priority", "labels", "enabled", "reuse"),
                *("maintenance", "alone", "nodes", "max-concurrency", "queue"),
            ],
        )
        self.assertEqual((found.launcher, found.provider, found.pool), ("host", "rack", "main"))
        self.assertEqual((found.id, found.answered), (self.pool_id, True))
        self.assertEqual([(n.node_id, n.usable) for n in found.nodes], [(used, False)])

    def test_place_in_the_queue(self) -> None:
        """Those that want some of the same and come first are counted by precedence."""
        self.add_request("a", precedence=200)
        self.add_request("a", "b", precedence=100)
        self.add_request("c", precedence=100)
        request_id = self.add_request("a", precedence=200)
        self.add_request("a", precedence=300)
        self.settle()
        self.assertEqual(
            self.rules(request_id)["queue"].words,
            "2 requests for some of the same come first: 1 of precedence 100, 1 of precedence 200",
        )
        self.assertEqual(self.waits_for(request_id), ["nodes", "queue"])

    def test_a_label_that_others_have(self) -> None:
        """The pool leaves it to them, and says so."""
        self.add_pool("z")
        request_id = self.add_request("z")
        self.settle()
        self.assertEqual(self.waits_for(request_id), ["labels"])
        self.assertEqual(self.explained(request_id).effect, Effect.REFUSED)
        self.assertEqual(self.explained(request_id).verdict, "this pool has no z, others have")

    def test_a_label_that_is_switched_off(self) -> None:
        """It is configured here, and that is worth knowing."""
        self.add_pool("z", "a")
        request_id = self.add_request("z", "a")
        self.settle()
        found = self.explained(request_id, ScriptedInsight())
        self.assertEqual(found.verdict, "this pool has no z, others have; min-ready -1 disables z")
        self.assertNotIn("min-ready", self.explained(request_id).verdict)

    def test_another_pool_comes_first(self) -> None:
        """It is named, with both priorities."""
        self.add_pool("a", priority=50)
        request_id = self.add_request("a")
        self.add_node("a")
        self.settle()
        rule = self.rules(request_id)["priority"]
        self.assertEqual(rule.effect, Effect.WAITS)
        self.assertEqual(rule.words, "pool other/main has priority 50, this one 100")

    def test_another_provider_is_asked_for(self) -> None:
        """The pool waits as long as that one is online."""
        self.add_pool("a", provider="other")
        request_id = self.add_request("a", provider="other")
        self.settle()
        self.assertEqual(self.waits_for(request_id), ["provider"])

    def test_a_request_that_was_declined(self) -> None:
        """With the reason, and since when."""
        self.add_pool("a")
        request_id = self.add_request("a", reuse=False)
        self.settle()
        self.clock.advance(12)
        rule = self.rules(request_id)["declined"]
        self.assertEqual(rule.effect, Effect.REFUSED)
        self.assertEqual(
            rule.words,
            "this pool declined it 12 s ago: it asks for new nodes, and this pool launches none",
        )
        self.assertEqual(rule.since, self.clock.seconds() - 12)

    def test_a_failed_request(self) -> None:
        """It is told as such, with why this pool declined it."""
        request_id = self.add_request("z")
        self.settle()
        self.assertEqual(self.state(request_id), "failed")
        rules = self.rules(request_id)
        self.assertEqual(list(rules), ["state", "declined"])
        self.assertIn("no pool online has z", rules["declined"].words)
        self.assertEqual(self.explained(request_id).verdict, rules["declined"].words)

    def test_a_fulfilled_request(self) -> None:
        """It waits for nobody but its client."""
        node_id = self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        found = self.explained(request_id)
        self.assertEqual(found.effect, Effect.PASSED)
        self.assertEqual(found.verdict, f"fulfilled 0 s ago with {node_id}, not taken yet")

    def test_a_locked_request(self) -> None:
        """Nobody looks at it before it is let go."""
        request_id = self.add_request("a")
        self.lock_request(request_id)
        self.settle()
        self.assertEqual(self.waits_for(request_id)[0], "lock")

    def test_a_request_in_other_hands(self) -> None:
        """Its nodes tell in whose."""
        request_id = self.add_request("a")
        self.add_node("a", provider="sky", state=NodeState.BUILDING, allocated_to=request_id)
        self.lock_request(request_id)
        self.change_request(request_id, state=RequestState.PENDING)
        self.settle()
        found = self.explained(request_id)
        self.assertEqual(found.verdict, "pool sky/main has it in hand")
        self.assertEqual(self.waits_for(request_id), ["state"])

    def test_a_tenant_at_its_limit(self) -> None:
        """Used, limit and need are there, and the tenant's name."""
        self.limits.limits = {"t": {"instances": 1}}
        self.add_node("a", state=NodeState.IN_USE, tenant_name="t")
        self.add_node("a")
        request_id = self.add_request("a", tenant_name="t")
        self.settle()
        self.assertEqual(self.waits_for(request_id), ["tenant-limit"])
        self.assertEqual(
            self.explained(request_id).verdict,
            "waits for 1 instances of tenant t's limit of 1: 1 used, 1 needed",
        )

    def test_others_short_of_the_same_are_counted(self) -> None:
        """Those of the tenant that wait for the same room."""
        self.limits.limits = {"t": {"instances": 1}}
        self.add_node("a", state=NodeState.IN_USE, tenant_name="t")
        first, _ = self.add_request("a", tenant_name="t"), self.add_request("b", tenant_name="t")
        self.settle()
        words = self.rules(first)["tenant-limit"].words
        self.assertTrue(words.endswith(", 1 other request short of it, too"), words)

    def test_a_limit_with_room_is_shown_as_passed(self) -> None:
        """How near one is to a limit is worth knowing."""
        self.limits.limits = {"t": {"instances": 5}}
        request_id = self.add_request("a", tenant_name="t")
        self.settle()
        self.assertEqual(
            self.rules(request_id)["tenant-limit"].words,
            "tenant t: 0 of 5 instances used, 1 needed",
        )

    def test_max_concurrency(self) -> None:
        """What is held up by it says so; what is closed by it, too."""
        self.replace_pool(admission=Admission(1))
        self.source.hold()
        first_node, _ = self.add_node("a"), self.add_node("a")
        first, second = self.add_request("a"), self.add_request("a")
        self.settle()
        self.assertEqual(self.explained(first).verdict, "being served now")
        self.assertEqual(self.waits_for(first), ["nodes"])
        self.assertEqual(self.waits_for(second), ["max-concurrency"])
        self.source.answer(first_node)
        self.settle()

    def test_a_closed_provider(self) -> None:
        """max-concurrency 0 is the reason."""
        self.replace_pool(admission=Admission(0))
        self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.waits_for(request_id), ["max-concurrency"])

    def test_out_of_service(self) -> None:
        """Why, and by whom, as the table of what is out of service has it."""
        request_id = self.add_request("a")
        data = b'{"mode": "drain", "provider": "rack", "reason": "new racks", "by": "ann"}'
        self.inspector.create(paths.maintenance_of_provider("rack"), data)
        self.settle()
        self.assertEqual(self.waits_for(request_id), ["maintenance"])
        self.assertIn("by ann: new racks", self.explained(request_id).verdict)

    def test_out_of_touch(self) -> None:
        """What is known is told all the same."""
        request_id = self.add_request("a")
        self.settle()
        self.inspector.suspend(self.client)
        self.settle()
        self.assertEqual(self.waits_for(request_id)[0], "zookeeper")

    def test_an_idle_pool(self) -> None:
        """It accepts nothing, and nothing is registered by explaining that."""
        request_id = self.add_request("a")
        self.settle()
        self.done(self.pool.stopService())
        self.done(self.launcher.registry.keep_only(set()))
        self.assertEqual(self.waits_for(request_id), ["accepting"])
        self.settle()
        self.assertEqual(self.components(), {})

    def test_before_the_first_look(self) -> None:
        """Where nothing is in the way, its turn is about to come."""
        self.add_node("a")
        request_id = self.add_request("a")
        self.add_node("a")
        seen: list[list[str]] = []
        self.store.requests.subscribe(
            lambda change: seen.append(self.waits_for(request_id)) if not seen else None
        )
        self.settle()
        self.assertEqual(seen, [["turn"]])
        self.assert_served(request_id)

    def test_nodes_kept_for_a_larger_request(self) -> None:
        """A free node that is not given says for whom it is kept; that one says so, too."""
        busy = self.add_node("a", state=NodeState.IN_USE)
        contender = self.lock_node(busy)
        larger = self.add_request("a", "a", precedence=100)
        self.settle()
        self.clock.advance(PATIENCE + 1)
        free = self.add_node("a")
        smaller = self.add_request("a", precedence=200)
        self.settle()
        self.assert_waits(larger, smaller)
        found = self.explained(smaller)
        self.assertEqual(self.waits_for(smaller), ["nodes", "queue"])
        self.assertIn("1 kept for another", found.verdict)
        (kept,) = [node for node in found.nodes if node.node_id == free]
        self.assertFalse(kept.usable)
        self.assertEqual(kept.words, f"free, and kept for request {larger}, which waits longer")
        self.assertIn("is kept for it", self.rules(larger)["patience"].words)
        self.assertIn("no free node for a (0 of 1 free)", self.pool.why(smaller))
        self.delete(paths.request(larger))
        self.delete(contender)
        self.settle()
        self.assert_served(smaller)

    def test_a_provider_adds_what_it_knows(self) -> None:
        """To nodes, and where there are none; a pool that makes nothing asks no more."""
        node_id = self.add_node("a", state=NodeState.HOLD)
        request_id = self.add_request("a")
        self.settle()
        insight = ScriptedInsight()
        found = self.explained(request_id, insight)
        self.assertEqual([node.node_id for node in found.nodes], [node_id, ""])
        self.assertIn(f"all about {node_id}", found.nodes[0].words)
        self.assertTrue(found.verdict.endswith("1 down, 1 held"), found.verdict)
        self.assertEqual(insight.asked, [])

    def test_reasons_for_lists(self) -> None:
        """Of many that wish the same one is looked at, once a second."""
        first, second = self.add_request("a"), self.add_request("a")
        self.settle()
        reason = self.pool.reason(second)
        assert reason is not None
        self.assertEqual((reason.provider, reason.pool, reason.serves), ("rack", "main", True))
        self.assertEqual(reason.words, "no free node for a (0 of 1 free)")
        self.assertIs(self.pool.reason(first), reason)
        self.clock.advance(1)
        self.assertIsNot(self.pool.reason(first), reason)
        self.assertIsNone(self.pool.reason("100-0000000099"))


class MakingExplainingTests(Explained, MakingTestCase):
    def test_nodes_that_are_being_made(self) -> None:
        """A request in hand shows each of its nodes."""
        request_id = self.add_request("a", "b")
        self.settle()
        self.done(self.maker.end(self.nodes_for(request_id)[0]))
        found = self.explained(request_id, ScriptedInsight())
        self.assertEqual(
            found.verdict, "nodes are being made: 1 of 2 are there (1 init, 1 ready)", found.rules
        )
        self.assertEqual(found.rules[0].name, "in-hand")
        self.assertEqual(len(found.nodes), 2)
        self.assertTrue(all("all about" in node.words for node in found.nodes))

    def test_an_objection(self) -> None:
        """A passing one is waited for, and is the verdict."""
        self.maker.objections["a"] = Objection("the cloud sleeps", lasting=False, rule="breaker")
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.waits_for(request_id), ["breaker"])
        self.assertEqual(self.explained(request_id).verdict, "the cloud sleeps")

    def test_the_provider_speaks_for_itself(self) -> None:
        """About the labels of which nodes are to be made; its objection is not told twice."""
        self.maker.objections["b"] = Objection("the cloud sleeps", lasting=False)
        self.add_node("a", az=None)
        request_id = self.add_request("a", "b")
        self.settle()
        insight = ScriptedInsight()
        insight.said = [Rule("breaker", Effect.WAITS, "it sleeps for 5 s", 3.0)]
        found = self.explained(request_id, insight)
        self.assertEqual(found.verdict, "it sleeps for 5 s")
        self.assertNotIn("objection", [rule.name for rule in found.rules])
        self.assertTrue(all("b" in asked for asked in insight.asked))

    def test_limits(self) -> None:
        """Of the pool and of the provider, each by its name."""
        self.replace_pool(max_servers=1)
        self.maker.limits = {"instances": 10, "cores": 4}
        self.launched("a")
        request_id = self.add_request("a")
        self.settle()
        rules = self.rules(request_id)
        self.assertEqual(self.waits_for(request_id), ["quota", "max-servers"])
        self.assertEqual(
            rules["max-servers"].words,
            "waits for 1 instances of pool rack/main's limit of 1: 1 used, 1 needed",
        )
        self.assertIn(
            "waits for 4 cores of provider rack's limit of 4: 4 used, 4 needed",
            [rule.words for rule in self.explained(request_id).rules],
        )

    def test_a_disabled_pool(self) -> None:
        """It declines, and says that it did."""
        self.add_pool("a", paused=True)
        self.replace_pool(max_servers=0)
        request_id = self.add_request("a")
        self.settle()
        rules = self.rules(request_id)
        self.assertEqual(rules["enabled"].effect, Effect.REFUSED)
        self.assertIn("disabled by max-servers", rules["declined"].words)

    def test_stock_does_not_do_where_new_nodes_are_asked_for(self) -> None:
        """Such nodes are not usable."""
        self.replace_pool(max_servers=1)
        self.add_node("a", resources={"instances": 1})
        request_id = self.add_request("a", reuse=False)
        self.settle()
        (node,) = self.explained(request_id).nodes
        self.assertEqual((node.usable, node.use), (False, "not new"))

    def test_requests_for_the_stock(self) -> None:
        """They are explained like any other."""
        self.maker.objections["a"] = Objection("not now", lasting=False)
        request_id = self.add_request("a", requestor=MIN_READY_REQUESTOR)
        self.settle()
        self.assertEqual(self.waits_for(request_id), ["objection"])
