"""What people are shown of this process, its ZooKeeper and the launchers beside it."""

from __future__ import annotations

from typing import Any

from nodepool_tx.config.errors import ConfigErrors
from nodepool_tx.model import LauncherComponent
from nodepool_tx.status.farm import Farm
from nodepool_tx.txzookeeper.client import ZookeeperClient

__all__ = ["config_errors", "process_status", "zookeeper_status"]


def process_status(farm: Farm) -> dict[str, Any]:
    """All in one: versions, connections, reloads, counts."""
    return {
        "version": farm.version,
        "hostname": farm.hostname,
        "started": farm.started,
        "now": farm.now,
        "zookeeper": zookeeper_status(farm),
        "reload": _reload(farm),
        "counts": {"nodes": farm.tally.nodes(), "requests": farm.tally.requests()},
        "launchers": _launchers(farm),
    }


def zookeeper_status(farm: Farm) -> dict[str, Any]:
    """The connection, and what it has carried.

    ``current`` tells whether what is shown of nodes and requests is up to
    date; ``latency_ms`` is the mean of all answers so far.
    """
    client = farm.store.client
    shown: dict[str, Any] = {
        "state": client.state.value,
        "current": farm.store.current,
        "servers": [],
        "server": None,
        "latency_ms": None,
        "requests": 0,
        "in_flight": 0,
        "reconnects": 0,
        "trouble": "",
    }
    config = farm.reloader.config
    if config is not None:
        shown["servers"] = [f"{each.host}:{each.port}" for each in config.zookeeper_servers]
    if isinstance(client, ZookeeperClient):
        counters = client.counters
        shown["server"] = client.server or None
        shown["requests"] = counters.requests
        shown["in_flight"] = counters.in_flight
        shown["reconnects"] = counters.reconnects
        shown["trouble"] = client.last_failure
        if counters.replies:
            shown["latency_ms"] = round(1000 * counters.latency_sum / counters.replies, 3)
    return shown


def config_errors(errors: ConfigErrors | None) -> list[dict[str, Any]]:
    """Why the newest configuration was refused; nothing if it was not."""
    if errors is None:
        return []
    return [
        {
            "file": each.file,
            "line": each.line,
            "path": each.path,
            "message": f"{each.message} ({each.hint})" if each.hint else each.message,
        }
        for each in errors.errors
    ]


def _reload(farm: Farm) -> dict[str, Any]:
    reports = farm.reloader.reports
    last: dict[str, Any] | None = None
    if reports:
        report = reports[-1]
        last = {
            "seconds": round(report.seconds, 3),
            "kept": list(report.plan.kept),
            "replaced": list(report.plan.replaced),
            "added": list(report.plan.added),
            "removed": list(report.plan.removed),
            "rolled_back": dict(report.rolled_back),
        }
    return {
        "running": farm.reloader.running,
        "last": last,
        "errors": config_errors(farm.launcher.last_errors),
    }


def _launchers(farm: Farm) -> list[dict[str, Any]]:
    """Launchers and builders online, ours and Nodepool 11's."""
    shown = [
        {
            "id": each.path.rpartition("/")[2],
            "kind": each.kind,
            "hostname": each.hostname,
            "version": each.version,
            "state": each.state.value,
        }
        for each in farm.store.components.all()
        if isinstance(each, LauncherComponent)
    ]
    return sorted(shown, key=lambda each: (str(each["kind"]), str(each["id"])))
