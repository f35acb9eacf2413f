"""The command line against the real thing: launcher, ZooKeeper, SSH servers, ssh."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.embedded.location import locate
from tests.servers.sshd import SshServer, SshServers
from tests.servers.warm import end_with_parent
from tests.servers.zookeeper import shared_authority, shared_server

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = "import sys; from nodepool_tx.cli.main import main; sys.exit(main())"

CONFIG = """\
zookeeper-timeout: 3
labels:
  - name: one
  - name: two
providers:
  - name: dc
    driver: static
    pools:
      - name: rack
        nodes:
          - name: {hosts[0].host}
            connection-port: {hosts[0].port}
            username: {hosts[0].username}
            labels: one
            host-key: "{hosts[0].keys[0]}"
          - name: {hosts[1].host}
            connection-port: {hosts[1].port}
            username: {hosts[1].username}
            labels: two
            max-parallel-jobs: 2
"""


@attrs.frozen
class Farm:
    """A launcher with two machines and three slots."""

    directory: pathlib.Path
    hosts: list[SshServer]
    identity: pathlib.Path
    zookeeper: KazooClient = attrs.field(factory=KazooClient)

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-c", PROGRAM, *words]

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "NODEPOOL_CONFIG": str(self.directory / "nodepool.yaml"),
            "NODEPOOL_STATE_DIR": str(self.directory / "state"),
            "NODEPOOL_IDENTITY": str(self.identity),
            "XDG_RUNTIME_DIR": str(self.directory),
        }

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.words(*words), env=self.environ, capture_output=True, text=True, timeout=60, **more
        )

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(
            self.words(*words),
            env=self.environ,
            text=True,
            **{**pipes, "preexec_fn": end_with_parent, **more},
        )

    def nodes(self) -> dict[str, dict[str, Any]]:
        """What ZooKeeper holds, by id; ``locked`` is added."""
        zookeeper = self.zookeeper
        found = {}
        for node_id in zookeeper.get_children("/nodepool/nodes"):
            path = f"/nodepool/nodes/{node_id}"
            try:
                found[node_id] = json.loads(zookeeper.get(path)[0])
                found[node_id]["locked"] = zookeeper.get_children(f"{path}/lock") != []
            except NoNodeError:
                continue
        return found

    def all_free(self) -> bool:
        nodes = list(self.nodes().values())
        return len(nodes) == 3 and all(
            (node["state"], node.get("locked", False), node["allocated_to"])
            == ("ready", False, None)
            for node in nodes
        )

    def no_requests(self) -> bool:
        return self.zookeeper.get_children("/nodepool/requests") == []

    def of_label(self, label: str) -> list[str]:
        return [node_id for node_id, node in self.nodes().items() if node["type"] == [label]]

    def leftovers(self) -> list[pathlib.Path]:
        """Directories of known hosts."""
        return list(self.directory.glob("nodepool-*"))


def eventually(condition: Callable[[], bool], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    directory = tmp_path_factory.mktemp("farm")
    with SshServers(directory / "ssh") as servers:
        hosts = [
            servers.start(host=host, key_types=("ed25519",)) for host in ("127.0.0.2", "127.0.0.3")
        ]
        (directory / "nodepool.yaml").write_text(CONFIG.format(hosts=hosts))
        farm = Farm(directory, hosts, servers.identity)
        with open(directory / "log", "w") as log:
            launcher = subprocess.Popen(
                [
                    *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                    *("--nodaemon", "--pidfile=", "nodepool"),
                    *("--config", str(directory / "nodepool.yaml")),
                    *("--state-dir", str(directory / "state")),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent,
            )
        try:
            eventually(lambda: _address(farm, launcher) is not None)
            farm.zookeeper.set_hosts(_address(farm, launcher))
            farm.zookeeper.start(30)
            farm.zookeeper.ensure_path("/nodepool/nodes")
            eventually(farm.all_free)
            yield farm
        finally:
            farm.zookeeper.stop()
            launcher.terminate()
            launcher.wait(30)


def _address(farm: Farm, launcher: subprocess.Popen[bytes]) -> str | None:
    assert launcher.poll() is None, (farm.directory / "log").read_text()
    return locate(farm.directory / "state")


def test_a_command_runs_on_a_node_which_then_is_back_in_service(farm: Farm) -> None:
    """Output and exit code are the command's, and nothing else is on standard output."""
    before = farm.nodes()
    answer = farm.run("request", "one", "--", "echo", "two  words", "$HOME;", "it's")
    assert (answer.returncode, answer.stdout) == (0, "two  words $HOME; it's\n")
    (given_back,) = re.findall(r"^gave back (\d+)$", answer.stderr, re.MULTILINE)
    assert given_back in before
    eventually(farm.all_free)
    assert given_back not in farm.nodes()
    assert farm.leftovers() == []


def test_the_exit_code_is_the_commands(farm: Farm) -> None:
    """A failed job fails the pipeline that asked for the node."""
    answer = farm.run("request", "one", "--", "echo out; echo err >&2; exit 7")
    assert (answer.returncode, answer.stdout) == (7, "out\n")
    assert "err\n" in answer.stderr


def test_the_command_reads_our_standard_input(farm: Farm) -> None:
    """So that data can be piped through a node."""
    answer = farm.run("request", "one", "--", "tr", "a-z", "A-Z", stdin=None, input="data\n")
    assert (answer.returncode, answer.stdout) == (0, "DATA\n")


def test_a_command_on_several_nodes(farm: Farm) -> None:
    """One after the other, in the order asked for, each line with its node."""
    answer = farm.run("request", "two", "one", "two", "--", "echo $SSH_CONNECTION; false")
    assert answer.returncode == 1, answer.stderr
    lines = answer.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["127.0.0.3", "127.0.0.2", "127.0.0.3"]
    assert [line.split(" | ")[1].split()[2] for line in lines] == [
        "127.0.0.3",
        "127.0.0.2",
        "127.0.0.3",
    ]
    eventually(farm.all_free)


def test_waiting_for_a_node_in_use_and_getting_it(farm: Farm) -> None:
    """Who waits is told why, and is served when the other has finished."""
    first = farm.start("request", "one", "--", "echo mine; read line")
    assert first.stdout is not None
    assert first.stdin is not None
    assert first.stdout.readline() == "mine\n"
    second = farm.start("request", "one", "--", "echo next")
    assert second.stderr is not None
    said = [second.stderr.readline() for _ in range(2)]
    assert re.fullmatch(r"request \d+-\d+ for one, which dc/rack may serve\n", said[0])
    assert said[1].endswith(" s  1 node has label one, in use\n")
    (listed,) = json.loads(farm.run("list", *farm.of_label("one"), "--format", "json").stdout)
    assert (listed["state"], listed["locked"]) == ("in-use", "locked")
    (request,) = json.loads(farm.run("request-list", "--format", "json").stdout)
    assert (request["state"], request["node_types"]) == ("requested", ["one"])
    first.communicate("\n", timeout=30)
    assert second.communicate(timeout=30)[0] == "next\n"
    assert (first.returncode, second.returncode) == (0, 0)
    eventually(farm.all_free)


def test_ctrl_c_ends_the_remote_command_and_gives_the_node_back(farm: Farm) -> None:
    """By name of the signal, as shells count it."""
    job = farm.start("request", "one", "--", "echo running; exec cat >/dev/null")
    assert job.stdout is not None
    assert job.stdout.readline() == "running\n"
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=30)
    assert job.returncode == 128 + signal.SIGINT
    assert "gave back" in err
    eventually(farm.all_free)
    assert farm.leftovers() == []


def test_a_killed_client_leaves_no_node_behind(farm: Farm) -> None:
    """Its session ends, and with it the lock: the launcher takes the node back."""
    job = farm.start("request", "one", "--", "echo running; exec cat >/dev/null")
    assert job.stdout is not None
    assert job.stdout.readline() == "running\n"
    job.kill()
    job.communicate(timeout=30)
    eventually(farm.all_free)
    waiting = farm.start("request", "two", "two", "two")
    assert waiting.stderr is not None
    waiting.stderr.readline()
    waiting.kill()
    waiting.communicate(timeout=30)
    eventually(farm.no_requests)
    for leftover in farm.leftovers():
        (leftover / "known_hosts").unlink()
        leftover.rmdir()


def test_a_client_that_sleeps_through_its_session_is_told(farm: Farm) -> None:
    """As a suspended laptop does; its ssh is ended, as the node is another's by then."""
    job = farm.start("request", "one", "--", "echo running; exec cat >/dev/null")
    assert job.stdout is not None
    assert job.stdout.readline() == "running\n"
    job.send_signal(signal.SIGSTOP)
    eventually(farm.all_free)
    job.send_signal(signal.SIGCONT)
    assert job.wait(30) == ExitCode.LOST
    assert "THE ZOOKEEPER SESSION ENDED" in job.communicate()[1]
    assert farm.leftovers() == []


def test_nodes_to_log_in_to(farm: Farm) -> None:
    """The line that is shown works, host key checked, until standard input ends."""
    job = farm.start("request", "one", "--format", "json")
    assert job.stdout is not None
    document = ""
    while not document.endswith("\n}\n"):
        document += job.stdout.readline()
    (node,) = json.loads(document)["nodes"]
    assert node["host_keys"] == [farm.hosts[0].keys[0]]
    answer = subprocess.run(
        [*node["ssh"], "-o", "BatchMode=yes", "echo $SSH_CONNECTION"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.stdout.split()[2:] == [farm.hosts[0].host, str(farm.hosts[0].port)]
    job.communicate("", timeout=30)
    assert job.returncode == ExitCode.OK
    eventually(farm.all_free)


def test_kept_nodes_are_held_until_they_are_deleted(farm: Farm) -> None:
    """And ``delete --now`` waits until the machine is back in service."""
    answer = farm.run("request", "one", "--keep")
    assert answer.returncode == 0, answer.stderr
    (node_id,) = re.findall(r"nodepool delete (\d+)", answer.stderr)
    (line,) = (line for line in answer.stdout.splitlines() if line.startswith("ssh "))
    login = subprocess.run(
        f"{line} -o BatchMode=yes true", shell=True, capture_output=True, text=True, timeout=30
    )
    assert login.returncode == 0, login.stderr
    (node,) = json.loads(farm.run("list", node_id, "--format", "json").stdout)
    assert (node["state"], node["locked"]) == ("hold", "unlocked")
    assert node["comment"].startswith("kept by ")
    deletion = farm.run("delete", node_id, "--now")
    assert deletion.returncode == 0, deletion.stderr
    assert "is back in service as node" in deletion.stderr
    assert farm.all_free()
    (leftover,) = farm.leftovers()
    (leftover / "known_hosts").unlink()
    leftover.rmdir()


def test_on_a_terminal_one_line_shows_what_is_waited_for(farm: Farm) -> None:
    """It is drawn again and again, and Ctrl-C typed there takes the request back."""
    held = farm.of_label("one")
    assert farm.run("hold", *held).returncode == 0
    ours, theirs = pty.openpty()
    job = farm.start(
        "request", "one", stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    seen = b""
    while seen.count(b"\r\x1b[K") < 5:
        seen += os.read(ours, 4096)
    assert b"s  1 node has label one, held" in seen
    os.kill(job.pid, signal.SIGINT)
    assert job.wait(30) == 128 + signal.SIGINT
    os.close(ours)
    assert farm.no_requests()
    assert farm.run("delete", *held, "--now").returncode == 0


def test_a_terminal_is_passed_on_to_the_command(farm: Farm) -> None:
    """What is typed goes to it, Ctrl-C included, and the node is given back."""
    ours, theirs = pty.openpty()
    # One process: a shell would overlook a Ctrl-C that comes just as its child ends.
    program = "import os, time; print(os.ttyname(0), flush=True); time.sleep(1000)"
    job = farm.start(
        *("request", "one", "--", f"exec {sys.executable} -c '{program}'"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: _own_terminal(theirs),
    )
    os.close(theirs)
    _read_until(ours, b"/dev/pts/")
    os.write(ours, b"\x03")
    _read_until(ours, b"gave back")
    assert job.wait(30) != 0
    os.close(ours)
    eventually(lambda: all(host.running_connections() == [] for host in farm.hosts))
    eventually(farm.all_free)


def test_a_terminal_that_is_closed_gives_the_node_back(farm: Farm) -> None:
    """As when a window is closed or a connection lost: the hang-up is a signal like others."""
    ours, theirs = pty.openpty()
    job = farm.start(
        *("request", "one"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: _own_terminal(theirs),
    )
    os.close(theirs)
    _read_until(ours, b"in use until")
    os.close(ours)
    # The end of its input and the hang-up come at the same time.
    assert job.wait(30) in (ExitCode.OK, 128 + signal.SIGHUP)
    eventually(farm.all_free)
    assert farm.leftovers() == []


def _own_terminal(descriptor: int) -> None:
    os.setsid()
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def _read_until(descriptor: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([descriptor], [], [], 30)
        assert ready, f"it never said {wanted!r}, but {seen!r}"
        seen += os.read(descriptor, 4096)
    return seen


def test_a_misspelled_label_is_refused_by_the_launcher_with_the_right_one(farm: Farm) -> None:
    """The only pool declines it, so the request fails at once."""
    answer = farm.run("request", "onne", "--", "true")
    assert answer.returncode == ExitCode.FAILED
    assert "no pool online offers the label 'onne' (did you mean one?)" in answer.stderr


def test_label_list_and_info(farm: Farm) -> None:
    """What the registry and the nodes say."""
    labels = json.loads(farm.run("label-list", "--format", "json").stdout)
    assert labels == [{"label": "one"}, {"label": "two"}]
    info = farm.run("info", "dc").stdout
    assert info.startswith("ZooKeeper data for provider dc\n\nImage data:\n+-")
    assert all(node_id in info for node_id in farm.nodes())


def test_output_into_a_pipe_that_closes(farm: Farm) -> None:
    """Ends without complaint, as other programs do."""
    shell = '"$@" | true; exit ${PIPESTATUS[0]}'
    answer = subprocess.run(
        ["bash", "-c", shell, "bash", *farm.words("list")],
        env=farm.environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.returncode in (0, 128 + signal.SIGPIPE)
    assert answer.stderr == ""


def test_lists_over_tls(tmp_path: pathlib.Path) -> None:
    """With the certificates that the configuration names."""
    authority, server = shared_authority(), shared_server()
    client = authority.client()
    config = tmp_path / "nodepool.yaml"
    config.write_text(
        "zookeeper-servers:\n"
        f"  - {{host: 127.0.0.1, port: {server.tls_port}, chroot: /cli-{os.getpid()}}}\n"
        "zookeeper-tls:\n"
        f"  {{cert: {client.cert}, key: {client.key}, ca: {authority.ca}}}\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, "-c", str(config), "label-list"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == "+-------+\n| Label |\n+-------+\n+-------+\n"
