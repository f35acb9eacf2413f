"""What ``twistd nodepool`` does with options and files that it cannot use, and with none."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

import pytest

from nodepool_tx.embedded.layout import Layout, Lock
from nodepool_tx.options import Options
from tests.functional.launcher.process import ROOT, LauncherProcess
from tests.functional.launcher.settings import SIMULATED, configuration, host, provider

#: Goes to a directory and runs twistd there, with this checkout's plugin.
IN_DIRECTORY = (
    "import os, sys; sys.path.insert(0, {!r}); os.chdir({!r}); "
    "from twisted.scripts.twistd import run; run()"
)

FARM = configuration(provider("rack", host("fake-1", "small")))
EXTERNAL = {**FARM, "zookeeper-servers": [{"host": "127.0.0.1", "port": 1}]}


@pytest.fixture
def launcher(tmp_path: pathlib.Path) -> Iterator[LauncherProcess]:
    launcher = LauncherProcess(tmp_path / "launcher")
    launcher.write(FARM)
    yield launcher
    launcher.leave_nothing()


def refused(launcher: LauncherProcess, environ: Mapping[str, str] | None = None) -> str:
    """Start it, which must fail; what it says."""
    answer = subprocess.run(
        launcher.arguments(),
        cwd=ROOT,
        env={**os.environ, **launcher.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = answer.stdout + answer.stderr
    assert answer.returncode == 1, (answer.returncode, said)
    assert "Traceback" not in said
    return said


def wait_for(launcher: LauncherProcess, text: str, count: int = 1) -> None:
    """Wait until its log says so, so many times."""
    deadline = time.monotonic() + 30
    while launcher.log.count(text) < count:
        assert launcher.running, launcher.log
        assert time.monotonic() < deadline, launcher.log
        time.sleep(0.02)


def test_missing_configuration(launcher: LauncherProcess) -> None:
    """One line names the file, and nothing else is said."""
    launcher.config.unlink()
    assert refused(launcher) == f"{launcher.config}: does not exist\n"


def test_bad_configuration(launcher: LauncherProcess) -> None:
    """All errors are told at once, a line each, with file, line, column and path."""
    launcher.write(
        "labels:\n"
        "  - name: small\n"
        "  - name: small\n"
        "providers:\n"
        "  - name: rack\n"
        "    driver: statik\n"
        "max-hold-age: soon\n"
        "surprise: 1\n"
    )
    lines = refused(launcher).splitlines()
    places = [line.removeprefix(f"{launcher.config}:").split(": ")[:2] for line in lines]
    assert places == [
        ["3:11", "labels[1].name"],
        ["6:13", "providers[0].driver"],
        ["7:15", "max-hold-age"],
        ["8:1", "surprise"],
    ]


@pytest.mark.parametrize("content", ["[]\n", "", "\x00\x01", "a: [", "x" * 1_000_000])
def test_no_configuration_at_all(launcher: LauncherProcess, content: str) -> None:
    """A file that holds something else is refused in a line."""
    launcher.write(content)
    said = refused(launcher)
    assert said.startswith(f"{launcher.config}")
    assert len(said) < 1000
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--simulate-hosts", "("], "--simulate-hosts is no regular expression: missing )"),
        (["--log-level", "loud"], "--log-level: no level 'loud'"),
        (["--log-format", "xml"], "--log-format must be one of text, json"),
        (["--stop-timeout", "0"], "--stop-timeout: '0' is not a positive number of seconds"),
        (["--cleanup-interval", "inf"], "--cleanup-interval: 'inf' is not a positive"),
        (["--surprise"], "option --surprise not recognized"),
    ],
)
def test_bad_options(launcher: LauncherProcess, options: list[str], wrong: str) -> None:
    """What is wrong with an option is the last line; before it are those that there are."""
    launcher.options = options
    said = refused(launcher).splitlines()
    assert wrong in said[-1]
    assert any("--simulate-hosts=" in line for line in said)


def test_bad_environment(launcher: LauncherProcess) -> None:
    """A variable that makes no sense is named."""
    launcher.environ["NODEPOOL_LOCK_CLEANUP"] = "never"
    assert "NODEPOOL_LOCK_CLEANUP: 'never' is not a positive" in refused(launcher)


def test_state_directory_of_another(launcher: LauncherProcess) -> None:
    """Two launchers do not share a state directory."""
    layout = Layout(launcher.state)
    layout.create()
    lock = Lock(layout)
    try:
        said = refused(launcher)
    finally:
        lock.release()
    assert str(launcher.state) in said
    assert f"process {os.getpid()}" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("below", ["", "deeper"])
def test_state_directory_that_cannot_be_one(launcher: LauncherProcess, below: str) -> None:
    """A file in its place is told; root, too, can do nothing about that."""
    launcher.state.write_text("")
    launcher.state = launcher.state / below
    said = refused(launcher)
    assert f"cannot use the state directory {launcher.state}: " in said
    assert said.count("\n") == 1


def test_no_java(launcher: LauncherProcess, tmp_path: pathlib.Path) -> None:
    """The package to install is named, and so is the other way."""
    said = refused(launcher, {"PATH": str(tmp_path), "JAVA_HOME": ""})
    assert "there is no java; install it with 'apt install default-jre-headless'" in said
    assert "name your servers under zookeeper-servers" in said
    assert said.count("\n") == 1


def test_no_java_is_needed_where_servers_are_named(
    launcher: LauncherProcess, tmp_path: pathlib.Path
) -> None:
    """With a ZooKeeper of one's own, neither Java nor a state directory are looked for."""
    launcher.write(EXTERNAL)
    launcher.state.write_text("a file")
    launcher.environ["PATH"] = str(tmp_path)
    launcher.start()
    wait_for(launcher, "No ZooKeeper server to be had: 127.0.0.1:1: Connection was refused")
    launcher.send(signal.SIGTERM)
    assert launcher.wait() == 0


def test_defaults() -> None:
    """Without options the files are where Debian would have them."""
    options = Options({})
    assert options["config"] == "/etc/nodepool/nodepool.yaml"
    assert options["secure"] is None
    assert options["state-dir"] == "/var/lib/nodepool"
    assert options["log-format"] == "text"
    assert options["log-level"] == "info"


def test_no_arguments(tmp_path: pathlib.Path, launcher: LauncherProcess) -> None:
    """``twistd nodepool`` alone runs, and serves, from the default places."""
    moved = (
        "from nodepool_tx.tap import Options\n"
        "for option in Options.optParameters:\n"
        f"    option[2] = {{'config': {str(launcher.config)!r},"
        f" 'state-dir': {str(launcher.state)!r}}}.get(option[0], option[2])\n"
        "from twisted.scripts.twistd import run; run()"
    )
    launcher.arguments = lambda: [  # type: ignore[method-assign]
        *(sys.executable, "-c", moved, "--nodaemon", "--pidfile=", "nodepool")
    ]
    launcher.environ["NODEPOOL_SIMULATE_HOSTS"] = SIMULATED
    launcher.start()
    wait_for(launcher, "registered node")
    answer = launcher.nodepool("list")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("| ready | ") == 1
    launcher.send(signal.SIGTERM)
    assert launcher.wait() == 0
    assert not launcher.zookeeper_pids


def test_other_directory(launcher: LauncherProcess, tmp_path: pathlib.Path) -> None:
    """Relative paths mean the directory where it was started, wherever twistd goes then."""
    launcher.write(EXTERNAL)
    (tmp_path / "run").mkdir()
    launcher.arguments = lambda: [  # type: ignore[method-assign]
        *(sys.executable, "-c", IN_DIRECTORY.format(str(ROOT), str(launcher.directory))),
        *("--nodaemon", "--pidfile=", "--rundir", str(tmp_path / "run")),
        *("nodepool", "--config", launcher.config.name),
    ]
    launcher.start()
    wait_for(launcher, "No ZooKeeper server to be had")
    launcher.write({**EXTERNAL, "max-hold-age": 1})
    wait_for(launcher, "configuration applied in full", 2)
    assert "is not valid" not in launcher.log
    launcher.send(signal.SIGTERM)
    assert launcher.wait() == 0


def test_started_twice(launcher: LauncherProcess) -> None:
    """A second launcher on the state directory of a running one is turned away by name."""
    launcher.start()
    wait_for(launcher, "registered node")
    said = refused(launcher)
    assert f"process {launcher.pid}" in said
    assert launcher.running
