"""Writes the dashboard for Grafana 10 and later: python etc/grafana_dashboard.py

Numbers about all of ZooKeeper are told by every launcher, so the greatest of
them counts; what a launcher tells of itself is added up.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

WHERE = pathlib.Path(__file__).with_name("grafana-dashboard.json")
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
LAUNCHERS = 'instance=~"$instance"'
WIDTH = 24

Panel = dict[str, Any]


def target(expr: str, legend: str = "", number: int = 0) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + number),
        "datasource": SOURCE,
        "expr": expr.replace("@", LAUNCHERS).replace("~)", "[$__rate_interval])"),
        "legendFormat": legend or "__auto",
        "editorMode": "code",
        "range": True,
    }


def panel(kind: str, title: str, text: str, targets: list[tuple[str, str]], unit: str) -> Panel:
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": SOURCE,
        "targets": [target(expr, legend, n) for n, (expr, legend) in enumerate(targets)],
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {},
    }


def plot(
    title: str, *targets: tuple[str, str], unit: str = "short", text: str = "", stack: bool = False
) -> Panel:
    """A plot over time, a third of the page wide."""
    made = panel("timeseries", title, text, list(targets), unit)
    made["fieldConfig"]["defaults"]["custom"] = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 25 if stack else 5,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
    }
    made["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return {**made, "size": (8, 8)}


def number(
    title: str, expr: str, unit: str = "short", bad: float | None = None, text: str = ""
) -> Panel:
    """One number; red from ``bad`` on."""
    made = panel("stat", title, text, [(f"{expr} or vector(0)", "")], unit)
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if bad is not None:
        steps.append({"color": "red", "value": bad})
    made["fieldConfig"]["defaults"]["thresholds"] = {"mode": "absolute", "steps": steps}
    made["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value" if bad is not None else "none",
        "graphMode": "area",
        "textMode": "value",
    }
    return {**made, "size": (3, 4)}


def bars(title: str, expr: str, legend: str, text: str = "") -> Panel:
    """How much of each limit is used."""
    made = panel("bargauge", title, text, [(expr, legend)], "percentunit")
    defaults = made["fieldConfig"]["defaults"]
    defaults["max"] = 1
    defaults["thresholds"] = {
        "mode": "absolute",
        "steps": [
            {"color": "green", "value": None},
            {"color": "orange", "value": 0.8},
            {"color": "red", "value": 0.95},
        ],
    }
    made["options"] = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return {**made, "size": (8, 8)}


def quantiles(metric: str, *parts: float, by: str, where: str = "") -> list[tuple[str, str]]:
    """What so many parts of all took no longer than."""
    selected = f"{metric}_bucket{{@{where}}}"
    return [
        (
            f"histogram_quantile({part}, sum by (le, {by}) (rate({selected}~)))",
            " ".join(f"{{{{{label}}}}}" for label in by.split(", ")) + f" {part:.0%}",
        )
        for part in parts
    ]


#: In expressions ``@`` stands for the launchers chosen, ``~`` for the time to look back.
OPEN = ', state=~"requested|pending"'
NODES = "max by (provider, pool, state) (nodepool_nodes{@})"

ROWS: dict[str, list[Panel]] = {
    "Overview": [
        number("Launchers", "count(nodepool_build_info{@})"),
        number("Nodes", f"sum({NODES})"),
        number("Nodes ready", 'sum(max by (provider, pool) (nodepool_nodes{@, state="ready"}))'),
        number("Nodes in use", 'sum(max by (provider, pool) (nodepool_nodes{@, state="in-use"}))'),
        number("Requests open", f"sum(max by (state) (nodepool_requests{{@{OPEN}}}))"),
        number(
            "Oldest open request",
            f"max(nodepool_oldest_request_age_seconds{{@{OPEN}}})",
            "s",
            3600,
        ),
        number(
            "Hosts down", 'sum(max by (provider) (nodepool_static_hosts{@, health="down"}))', bad=1
        ),
        number(
            "Configuration errors",
            "max(nodepool_config_errors{@})",
            bad=1,
            text="What is wrong with the newest configuration; the old one is in force.",
        ),
        plot("Nodes by state", (f"sum by (state) ({NODES})", "{{state}}"), stack=True),
        plot("Nodes by provider", (f"sum by (provider) ({NODES})", "{{provider}}"), stack=True),
        plot(
            "Nodes ready by label",
            (
                "sum by (label) (max by (provider, pool, label) "
                '(nodepool_label_nodes{@, state="ready"}))',
                "{{label}}",
            ),
        ),
    ],
    "Requests": [
        plot(
            "Requests by state", ("max by (state) (nodepool_requests{@})", "{{state}}"), stack=True
        ),
        plot(
            "Time to fulfil",
            *quantiles("nodepool_request_fulfil_seconds", 0.5, 0.95, by="provider"),
            unit="s",
        ),
        plot(
            "Answers",
            ("sum by (result) (rate(nodepool_requests_ended_total{@}~))", "{{result}}"),
            unit="ops",
        ),
        plot(
            "Oldest by state",
            (
                f"max by (state) (nodepool_oldest_request_age_seconds{{@{OPEN}}})",
                "{{state}}",
            ),
            unit="s",
        ),
        plot(
            "Age of open requests",
            (
                f"max by (state, quantile) (nodepool_request_age_seconds{{@{OPEN}}})",
                "{{state}} {{quantile}}",
            ),
            unit="s",
        ),
        plot(
            "Waiting by pool",
            (
                "max by (provider, pool) (nodepool_pool_requests_waiting{@})",
                "{{provider}}/{{pool}}",
            ),
        ),
    ],
    "Launches": [
        plot(
            "Launches by result",
            ("sum by (result) (rate(nodepool_launches_total{@}~))", "{{result}}"),
            unit="ops",
            stack=True,
        ),
        plot(
            "Failed launches",
            (
                'sum by (provider, result) (rate(nodepool_launches_total{@, result!="ready"}~))',
                "{{provider}} {{result}}",
            ),
            unit="ops",
        ),
        plot(
            "Time to launch",
            *quantiles(
                "nodepool_launch_seconds", 0.5, 0.95, by="provider", where=', result="ready"'
            ),
            unit="s",
        ),
        plot(
            "Under way",
            ("sum by (provider) (nodepool_launching_nodes{@})", "{{provider}} launching"),
            ("sum by (provider) (nodepool_deleting_nodes{@})", "{{provider}} deleting"),
        ),
        plot(
            "Time to delete",
            *quantiles("nodepool_deletion_seconds", 0.5, 0.95, by="provider"),
            unit="s",
        ),
        plot(
            "Leaks removed",
            (
                "sum by (provider, kind) (rate(nodepool_leaks_removed_total{@}~))",
                "{{provider}} {{kind}}",
            ),
            unit="ops",
        ),
        plot(
            "Cloud calls",
            (
                "sum by (provider, result) (rate(nodepool_cloud_calls_total{@}~))",
                "{{provider}} {{result}}",
            ),
            unit="ops",
        ),
        plot(
            "Time of cloud calls",
            *quantiles("nodepool_cloud_call_seconds", 0.95, by="provider, call"),
            unit="s",
        ),
        plot(
            "HTTP errors of clouds",
            (
                "sum by (provider, service, status) "
                '(rate(nodepool_cloud_http_requests_total{@, status!~"[23].."}~))',
                "{{provider}} {{service}} {{status}}",
            ),
            unit="ops",
        ),
    ],
    "Static hosts": [
        plot(
            "Hosts by health",
            (
                "sum by (health) (max by (provider, health) "
                "(nodepool_static_hosts{@} and on (instance, provider) "
                "nodepool_provider_owned{@} == 1))",
                "{{health}}",
            ),
            stack=True,
            text="As the launcher sees them that looks after their provider.",
        ),
        plot(
            "Hosts out of use",
            (
                'max by (provider, health) (nodepool_static_hosts{@, health=~"down|maintenance"})',
                "{{provider}} {{health}}",
            ),
        ),
        plot(
            "Hosts going up and down",
            (
                "sum by (provider, health) (rate(nodepool_static_host_changes_total{@}~))",
                "{{provider}} {{health}}",
            ),
            unit="ops",
        ),
    ],
    "Quota": [
        bars(
            "Quota of clouds",
            "max by (provider, resource) (nodepool_quota_used{@} / nodepool_quota_limit{@})",
            "{{provider}} {{resource}}",
        ),
        bars(
            "Limits of pools",
            "max by (provider, pool, resource) (nodepool_pool_used{@} / nodepool_pool_limit{@})",
            "{{provider}}/{{pool}} {{resource}}",
        ),
        bars(
            "Limits of tenants",
            "max by (tenant, resource) (nodepool_tenant_used{@} / nodepool_tenant_limit{@})",
            "{{tenant}} {{resource}}",
        ),
    ],
    "Reloads": [
        plot("Reloads", ("sum by (result) (increase(nodepool_reloads_total{@}~))", "{{result}}")),
        plot(
            "Since the last full reload",
            ("time() - nodepool_reload_last_success_timestamp_seconds{@}", "{{instance}}"),
            unit="s",
        ),
        plot(
            "Time to reload",
            *quantiles("nodepool_reload_seconds", 0.5, 0.95, by="instance"),
            unit="s",
        ),
    ],
    "ZooKeeper and the reactor": [
        plot(
            "ZooKeeper's answers",
            *quantiles("nodepool_zookeeper_request_seconds", 0.5, 0.99, by="instance"),
            unit="s",
        ),
        plot(
            "ZooKeeper requests",
            ("rate(nodepool_zookeeper_requests_total{@}~)", "{{instance}}"),
            unit="ops",
        ),
        plot(
            "Waiting for ZooKeeper",
            ("nodepool_zookeeper_outstanding_requests{@}", "{{instance}} requests"),
            ("sum by (instance) (nodepool_zookeeper_cache_lag{@})", "{{instance}} znodes"),
        ),
        plot(
            "Up to date",
            ("nodepool_store_current{@}", "{{instance}}"),
            ('nodepool_zookeeper_state{@, state="connected"}', "{{instance}} connected"),
        ),
        plot(
            "Connections lost",
            ("rate(nodepool_zookeeper_reconnects_total{@}~)", "{{instance}} taken up again"),
            ("rate(nodepool_zookeeper_failed_connections_total{@}~)", "{{instance}} failed"),
            unit="ops",
        ),
        plot(
            "Reactor lag",
            *quantiles("nodepool_reactor_lag_seconds", 0.5, 0.99, by="instance"),
            unit="s",
        ),
        plot(
            "Overdue loops",
            (
                "nodepool_loop_last_success_age_seconds{@} / nodepool_loop_interval_seconds{@}",
                "{{instance}} {{loop}}",
            ),
            text="Rounds since the last that ended well; more than 2 is late.",
        ),
        plot(
            "Memory",
            (
                "process_resident_memory_bytes{@} and on (instance) nodepool_build_info{@}",
                "{{instance}}",
            ),
            unit="bytes",
        ),
        plot(
            "CPU",
            (
                "rate(process_cpu_seconds_total{@}~) and on (instance) nodepool_build_info{@}",
                "{{instance}}",
            ),
            unit="percentunit",
        ),
    ],
}


def variables() -> list[dict[str, Any]]:
    query = "label_values(nodepool_build_info, instance)"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "label": "Launcher",
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": "instances"},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        },
    ]


def laid_out() -> list[Panel]:
    """All panels, where they belong on the page."""
    panels: list[Panel] = []
    top = 0
    for title, members in ROWS.items():
        grid = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        panels.append(
            {"type": "row", "title": title, "gridPos": grid, "panels": [], "collapsed": False}
        )
        top, left, height = top + 1, 0, 0
        for member in members:
            width, needed = member["size"]
            if left + width > WIDTH or (height and needed != height):
                top, left = top + height, 0
            height = needed
            rest = {key: value for key, value in member.items() if key != "size"}
            panels.append({**rest, "gridPos": {"h": needed, "w": width, "x": left, "y": top}})
            left += width
        top += height
    return [{"id": number, **each} for number, each in enumerate(panels, 1)]


def dashboard() -> dict[str, Any]:
    return {
        "title": "Nodepool launchers",
        "uid": "nodepool-tx",
        "description": "Launchers of nodepool_tx: what they serve, and how they are.",
        "tags": ["nodepool"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "timezone": "browser",
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "links": [],
        "panels": laid_out(),
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    WHERE.write_text(text())
