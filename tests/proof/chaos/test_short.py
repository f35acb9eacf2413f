"""A short chaos, from the command line, as anybody would run it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.functional.launcher.process import ROOT

#: Seconds that a run may take on a busy machine, on top of the chaos.
PATIENCE = 300


def command(results: pathlib.Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "proof.chaos", "--results", str(results), *words]


def left_behind(output: str) -> list[str]:
    """What there still is of a run."""
    found = re.search(r"logs are in (\S+)", output)
    assert found is not None, output
    logs = found[1]
    left = [logs] if pathlib.Path(logs).exists() else []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if logs in words:
            left.append(words.replace("\0", " "))
    return left


def within(folder: pathlib.Path) -> dict[str, str]:
    """The environment of a run whose files and mounts are below ``folder``, and nobody else's."""
    return {**os.environ, "TMPDIR": str(folder)}


def mounted(folder: pathlib.Path) -> list[str]:
    lines = pathlib.Path("/proc/mounts").read_text().splitlines()
    return [line for line in lines if line.split()[1].startswith(f"{folder}/")]


#: One of each kind of thing that goes wrong, but for those that take long to recover from.
FAULTS = (
    "launcher-killed",
    "session-expired",
    "network-cut",
    "zookeeper-follower-killed",
    "configuration-reloaded",
    "host-down",
    "cloud-errors",
    "znode-free-nodes-deleted",
    "garbage-strangers",
)

#: With this one each comes in 18 seconds.
SEED = 11


@pytest.mark.servers
def test_a_short_run(tmp_path: pathlib.Path) -> None:
    """Nothing is violated while one thing after the other goes wrong, nor at rest after it."""
    words = ["--minutes", "0.3", "--rest-every", "0.3", "--clients", "10", "--launchers", "2"]
    words += ["--seed", str(SEED), "--only", ",".join(FAULTS)]
    done = subprocess.run(
        command(tmp_path, *words),
        cwd=ROOT,
        env=within(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads((tmp_path / "chaos.json").read_text())
    assert (run["seed"], run["rests"], run["violations"]) == (SEED, 1, [])
    assert set(run["faults"]) == set(FAULTS)
    assert min(sum(run["faults"].values()), run["requests"]["served"], run["transactions"]) > 0
    assert str(SEED) in (tmp_path / "chaos.md").read_text()
    assert left_behind(done.stdout) == []
    assert mounted(tmp_path) == []


@pytest.mark.servers
def test_interrupted(tmp_path: pathlib.Path) -> None:
    """Interrupted, it says what it has found so far, and leaves nothing behind."""
    with subprocess.Popen(
        command(tmp_path, "--minutes", "5", "--launchers", "2", "--only", "network"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**within(tmp_path), "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        told = ""
        deadline = time.monotonic() + PATIENCE
        while not re.search(r"[1-9]\d* faults", told):
            assert time.monotonic() < deadline, told
            told += process.stdout.readline()
        process.send_signal(signal.SIGINT)
        told += process.stdout.read()
        status = process.wait(PATIENCE)
    assert status == 130, told
    assert "no violation so far" in told
    assert left_behind(told) == []
    assert mounted(tmp_path) == []
