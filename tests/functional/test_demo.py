"""``bin/demo`` does what the README says, again and again, and leaves nothing running."""

from __future__ import annotations

import getpass
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from demo.places import free_port
from demo.ways_in import ports_in

ROOT = pathlib.Path(__file__).resolve().parents[2]


def demo(directory: pathlib.Path, *words: str) -> str:
    """Run it; its output."""
    answer = subprocess.run(
        [ROOT / "bin" / "demo", *words],
        env={**os.environ, "NODEPOOL_DEMO_DIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    assert answer.returncode == 0, answer.stdout
    return answer.stdout


def processes(directory: pathlib.Path) -> list[int]:
    """Everything that runs with a path of the demonstration on its command line."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{directory}/".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[pathlib.Path, str]]:
    """Where it runs, and what it said when it was started for the first time."""
    directory = tmp_path_factory.mktemp("demo") / "demo"
    try:
        yield directory, demo(directory)
    finally:
        demo(directory, "stop")


@pytest.fixture
def directory(started: tuple[pathlib.Path, str]) -> pathlib.Path:
    return started[0]


def assert_shown(output: str) -> None:
    """The whole story was told."""
    told = [
        "machines",
        "launcher",
        "nodes       4 ready",
        "dashboard   http://127.0.0.1:",
        "console     ssh -F ",
        "$ nodepool list",
        "$ nodepool request debian-small -- ",
        "which demo/rack may serve",
        "running on node ",
        "Linux ",
        "working",
        "in-use",
        "locked",
        "done",
        "gave back ",
        "back in service, under a new id",
        "http://127.0.0.1:",
        "ssh -F ",
        "source ",
        "nodepool explain ",
        "nodepool maintain ",
        "nodepool plan ",
        "bin/demo stop",
    ]
    at = 0
    for part in told:
        at = output.find(part, at)
        assert at >= 0, f"no {part!r} in its place in:\n{output}"


def printed(output: str, pattern: str) -> str:
    """What it told to open or to type."""
    found = re.search(pattern, output)
    assert found is not None, output
    return found[1]


def test_the_first_time(started: tuple[pathlib.Path, str]) -> None:
    """Everything is started, a job runs on a node, and the launcher stays."""
    directory, output = started
    assert_shown(output)
    assert "(running)" not in output
    assert len(processes(directory)) == 5, "three SSH servers, a launcher and its ZooKeeper"


def test_again_while_it_runs(directory: pathlib.Path) -> None:
    """Nothing is started twice."""
    before = processes(directory)
    output = demo(directory)
    assert_shown(output)
    assert output.count("(running)") == 2
    assert sorted(processes(directory)) == sorted(before)


def test_going_on_by_hand(directory: pathlib.Path) -> None:
    """The file to source makes ``nodepool`` work from anywhere."""
    command = f". {directory}/env && nodepool request debian-large -- echo by hand"
    answer = subprocess.run(
        ["sh", "-c", command],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (answer.returncode, answer.stdout) == (0, "by hand\n"), answer.stderr


def test_the_dashboard(started: tuple[pathlib.Path, str]) -> None:
    """Its page, its files and what it shows are at the printed address."""
    url = printed(started[1], r"dashboard   (http://\S+)")
    with urllib.request.urlopen(url, timeout=10) as page:
        text = page.read().decode()
        assert page.headers["Content-Type"].startswith("text/html")
    script = re.search(r'src="/?(static/[^"]+)"', text)
    assert script is not None
    with urllib.request.urlopen(url + script[1], timeout=10) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(url + "api/nodes", timeout=10) as answer:
        assert {node["provider"] for node in json.load(answer)["nodes"]} == {"demo"}


def test_the_console(started: tuple[pathlib.Path, str]) -> None:
    """The printed command opens it, with a key that nobody else can read."""
    directory, output = started
    command = printed(output, r"console     (ssh -F \S+ console)")
    answer = subprocess.run(
        [*shlex.split(command), "sorted(providers)"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (answer.returncode, answer.stdout) == (0, "['demo', 'sky']\n"), answer.stderr
    assert (directory / "ssh" / "console-key").stat().st_mode & 0o777 == 0o600
    (entry, *_) = (json.loads(line) for line in (directory / "audit.log").open())
    assert entry["who"] == getpass.getuser()


def test_everything_listens_on_loopback(directory: pathlib.Path) -> None:
    """Nobody else on the network gets at the web pages and the console."""
    ports = ports_in((directory / "nodepool.yaml").read_text())
    assert ports is not None
    for port in (ports.web, ports.console):
        with socket.socket() as somebody:
            # In use, if the launcher had it on all addresses.
            somebody.bind(("127.0.0.9", port))


def test_after_everything_was_killed(directory: pathlib.Path) -> None:
    """It works again, with the data there was."""
    for pid in processes(directory):
        os.kill(pid, signal.SIGKILL)
    output = demo(directory)
    assert_shown(output)
    assert "(running)" not in output
    assert len(processes(directory)) == 5


def test_ports(directory: pathlib.Path) -> None:
    """Those chosen by hand are kept; others are taken when somebody else has them meanwhile."""
    demo(directory, "stop")
    config = directory / "nodepool.yaml"
    before = ports_in(config.read_text())
    assert before is not None
    mine = free_port("127.0.0.1")
    config.write_text(config.read_text().replace(f"port: {before.web}\n", f"port: {mine}\n"))
    assert f"dashboard   http://127.0.0.1:{mine}/ " in demo(directory)
    demo(directory, "stop")
    with socket.create_server(("127.0.0.1", mine)):
        url = printed(demo(directory), r"dashboard   (http://\S+)")
        assert url != f"http://127.0.0.1:{mine}/"
        with urllib.request.urlopen(url + "health/ready", timeout=10) as answer:
            assert json.load(answer)["ready"]


def test_stopping(directory: pathlib.Path) -> None:
    """Nothing is left running, not even what has lost its launcher."""
    (launcher,) = (pid for pid in processes(directory) if b"twistd" in _command_line(pid))
    os.kill(launcher, signal.SIGKILL)
    assert "stopped 3 SSH servers and the launcher" in demo(directory, "stop")
    assert processes(directory) == []
    assert "stopped 0 SSH servers" in demo(directory, "stop")


def _command_line(pid: int) -> bytes:
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
