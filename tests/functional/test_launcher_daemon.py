"""The launcher in the background, as ``twistd`` puts it there."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from nodepool_tx.embedded.layout import Layout
from nodepool_tx.embedded.proc import ProcFs
from tests.functional.launcher.process import ROOT

CONFIG = """
labels: [{name: debian}]
providers:
  - name: rack
    driver: static
    pools: [{name: main, nodes: [{name: fake-1, labels: debian}]}]
"""


def eventually(what: str, condition: Callable[[], bool], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """It runs; one that has ended and that nobody has waited for does not."""
    return not ProcFs().is_gone(pid)


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_life_in_the_background(tmp_path: pathlib.Path, style: str) -> None:
    """It logs to its file, begins a new one when told to, and takes its pid file away."""
    config, state = tmp_path / "nodepool.yaml", tmp_path / "state"
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    config.write_text(CONFIG)
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    options = ["--config", str(config), "--state-dir", str(state), "--simulate-hosts", "fake"]
    subprocess.run(
        [
            *(*twistd, f"--pidfile={pid_file}", f"--logfile={log}"),
            *("nodepool", *options, "--log-format", style),
        ],
        cwd=ROOT,
        check=True,
        timeout=30,
    )
    eventually("there is a pid file", lambda: pid_file.exists() and bool(pid_file.read_text()))
    pid = int(pid_file.read_text())
    try:
        eventually("a node is registered", lambda: "registered node" in log.read_text())
        first = log.read_text()
        assert "never run a farm like this" in first
        os.kill(pid, signal.SIGUSR1)
        old = log.with_name("log.1")
        eventually("the log was put aside", old.exists)
        assert old.read_text() == first
        assert alive(pid)
        os.kill(pid, signal.SIGUSR2)
        eventually("it tells", lambda: "provider rack (static) is active" in log.read_text())
        os.kill(pid, signal.SIGTERM)
        eventually("it has ended", lambda: not alive(pid))
    finally:
        for left in (pid, *ProcFs().find(Layout(state))):
            if alive(left):
                os.kill(left, signal.SIGKILL)
    assert not pid_file.exists()
    assert ProcFs().find(Layout(state)) == []
    text = first + log.read_text()
    assert "Traceback" not in text
    if style == "json":
        events = [json.loads(line) for line in text.splitlines()]
        (registered,) = (e for e in events if e["message"].startswith("registered node"))
        assert (registered["level"], registered["provider"]) == ("info", "rack")
        assert registered["node_id"] == "0000000000"
