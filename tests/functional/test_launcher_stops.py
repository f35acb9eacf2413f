"""SIGTERM and SIGINT end the launcher in order and soon, whatever it is doing."""

from __future__ import annotations

import signal
import socket

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous

FARM = configuration(provider("rack", host("fake-1", "small", jobs=2)))

#: Seconds an orderly stop may take.  The session's timeout is far longer, so that what is gone
#: by then has been taken back, and not forgotten.
SOON = 2.0
SESSION = 30


class Stops(Scene):
    async def nothing_is_left(self) -> None:
        """Looked at once only: it must be so at the moment the process ends."""
        self.assertEqual(await self.sight.components("launcher"), [])
        self.assertEqual(await self.sight.components("pool"), [])
        self.assertEqual(await self.sight.owners(), {})
        self.assertEqual(await self.sight.children("/nodepool/requests-lock"), [])

    async def stopped_in_order(self, number: int) -> None:
        launcher = await self.serving(self.at_server(FARM, timeout=SESSION))
        requester = await self.requester()
        held = await requester.obtain("small", "small")
        waiting = await requester.ask("small")
        await self.sleep(0.3)
        ended = await launcher.stop(number)
        await self.nothing_is_left()
        print(f"ended after {ended.seconds:.2f} s")
        self.assertEqual(ended.status, 0, launcher.log)
        self.assertLess(ended.seconds, SOON)
        request = await requester.request(waiting)
        assert request is not None
        self.assertEqual((request["state"], request.get("declined_by", [])), ("requested", []))
        await requester.give_back(held)
        launcher.start()
        await requester.give_back(await requester.accept(waiting, ["small"]))
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_sigterm(self) -> None:
        """It ends with status 0, leaves no lock, and its next start serves who waited."""
        await self.stopped_in_order(signal.SIGTERM)

    @asynchronous
    async def test_sigint(self) -> None:
        """SIGINT does what SIGTERM does."""
        await self.stopped_in_order(signal.SIGINT)

    @asynchronous
    async def test_impatience(self) -> None:
        """Further signals while it stops are said, and change nothing."""
        launcher = await self.serving(self.at_server(FARM, timeout=SESSION))
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            launcher.send(number)
        self.assertEqual((await launcher.ended()).status, 0)
        self.assert_nothing_unforeseen()
        await self.nothing_is_left()

    @asynchronous
    async def test_in_the_middle_of_many_hand_outs(self) -> None:
        """What was being handed out is handed out, or still waits; nothing is half done."""
        launcher = await self.serving(self.at_server(FARM, timeout=SESSION))
        requester = await self.requester()
        crowd = self.crowd(requester, 20, [["small"], ["small", "small"]], longest=0.01)
        for _ in range(3):
            await self.until_served(crowd, 20)
            ended = await launcher.stop()
            self.assertEqual(ended.status, 0)
            self.assertLess(ended.seconds, SOON)
            await self.nothing_is_left()
            launcher.start()
        await crowd.finish()
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()


class SilentPort:
    """Takes connections and never says a word."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(50)
        self.port: int = self.socket.getsockname()[1]

    def close(self) -> None:
        self.socket.close()


class StopsWhileAHostIsSilent(Scene):
    def silent(self, timeout: int) -> dict[str, object]:
        port = SilentPort()
        self.addCleanup(port.close)
        return host("127.0.0.1", "silent", connection_port=port.port, timeout=timeout)

    async def looking(self, timeout: int, *options: str) -> LauncherProcess:
        farm = configuration(provider("rack", self.silent(timeout), host("fake-1", "small")))
        launcher = self.launcher(self.at_server(farm, timeout=SESSION), options=options)
        launcher.start()
        await self.until("fake-1 is there", self.one_node)
        return launcher

    async def one_node(self) -> bool:
        return len(await self.sight.nodes()) == 1

    @asynchronous
    async def test_a_probe_that_hangs(self) -> None:
        """A machine that takes connections and says nothing does not hold up the end."""
        launcher = await self.looking(timeout=5)
        ended = await launcher.stop()
        print(f"ended after {ended.seconds:.2f} s")
        self.assertEqual(ended.status, 0)
        self.assertLess(ended.seconds, SOON)
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_zookeeper_that_hangs(self) -> None:
        """Without an answer from ZooKeeper it ends when each part has had its time."""
        launcher = await self.looking(5, "--stop-timeout", "1")
        self.server.freeze()
        try:
            ended = await launcher.stop()
        finally:
            self.server.thaw()
        print(f"ended after {ended.seconds:.2f} s")
        self.assertEqual(ended.status, 0)
        self.assertLess(ended.seconds, 3 + SOON)
        self.assertIn("presence did not stop within 1 s and is left behind", launcher.log)
