"""The base of provider services, with the smallest driver there can be on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed

from nodepool_tx.config.schema import PoolConfig, ProviderConfig
from nodepool_tx.model import Node, NodeState
from nodepool_tx.pools.telling import NoInsight
from nodepool_tx.providers.interface import (
    Phase,
    ProviderContext,
    ProviderService,
    ProviderStatus,
)
from nodepool_tx.providers.pooling import settings_of
from nodepool_tx.providers.service import PooledProvider
from nodepool_tx.store.nodes import NodeChange
from tests.providers.static.stage import StageTestCase

CONFIG = ProviderConfig(
    name="shelf",
    driver="shelf",
    pools=(PoolConfig(name="main", provider_name="shelf", labels=frozenset({"small"})),),
)


class Shelf(PooledProvider):
    """Hands out what somebody else puts there, and notes what the base asks of it."""

    def __init__(self, config: ProviderConfig, context: ProviderContext) -> None:
        super().__init__(config, context)
        self.asked: list[str] = []
        self.halting: Deferred[None] = succeed(None)
        self._make_pools((settings_of(config, pool) for pool in config.pools), NoInsight())

    def may_act(self) -> tuple[bool, bool]:
        return self._may_decide(), self._may_look_after()

    def _prepare(self) -> None:
        self.asked.append("prepare")

    def _begin(self) -> None:
        self.asked.append("begin")

    def _halt(self) -> Iterable[Deferred[Any]]:
        self.asked.append("halt")
        return [self.halting]

    async def _stop(self) -> None:
        self._stop_following()
        self._drain.cancel()
        await gatherResults([self._quiesce(), self._stop_pools()])

    def _follow(self, change: NodeChange) -> None:
        self.asked.append("follow")
        self._on_progress()

    def _look_again(self) -> None:
        self.asked.append("look")

    def _on_caught_up(self) -> None:
        self.asked.append("caught up")

    def _emptied(self) -> bool:
        return self.config.name not in self._context.store.nodes.providers()

    def _given_up(self) -> None:
        self.asked.append("given up")

    def check(self, node: Node) -> Deferred[bool]:
        return succeed(True)

    def status(self) -> ProviderStatus:
        return self._status((), {**self._details(), "shelf": "wooden"}, ())


def _is_a_provider(shelf: Shelf) -> ProviderService:
    return shelf


class ShelfTests(StageTestCase):
    """What a driver gets without doing anything for it."""

    def start(self) -> Shelf:
        launcher = self.launcher()
        self.stage.settle()
        self.shelf = Shelf(CONFIG, launcher.context)
        self.shelf.setServiceParent(launcher.root)
        return self.shelf

    def put_node(self) -> Node:
        node_id = self.stage.put_node(
            Node(
                id="",
                state=NodeState.READY,
                type=("small",),
                provider="shelf",
                pool="main",
                launcher="somebody",
                external_id="on the shelf",
            )
        )
        self.stage.settle()
        return self.stage.node(node_id)

    def test_it_begins_in_this_order(self) -> None:
        """It is prepared before it begins, and all is looked at before the owner acts."""
        shelf = self.start()
        self.assertEqual(shelf.asked, ["prepare", "begin", "look"])
        self.assertEqual((shelf.phase, shelf.may_act()), (Phase.ACTIVE, (True, False)))
        self.stage.settle()
        self.assertEqual(shelf.asked[3:], ["caught up"])
        self.assertEqual(shelf.may_act(), (True, True))

    def test_it_does_not_act_before_it_has_caught_up(self) -> None:
        """Whoever loses the session may look after nothing until all was seen again."""
        shelf = self.start()
        self.stage.settle()
        shelf.asked.clear()
        client = self.launchers[0].client
        self.stage.inspector.expire(client)
        self.assertEqual(shelf.may_act(), (False, False))
        self.stage.wait(1)
        self.assertEqual(shelf.asked, ["caught up"])
        self.assertEqual(shelf.may_act(), (True, True))

    def test_idling_waits_for_what_the_driver_does(self) -> None:
        """Nothing may be begun from the call on, and it fires when all has ended."""
        shelf = self.start()
        self.stage.settle()
        shelf.halting = Deferred()
        idled, again = shelf.idle(), shelf.idle()
        self.assertEqual((shelf.phase, shelf.may_act()), (Phase.IDLE, (False, False)))
        self.assertNoResult(idled)
        self.assertNoResult(again)
        shelf.halting.callback(None)
        self.successResultOf(idled)
        self.successResultOf(again)
        self.assertEqual(shelf.asked.count("halt"), 1)

    def test_it_is_resumed(self) -> None:
        """It is prepared once, and begins again."""
        shelf = self.start()
        self.stage.settle()
        self.successResultOf(shelf.idle())
        shelf.asked.clear()
        shelf.resume()
        self.assertEqual(shelf.asked, ["begin", "look"])
        self.assertEqual(shelf.may_act(), (True, True))

    def test_it_serves_requests(self) -> None:
        """Its pools hand out what is there, and tell of it."""
        shelf = self.start()
        node = self.put_node()
        request_id = self.stage.put_request("small")
        self.stage.settle()
        self.assertEqual(self.stage.request(request_id).nodes, (node.id,))
        (explanation,) = shelf.explain(request_id)
        self.assertEqual(explanation.pool, "main")
        status = shelf.status()
        self.assertEqual((status.name, status.owner, status.tasks), ("shelf", True, ()))
        self.assertEqual(
            status.details, {"maintenance": None, "last_full_look": None, "shelf": "wooden"}
        )

    def test_a_drain_ends_when_nothing_is_left(self) -> None:
        """The driver has the last word before it ends."""
        shelf = self.start()
        node = self.put_node()
        drained = shelf.drain()
        self.stage.settle()
        self.assertNoResult(drained)
        self.assertIs(shelf.phase, Phase.DRAINING)
        self.stage.inspector.delete_tree(f"/nodepool/nodes/{node.id}")
        self.stage.settle()
        self.successResultOf(drained)
        self.assertEqual(shelf.asked[-1], "given up")
