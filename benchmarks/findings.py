"""What the numbers say: how much better, which targets were met, beside which limit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.daemons import OUR_CLIENT, OURS
from benchmarks.measured import BARE, Results
from benchmarks.rows import BESIDE_LIMIT, FAMILIES, LIMIT, Row, seconds
from benchmarks.targets import times_better


def better(results: Results, row: Row) -> str:
    """How many times better ours is, in words; empty where it cannot be said."""
    times = times_better(results, row.scenario, row.number, row.more_is_better)
    if times is None:
        return ""
    return "all of it" if times == float("inf") else f"{times:.3g} times"


def verdict(results: Results, row: Row) -> str:
    """Whether its target was met; empty where there is none, or it cannot be said."""
    if row.target is None:
        return ""
    met = row.target.met(results, row.scenario, row.number)
    return "" if met is None else "met" if met else "missed"


def judged(results: Results) -> list[tuple[str, bool]]:
    """Every target that can be judged, and whether it was met."""
    found: list[tuple[str, bool]] = []
    lines = [(f"{family.title}: {row.title}", row) for family in FAMILIES for row in family.rows]
    lines.append(("Against a bare client: jobs a second", LIMIT))
    for title, row in lines:
        if row.target is None:
            continue
        met = row.target.met(results, row.scenario, row.number)
        if met is not None:
            name = title.format(**results.sizes.named())
            found.append((f"{name} (wanted: {row.target.words})", met))
    return found


def missed(results: Results) -> list[str]:
    """The targets that were missed."""
    return [title for title, met in judged(results) if not met]


def summary(results: Results) -> str:
    """One line: how many targets were met, and which were not."""
    everything, not_met = judged(results), missed(results)
    line = f"{len(everything) - len(not_met)} of {len(everything)} targets met"
    return f"{line}; missed: {'; '.join(not_met)}" if not_met else f"{line}."


def measured(results: Results, row: Row) -> bool:
    return any(results.values(row.scenario, name, row.number) for name in results.daemons)


def limit_reached(results: Results) -> tuple[float, str] | None:
    """Which share of the bare client's rate ours is, and that in words; None if not measured."""
    ours = results.median(LIMIT.scenario, OURS.name, LIMIT.number)
    bare, hasty = (
        results.median(scenario, BARE, LIMIT.number) for scenario in ("limit", "limit, pipelined")
    )
    if not ours or not bare:
        return None
    words = f"{ours / bare:.0%} of its rate with the same clients"
    if hasty:
        words += f", {ours / hasty:.0%} of it with clients that do not wait for answers"
    return ours / bare, words


def limit_rows(results: Results) -> list[tuple[str, ...]]:
    """Ours beside the bare client: title, the bare client's number, our client's and ours."""
    if results.median("limit", BARE, LIMIT.number) is None:
        return []
    bare = _text(LIMIT, results.values("limit", BARE, LIMIT.number))
    found: list[tuple[str, ...]] = [(LIMIT.title, bare, *_both(LIMIT, results))]
    hasty = _text(LIMIT, results.values("limit, pipelined", BARE, LIMIT.number))
    found.append(("If clients did not wait for answers", hasty, "-", "-"))
    for title, number, text in BESIDE_LIMIT:
        row = Row(title, "100 nodes", f"launcher {number} + client {number}", text)
        values = results.values("limit", BARE, number)
        found.append((title, _text(row, values), *_both(row, results)))
    for title, number in (
        ("CPU of ZooKeeper a job", "server cpu s per job"),
        ("CPU of the clients a job", "load cpu s per job"),
    ):
        row = Row(title, "100 nodes", number, seconds)
        values = results.values("limit", BARE, number)
        found.append((title, _text(row, values), *_both(row, results)))
    launcher = Row("CPU of the launcher a job", "100 nodes", "launcher cpu s per job", seconds)
    found.append((launcher.title, "with the clients", *_both(launcher, results)))
    return found


def _both(row: Row, results: Results) -> tuple[str, str]:
    return cell(row, results, OUR_CLIENT.name), cell(row, results, OURS.name)


def cell(row: Row, results: Results, name: str) -> str:
    """A launcher's median, and the range where the runs differ."""
    return _text(row, results.values(row.scenario, name, row.number))


def _text(row: Row, found: Sequence[float]) -> str:
    if not found:
        return "-"
    text = row.text(statistics.median(found))
    if len(found) > 1 and row.text(min(found)) != row.text(max(found)):
        text += f" ({row.text(min(found))} to {row.text(max(found))})"
    return text


def circumstances(results: Results) -> str:
    """On what it was measured, in a sentence or two."""
    machine = results.machine
    runs = "One run"
    if results.runs > 1:
        runs = f"Medians of up to {results.runs} interleaved runs, and their range,"
    return (
        f"{runs} on {machine['processor']}, Python {machine['Python']}, one ZooKeeper "
        f"{machine['ZooKeeper']} over TLS for both. At the start others used "
        f"{results.busy_elsewhere:.0%} of the processor. {machine['date']}."
    )
