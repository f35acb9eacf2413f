"""What ``bin/demo`` does: machines, launcher, a job, and what one sees meanwhile."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable

from demo import daemon, machines, ways_in
from demo.places import DEMO, ROOT

#: A job that shows where it runs, and lasts until it reads a line.
JOB = (
    "nodepool",
    "request",
    "debian-small",
    "--",
    "uname -sm; echo working; read line; echo done",
)
SLOTS = 4

#: What to try next, and what it shows.
BY_HAND = (
    (f"source {os.path.relpath(DEMO / 'env', ROOT)}", ""),
    ("nodepool request debian-large", "a node to log in to, until you press Enter"),
    ("nodepool request debian-large debian-small -- hostname", "a command on two of them"),
    ("nodepool request cloud-large --keep", "a server of a simulated cloud; a second one waits"),
    ("nodepool request-list", "what waits"),
    ("nodepool explain ID", "and why, rule by rule"),
    ("nodepool maintain 127.0.0.3 --reason 'new disk'", "and back: nodepool return 127.0.0.3"),
    (f"$EDITOR {os.path.relpath(daemon.CONFIG, ROOT)}", "the launcher notices"),
    ("nodepool plan FILE", "what it would do with a changed copy of that file"),
)


def say(text: str = "") -> None:
    print(text, flush=True)


def step(name: str, text: str, since: float) -> None:
    say(f"{name:<10}  {text:<64} {time.monotonic() - since:4.1f} s")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **daemon.environment()}
    return subprocess.run(words, env=environ, capture_output=True, text=True)


def show(*words: str) -> None:
    say(f"$ {shlex.join(words)}")
    answer = run(*words)
    say((answer.stdout + answer.stderr).rstrip())
    say()


def states() -> list[str]:
    """The states of the nodes; none while ZooKeeper is not up yet."""
    answer = run("nodepool", "--connect-timeout", "2", "list", "--format", "json")
    return [node["state"] for node in json.loads(answer.stdout)] if answer.returncode == 0 else []


def wait_for_nodes(patience: float = 60.0) -> int:
    """Until all are ready; how many that are."""
    since = time.monotonic()
    told = False
    while (ready := states().count("ready")) < SLOTS:
        waited = time.monotonic() - since
        if waited > patience:
            say("\n".join(daemon.complaints()))
            raise SystemExit(
                f"demo: only {ready} of {SLOTS} nodes are ready after {patience:g} s; "
                f"see {daemon.LOG}"
            )
        if waited > 3 and not told:
            told = True
            say(f"waiting     {ready} of {SLOTS} nodes are ready; after a launcher that was killed")
            say("            this takes until its session has ended, 4 s")
        time.sleep(0.1)
    return ready


def relative(path: pathlib.Path) -> str:
    """As it is typed in the checkout."""
    return os.path.relpath(path, ROOT)


def wait_for(answers: Callable[[int], bool], port: int, what: str) -> None:
    """Until it answers, and it is ours that does."""
    if not ways_in.wait_until(lambda: daemon.listens_on(port) and answers(port)):
        say("\n".join(daemon.complaints()))
        raise SystemExit(f"demo: {what} does not answer on port {port}; see {daemon.LOG}")


def show_ways_in(ports: ways_in.Ports) -> tuple[str, str | None]:
    """Wait until people can get in, and say where.

    :returns: the address of the web pages, and the command for the console if there is one.
    """
    url, since = f"http://{ways_in.HOST}:{ports.web}/", time.monotonic()
    wait_for(ways_in.web_answers, ports.web, url)
    step("dashboard", url, since)
    if ports.console is None:
        return url, None
    command, since = f"ssh -F {relative(ways_in.SSH_CONFIG)} console", time.monotonic()
    wait_for(ways_in.console_answers, ports.console, "the console")
    step("console", command, since)
    return url, command


def job() -> None:
    """Run it, look at the nodes while it runs, and let it finish."""
    say(f"$ {shlex.join(JOB)}")
    process = subprocess.Popen(
        JOB,
        env={**os.environ, **daemon.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        say(line.rstrip())
        if line == "working\n":
            say()
            say("$ nodepool list        # meanwhile, in another terminal")
            say(run("nodepool", "list").stdout)
            process.stdin.write("\n")
            process.stdin.flush()
    if process.wait():
        raise SystemExit(f"demo: the job failed with exit code {process.returncode}")
    say()
    wait_for_nodes()
    say("The node is back in service, under a new id:")
    say()
    show("nodepool", "list")


def main() -> None:
    if sys.argv[1:] == ["stop"]:
        launcher, servers = daemon.stop(), machines.stop()
        say(f"demo: stopped {servers} SSH servers{' and the launcher' if launcher else ''}")
        return
    if sys.argv[1:]:
        raise SystemExit("usage: bin/demo [stop]")
    DEMO.mkdir(exist_ok=True)
    since = time.monotonic()
    started = machines.start()
    found = machines.machines()
    where = ", ".join(f"{machine.host}:{machine.port}" for machine in found)
    step("machines", f"{where}{'' if started else ' (running)'}", since)
    ports = daemon.write_config(found)
    since = time.monotonic()
    fresh = daemon.start()
    step("launcher", "twistd nodepool" + ("" if fresh else " (running)"), since)
    since = time.monotonic()
    step("nodes", f"{wait_for_nodes()} ready", since)
    url, console = show_ways_in(ports)
    say()
    show("nodepool", "list")
    job()
    say("The launcher goes on running:")
    say()
    say(f"  {url:<56}  what there is, as it changes")
    if console is not None:
        say(f"  {console:<56}  a prompt inside: tasks(), providers, help")
    say(f"  {'less ' + relative(daemon.LOG):<56}  its log")
    say()
    say("To go on by hand:")
    say()
    for command, what in BY_HAND:
        say(f"  {command:<56}  {what}".rstrip())
    say()
    say(f"To stop it and all it started: {relative(ROOT / 'bin' / 'demo')} stop")


if __name__ == "__main__":
    main()
