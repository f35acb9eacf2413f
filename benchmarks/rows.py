"""The lines of the table: which number of which scenario, how it is written, what is wanted."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from benchmarks.measured import BARE, MEBIBYTE
from benchmarks.targets import AtMost, ShareOf, Target, Times


def seconds(value: float) -> str:
    """A time, in the unit that reads best."""
    if value >= 0.0995:
        return f"{value:.2f} s" if value < 99.95 else f"{value:,.0f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.00995 else f"{value * 1000:.2g} ms"


def rate(value: float) -> str:
    """So many in a second, or for a job."""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def memory(value: float) -> str:
    """Bytes, in MiB."""
    return f"{value / MEBIBYTE:.0f} MiB"


@attrs.frozen
class Row:
    """One line.

    :ivar title: with `{names}` of sizes (:class:`benchmarks.measured.Sizes`).
    """

    title: str
    scenario: str
    number: str
    text: Callable[[float], str]
    more_is_better: bool = False
    target: Target | None = None


@attrs.frozen
class Family:
    """Lines that belong together."""

    title: str
    rows: tuple[Row, ...]


def _more(times: float) -> Times:
    return Times(times, more_is_better=True)


_STUCK = "{many} nodes, {queued} stuck requests"

FAMILIES = (
    Family(
        "Hand-out when idle",
        (
            Row(
                "One job after another: request to hand-out, median",
                "idle",
                "successive median s",
                seconds,
                target=Times(100),
            ),
            Row("One job after another, 95 %", "idle", "successive p95 s", seconds),
            Row(
                "Asked at random moments, median",
                "idle",
                "random median s",
                seconds,
                target=Times(100),
            ),
            Row("Each node probed first, median", "idle, probed", "successive median s", seconds),
            Row("A returned node is ready again, median", "turn-around", "median s", seconds),
            Row("A returned node is ready again, 95 %", "turn-around", "p95 s", seconds),
            Row("A returned node is ready again, longest", "turn-around", "longest s", seconds),
        ),
    ),
    Family(
        "Throughput",
        (
            Row(
                "100 nodes, 100 clients: jobs a second",
                "100 nodes",
                "jobs per second",
                rate,
                True,
                _more(20),
            ),
            Row(
                "10 nodes, 100 clients: jobs a second",
                "10 nodes",
                "jobs per second",
                rate,
                True,
                _more(100),
            ),
            Row(
                "1,000 nodes, 1,000 clients: jobs a second",
                "1000 nodes",
                "jobs per second",
                rate,
                True,
            ),
            Row(
                "100 nodes probed, 100 clients: jobs a second",
                "100 nodes, probed",
                "jobs per second",
                rate,
                True,
            ),
            Row(
                "100 nodes, 100 clients: median wait, or so far",
                "100 nodes",
                "median wait s",
                seconds,
            ),
            Row(
                "10 nodes, 100 clients: median wait, or so far",
                "10 nodes",
                "median wait s",
                seconds,
            ),
            Row(
                "1,000 nodes, 1,000 clients: median wait, or so far",
                "1000 nodes",
                "median wait s",
                seconds,
            ),
        ),
    ),
    Family(
        "What a job costs (100 nodes, 100 clients)",
        (
            Row(
                "ZooKeeper writes of the launcher",
                "100 nodes",
                "launcher writes per job",
                rate,
                target=Times(2),
            ),
            Row("Operations in its writes", "100 nodes", "launcher written parts per job", rate),
            Row("ZooKeeper reads of the launcher", "100 nodes", "launcher reads per job", rate),
            Row("Notifications to it", "100 nodes", "launcher notifications per job", rate),
            Row("Bytes of its writes in the log", "100 nodes", "launcher log bytes per job", count),
            Row(
                "CPU of the launcher",
                "100 nodes",
                "launcher cpu s per job",
                seconds,
                target=Times(10),
            ),
            Row("CPU of ZooKeeper", "100 nodes", "server cpu s per job", seconds),
        ),
    ),
    Family(
        "Memory",
        (
            Row("10 nodes", "idle", "resident bytes", memory, target=Times(2)),
            Row("2,000 nodes", "registration", "resident bytes", memory, target=Times(2)),
            Row("{many} nodes", "queue", "resident bytes without", memory, target=Times(2)),
            Row(_STUCK, "queue", "resident bytes", memory, target=Times(2)),
        ),
    ),
    Family(
        "Start",
        (
            Row(
                "2,000 nodes registered after program start",
                "registration",
                "start to last node s",
                seconds,
                target=Times(1),
            ),
            Row(
                "{many} nodes registered after program start",
                "queue",
                "start to last node s",
                seconds,
                target=Times(1),
            ),
        ),
    ),
    Family(
        "A queue that cannot be served",
        (
            Row("{many} nodes, no queue: hand-out, median", "queue", "median s without", seconds),
            Row(f"{_STUCK}: hand-out, median", "queue", "median s with", seconds),
            Row(f"{_STUCK}: hand-out, 95 %", "queue", "p95 s with", seconds),
            Row(
                "{many} nodes, no queue: CPU of the launcher for a request",
                "queue",
                "launcher cpu s per request without",
                seconds,
            ),
            Row(
                f"{_STUCK}: CPU of the launcher for a request",
                "queue",
                "launcher cpu s per request with",
                seconds,
            ),
            Row(f"{_STUCK}: a pass, median", "passes", "median s", seconds),
            Row(f"{_STUCK}: the longest pass", "passes", "longest s", seconds),
        ),
    ),
    Family(
        "Many requests at once",
        (
            Row(
                "{surge} requests, 100 nodes: all served after",
                "all served",
                "until all served s",
                seconds,
            ),
            Row(
                "{surge} requests, 100 nodes: median wait",
                "all served",
                "median wait s",
                seconds,
            ),
            Row(
                "{surge} requests, as many nodes: all fulfilled after",
                "all fulfilled",
                "until all fulfilled s",
                seconds,
            ),
            Row(
                "{surge} requests, as many nodes: CPU of the launcher for each",
                "all fulfilled",
                "launcher cpu s per request",
                seconds,
            ),
        ),
    ),
    Family(
        "Reload with 2,000 nodes, a client asking all the time",
        (
            Row("No reload: median wait", "reload", "median s before", seconds),
            Row("No reload: longest wait", "reload", "longest s before", seconds),
            Row("A host's labels changed: median wait", "reload", "median s, label", seconds),
            Row("A host's labels changed: longest wait", "reload", "longest s, label", seconds),
            Row("A host's labels changed: in force after", "reload", "until in force s", seconds),
            Row("An interval changed: median wait", "reload", "median s, interval", seconds),
            Row("An interval changed: longest wait", "reload", "longest s, interval", seconds),
        ),
    ),
    Family(
        "A simulated cloud of 20 servers",
        (
            Row("1 client: jobs a second", "cloud, 1", "jobs per second", rate, True),
            Row("1 client: median wait", "cloud, 1", "median wait s", seconds),
            Row("10 clients: jobs a second", "cloud, 10", "jobs per second", rate, True),
            Row("10 clients: median wait, or so far", "cloud, 10", "median wait s", seconds),
            Row(
                "20 clients: jobs a second",
                "cloud, 20",
                "jobs per second",
                rate,
                True,
                _more(20),
            ),
            Row("20 clients: median wait, or so far", "cloud, 20", "median wait s", seconds),
            Row("20 clients: 95 % wait, or so far", "cloud, 20", "p95 wait s", seconds),
        ),
    ),
    Family(
        "Many servers at once",
        (
            Row("100: listings until ready", "burst, 100", "list calls until ready", count),
            Row("300: listings until ready", "burst, 300", "list calls until ready", count),
            Row(
                "1,000: listings until ready",
                "burst, 1000",
                "list calls until ready",
                count,
                target=AtMost(10, "at most 10"),
            ),
            Row("1,000: all ready after", "burst, 1000", "until all ready s", seconds),
            Row("1,000 given back: all gone after", "burst, 1000", "until all gone s", seconds),
            Row(
                "1,000: the longest turn, CPU",
                "burst, 1000",
                "longest turn cpu s",
                seconds,
                target=AtMost(0.05, "50 ms"),
            ),
            Row("1,000: the longest turn", "burst, 1000", "longest turn s", seconds),
            Row("1,000: memory", "burst, 1000", "resident bytes", memory),
        ),
    ),
    Family(
        "A simulated day of {day} requests",
        (
            Row(
                "Requests that failed",
                "day",
                "failed requests",
                count,
                target=AtMost(0, "none"),
            ),
            Row("Median wait", "day", "median wait s", seconds),
            Row("95 % wait", "day", "p95 wait s", seconds),
            Row("99 % wait", "day", "p99 wait s", seconds),
            Row("Longest wait", "day", "max wait s", seconds),
            Row("Servers launched", "day", "servers made", count),
            Row("Listings of servers", "day", "calls: list_instances", count),
            Row("Other calls of clouds", "day", "other calls", count),
            Row("Requests to ZooKeeper", "day", "ZooKeeper requests", count),
            Row("Peak memory", "day", "peak resident bytes", memory),
            Row("Took", "day", "wall s", seconds),
        ),
    ),
)

LIMIT = Row(
    "Jobs a second",
    "100 nodes",
    "jobs per second",
    rate,
    True,
    ShareOf(0.5, "limit", BARE, "half"),
)
"""Ours against the bare client; its own number is in the scenario `limit`."""

BESIDE_LIMIT = (
    ("ZooKeeper reads a job", "reads per job", rate),
    ("ZooKeeper writes a job", "writes per job", rate),
    ("Operations in them", "written parts per job", rate),
    ("Bytes in the log a job", "log bytes per job", count),
    ("Notifications a job", "notifications per job", rate),
)
"""What both asked of ZooKeeper; ours is the sum of the launcher's and the clients'."""
