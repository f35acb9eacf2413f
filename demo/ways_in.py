"""The ways into the demonstration's launcher: its web server and its console."""

from __future__ import annotations

import http.client
import pathlib
import socket
import time
from collections.abc import Callable

import attrs
import yaml

from demo.machines import username
from demo.places import DEMO, USUAL, free_port, make_key

__all__ = [
    "AUTHORIZED_KEYS",
    "HOST",
    "Ports",
    "choose_ports",
    "console_answers",
    "ports_in",
    "wait_until",
    "web_answers",
    "write_ssh_config",
]

HOST = "127.0.0.1"
#: Those that are documented; a demonstration somewhere else takes any.
USUAL_PORTS = (8005, 2222) if DEMO == USUAL else (0, 0)

#: Opens the console; made here, and for this user only.
KEY = DEMO / "ssh" / "console-key"
AUTHORIZED_KEYS = KEY.with_suffix(".pub")
SSH_CONFIG = DEMO / "ssh" / "config"


@attrs.frozen
class Ports:
    """Where the launcher listens.

    :ivar console: None if its configuration has no console any more.
    """

    web: int
    console: int | None


def ports_in(config: str) -> Ports | None:
    """Those that a configuration names; None if it is not one that the demonstration made."""
    try:
        found = yaml.safe_load(config)
        console = (found.get("nodepool-tx") or {}).get("manhole")
        return Ports(int(found["webapp"]["port"]), int(console["port"]) if console else None)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return None


def choose_ports(before: Ports | None) -> Ports:
    """Ports that are free, those from before if they are."""
    web, console = (before.web, before.console) if before else USUAL_PORTS
    return Ports(free_port(HOST, web), free_port(HOST, console or USUAL_PORTS[1]))


def write_ssh_config(ports: Ports) -> pathlib.Path:
    """What ``ssh -F`` needs to find the console; the key is made with it."""
    KEY.parent.mkdir(parents=True, exist_ok=True)
    make_key(KEY, comment=username())
    lines = (
        "Host console",
        f"  HostName {HOST}",
        f"  Port {ports.console}",
        f'  IdentityFile "{KEY}"',
        "  IdentitiesOnly yes",
        f'  UserKnownHostsFile "{KEY.with_name("known_hosts")}"',
        "  StrictHostKeyChecking accept-new",
        "  LogLevel ERROR",
    )
    SSH_CONFIG.write_text("\n".join(lines) + "\n")
    return SSH_CONFIG


def web_answers(port: int) -> bool:
    """Whether the launcher says over HTTP that it works."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def console_answers(port: int) -> bool:
    """Whether something speaks SSH there."""
    try:
        with socket.create_connection((HOST, port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_until(true: Callable[[], bool], patience: float = 20.0) -> bool:
    """Ask again and again, until it is true or ``patience`` seconds are over."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
