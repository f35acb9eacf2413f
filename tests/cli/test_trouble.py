"""No ZooKeeper, no configuration, broken connections: one line and an exit code."""

import io
import os
import pathlib
import subprocess
import sys

import pytest
from kazoo.exceptions import ConnectionLoss
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nodepool_tx.cli import target as targets
from nodepool_tx.cli.commands import parse
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.running import exit_code_of
from nodepool_tx.cli.target import find_target
from nodepool_tx.cli.terminal import Terminal
from nodepool_tx.embedded.layout import Layout, Lock
from tests.cli.stage import CommandLineTestCase


class TroubleTests(CommandLineTestCase):
    def test_zookeeper_that_does_not_answer(self) -> None:
        """Is given up after --connect-timeout, and named with where it was named."""
        run = self.start("list", "--connect-timeout", "3", reachable=False)
        self.pass_time(2.9)
        self.assertIsNone(run.code)
        self.pass_time(0.2)
        self.assertEqual(run.code, ExitCode.NO_ZOOKEEPER)
        self.assertEqual(
            run.stderr,
            f"nodepool: cannot reach ZooKeeper at zk.example:2181 ({self.config}) within 3 s "
            "(no answer): is it running?\n",
        )

    def test_a_connection_that_breaks(self) -> None:
        """Whether the change happened is not known, and that is said."""
        node_id = self.add_node()
        self.inspector.fail_next("transaction", ConnectionLoss())
        run = self.run_to_end("hold", node_id)
        self.assertEqual(run.code, ExitCode.NO_ZOOKEEPER)
        self.assertIn("may have happened or not", run.stderr)

    def test_refused_credentials(self) -> None:
        """There is no point in waiting for the timeout."""
        client = self.zookeeper.client()
        self.zookeeper.client = lambda *args, **more: client  # type: ignore[method-assign]
        self.inspector.refuse(client)
        run = self.run_to_end("list")
        self.assertEqual(run.code, ExitCode.NO_ZOOKEEPER)
        self.assertIn("refuses our credentials", run.stderr)

    def test_a_zookeeper_that_never_shows_what_it_holds(self) -> None:
        """The hint names what is too old."""
        self.inspector.before("watch", lambda call: _break(), times=None)
        run = self.start("list")
        self.pass_time(61)
        self.assertEqual(run.code, ExitCode.NO_ZOOKEEPER)
        self.assertIn("3.6 or newer", run.stderr)
        self.flushLoggedErrors()


def _break() -> None:
    from kazoo.exceptions import UnimplementedError

    raise UnimplementedError()


def _find(*words: str) -> str:
    """The complaint about where ZooKeeper is."""
    with pytest.raises(Complaint) as complaint:
        find_target(parse([*words, "list"], {}), {})
    return f"{int(complaint.value.code)} {complaint.value}"


def test_no_configuration_and_no_embedded_zookeeper(tmp_path: pathlib.Path) -> None:
    """Both ways out are named."""
    assert not os.path.exists("/etc/nodepool/nodepool.yaml")
    assert _find("--state-dir", str(tmp_path)) == (
        "3 there is no configuration /etc/nodepool/nodepool.yaml (name yours with -c), "
        f"and no embedded ZooKeeper runs for {tmp_path}"
    )


def test_a_configuration_that_is_not_there(tmp_path: pathlib.Path) -> None:
    """Where one was named, nothing else is looked for."""
    path = tmp_path / "x.yaml"
    assert _find("-c", str(path)) == f"2 {path}: does not exist"


def test_a_configuration_with_errors(tmp_path: pathlib.Path) -> None:
    """The first one is told, with the way to all of them."""
    path = tmp_path / "x.yaml"
    path.write_text("lables: []\nproviderz: []\n")
    told = _find("-c", str(path))
    assert told.startswith(f"2 {path}:1:1: ")
    assert told.endswith("(and 1 more: see nodepool config-validate)")


def test_the_embedded_zookeeper_does_not_run(tmp_path: pathlib.Path) -> None:
    """The likely mistakes are named."""
    path = tmp_path / "x.yaml"
    path.write_text("labels: []\n")
    assert _find("-c", str(path), "--state-dir", str(tmp_path)) == (
        f"3 {path} names no zookeeper-servers, and no embedded ZooKeeper runs for {tmp_path}: "
        "is the launcher running, and with the same --state-dir?"
    )


def test_the_embedded_zookeeper_is_found(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its state directory alone; no configuration is needed for it."""
    monkeypatch.setattr("nodepool_tx.cli.target.locate", {str(tmp_path): "127.0.0.1:21234"}.get)
    target = find_target(parse(["--state-dir", str(tmp_path), "list"], {}), {})
    assert (target.servers, target.config) == ("127.0.0.1:21234", None)
    assert target.described == f"127.0.0.1:21234, the embedded one of {tmp_path}"


class NotUpYetTests(CommandLineTestCase):
    """The launcher was started a moment ago."""

    def setUp(self) -> None:
        super().setUp()
        self.config.write_text("labels: []\n")
        self.state_dir = str(self.config.parent)
        self.addresses: dict[str, str] = {}
        self.patch(targets, "locate", self.addresses.get)
        lock = Lock(Layout(self.state_dir))
        self.addCleanup(lock.release)

    def test_it_comes_up(self) -> None:
        """An embedded ZooKeeper that is being started is waited for."""
        run = self.start("--state-dir", self.state_dir, "list")
        self.pass_time(3)
        self.assertIsNone(run.code)
        self.addresses[self.state_dir] = "127.0.0.1:21234"
        self.pass_time(1)
        self.assertEqual(run.code, ExitCode.OK, run.stderr)

    def test_it_does_not(self) -> None:
        """But not for longer than for the connection."""
        run = self.start("--state-dir", self.state_dir, "--connect-timeout", "2", "list")
        self.pass_time(1.5)
        self.assertIsNone(run.code)
        self.pass_time(1)
        self.assertEqual(run.code, ExitCode.NO_ZOOKEEPER)
        self.assertIn("is not up yet: see the launcher's log", run.stderr)


def test_the_session_timeout_is_the_configurations_also_with_an_embedded_zookeeper(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long nodes stay locked by a client that was killed depends on it."""
    monkeypatch.setattr("nodepool_tx.cli.target.locate", lambda state_dir: "127.0.0.1:21234")
    path = tmp_path / "x.yaml"
    path.write_text("zookeeper-timeout: 3\n")
    assert find_target(parse(["-c", str(path), "list"], {}), {}).session_timeout == 3


def test_servers_certificates_and_chroot_come_from_the_configuration(
    tmp_path: pathlib.Path,
) -> None:
    """As the launcher uses them, the secure file included."""
    path, secure = tmp_path / "x.yaml", tmp_path / "secure.yaml"
    path.write_text(
        "zookeeper-timeout: 20\n"
        "zookeeper-servers:\n"
        "  - {host: zk1.example, chroot: /ci}\n"
        "  - {host: '2001:db8::1', port: 2182}\n"
    )
    secure.write_text("zookeeper-tls: {cert: /c, key: /k, ca: /a}\n")
    target = find_target(parse(["-c", str(path), "-s", str(secure), "list"], {}), {})
    assert target.servers == "zk1.example:2281,[2001:db8::1]:2182/ci"
    assert target.session_timeout == 20
    assert target.tls is not None
    assert (target.tls.cert, target.tls.key, target.tls.ca) == ("/c", "/k", "/a")


def _told(error: Exception, *, debug: bool = False) -> tuple[int, str]:
    err = io.StringIO()
    code = exit_code_of(Failure(error), Terminal(io.StringIO(), err, Clock()), debug=debug)
    return code, err.getvalue()


def test_exit_codes_of_errors() -> None:
    """A fault of ours is called one, without a traceback unless asked for."""
    assert _told(Complaint("no", ExitCode.USAGE)) == (2, "nodepool: no\n")
    assert _told(CancelledError()) == (130, "")
    code, text = _told(KeyError("x"))
    assert code == 1
    assert text == (
        "nodepool: this is a fault of nodepool: KeyError('x'); --debug shows where it happened\n"
    )
    assert "Traceback" in _told(KeyError("x"), debug=True)[1]


def test_the_program_ends_with_the_code(tmp_path: pathlib.Path) -> None:
    """Seen from outside, with nothing listening where ZooKeeper should be."""
    path = tmp_path / "x.yaml"
    path.write_text("zookeeper-servers: [{host: 127.0.0.1, port: 1}]\n")
    words = ["-c", str(path), "--connect-timeout", "0.5", "list"]
    program = "import sys; from nodepool_tx.cli.main import main; sys.exit(main())"
    answer = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=30
    )
    assert answer.returncode == ExitCode.NO_ZOOKEEPER
    assert answer.stdout == ""
    assert answer.stderr.startswith(
        f"nodepool: cannot reach ZooKeeper at 127.0.0.1:1 ({path}) within 0.5 s ("
    )
    assert "refused" in answer.stderr
    assert answer.stderr.count("\n") == 1
