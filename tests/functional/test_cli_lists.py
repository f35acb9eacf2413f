"""Lists on a real ZooKeeper, by a real process: formats, ``--watch``, terminals, completion."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pathlib
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from kazoo.client import KazooClient

from nodepool_tx.model import Node, NodeState
from nodepool_tx.store.codec import encode_node
from tests.servers.warm import end_with_parent
from tests.servers.zookeeper import ZookeeperServer, shared_authority

PROGRAM = "import sys; from nodepool_tx.cli.main import main; sys.exit(main())"
#: Seconds after which something that should happen has not.
PATIENCE = 30.0


@attrs.frozen
class Place:
    """A ZooKeeper of our own, which may be ended, and a configuration that names it."""

    server: ZookeeperServer
    directory: pathlib.Path

    @property
    def environ(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        return {
            **kept,
            "NODEPOOL_CONFIG": str(self.directory / "nodepool.yaml"),
            "TERM": "xterm",
            "COLUMNS": "200",
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env=self.environ,
            **{"stdin": subprocess.DEVNULL, **pipes, "preexec_fn": end_with_parent, **more},
        )

    def add_node(self, state: str = "ready", **more: Any) -> str:
        """Somebody writes a node; its id."""
        node = Node(
            state=NodeState(state),
            state_time=time.time() - 90,
            provider="dc",
            type=("one", "two"),
            **more,
        )
        client = KazooClient(self.server.address)
        client.start()
        path = client.create(
            "/cli/nodepool/nodes/", encode_node(node), sequence=True, makepath=True
        )
        client.stop()
        client.close()
        return str(path).rpartition("/")[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    server = ZookeeperServer(shared_authority())
    try:
        server.start()
        server.wait_ready()
        directory = tmp_path_factory.mktemp("place")
        (directory / "nodepool.yaml").write_text(
            f"zookeeper-servers: [{{host: 127.0.0.1, port: {server.port}, chroot: /cli}}]\n"
            "labels: [{name: one}]\n"
        )
        yield Place(server, directory)
    finally:
        server.stop()


class Reader:
    """Reads what a program writes, with an end to the waiting."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.seen = b""

    def until(self, wanted: bytes) -> bytes:
        """What came up to and with ``wanted``, which is then done with."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.seen:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._descriptor], [], [], left)
            assert ready, f"it never said {wanted!r}, but {self.seen!r}"
            more = os.read(self._descriptor, 65536)
            assert more, f"it ended without {wanted!r}: {self.seen!r}"
            self.seen += more
        upto = self.seen.index(wanted) + len(wanted)
        found, self.seen = self.seen[:upto], self.seen[upto:]
        return found

    def document(self) -> Any:
        return json.loads(self.until(b"\n"))


def reader(pipe: Any) -> Reader:
    return Reader(pipe.fileno())


def end(program: subprocess.Popen[bytes], number: int = signal.SIGINT) -> int:
    program.send_signal(number)
    code = program.wait(PATIENCE)
    for pipe in (program.stdout, program.stderr):
        if pipe is not None:
            pipe.close()
    return code


def test_all_formats_show_the_same(place: Place) -> None:
    """A table has the columns that people read, the others have every key."""
    node_id = place.add_node(comment='with "quotes", and commas')
    (row,) = json.loads(place.run("list", node_id, "--format", "json").stdout)
    text = place.run("list", node_id, "--format", "csv").stdout
    (record,) = csv.DictReader(io.StringIO(text))
    assert list(row) == list(record)
    assert row["label"] == ["one", "two"]
    assert record["label"] == "one,two"
    assert record["comment"] == row["comment"] == 'with "quotes", and commas'
    assert 90 <= row["age"] < 120
    table = place.run("list", node_id)
    assert f"| {node_id} | dc       | one,two |" in table.stdout
    assert "\x1b" not in table.stdout
    assert table.stderr == ""


def test_each_change_is_a_line(place: Place) -> None:
    """Told by ZooKeeper, at once; Ctrl-C is a good end."""
    program = place.start("list", "--watch", "0.1", "--format", "json")
    documents = reader(program.stdout)
    before = {row["id"] for row in documents.document()}
    node_id = place.add_node("building")
    rows = documents.document()
    assert {row["id"] for row in rows} - before == {node_id}
    assert end(program) == 0


def test_a_zookeeper_that_goes_away_and_comes_back(place: Place) -> None:
    """The loss is told, nothing is shown that is not true, and then it goes on."""
    program = place.start("list", "--watch", "0.1", "--format", "json")
    documents, notes = reader(program.stdout), reader(program.stderr)
    before = {row["id"] for row in documents.document()}
    place.server.kill()
    assert notes.until(b"\n") == b"nodepool: no connection to ZooKeeper, trying again\n"
    place.server.start()
    place.server.wait_ready()
    node_id = place.add_node()
    rows = documents.document()
    assert {row["id"] for row in rows} - before == {node_id}
    assert notes.until(b"\n") == b"nodepool: connected to ZooKeeper again\n"
    assert end(program, signal.SIGTERM) == 0


def test_a_reader_that_has_seen_enough(place: Place) -> None:
    """``head`` ends, and so does the list at its next change."""
    program = place.start("list", "--watch", "0.1", "--format", "json")
    assert program.stdout is not None
    reader(program.stdout).document()
    program.stdout.close()
    place.add_node()
    assert program.wait(PATIENCE) == 0
    assert program.stderr is not None
    assert program.stderr.read() == b""
    program.stderr.close()


def test_on_a_terminal_the_table_is_drawn_over(place: Place) -> None:
    """In colours, no longer than the screen, until Ctrl-C is typed there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 200, 0, 0))

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    for _ in range(10):
        place.add_node("failed")
    program = place.start(
        *("list", "--watch", "0.2"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=own_terminal,
    )
    os.close(theirs)
    screens = Reader(ours)
    screens.until(b"\x1b[H\x1b[2J")
    drawn = screens.until(b"\x1b[J")
    assert drawn.startswith(b"nodepool list: ")
    assert drawn.count(b"\n") == 11
    assert re.search(rb"\xe2\x80\xa6 \d+ more lines", drawn)
    # Ages go by without any change.
    again = screens.until(b"\x1b[J")
    assert b"\x1b[H" in again
    os.write(ours, b"\x03")
    assert program.wait(PATIENCE) == 0
    os.close(ours)
    coloured = place.run("list", "--color", "always").stdout
    assert "| \x1b[31mfailed\x1b[0m" in coloured


def test_bash_completes_ids_from_zookeeper(place: Place) -> None:
    """With the script and the program as they are installed."""
    node_id = place.add_node()
    program = place.directory / "nodepool"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(PROGRAM)} "$@"\n')
    program.chmod(0o755)
    script = (
        'source <(nodepool completion bash); COMP_WORDS=(nodepool "$@"); COMP_CWORD=$#; '
        "_nodepool; printf '%s\\n' \"${COMPREPLY[@]}\""
    )

    def offered(*words: str) -> list[str]:
        answer = subprocess.run(
            ["bash", "--norc", "-c", script, "bash", *words],
            env={**place.environ, "PATH": f"{place.directory}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert answer.stderr == ""
        return answer.stdout.split()

    assert node_id in offered("hold", "")
    assert offered("list", "--detail", node_id[:-1])[-1].startswith(node_id[:-1])
    assert offered("request", "o") == ["one"]
    assert offered("request-l") == ["request-list"]
