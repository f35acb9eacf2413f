"""The console of a running launcher, with OpenSSH's client."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from typing import Any

from tests.functional.launcher.console import Keys, Ssh, Terminal
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous

RACK = provider("rack", host("fake-a", "small", jobs=2), host("fake-b", "small", "large"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class AtTheConsole(Scene):
    """A launcher with a console, and a key that opens it."""

    async def open(
        self,
        *providers: Any,
        operations: dict[str, Any] | None = None,
        manhole: dict[str, Any] | None = None,
        **more: Any,
    ) -> LauncherProcess:
        """Start it, and wait until the console listens."""
        port = free_port()
        self.me = Keys.make(self.directory / "me", "eve@laptop")
        self.authorized = self.directory / "authorized_keys"
        self.authorized.write_text(self.me.public)
        self.audit_log = self.directory / "audit.log"
        self.base = configuration(*(providers or (RACK,)))
        self.base["nodepool-tx"] = {
            "audit-log": str(self.audit_log),
            "manhole": {
                "port": port,
                "authorized-keys": str(self.authorized),
                **(manhole or {}),
            },
            **(operations or {}),
        }
        launcher = self.launcher(self.at_server(self.base), **more)
        launcher.start()
        await self.until_logged(launcher, "the console listens on 127.0.0.1")
        key = launcher.state / "manhole" / "host_key"
        public = subprocess.run(
            ["ssh-keygen", "-y", "-f", str(key)], capture_output=True, text=True, check=True
        ).stdout
        known = self.directory / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {public}")
        self.ssh = Ssh(port, known, self.directory)
        return launcher

    def audited(self) -> list[dict[str, Any]]:
        """What is in the audit log."""
        lines = self.audit_log.read_text().splitlines() if self.audit_log.exists() else []
        return [json.loads(line) for line in lines]

    def terminal(self, **size: int) -> Terminal:
        """Somebody with the key, at a terminal."""
        terminal = self.ssh.terminal(keys=self.me, **size)
        self.addCleanup(terminal.close)
        return terminal


class Commands(AtTheConsole):
    @asynchronous
    async def test_an_expression_on_the_command_line(self) -> None:
        """Its value is written, and its status tells whether there was one."""
        launcher = await self.open()
        await self.until_all_free(slots(self.base))
        run = self.ssh.run
        answer = await run("nodes", keys=self.me)
        self.assertEqual(answer.status, 0, answer.error)
        self.assertIn("fake-a", answer.out)
        self.assertIn("(3 in all)", answer.out)
        self.assertEqual((await run("len(nodes.ready)", keys=self.me)).out, "3\n")
        wrong = await run("nodes['7777']", keys=self.me)
        self.assertEqual((wrong.status, wrong.out), (1, ""))
        self.assertIn("there is none", wrong.error)
        self.assertEqual((await run("import os", keys=self.me)).status, 1)
        text = (await run("await zk.get('/nodepool')", keys=self.me)).out
        self.assertEqual(text, "''\n")
        told = [(e["who"], e["what"], e["outcome"]) for e in self.audited()]
        self.assertIn(("eve@laptop", "nodes", "begins"), told)
        self.assertIn(("eve@laptop", "log-in", "session begins"), told)
        self.assertIn(("eve@laptop", "disconnect", ""), told)
        self.assertEqual(stat.S_IMODE(self.audit_log.stat().st_mode), 0o600)
        self.assertEqual(
            stat.S_IMODE((launcher.state / "manhole" / "host_key").stat().st_mode), 0o600
        )
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_nothing_else_is_offered(self) -> None:
        """No forwarding, no subsystems, no agent, no weak algorithms, no other users."""
        launcher = await self.open()
        run = self.ssh.run
        forwarded = await run(
            "1", keys=self.me, flags=["-R", "0:127.0.0.1:9"], options=["ExitOnForwardFailure=yes"]
        )
        self.assertEqual(forwarded.status, 255)
        through = await run(keys=self.me, flags=["-W", "127.0.0.1:22"])
        self.assertIn("open failed: administratively prohibited", through.error)
        sftp = await run("sftp", keys=self.me, flags=["-s"])
        self.assertIn("subsystem request failed", sftp.error)
        self.assertEqual((await run("1 + 1", keys=self.me, flags=["-A", "-X"])).out, "2\n")
        for option in ("MACs=hmac-sha1", "Ciphers=aes128-cbc", "HostKeyAlgorithms=ssh-rsa"):
            weak = await run("1", keys=self.me, options=[option])
            self.assertEqual(weak.status, 255, option)
        stranger = Keys.make(self.directory / "stranger", "mallory")
        refused = await run("1", keys=stranger)
        self.assertIn("Permission denied", refused.error)
        password = await run("1", user="mallory", password="secret-of-mine")
        self.assertIn("Permission denied", password.error)
        said = [e["outcome"] for e in self.audited() if e["what"] == "log-in"]
        self.assertIn("refused: the key is not known", said)
        self.assertNotIn("secret-of-mine", launcher.log + self.audit_log.read_text())
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_keys_are_read_again_when_they_change(self) -> None:
        """Added and removed without a restart; a file that others can write opens nothing."""
        launcher = await self.open()
        run = self.ssh.run
        other = Keys.make(self.directory / "other", "ann", kind="rsa")
        self.assertEqual((await run("1", keys=other)).status, 255)
        self.authorized.write_text(f'# people\n{other.public}command="x" {self.me.public}')
        self.assertEqual((await run("1", keys=other)).out, "1\n")
        self.assertEqual((await run("1", keys=self.me)).status, 255)
        self.assertIn("line 3 is left out: it has options", launcher.log)
        os.chmod(self.authorized, 0o666)
        self.assertEqual((await run("1", keys=other)).status, 255)
        self.assertIn("nobody can log in with a key", launcher.log)
        self.authorized.write_text(self.me.public)
        os.chmod(self.authorized, 0o600)
        self.assertEqual((await run("1", keys=self.me)).out, "1\n")
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_a_bad_host_key(self) -> None:
        """Is refused with its reason, and the launcher works without a console."""
        launcher = await self.open()
        await launcher.stop()
        key = launcher.state / "manhole" / "host_key"
        key.chmod(0o644)
        launcher.start()
        await self.until_logged(launcher, "there is no console: .*chmod 0600")
        await self.until_all_free(slots(self.base))
        await launcher.stop()
        key.unlink()
        launcher.start()
        await self.until_logged(launcher, "the console listens")
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_the_configuration_opens_and_closes_it(self) -> None:
        """While the launcher runs; and a rotated audit log begins anew on SIGUSR1."""
        launcher = await self.open()
        self.assertEqual((await self.ssh.run("1", keys=self.me)).out, "1\n")
        terminal = self.terminal()
        await terminal.until(">>> ")
        moved = self.audit_log.rename(self.audit_log.with_suffix(".1"))
        launcher.send(signal.SIGUSR1)
        await self.until("a new file", self.audit_log.exists)
        kept = moved.read_text()
        launcher.write(self.at_server({**self.base, "nodepool-tx": {}}))
        await terminal.until("the console is closed")
        self.assertEqual(await terminal.ended(), 255 if terminal.process.poll() else 0)
        self.assertEqual((await self.ssh.run("1", keys=self.me)).status, 255)
        self.assertEqual(moved.read_text(), kept)
        launcher.write(self.at_server(self.base))
        await self.until_logged(launcher, "the console listens", 2)
        self.assertEqual((await self.ssh.run("1", keys=self.me)).out, "1\n")
        self.assert_nothing_unforeseen()


class Terminals(AtTheConsole):
    @asynchronous
    async def test_typing(self) -> None:
        """Lines are edited, completed and remembered; blocks have several of them."""
        await self.open()
        await self.until_all_free(slots(self.base))
        terminal = self.terminal()
        self.assertIn("help shows what there is", await terminal.until(">>> "))
        # Backspace, the begin of the line, and back in between.
        terminal.type("2 + 35\x7f\x01len('ab') * \x05\x02\x02\r")
        await terminal.until("7\n")
        await terminal.until(">>> ")
        self.assertIn("6\n", await terminal.ask("sum([1, 2, 3])"))
        # The line before.
        terminal.type("\x1b[A\r")
        self.assertIn("6\n", await terminal.until("6\n"))
        await terminal.until(">>> ")
        # Names, attributes, and what there is in the launcher.
        terminal.type("prov\t")
        await terminal.until("providers")
        terminal.type(".ser\t")
        await terminal.until("service")
        terminal.type("('ra\t")
        await terminal.until("('rack")
        terminal.type("').name\r")
        await terminal.until("'rack'\n")
        await terminal.until(">>> ")
        terminal.type("for i in range(2):\r")
        await terminal.until("... ")
        terminal.type("print('line', i)\r")
        await terminal.until("... ")
        terminal.type("\r")
        await terminal.until("line 0\nline 1\n")
        await terminal.until(">>> ")
        # A paste of several lines, one of them empty.
        terminal.type("\x1b[200~def f(x):\n    y = x\n\n    return y * 2\nf(21)\x1b[201~\r")
        await terminal.until("42\n")
        await terminal.until(">>> ")
        self.assertIn("ZeroDivisionError", await terminal.ask("1 / 0"))
        self.assertIn("SyntaxError", await terminal.ask("1 +* 2"))
        self.assertIn("'ü'", await terminal.ask("'ü'"))
        terminal.type("\x04")
        self.assertEqual(await terminal.ended(), 0)
        again = self.terminal()
        await again.until(">>> ")
        again.type("\x1b[A")
        await again.until("'ü'")
        again.type("\x03")
        await again.until(">>> ")
        again.type("exit()\r")
        await again.until("Ctrl-D leaves")
        what = [e["what"] for e in self.audited() if e["who"] == "eve@laptop"]
        self.assertIn("1 / 0", what)
        self.assertIn("def f(x):\n    y = x\n\n    return y * 2\nf(21)", what)
        histories = list((self.launchers[0].state / "manhole" / "history").iterdir())
        self.assertEqual([stat.S_IMODE(h.stat().st_mode) for h in histories], [0o600])
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_waiting_and_pages(self) -> None:
        """Ctrl-C gives the prompt back; long answers come in pages; the window may change."""
        await self.open()
        await self.until_all_free(slots(self.base))
        terminal = self.terminal(height=12)
        await terminal.until(">>> ")
        await terminal.ask("from twisted.internet.defer import Deferred")
        terminal.type("await Deferred()\r")
        await terminal.until("await Deferred()\n")
        there = await self.ssh.run("tasks()", keys=self.me)
        self.assertIn("eve@laptop: await Deferred()", there.out)
        terminal.type("\x03")
        await terminal.until("cancelled\n")
        await terminal.until(">>> ")
        self.assertNotIn("await", (await self.ssh.run("tasks()", keys=self.me)).out.split("\n")[3:])
        terminal.type("help\r")
        await terminal.until("-- more")
        terminal.type(" ")
        await terminal.until("help(x)")
        await terminal.until(">>> ")
        terminal.type("help\r")
        await terminal.until("-- more")
        terminal.type("q")
        await terminal.until(">>> ")
        terminal.resize(40, 30)
        # The prompt is drawn again.
        await terminal.until(">>> ")
        wide = await terminal.ask("providers")
        self.assertTrue(all(len(line) <= 40 for line in wide.split("\n")), wide)
        self.assertIn("debug", await terminal.ask("log('debug')"))
        terminal.type("log.follow('debug')\r")
        await self.ssh.run("'look at me'", keys=self.me)
        await terminal.until("look at me")
        terminal.type("\x03")
        await terminal.until(">>> ")
        self.assertIn("not changed", await terminal.ask("reload()"))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_stopping_ends_sessions(self) -> None:
        """With a word to those who are there, and at once."""
        launcher = await self.open()
        terminal = self.terminal()
        await terminal.until(">>> ")
        terminal.type("await zk.get('/nodepool'); from twisted.internet.defer import Deferred\r")
        terminal.type("await Deferred()\r")
        await terminal.until("await Deferred()\n")
        ended = await launcher.stop()
        self.assertEqual(ended.status, 0)
        self.assertLess(ended.seconds, 5)
        await terminal.until("the console is closed")
        self.assertIn(await terminal.ended(), (0, 255))
        self.assertEqual([e["what"] for e in self.audited()][-1], "disconnect")
        self.assert_nothing_unforeseen()


class AtThree(AtTheConsole):
    """What somebody does at three in the morning."""

    @asynchronous
    async def test_by_hand(self) -> None:
        """A provider is idled and goes on; a host is taken out of service and returned."""
        await self.open()
        await self.until_all_free(slots(self.base))
        terminal = self.terminal(width=160)
        await terminal.until(">>> ")
        self.assertIn("rack is idle until", await terminal.ask("idle('rack')"))
        self.assertIn("idle", await terminal.ask("providers['rack']['phase']"))
        requester = await self.requester()
        request = await requester.ask("large")
        await self.sleep(0.3)
        self.assertIn("requested", await terminal.ask("requests"))
        said = await terminal.ask(f"explain('{request}')")
        self.assertIn("rack/main", said)
        self.assertIn("rack is active", await terminal.ask("resume('rack')"))
        terminal.type("requests.fulfilled\r")
        await terminal.until("fulfilled")
        await terminal.until(">>> ")
        self.assertIn("fake-b", await terminal.ask("maintain('fake-b', 'a new disk', '2h')"))
        self.assertIn("a new disk", await terminal.ask("hosts"))
        self.assertIn("back in service", await terminal.ask("return_('fake-b')"))
        for name in ("zk", "config", "pools", "nodes", "hosts", "tasks()", "help(idle)", "log"):
            self.assertNotIn("Error", await terminal.ask(name), name)
        self.assert_nothing_unforeseen()


class Hanging(AtTheConsole):
    @asynchronous
    async def test_a_hung_reload_and_a_hung_launch(self) -> None:
        """Are shown as they hang, by name and age, while the console and all else go on."""
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        machine = host("127.0.0.1", "small", connection_port=silent.getsockname()[1], timeout=90)
        rack = provider("rack", machine, host("fake-a", "small"))
        await self.open(rack)
        trial = {
            "name": "trial",
            "driver": "fake",
            "cloud-images": [{"name": "Fake Precise"}],
            "simulation": {"boot-delay": 3600},
            "pools": [
                {
                    "name": "main",
                    "labels": [{"name": "cloud", "cloud-image": "Fake Precise", "min-ram": 8192}],
                }
            ],
        }
        launcher = self.launchers[0]
        labels = [{"name": "small"}, {"name": "cloud"}]
        both = {**self.base, "labels": labels, "providers": [rack, trial]}
        launcher.write(self.at_server(both))
        await self.until_logged(launcher, "added trial")

        async def offered() -> bool:
            pools = await self.sight.components("pool")
            return "trial" in {pool["provider_name"] for pool in pools}

        # Before that nobody knows of the label, and a request for it fails.
        await self.until("the pool of trial", offered)
        requester = await self.requester()
        await requester.ask("cloud")

        async def launching() -> bool:
            return "launch" in (await self.ssh.run("tasks()", keys=self.me)).out

        await self.until("a launch", launching)
        terminal = self.terminal(width=150)
        await terminal.until(">>> ")
        changed = provider("rack", machine, host("fake-a", "small"), host("fake-b", "small"))
        launcher.write(self.at_server({**both, "providers": [changed, trial]}))
        terminal.type("reload()\r")
        await terminal.until("reload()\n")
        await self.sleep(1.5)
        there = (await self.ssh.run("tasks()", keys=self.me)).out
        self.assertRegex(there, r"(?m)^[1-9] s +launcher +reload of provider rack$")
        self.assertRegex(there, r"(?m)^[1-9]\d? s +rack +.*127\.0\.0\.1")
        self.assertRegex(there, r"(?m)^[1-9]\d? s +trial +.*launch")
        self.assertRegex(there, r"(?m)^[1-9] s +console +eve@laptop: reload\(\)$")
        aged = (
            await self.ssh.run(
                "[t.since for t in tasks()] == sorted(t.since for t in tasks())", keys=self.me
            )
        ).out
        self.assertEqual(aged, "True\n")
        # The prompt comes back, and the reload goes on.
        terminal.type("\x03")
        await terminal.until(">>> ")
        self.assertIn("reload of provider rack", await terminal.ask("tasks()"))
        self.assertIn("idle", await terminal.ask("providers['rack']['phase']"))
        self.assertIn("a reload is replacing rack", await terminal.ask("resume('rack')"))
        # What hung ends.
        silent.close()
        await self.until_logged(launcher, "replaced rack")
        self.assert_nothing_unforeseen()
