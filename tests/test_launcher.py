"""The small services that tie the launcher's parts to the service tree."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import AuthFailedError
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, globalLogPublisher

from nodepool_tx.config.errors import ConfigError, ConfigErrors, ConfigWarning
from nodepool_tx.config.schema import Server, ZookeeperTls
from nodepool_tx.launcher import Launcher, Presence, Session, connection_string
from nodepool_tx.store import paths
from nodepool_tx.testing.zookeeper import MemoryClient
from nodepool_tx.txzookeeper.interface import SessionState
from tests.pools.harness import ZookeeperTestCase
from tests.reload_stage import ReloadTestCase, config, provider


class ServersClient:
    """A client in memory that also notes which servers it is to use."""

    server = "zk1:2181"

    def __init__(self, client: MemoryClient) -> None:
        self._client = client
        self.servers: list[str] = []

    def use_servers(self, servers: str) -> None:
        if "other-chroot" in servers:
            raise ValueError("the chroot cannot change")
        self.servers.append(servers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class Logged(ZookeeperTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def said(self, level: str) -> list[str]:
        """What was logged at this level, formats with fields filled in."""
        return [
            str(event["log_format"]).format(**event)
            for event in self.events
            if event["log_level"].name == level
            and event["log_namespace"].startswith("nodepool_tx.launcher")
        ]


class SessionTests(Logged):
    def setUp(self) -> None:
        super().setUp()
        self.memory = self.zookeeper.client()
        self.client = ServersClient(self.memory)

    def session(self, where: Deferred[str], *, plain: bool = False) -> Session:
        session = Session(self.client, lambda: where, plain=plain)  # type: ignore[arg-type]
        session.startService()
        self.settle()
        return session

    def test_connects(self) -> None:
        """When it is known where ZooKeeper is, the session begins; with the service it ends."""
        where: Deferred[str] = Deferred()
        session = self.session(where)
        self.assertEqual(self.client.servers, [])
        where.callback("zk1:2181")
        self.settle()
        self.assertEqual(self.client.servers, ["zk1:2181"])
        self.assertIs(self.memory.state, SessionState.CONNECTED)
        self.assertEqual(self.said("warn"), [])
        self.done(session.stopService())
        self.assertIs(self.memory.state, SessionState.CLOSED)

    def test_says_what_becomes_of_it(self) -> None:
        """Losing the connection or the session is a warning."""
        session = self.session(succeed("zk1"))
        self.inspector.expire(self.memory)
        self.settle()
        self.assertEqual(self.said("warn"), ["ZooKeeper: suspended", "ZooKeeper: expired"])
        self.done(session.stopService())
        self.assertEqual(len(self.said("warn")), 2)

    def test_plain(self) -> None:
        """A connection without encryption is warned of."""
        session = self.session(succeed("zk1:2181"), plain=True)
        (warning,) = self.said("warn")
        self.assertIn("zk1:2181 is not encrypted", warning)
        self.done(session.stopService())

    def test_no_zookeeper(self) -> None:
        """If there is none to be had, that is said in one line."""
        session = self.session(fail(ValueError("install the package zookeeper")))
        (line,) = self.said("critical")
        self.assertIn("install the package zookeeper", line)
        self.done(session.stopService())

    def test_refused(self) -> None:
        """So it is if it refuses our credentials."""
        self.inspector.refuse(self.memory)
        session = self.session(succeed("zk1"))
        self.assertEqual(len(self.said("critical")), 1)
        self.assertEqual(self.flushLoggedErrors(AuthFailedError), [])
        self.done(session.stopService())

    def test_stopped_while_connecting(self) -> None:
        """Stopping does not wait for a ZooKeeper that does not come."""
        cancelled: list[object] = []
        session = self.session(Deferred(cancelled.append))
        self.done(session.stopService())
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.said("critical"), [])

    def test_stopped_while_it_cannot_be_reached(self) -> None:
        """Nor for one that cannot be reached."""
        self.inspector.suspend(self.memory)
        session = self.session(succeed("zk1"))
        self.done(session.stopService())
        self.assertEqual(self.said("critical"), [])

    def test_other_servers(self) -> None:
        """Other servers are taken; if that is impossible it is said."""
        session = self.session(succeed("zk1"))
        session.use_servers("zk1,zk2")
        session.use_servers("zk2/other-chroot")
        self.assertEqual(self.client.servers, ["zk1", "zk1,zk2"])
        (warning,) = self.said("warn")
        self.assertIn("the chroot cannot change", warning)
        self.done(session.stopService())


class PresenceTests(ReloadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.presence = Presence(self.store, self.registry, self.ownerships, "host", "1.2")
        self.presence.startService()
        self.settle()

    def test_shown(self) -> None:
        """The launcher is shown, with its version."""
        (launcher,) = self.components("launcher").values()
        self.assertEqual(
            (launcher.kind, launcher.hostname, launcher.version, launcher.state.value),
            ("launcher", "host", "1.2", "running"),
        )

    def test_stands_down(self) -> None:
        """With the service everything is gone that others could see or wait for."""
        self.applied(provider("a"), provider("b"))
        rivals = self.connected()
        self.assertEqual(self.pools(), ["a/main", "b/main"])
        self.done(self.presence.stopService())
        self.assertEqual((self.components("launcher"), self.pools()), ({}, []))
        self.assertEqual(self.inspector.dump(f"{paths.owner_lock('a')}/"), {})
        self.assertEqual(self.inspector.ephemerals(self.client), ())
        self.assertIs(rivals.state, SessionState.CONNECTED)

    def test_without_a_connection(self) -> None:
        """Without a connection that is left to the end of the session."""
        self.applied(provider("a"))
        self.inspector.suspend(self.client)
        self.settle()
        self.successResultOf(self.presence.stopService())
        self.clock.advance(self.client.session_timeout)
        self.assertEqual((self.components("launcher"), self.pools()), ({}, []))

    def test_new_session(self) -> None:
        """A new session is shown as the old one was."""
        before = list(self.components("launcher").values())
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(list(self.components("launcher").values()), before)


class LauncherTests(ReloadTestCase, Logged):
    def setUp(self) -> None:
        super().setUp()
        self.used = ServersClient(self.client)
        self.session = Session(self.used, lambda: succeed("zk1"), plain=False)  # type: ignore[arg-type]
        self.first = config(provider("a"), zookeeper_servers=(Server("zk1"),))
        self.launcher = Launcher(
            self.reloader, self.store, self.session, self.first, ("told to everyone",)
        )

    def start(self) -> None:
        self.launcher.startService()
        self.settle()

    def test_first_configuration(self) -> None:
        """The configuration it was given is applied at the start; notices are said."""
        self.start()
        self.assertEqual(self.running(), ["a/1"])
        self.assertEqual(self.said("warn"), ["told to everyone"])

    def test_new_configuration(self) -> None:
        """A new one is applied when it comes, with its warnings said."""
        self.start()
        warning = ConfigWarning("nodepool.yaml", 3, 5, "labels", "unused")
        self.launcher.on_config(
            config(provider("a", 2), zookeeper_servers=(Server("zk1"),), warnings=(warning,))
        )
        self.settle()
        self.assertEqual(self.running(), ["a/2"])
        self.assertIn(f"configuration: {warning}", self.said("warn"))

    def test_bad_configuration(self) -> None:
        """A bad one changes nothing and is remembered until there is a good one."""
        self.start()
        errors = ConfigErrors([ConfigError("nodepool.yaml", 7, 1, "providers", "no list")])
        self.launcher.on_errors(errors)
        self.settle()
        self.assertEqual(self.running(), ["a/1"])
        self.assertIs(self.launcher.last_errors, errors)
        (said,) = self.said("error")
        self.assertIn("nodepool.yaml:7:1: providers: no list", said)
        self.launcher.on_config(self.first)
        self.settle()
        self.assertIsNone(self.launcher.last_errors)
        self.assertIn("the configuration is valid again", self.said("info"))
        self.assertEqual(self.running(), ["a/1"])

    def test_other_servers(self) -> None:
        """Other servers of the ensemble are taken up without a start."""
        self.start()
        servers = (Server("zk1"), Server("2001:db8::1", 2281))
        self.launcher.on_config(config(provider("a"), zookeeper_servers=servers))
        self.assertEqual(self.used.servers, ["zk1:2281,[2001:db8::1]:2281"])
        self.launcher.on_config(config(provider("a"), zookeeper_servers=servers))
        self.assertEqual(len(self.used.servers), 1)

    def test_settings_that_need_a_start(self) -> None:
        """Whatever else changes about ZooKeeper waits for a start, which is said."""
        tls = ZookeeperTls("cert", "key", "ca")
        for changes in (
            {"zookeeper_servers": ()},
            {"zookeeper_servers": (Server("zk1"),), "zookeeper_tls": tls},
            {"zookeeper_servers": (Server("zk1"),), "zookeeper_timeout": 30.0},
        ):
            self.launcher = Launcher(self.reloader, self.store, self.session, self.first)
            self.events.clear()
            self.launcher.on_config(config(provider("a"), **changes))
            (warning,) = self.said("warn")
            self.assertIn("takes effect at the next start", warning)
        self.assertEqual(self.used.servers, [])

    def test_connection_string(self) -> None:
        """Servers are written as ZooKeeper's clients write them, with the chroot once."""
        servers = (Server("zk1", 2281, "/ci"), Server("::1", 2282, "/ci"))
        self.assertIn(
            connection_string(config(zookeeper_servers=servers)),
            ("zk1:2281,[::1]:2282/ci", "[::1]:2282,zk1:2281/ci"),
        )

    def test_stop(self) -> None:
        """Stopping ends the reloads, and waits for nothing that a provider has in flight."""
        self.start()
        old = self.service("a")
        old.idling = Deferred()
        self.launcher.on_config(config(provider("a", 2), zookeeper_servers=(Server("zk1"),)))
        self.successResultOf(self.launcher.stopService())
        old.idling.callback(None)
        self.settle()
        self.assertNotIn("start a/2", self.diary)

    def test_goes_on_with_draining(self) -> None:
        """What an earlier process began to empty is emptied, as soon as ZooKeeper answers."""
        self.inspector.create(paths.draining("gone"), b'{"driver": "scripted"}')
        self.inspector.suspend(self.client)
        self.settle()
        self.start()
        self.assertEqual(self.running(), ["a/1"])
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.running(), ["a/1", "gone/-1"])
        self.service("gone").drained.callback(None)
        self.settle()
        self.assertEqual(sorted(self.reloader.services()), ["a"])

    def test_asks_again_what_is_to_be_drained(self) -> None:
        """If the connection breaks over that question it is asked again."""
        self.inspector.create(paths.draining("gone"), b'{"driver": "scripted"}')
        self.inspector.lose_reply_next("get_children", path=paths.DRAINING, client=self.client)
        self.start()
        self.assertEqual(self.running(), ["a/1", "gone/-1"])

    def test_drains_are_resumed_once(self) -> None:
        """What is noted later is this process's own business."""
        self.start()
        self.inspector.create(paths.draining("other"), b'{"driver": "scripted"}')
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(self.running(), ["a/1"])
