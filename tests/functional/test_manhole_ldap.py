"""Log-ins at the console of a running launcher, against a real LDAP server."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.test_manhole import AtTheConsole
from tests.nodescan.contract import asynchronous
from tests.servers.certificates import Authority
from tests.servers.slapd import BASE, Slapd, group


@pytest.fixture(scope="module")
def directory_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    where: pathlib.Path = tmp_path_factory.mktemp("slapd")
    authority = Authority(where)
    certificate, key = authority.issue("slapd")
    (where / "cert.pem").write_bytes(certificate)
    (where / "key.pem").write_bytes(key)
    with Slapd(where, where / "cert.pem", where / "key.pem", authority.ca) as server:
        yield server


class Passwords(AtTheConsole):
    @pytest.fixture(autouse=True)
    def _servers(self, directory_server: Slapd) -> None:
        self.ldap = directory_server

    def with_ldap(self, **more: Any) -> dict[str, Any]:
        return {
            "ldap": {
                "url": self.ldap.url,
                "ca": str(self.ldap.ca),
                "group": group("ops"),
                "user-dn": f"uid={{user}},ou=people,{BASE}",
                "timeout": 2,
                **more,
            }
        }

    @asynchronous
    async def test_passwords(self) -> None:
        """Members of the group come in; others wait longer each time; nothing secret is told."""
        launcher = await self.open(operations=self.with_ldap(), manhole={"passwords": True})
        run = self.ssh.run
        answer = await run("1 + 1", user="alice", password="alice-pw")
        self.assertEqual((answer.status, answer.out), (0, "2\n"), answer.error)
        terminal = self.ssh.terminal(user="alice")
        self.addCleanup(terminal.close)
        await terminal.until("password:")
        terminal.type("alice-pw\n")
        await terminal.until(">>> ")
        for user, password in (("bob", "bob-pw"), ("*", "x")):
            self.assertIn("denied", (await run("1", user=user, password=password)).error)
        began = time.monotonic()
        self.assertIn("denied", (await run("1", user="alice", password="")).error)
        # The third failure from this address.
        self.assertGreater(time.monotonic() - began, 4)
        self.assertEqual((await run("1 + 1", user="me", keys=self.me)).out, "2\n")
        self.assertIn("2\n", await terminal.ask("1 + 1"))
        entries = self.audited()
        self.assertIn(
            ("alice", "log-in", "ok", "password"),
            [(e["who"], e["what"], e["outcome"], e.get("how")) for e in entries],
        )
        said = {
            (e["who"], e["outcome"].partition(":")[0]) for e in entries if e["what"] == "log-in"
        }
        self.assertLessEqual({("bob", "refused"), ("*", "refused"), ("alice", "ok")}, said)
        for secret in ("alice-pw", "bob-pw"):
            self.assertNotIn(secret, launcher.log + self.audit_log.read_text())
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_a_directory_that_does_not_answer(self) -> None:
        """Nobody comes in with a password, in time; everything else goes on."""
        launcher = await self.open(operations=self.with_ldap(), manhole={"passwords": True})
        run = self.ssh.run
        self.ldap.freeze()
        self.addCleanup(self.ldap.thaw)
        began = time.monotonic()
        hanging = [run("1", user="alice", password="alice-pw") for _ in range(3)]
        await self.sleep(0.5)
        self.assertEqual((await run("1 + 1", keys=self.me)).out, "2\n")
        for each in hanging:
            self.assertIn("denied", (await each).error)
        self.assertLess(time.monotonic() - began, 8)
        self.assertIn("has not answered in time", launcher.log)
        self.ldap.thaw()
        self.assertEqual((await run("1", user="alice", password="alice-pw")).out, "1\n")
        self.ldap.stop()
        self.assertIn("denied", (await run("1", user="alice", password="alice-pw")).error)
        self.assertIn("log-ins cannot be checked", launcher.log)
        self.ldap.start()
        self.assertEqual((await run("1", user="alice", password="alice-pw")).out, "1\n")
        self.assert_nothing_unforeseen()
