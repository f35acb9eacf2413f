"""The launcher and real SSH servers: their keys, their deaths, and somebody who logs in."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from twisted.internet.threads import deferToThread

from tests.functional.launcher.process import LauncherProcess, command_line
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous
from tests.servers.sshd import KEY_TYPES, SshServer, SshServers


def machine(server: SshServer, *labels: str, **more: Any) -> dict[str, Any]:
    return host(
        server.host,
        *labels,
        connection_port=server.port,
        username=server.username,
        timeout=2,
        **more,
    )


class Hosts(Scene):
    def setUp(self) -> Any:
        self.addCleanup(lambda: self.machines.stop())
        preparing = super().setUp()
        self.machines = SshServers(self.directory / "ssh")
        return preparing

    async def serving_contacting(self, config: Any) -> LauncherProcess:
        return await self.serving(self.at_server(config), simulated=None)

    @asynchronous
    async def test_keys_of_all_types(self) -> None:
        """A node shows all the keys of its machine, whether one was configured or none."""
        free = self.machines.start(host="127.0.0.2", key_types=KEY_TYPES)
        pinned = self.machines.start(host="127.0.0.3", key_types=KEY_TYPES)
        trusted = self.machines.start(host="127.0.0.4", key_types=("ed25519",))
        farm = configuration(
            provider(
                "rack",
                machine(free, "a"),
                machine(pinned, "b", host_key=pinned.keys[1]),
                machine(trusted, "c", host_key_checking=False),
            )
        )
        await self.serving_contacting(farm)
        keys = {n.data["hostname"]: n.data["host_keys"] for n in await self.sight.nodes()}
        self.assertEqual(len(free.keys), len(KEY_TYPES))
        self.assertEqual(sorted(keys[free.host]), sorted(free.keys))
        self.assertEqual(sorted(keys[pinned.host]), sorted(pinned.keys))
        self.assertEqual(keys[trusted.host], [])
        self.assertEqual({n.data["interface_ip"] for n in await self.sight.nodes()}, set(keys))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_wrong_key(self) -> None:
        """A machine that shows another key than configured is not registered, and that is told."""
        good, bad = (self.machines.start(host=f"127.0.0.{n}") for n in (2, 3))
        farm = configuration(
            provider("rack", machine(good, "a"), machine(bad, "b", host_key=good.keys[0]))
        )
        launcher = self.launcher(self.at_server(farm), simulated=None)
        launcher.start()
        found = await self.until_logged(launcher, "host key mismatch at .*")
        self.assertIn(f"{bad.host}:{bad.port}: configured {good.keys[0]}; found ", found[0])
        for key in bad.keys:
            self.assertIn(key, found[0])
        only_good = configuration(provider("rack", machine(good, "a")))
        await self.until_all_free(slots(only_good))
        await self.sleep(1.5)
        await self.until_all_free(slots(only_good), patience=0)
        corrected = configuration(
            provider("rack", machine(good, "a"), machine(bad, "b", host_key=list(bad.keys)))
        )
        launcher.write(self.at_server(corrected))
        await self.until_all_free(slots(corrected))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_machine_that_dies(self) -> None:
        """Its nodes are passed over at once and leave service, and return soon after it does."""
        dies, lives = (
            self.machines.start(host=f"127.0.0.{n}", key_types=("ed25519",)) for n in (2, 3)
        )
        farm = configuration(
            provider("rack", machine(dies, "any", "dies"), machine(lives, "any", "lives"))
        )
        launcher = await self.serving_contacting(farm)
        requester = await self.requester()
        # Who was free longest is asked first.
        await requester.job("lives")
        await self.until_all_free(slots(farm))
        dies.kill()
        began = time.monotonic()
        (given,) = await requester.obtain("any")
        print(f"another machine's node after {time.monotonic() - began:.3f} s")
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(given.data["hostname"], lives.host)
        where = rf"{dies.host}:{dies.port} of rack/main"
        await self.until_logged(launcher, rf"warn .*{where} is down, next look in .*refused")
        await self.until("its node is out of service", lambda: self.only_node_of(lives))
        waiting = await requester.ask("dies")
        await self.sleep(3)
        again = self.machines.start(host=dies.host, port=dies.port, key_types=("ed25519",))
        began = time.monotonic()
        back = await requester.accept(waiting, ["dies"])
        print(f"back in service after {time.monotonic() - began:.1f} s")
        self.assertLess(time.monotonic() - began, 20)
        # It is another machine by its keys, and that is what the node says.
        self.assertEqual(tuple(back[0].data["host_keys"]), again.keys)
        await self.until_logged(launcher, rf"{where} is back after")
        await requester.give_back([given, *back])
        await self.until_all_free(slots(farm))
        self.assert_nothing_unforeseen()

    async def only_node_of(self, server: SshServer) -> bool:
        return [n.data["hostname"] for n in await self.sight.nodes()] == [server.host]

    @asynchronous
    async def test_machine_that_dies_in_use(self) -> None:
        """A node that comes back from a dead machine returns to service with the machine."""
        server = self.machines.start(host="127.0.0.2", key_types=("ed25519",))
        farm = configuration(provider("rack", machine(server, "any", jobs=2)))
        launcher = await self.serving_contacting(farm)
        requester = await self.requester()
        held = await requester.obtain("any", "any")
        await requester.use(held)
        server.kill()
        await requester.give_back(held)
        await self.until_logged(launcher, "is down, next look in")
        await self.until("nothing is in service", self.nothing_is_ready)
        self.machines.start(host=server.host, port=server.port, key_types=("ed25519",))
        await self.until_all_free(slots(farm), patience=11)
        self.assert_nothing_unforeseen()

    async def nothing_is_ready(self) -> bool:
        return all(n.data["state"] != "ready" for n in await self.sight.nodes())

    @asynchronous
    async def test_command_on_a_node(self) -> None:
        """``nodepool request LABEL -- COMMAND`` logs in with the keys that were gathered."""
        server = self.machines.start(host="127.0.0.2")
        farm = configuration(provider("rack", machine(server, "any")))
        launcher = await self.serving_contacting(farm)

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command_line("request", "any", "--", "echo on $SSH_CONNECTION; exit 7"),
                env={**launcher.command_environ(), "NODEPOOL_IDENTITY": str(server.identity)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
            )

        answer = await deferToThread(run)
        self.assertEqual(answer.returncode, 7, answer.stderr)
        self.assertEqual(answer.stdout.split()[0], "on")
        self.assertEqual(answer.stdout.split()[3:], [server.host, str(server.port)])
        await self.until_all_free(slots(farm))
        self.assertEqual(await self.sight.requests(), {})
        self.assert_nothing_unforeseen()
