"""Turns what was measured into a table, a plot and a file of raw numbers."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import attrs

from benchmarks.measured import MEBIBYTE, Results
from benchmarks.plot import draw, draw_day
from benchmarks.scenarios import Numbers


def _seconds(value: float) -> str:
    if value >= 0.0995:
        return f"{value:.2f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.00995 else f"{value * 1000:.2g} ms"


def _rate(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _memory(value: float) -> str:
    return f"{value / MEBIBYTE:.0f} MiB"


@attrs.frozen
class Row:
    """One line of the table."""

    title: str
    scenario: str
    number: str
    text: Callable[[float], str]
    more_is_better: bool = False
    wanted: float | str = ""
    """How many times better than Nodepool 11 the project wants to be, or what else it wants."""


ROWS = (
    Row(
        "Hand-out, one job after another, median",
        "idle",
        "successive median s",
        _seconds,
        False,
        50,
    ),
    Row("Hand-out, one job after another, 95 %", "idle", "successive p95 s", _seconds),
    Row("Hand-out, asked at random moments, median", "idle", "random median s", _seconds),
    Row("100 nodes, 100 clients: jobs a second", "100 nodes", "jobs per second", _rate, True, 10),
    Row("100 nodes, 100 clients: median wait, or so far", "100 nodes", "median wait s", _seconds),
    Row(
        "100 nodes, 100 clients: launcher's CPU a job",
        "100 nodes",
        "launcher cpu s per job",
        _seconds,
    ),
    Row("10 nodes, 100 clients: jobs a second", "10 nodes", "jobs per second", _rate, True, 50),
    Row("10 nodes, 100 clients: median wait, or so far", "10 nodes", "median wait s", _seconds),
    Row(
        "2,000 nodes registered after program start",
        "registration",
        "start to last node s",
        _seconds,
        False,
        1,
    ),
    Row("Memory with 2,000 nodes", "registration", "resident bytes", _memory, False, 1.5),
    Row("Memory with 10 nodes", "idle", "resident bytes", _memory, False, 1.5),
    Row(
        "Hand-out, each node probed first, median", "idle, probed", "successive median s", _seconds
    ),
    Row(
        "100 nodes probed, 100 clients: jobs a second",
        "100 nodes, probed",
        "jobs per second",
        _rate,
        True,
    ),
    Row("{many} nodes: registered after program start", "queue", "start to last node s", _seconds),
    Row("{many} nodes: hand-out, median", "queue", "median s without", _seconds),
    Row(
        "{many} nodes, {queued} stuck requests: hand-out, median",
        "queue",
        "median s with",
        _seconds,
    ),
    Row("{many} nodes, {queued} stuck requests: hand-out, 95 %", "queue", "p95 s with", _seconds),
    Row(
        "{many} nodes: launcher's CPU a request",
        "queue",
        "launcher cpu s per request without",
        _seconds,
    ),
    Row(
        "{many} nodes, {queued} stuck: launcher's CPU a request",
        "queue",
        "launcher cpu s per request with",
        _seconds,
    ),
    Row("{many} nodes, {queued} stuck: a pass, median", "passes", "median s", _seconds),
    Row("{many} nodes, {queued} stuck: the longest pass", "passes", "longest s", _seconds),
    Row("{many} nodes, {queued} stuck: memory", "queue", "resident bytes", _memory),
    Row("20 cloud servers, 1 client: jobs a second", "cloud, 1", "jobs per second", _rate, True),
    Row("20 cloud servers, 1 client: median wait", "cloud, 1", "median wait s", _seconds),
    Row("20 cloud servers, 10 clients: jobs a second", "cloud, 10", "jobs per second", _rate, True),
    Row(
        "20 cloud servers, 10 clients: median wait, or so far",
        "cloud, 10",
        "median wait s",
        _seconds,
    ),
    Row(
        "20 cloud servers, 20 clients: jobs a second",
        "cloud, 20",
        "jobs per second",
        _rate,
        True,
        20,
    ),
    Row(
        "20 cloud servers, 20 clients: median wait, or so far",
        "cloud, 20",
        "median wait s",
        _seconds,
    ),
    Row("20 cloud servers, 20 clients: 95 % wait, or so far", "cloud, 20", "p95 wait s", _seconds),
    Row(
        "100 servers at once: listings until ready", "burst, 100", "list calls until ready", _count
    ),
    Row(
        "300 servers at once: listings until ready", "burst, 300", "list calls until ready", _count
    ),
    Row(
        "1,000 servers at once: listings until ready",
        "burst, 1000",
        "list calls until ready",
        _count,
        False,
        "no more",
    ),
    Row("1,000 servers at once: all ready after", "burst, 1000", "until all ready s", _seconds),
    Row("1,000 servers given back at once: all gone", "burst, 1000", "until all gone s", _seconds),
    Row(
        "1,000 servers at once: the longest turn, CPU",
        "burst, 1000",
        "longest turn cpu s",
        _seconds,
        False,
        "50 ms",
    ),
    Row("1,000 servers at once: the longest turn", "burst, 1000", "longest turn s", _seconds),
    Row("1,000 servers at once: memory", "burst, 1000", "resident bytes", _memory),
    Row("Simulated day: requests", "day", "requests", _count),
    Row("Simulated day: requests that failed", "day", "failed requests", _count),
    Row("Simulated day: median wait", "day", "median wait s", _seconds),
    Row("Simulated day: 95 % wait", "day", "p95 wait s", _seconds),
    Row("Simulated day: 99 % wait", "day", "p99 wait s", _seconds),
    Row("Simulated day: the longest wait", "day", "max wait s", _seconds),
    Row("Simulated day: servers launched", "day", "servers made", _count),
    Row("Simulated day: listings of servers", "day", "calls: list_instances", _count),
    Row("Simulated day: other calls of clouds", "day", "other calls", _count),
    Row("Simulated day: requests to ZooKeeper", "day", "ZooKeeper requests", _count),
    Row("Simulated day: peak memory", "day", "peak resident bytes", _memory),
    Row("Simulated day: took", "day", "wall s", _seconds),
)


def times_better(row: Row, reference: float, ours: float) -> float:
    """How many times better ours is than the reference, whichever way is better."""
    return ours / reference if row.more_is_better else reference / ours


def table(results: Results) -> str:
    """The Markdown table, with what it was measured on."""
    head = ["", *results.daemons]
    both = len(results.daemons) == 2
    if both:
        head += ["better by", "wanted"]
    lines = [_line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
    many, queued = ("2,000", "1,000") if results.quick else ("10,000", "5,000")
    for row in ROWS:
        values = [results.values(row.scenario, name, row.number) for name in results.daemons]
        if not any(values):
            continue
        cells = [
            row.title.format(many=many, queued=queued),
            *(_cell(row, found) for found in values),
        ]
        if both:
            better = (
                f"{times_better(row, *map(statistics.median, values)):.3g} times"
                if all(values)
                else ""
            )
            wanted = row.wanted
            cells += [better, wanted if isinstance(wanted, str) else f"{wanted:g} times"]
        lines.append(_line(cells))
    lines += ["", _circumstances(results)]
    lines += [f"\n**Not measured:** {failure}" for failure in results.failures]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(row: Row, found: Sequence[float]) -> str:
    if not found:
        return "-"
    text = row.text(statistics.median(found))
    if len(found) > 1 and row.text(min(found)) != row.text(max(found)):
        text += f" ({row.text(min(found))} to {row.text(max(found))})"
    return text


def _circumstances(results: Results) -> str:
    cores = len(os.sched_getaffinity(0))
    version = ".".join(map(str, sys.version_info[:3]))
    runs = "One run"
    if results.runs > 1:
        runs = f"Medians of {results.runs} interleaved runs, and their range,"
    ceiling = statistics.median([run["jobs per second"] for run in results.ceilings] or [0.0])
    return (
        f"{runs} on {cores} cores ({platform.machine()}), Python {version}, one ZooKeeper over "
        f"TLS for both. The load alone, answered in its own process, reaches {_rate(ceiling)} "
        f"jobs a second. At the start others used {results.busy_elsewhere:.0%} of the processor. "
        f"{datetime.now(timezone.utc):%Y-%m-%d}."
    )


def busy_elsewhere(seconds: float = 2.0) -> float:
    """Watch for so long which share of the processor is used while we do nothing."""
    before = _ticks()
    time.sleep(seconds)
    idle, total = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return 1.0 - idle / total


def _ticks() -> tuple[int, int]:
    """The processors' idle and total time so far."""
    values = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return values[3] + values[4], sum(values)


def one_line(numbers: Numbers) -> str:
    """A run's numbers, for the progress display."""
    parts = []
    for name, value in numbers.items():
        if name.endswith("bytes"):
            parts.append(f"{name.removesuffix(' bytes')} {_memory(value)}")
        elif " s" in name:
            parts.append(f"{name} {value:.4g}")
        else:
            parts.append(f"{name} {value:.3g}")
    return ", ".join(parts)


def write(results: Results, folder: Path) -> list[Path]:
    """Write table, plot and raw numbers; answers the files."""
    folder.mkdir(parents=True, exist_ok=True)
    raw, text = folder / "comparison.json", folder / "comparison.md"
    raw.write_text(json.dumps(attrs.asdict(results), indent=1) + "\n")
    text.write_text(table(results))
    return [raw, text, *draw(results, folder), *draw_day(results.hours, folder)]
