"""The demonstration's launcher: ``twistd nodepool`` in the background."""

from __future__ import annotations

import os
import pathlib
import string
import subprocess
import sys

from demo.machines import IDENTITY, Machine, username
from demo.places import DEMO, ROOT, end, free_port, listens, running
from demo.ways_in import AUTHORIZED_KEYS, HOST, Ports, choose_ports, ports_in, write_ssh_config

__all__ = ["complaints", "environment", "listens_on", "start", "stop", "write_config"]

CONFIG = DEMO / "nodepool.yaml"
STATE = DEMO / "state"
LOG = DEMO / "launcher.log"
PID = DEMO / "launcher.pid"
_COMPLAINTS = (["warn"], ["error"], ["critical"])
BIN = pathlib.Path(sys.executable).parent


def environment() -> dict[str, str]:
    """What makes ``nodepool`` work on the demonstration."""
    return {
        "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
        "NODEPOOL_CONFIG": str(CONFIG),
        "NODEPOOL_STATE_DIR": str(STATE),
        "NODEPOOL_IDENTITY": str(IDENTITY),
    }


def write_config(machines: list[Machine]) -> Ports:
    """Write the configuration if it must change, and the files to use by hand.

    :returns: where its launcher listens.
    """
    known = CONFIG.read_text() if CONFIG.exists() else ""
    ports = ports_in(known)
    # One that was changed by hand stays as long as its machines are there and its ports are free.
    here = all(f"connection-port: {machine.port}\n" in known for machine in machines)
    if not here or ports is None or not (_pids() or _free(ports)):
        ports = choose_ports(ports)
        CONFIG.write_text(_template(machines, ports))
    if ports.console is not None:
        write_ssh_config(ports)
    lines = [f'export {name}="{value}"' for name, value in environment().items() if name != "PATH"]
    lines.append(f'export PATH="{BIN}:$PATH"')
    (DEMO / "env").write_text("\n".join(lines) + "\n")
    return ports


def _template(machines: list[Machine], ports: Ports) -> str:
    values = {
        "user": username(),
        "listen": HOST,
        "web": str(ports.web),
        "console": str(ports.console),
        "keys": str(AUTHORIZED_KEYS),
        "audit": str(DEMO / "audit.log"),
    }
    for number, machine in enumerate(machines, 1):
        values[f"host{number}"] = machine.host
        values[f"port{number}"] = str(machine.port)
        values[f"key{number}"] = machine.key
    return string.Template((ROOT / "demo" / "nodepool.yaml.in").read_text()).substitute(values)


def _free(ports: Ports) -> bool:
    wanted = [port for port in (ports.web, ports.console) if port is not None]
    return all(free_port(HOST, port) == port for port in wanted)


def _pids() -> list[int]:
    return running("twistd", f"--pidfile={PID} ")


def start() -> bool:
    """Start it unless it runs; whether it had to be started."""
    if _pids():
        return False
    PID.unlink(missing_ok=True)
    words = [
        str(BIN / "twistd"),
        f"--pidfile={PID}",
        f"--logfile={LOG}",
        "nodepool",
        f"--config={CONFIG}",
        f"--state-dir={STATE}",
    ]
    answer = subprocess.run(words, cwd=DEMO, capture_output=True, text=True)
    if answer.returncode:
        text = (answer.stdout + answer.stderr).strip()
        raise SystemExit(f"demo: the launcher does not start: {text or f'see {LOG}'}")
    return True


def listens_on(port: int) -> bool:
    """Whether it is the demonstration's launcher that does, not somebody who was quicker."""
    return any(listens(pid, port) for pid in _pids())


def complaints() -> list[str]:
    """The last warnings and errors in the launcher's log."""
    lines = LOG.read_text(errors="replace").splitlines() if LOG.exists() else []
    return [line for line in lines if line.split()[1:2] in _COMPLAINTS][-5:]


def stop() -> bool:
    """Stop it, and with it its ZooKeeper; whether any of them ran."""
    launchers = _pids()
    end(launchers, 15.0)
    # One whose launcher was killed is alone.
    orphans = running("QuorumPeerMain", f"{STATE}/zookeeper/zoo.cfg")
    end(orphans, 10.0)
    return bool(launchers or orphans)
