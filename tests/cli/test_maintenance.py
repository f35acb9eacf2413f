"""Taking hosts and providers out of service, and returning them, at the command line."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from nodepool_tx.cli.commands import parse
from nodepool_tx.cli.maintenance import operator
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.whens import parse_when
from nodepool_tx.model import Maintenance
from nodepool_tx.store import paths
from nodepool_tx.store.maintenance import decode_maintenance
from tests.cli.stage import CommandLineTestCase, Run
from tests.out_of_service import host_record, provider_record, put_back, take_out

HERE = socket.gethostname()


class MaintenanceTestCase(CommandLineTestCase):
    """The provider ``dc`` has the host ``h1``."""

    def records(self) -> list[Maintenance]:
        found = []
        for path, data in sorted(self.inspector.dump(paths.MAINTENANCE + "/").items()):
            target = paths.maintained(path.rpartition("/")[2])
            assert target is not None
            found.append(decode_maintenance(*target, data))
        return found

    def as_anna(self, *words: str) -> Run:
        return self.start(*words, environ={"SUDO_USER": "anna"})

    def assert_refused(self, run: Run, code: int, *parts: str) -> None:
        self.assertEqual(run.code, code, run.stderr)
        for part in parts:
            self.assertIn(part, run.stderr)


class TakingOutTests(MaintenanceTestCase):
    def test_maintain(self) -> None:
        """The record says all there is to say, and is shown."""
        run = self.as_anna(
            "maintain", "h1", "--reason", " new \n disk", "--until", "+2h", "--format", "json"
        )
        now = self.clock.seconds()
        self.assertEqual(run.code, 0, run.stderr)
        (record,) = self.records()
        self.assertEqual(
            record,
            host_record("h1", since=now, until=now + 7200, by=f"anna@{HERE}", reason="new disk"),
        )
        (row,) = self.rows(run)
        self.assertEqual((row["host"], row["in_use"], row["configured"]), ("h1", 0, True))

    def test_drain_a_provider_and_a_host(self) -> None:
        """Which of them it is is known from the configuration."""
        self.assertEqual(self.as_anna("drain", "dc", "--reason", "moving house").code, 0)
        self.assertEqual(self.as_anna("drain", "h1").code, 0)
        now = self.clock.seconds()
        host, provider = self.records()
        self.assertEqual(provider, provider_record("dc", since=now, by=f"anna@{HERE}"))
        self.assertEqual((host.host, host.reason, host.until), ("h1", "", None))

    def test_known_from_zookeeper(self) -> None:
        """Providers of other launchers, and hosts of theirs, are known as well."""
        self.add_node(provider="other", hostname="h9", launcher="static driver")
        self.assertEqual(self.run_to_end("drain", "other").code, 0)
        self.assertEqual(self.run_to_end("drain", "h9").code, 0)
        self.assertEqual([r.target for r in self.records()], ["host h9", "provider other"])

    def test_servers_of_clouds_are_no_hosts(self) -> None:
        """They come and go."""
        self.add_node(provider="cloud", hostname="np0000000001")
        self.assert_refused(self.run_to_end("drain", "np0000000001"), 1, "there is no host or")

    def test_unknown(self) -> None:
        """It is refused with what was probably meant, unless it is forced."""
        self.assert_refused(
            self.run_to_end("maintain", "h11", "--reason", "x"), 1, "no host h11", "mean h1?"
        )
        self.assert_refused(self.run_to_end("drain", "dx"), 1, "no host or provider dx")
        self.assert_refused(self.run_to_end("drain", "dx", "--force"), 2, "--host or --provider")
        self.assertEqual(self.records(), [])
        self.assertEqual(self.run_to_end("drain", "dx", "--force", "--provider").code, 0)
        self.assertEqual(self.run_to_end("maintain", "h7", "--force", "--reason", "x").code, 0)
        self.assertEqual([r.target for r in self.records()], ["host h7", "provider dx"])
        self.assertEqual(self.run_to_end("return", "h7").code, 0)

    def test_a_host_and_a_provider_of_one_name(self) -> None:
        """It is refused unless one says which."""
        self.add_node(provider="h1", hostname="h1", launcher="static driver")
        self.assert_refused(self.run_to_end("drain", "h1"), 2, "both a host and a provider")
        self.assertEqual(self.run_to_end("drain", "h1", "--provider").code, 0)
        self.assertEqual(self.run_to_end("drain", "--host", "h1").code, 0)
        self.assert_refused(self.run_to_end("return", "h1"), 2, "both a host and a provider")
        self.assertEqual(self.run_to_end("return", "h1", "--provider").code, 0)
        self.assertEqual([r.target for r in self.records()], ["host h1"])

    def test_somebody_else_was_first(self) -> None:
        """It is refused with who and why, unless it is forced."""
        before = take_out(self.inspector, host_record("h1", by="otto@desk"))
        run = self.as_anna("maintain", "h1", "--reason", "fan")
        self.assert_refused(run, 1, "by otto@desk: new disk", "--force")
        self.assertEqual(self.records(), [before])
        run = self.as_anna("maintain", "h1", "--reason", "fan", "--force")
        self.assertEqual(run.code, 0)
        self.assertIn("this replaces: host h1 is in maintenance", run.stderr)
        (record,) = self.records()
        self.assertEqual((record.reason, record.by), ("fan", f"anna@{HERE}"))
        self.assertEqual(record.since, self.clock.seconds())

    def test_the_same_person_changes_it(self) -> None:
        """It has been out of service all the time."""
        first = self.clock.seconds()
        self.as_anna("maintain", "h1", "--reason", "disk", "--until", "+1h")
        self.clock.advance(1800)
        run = self.as_anna("maintain", "h1", "--reason", "disk and fan", "--until", "+4h")
        self.assertEqual(run.code, 0, run.stderr)
        (record,) = self.records()
        self.assertEqual((record.reason, record.since), ("disk and fan", first))
        self.assertEqual(record.until, first + 1800 + 4 * 3600)

    def test_draining_again_to_wait(self) -> None:
        """Forgets neither why nor since when."""
        self.as_anna("drain", "dc", "--reason", "moving house")
        before = self.records()
        self.pass_time(1)
        run = self.as_anna("drain", "dc", "--wait")
        self.assertEqual((run.code, self.records()), (0, before))
        self.assertNotIn("this replaces", run.stderr)

    def test_one_that_is_over(self) -> None:
        """It stands in nobody's way, though its record is still there."""
        take_out(self.inspector, host_record("h1", by="otto@desk", until=950.0))
        run = self.as_anna("maintain", "h1", "--reason", "fan")
        self.assertEqual(run.code, 0, run.stderr)
        (record,) = self.records()
        self.assertEqual((record.reason, record.since), ("fan", self.clock.seconds()))

    def test_two_at_once(self) -> None:
        """One of them is told of the other."""
        other = host_record("h1", by="otto@desk")

        def first(call: Any) -> None:
            take_out(self.inspector, other)

        self.inspector.before("create", first, path=lambda p: p.startswith(paths.MAINTENANCE + "/"))
        run = self.as_anna("maintain", "h1", "--reason", "fan")
        self.assert_refused(run, 1, "by otto@desk: new disk")
        self.assertEqual(self.records(), [other])

    def test_returned_while_it_is_changed(self) -> None:
        """Then it is taken out anew."""
        self.as_anna("maintain", "h1", "--reason", "disk")
        record = self.records()[0]
        self.inspector.before("set", lambda _: put_back(self.inspector, record))
        self.assertEqual(self.as_anna("maintain", "h1", "--reason", "fan").code, 0)
        self.assertEqual([r.reason for r in self.records()], ["fan"])

    def test_without_zookeeper(self) -> None:
        """It is said that nobody knows."""
        run = self.start("drain", "h1", reachable=False)
        self.pass_time(11)
        self.assertEqual(run.code, ExitCode.NO_ZOOKEEPER)


class ReturningTests(MaintenanceTestCase):
    def test_return(self) -> None:
        """Whoever took it out."""
        take_out(self.inspector, host_record("h1", by="otto@desk"))
        run = self.as_anna("return", "h1")
        self.assertEqual((run.code, run.stdout), (0, ""))
        self.assertIn("host h1 is back in service", run.stderr)
        self.assertEqual(self.records(), [])

    def test_twice(self) -> None:
        """There is nothing to do, and that is fine."""
        run = self.run_to_end("return", "h1")
        self.assertEqual(run.code, 0)
        self.assertIn("host h1 is in service", run.stderr)

    def test_two_at_once(self) -> None:
        """Both have what they wanted."""
        record = take_out(self.inspector, host_record("h1"))
        self.inspector.before("delete", lambda _: put_back(self.inspector, record))
        run = self.run_to_end("return", "h1")
        self.assertEqual(run.code, 0)
        self.assertEqual(self.records(), [])

    def test_changed_at_that_moment(self) -> None:
        """It is returned all the same: that is the later word."""
        take_out(self.inspector, host_record("h1"))
        later = host_record("h1", reason="fan")
        self.inspector.before("delete", lambda _: take_out(self.inspector, later))
        self.assertEqual(self.run_to_end("return", "h1").code, 0)
        self.assertEqual(self.records(), [])

    def test_an_unreadable_record(self) -> None:
        """It can be returned like any other."""
        self.inspector.create(paths.maintenance_of_host("h1"), b"{")
        self.assertEqual(self.run_to_end("return", "h1").code, 0)
        self.assertEqual(self.inspector.dump(paths.MAINTENANCE + "/"), {})

    def test_not_configured_any_more(self) -> None:
        """Its record is enough to know it."""
        take_out(self.inspector, host_record("gone"))
        self.assertEqual(self.run_to_end("return", "gone").code, 0)


class WaitingTests(MaintenanceTestCase):
    def static_node(self, state: str = "ready", **more: Any) -> str:
        return self.add_node(state, launcher="static driver", **more)

    def remove(self, node_id: str) -> None:
        self.inspector.delete_tree(paths.node(node_id))
        self.settle()

    def test_until_nothing_is_left(self) -> None:
        """It says what there is, and ends when the last node is gone."""
        free, used, held = (
            self.static_node(),
            self.static_node("in-use", slot=1),
            self.static_node("hold", slot=2),
        )
        self.add_node("in-use", hostname="h2", launcher="static driver")
        self.lock(used)
        run = self.start("drain", "h1", "--wait")
        self.assertEqual(len(self.records()), 1)
        self.assertIn("waiting for host h1 to be empty: nodes: 2 in use, 1 free", run.stderr)
        for node_id in (free, used):
            self.remove(node_id)
            self.assertIsNone(run.code)
        self.assertIn("nodes: 1 in use", run.stderr)
        self.remove(held)
        self.assertEqual(run.code, 0, run.stderr)
        self.assertIn("host h1 is empty", run.stderr)

    def test_a_provider(self) -> None:
        """All of its nodes count."""
        node_id = self.static_node(hostname="elsewhere")
        run = self.start("drain", "dc", "--wait")
        self.assertIsNone(run.code)
        self.remove(node_id)
        self.assertEqual(run.code, 0)

    def test_timeout(self) -> None:
        """It stays out of service, and the exit code says that it is not empty."""
        self.static_node()
        run = self.start("drain", "dc", "--wait", "--timeout", "5")
        self.pass_time(4)
        self.assertIsNone(run.code)
        self.pass_time(2)
        self.assert_refused(run, ExitCode.TIMED_OUT, "1 free", "run?", "stays out of service")
        self.assertEqual(len(self.records()), 1)

    def test_returned_meanwhile(self) -> None:
        """Then there is nothing to wait for."""
        self.static_node()
        run = self.start("drain", "dc", "--wait")
        put_back(self.inspector, self.records()[0])
        self.settle()
        self.assert_refused(run, 1, "returned to service meanwhile")

    def test_interrupted(self) -> None:
        """The record stays."""
        self.static_node()
        run = self.start("drain", "dc", "--wait")
        self.interrupt(run)
        self.assertEqual(run.code, ExitCode.INTERRUPTED)
        self.assertEqual(len(self.records()), 1)

    def test_the_connection_breaks(self) -> None:
        """It goes on waiting when it is back."""
        node_id = self.static_node()
        run = self.start("drain", "dc", "--wait")
        self.inspector.suspend(run.client)
        self.remove(node_id)
        self.pass_time(2)
        self.assertIsNone(run.code)
        self.inspector.resume(run.client)
        self.pass_time(3)
        self.assertEqual(run.code, 0, run.stderr)


class ListTests(MaintenanceTestCase):
    def test_list(self) -> None:
        """Everything that is out of service, with what is still in use of it."""
        since = self.clock.seconds() - 3700
        take_out(self.inspector, host_record("h1", since=since, until=self.clock.seconds() + 60))
        take_out(self.inspector, host_record("gone", since=since))
        take_out(self.inspector, provider_record("dc", since=since))
        take_out(self.inspector, host_record("over", until=5.0))
        node_id = self.add_node("in-use", launcher="static driver")
        self.lock(node_id)
        run = self.run_to_end("maintenance-list", "--format", "json")
        found = [
            (r["host"], r["provider"], r["mode"], r["age"], r["in_use"], r["configured"])
            for r in self.rows(run)
        ]
        self.assertEqual(
            found,
            [
                ("gone", None, "maintain", 3700, 0, False),
                ("h1", None, "maintain", 3700, 1, True),
                (None, "dc", "drain", 3700, 1, True),
            ],
        )
        table = self.run_to_end("maintenance-list").stdout
        for part in ("00:01:01:40", "new disk", "moving house", "anna@desk", "| In use"):
            self.assertIn(part, table)

    def test_watch(self) -> None:
        """Each change is shown."""
        run = self.start("maintenance-list", "--watch", "--format", "json")
        take_out(self.inspector, host_record("h1"))
        self.pass_time(2)
        self.assertEqual(len(run.stdout.splitlines()), 2)
        self.assertIn("new disk", run.stdout.splitlines()[1])
        self.interrupt(run)


NOW = 1_700_000_000.0


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two hours east of Greenwich."""
    monkeypatch.setenv("TZ", "EAST-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("+90s", NOW + 90),
        ("+30m", NOW + 1800),
        (" +2h ", NOW + 7200),
        ("+1d", NOW + 86400),
        ("+1d12h", NOW + 129600),
        ("2030-01-01T00:00:00+00:00", 1893456000.0),
        ("2030-01-01T00:00:00Z", 1893456000.0),
        ("2030-01-01T00:00", 1893456000.0 - 7200),
        ("2030-01-01 00:00", 1893456000.0 - 7200),
        ("2030-01-01", 1893456000.0 - 7200),
    ],
)
def test_when(text: str, moment: float) -> None:
    """A length from now, or a time, in the local zone unless it names one."""
    assert parse_when(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["", "+", "2h", "+2x", "+h", "tomorrow", "2030-13-01", "+99999999d", "+" + "9" * 400 + "d"],
)
def test_no_time(text: str) -> None:
    """It is said what one looks like."""
    with pytest.raises(Complaint, match="is no time") as raised:
        parse_when(text, NOW)
    assert raised.value.code is ExitCode.USAGE


@pytest.mark.parametrize("text", ["+0h", "2001-01-01", "2023-11-14T22:13:20Z"])
def test_the_past(text: str) -> None:
    """It is refused."""
    with pytest.raises(Complaint, match="is not in the future"):
        parse_when(text, NOW)


@pytest.mark.parametrize(
    "words",
    [
        ["maintain", "h1"],
        ["maintain", "h1", "--reason", "  "],
        ["drain", "h1", "--timeout", "5"],
        ["drain", "h1", "--host", "--provider"],
        ["drain"],
        ["return"],
    ],
)
def test_arguments_that_do_not_fit(words: list[str]) -> None:
    """They are refused before anything is asked for."""
    with pytest.raises(SystemExit) as raised:
        parse(words, {})
    assert raised.value.code == ExitCode.USAGE


def test_who_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person, also behind sudo."""
    monkeypatch.setenv("LOGNAME", "otto")
    assert operator({}) == f"otto@{HERE}"
    assert operator({"SUDO_USER": "anna"}) == f"anna@{HERE}"
