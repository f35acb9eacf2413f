"""Named after what went wrong elsewhere: defects that Nodepool 11.0.0 has, and we must not."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.threads import deferToThread

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.functional.test_launcher_stops import SilentPort
from tests.nodescan.contract import asynchronous

FARM = configuration(provider("rack", host("fake-1", "a"), host("fake-2", "b")))

#: What nothing here may have to wait for: a sweep, or a look at everything.
NO_SWEEPS = {"NODEPOOL_CLEANUP_INTERVAL": "3600"}


class Defects(Scene):
    async def started(self, config: Any, **more: Any) -> LauncherProcess:
        return await self.serving(self.at_server(config), environ=NO_SWEEPS, **more)

    @asynchronous
    async def test_request_that_cannot_be_served_whole_waits_for_no_sweep(self) -> None:
        """Two nodes of a label with one free: it waits, and is served when the other returns."""
        farm = configuration(provider("rack", host("fake-1", "a", jobs=2)))
        await self.started(farm)
        requester = await self.requester()
        first = await requester.obtain("a")
        asked = await requester.ask("a", "a")
        await requester.job("a")
        await self.sleep(0.3)
        body = await requester.request(asked)
        assert body is not None
        self.assertEqual((body["state"], body.get("nodes", [])), ("requested", []))
        await requester.use(first)
        began = time.monotonic()
        await requester.give_back(first)
        await requester.give_back(await requester.accept(asked, ["a", "a"]))
        self.assertLess(time.monotonic() - began, 5)
        await self.until_all_free(slots(farm))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_shortage_of_one_label_costs_no_node_of_another(self) -> None:
        """While requests for one label pile up, a free node of another stays what it is."""
        await self.started(FARM)
        requester = await self.requester()
        before = {n.data["hostname"]: n.id for n in await self.sight.nodes()}
        held = await requester.obtain("a")
        waiting = [await requester.ask("a") for _ in range(20)]
        await self.sleep(0.5)
        (other,) = [n for n in await self.sight.nodes() if n.data["hostname"] == "fake-2"]
        self.assertTrue(other.free)
        self.assertEqual(other.id, before["fake-2"])
        for request in waiting:
            await requester.withdraw(request)
        await requester.give_back(held)
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_promised_node_is_not_taken_away_by_a_reload(self) -> None:
        """A node given to a request but not locked yet is left alone until it comes back."""
        farm = configuration(provider("rack", host("fake-1", "a", jobs=2), host("fake-2", "b")))
        launcher = await self.started(farm)
        requester = await self.requester()
        asked = await requester.ask("a", "a", "b")
        given = (await requester.answer(asked))["nodes"]
        fewer = configuration(provider("rack", host("fake-1", "a")))
        launcher.write(self.at_server(fewer))
        await self.until_logged(launcher, "configuration applied in full", 2)
        await self.sleep(0.3)
        held = await requester.accept(asked, ["a", "a", "b"])
        self.assertEqual([mine.id for mine in held], given)
        await requester.use(held)
        await requester.give_back(held)
        await self.until_all_free(slots(fewer))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_deleted_nodes_leak_no_locks_and_stop_nothing(self) -> None:
        """An operator deletes nodes at random while others work; every slot comes back."""
        farm = configuration(provider("rack", host("fake-1", "a", jobs=4), host("fake-2", "b")))
        launcher = await self.started(farm)
        crowd = self.crowd(await self.requester(), 10, [["a"], ["a", "a"], ["b"]])
        for _ in range(3):
            free = [n.id for n in await self.sight.nodes() if not n.contenders]
            answer = await deferToThread(launcher.nodepool, "delete", *free)
            self.assertNotIn("Traceback", answer.stderr)
            await self.until_served(crowd, 10)
        await crowd.finish()
        await self.until_all_free(slots(farm))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_cancelled_request_keeps_nothing_from_others(self) -> None:
        """Requests withdrawn while they wait, or while they are served, hold up nobody."""
        await self.started(FARM)
        requester = await self.requester()
        held = await requester.obtain("a")
        for _ in range(10):
            await requester.withdraw(await requester.ask("a"))
        for _ in range(10):
            asked = await requester.ask("b")
            await self.sleep(0.002)
            await requester.withdraw(asked)
        last = await requester.ask("a")
        await requester.use(held)
        await requester.give_back(held)
        await requester.give_back(await requester.accept(last, ["a"], patience=2))
        await requester.job("b")
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_removed_pool_lets_go_of_what_waited_for_it(self) -> None:
        """Its requests are answered by those who are left, or fail if nobody is."""
        both = configuration(
            provider("rack", host("fake-1", "a"), host("fake-2", "only-here")),
            provider("shelf", host("fake-3", "a")),
        )
        launcher = await self.started(both)
        requester = await self.requester()
        held = await requester.obtain("a", provider="rack")
        others = await requester.obtain("a")
        kept = await requester.obtain("only-here")
        for_both, for_one = await requester.ask("a"), await requester.ask("only-here")
        fewer = configuration(provider("shelf", host("fake-3", "a")))
        launcher.write(self.at_server(fewer))
        self.assertEqual((await requester.answer(for_one, 3))["state"], "failed")
        await requester.use(others)
        await requester.give_back(others)
        (given,) = await requester.accept(for_both, ["a"], patience=3)
        self.assertEqual(given.data["provider"], "shelf")
        await requester.give_back([given, *held, *kept])
        await self.until_all_free(slots(fewer))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_silent_machine_keeps_nobody_waiting(self) -> None:
        """One that says nothing for its five seconds costs requests for others no time."""
        silent = [SilentPort() for _ in range(3)]
        for port in silent:
            self.addCleanup(port.close)
        dead = [host("127.0.0.1", "dead", connection_port=port.port) for port in silent]
        alive = configuration(provider("rack", host("fake-1", "a")))
        launcher = self.launcher(
            self.at_server(configuration(provider("rack", *dead, host("fake-1", "a")))),
            environ=NO_SWEEPS,
        )
        launcher.start()
        await self.until_all_free(slots(alive))
        requester = await self.requester()
        for _ in range(20):
            held = await requester.obtain("a")
            await requester.use(held)
            await requester.give_back(held)
        print(f"20 jobs, longest wait {max(requester.ledger.waits):.3f} s")
        self.assertLess(max(requester.ledger.waits), 4)
        changed = configuration(provider("rack", *dead, host("fake-1", "a", jobs=2)))
        launcher.write(self.at_server(changed))
        more = configuration(provider("rack", host("fake-1", "a", jobs=2)))
        await self.until_all_free(slots(more), patience=8)
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_changed_attributes_reach_nodes_that_are_free_or_return(self) -> None:
        """A free node shows them at once, with its id; one in use when it is back."""
        farm = configuration(provider("rack", host("fake-1", "a"), host("fake-2", "b")))
        launcher = await self.started(farm)
        before = {n.data["hostname"]: n.id for n in await self.sight.nodes()}
        requester = await self.requester()
        held = await requester.obtain("a")
        await requester.use(held)
        changed = configuration(
            provider("rack", host("fake-1", "a"), host("fake-2", "b"), node_attributes={"z": 1})
        )
        launcher.write(self.at_server(changed))

        async def shown(hostname: str) -> bool:
            nodes = await self.sight.nodes()
            return any(
                n.data["hostname"] == hostname and n.data["attributes"] == {"z": 1} for n in nodes
            )

        await self.until("the free node shows it", lambda: shown("fake-2"))
        after = {n.data["hostname"]: n.id for n in await self.sight.nodes()}
        self.assertEqual(after, before)
        self.assertFalse(await shown("fake-1"))
        await requester.give_back(held)
        await self.until("the other one, too", lambda: shown("fake-1"))
        await self.until_all_free(slots(farm))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_hand_out_waits_for_no_tick(self) -> None:
        """A free node is given within milliseconds of being asked for."""
        await self.started(FARM)
        requester = await self.requester()
        for _ in range(30):
            await requester.job("a")
            await self.until_all_free(slots(FARM))
        waits = sorted(requester.ledger.waits)
        print(f"median {waits[15] * 1000:.1f} ms, longest {waits[-1] * 1000:.1f} ms")
        self.assertLess(waits[15], 0.5)
        self.assert_nothing_unforeseen()
