"""The report of all runs, and a plot of the last one."""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

__all__ = ["Run", "append", "plot", "write_page"]

_HEAD = """\
# Chaos

Each row is a run of `python -m proof.chaos`: launchers, a ZooKeeper of three servers, static
machines, clouds and clients, in which things go wrong all the time as its seed has it. Every
transaction in ZooKeeper's history is checked against the rules, and at each rest ZooKeeper, the
configuration and the clouds are compared exactly.

"""

#: Seconds that a bar of the plot stands for.
_BAR = 10.0


@attrs.frozen(kw_only=True)
class Run:
    """What a run came to.

    :ivar date: when it began, as ISO 8601 in UTC.
    :ivar minutes: with things going wrong.
    :ivar faults: how often each struck.
    :ivar requests: how many ended in each way.
    :ivar violations: in words; none is what it is about.
    :ivar load: of the machine while it ran: how many processes wanted a processor, on average.
    :ivar verdict: what whoever looked into the violations found out: written into the file later.
    """

    date: str
    seed: int
    minutes: float
    launchers: int
    clients: int
    faults: Mapping[str, int]
    requests: Mapping[str, int]
    transactions: int
    rests: int
    longest_wait: float
    deaths: int
    violations: Sequence[str]
    load: float = 0.0
    verdict: str = ""


def append(directory: pathlib.Path, run: Run) -> None:
    """Add a run to `chaos.json`, and write `chaos.md` anew."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "chaos.json"
    runs: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    runs.append(attrs.asdict(run))
    path.write_text(json.dumps(runs, indent=1) + "\n")
    write_page(directory)


def write_page(directory: pathlib.Path) -> None:
    """Write `chaos.md` anew from `chaos.json`, as when a verdict was added there."""
    runs = json.loads((directory / "chaos.json").read_text())
    (directory / "chaos.md").write_text(_page(runs))


def _page(runs: Sequence[Mapping[str, Any]]) -> str:
    minutes = sum(run["minutes"] for run in runs)
    faults: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    for run in runs:
        faults.update(run["faults"])
        requests.update(run["requests"])
    transactions = sum(run["transactions"] for run in runs)
    ends = ", ".join(f"{count:,} {name}" for name, count in requests.items())
    lines = [
        _HEAD,
        f"In all {len(runs)} runs, {minutes:.0f} minutes with {sum(faults.values()):,} faults, "
        f"{transactions:,} transactions checked; of the requests, {ends}.\n\n",
        "| Date | Seed | Minutes | Faults | Served | Failed | Cancelled | Orphaned | Spoiled "
        "| Longest wait (s) | Transactions | Rests | Violations |\n",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        *(_row(run) for run in runs),
        *_found(runs),
        "\n## Faults, all runs\n\n| Fault | Struck |\n|---|--:|\n",
        *(f"| {name} | {count:,} |\n" for name, count in sorted(faults.items())),
    ]
    return "".join(lines)


def _row(run: Mapping[str, Any]) -> str:
    ends = [run["requests"].get(name, 0) for name in _ENDS]
    cells = [
        run["date"],
        run["seed"],
        f"{run['minutes']:.1f}",
        sum(run["faults"].values()),
        *(f"{count:,}" for count in ends),
        f"{run['longest_wait']:.0f}",
        f"{run['transactions']:,}",
        run["rests"],
        len(run["violations"]),
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def _found(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was wrong in which run, and why; also what was remarkable without being wrong."""
    bad = [run for run in runs if run["violations"] or run.get("verdict")]
    if not bad:
        return
    yield "\n## Violations, and what was behind them\n\n"
    yield "| Run | Seed | First violation | In all | Verdict |\n|---|--:|---|--:|---|\n"
    for run in bad:
        first = next(iter(run["violations"]), "none").replace("|", "\\|")
        verdict = run.get("verdict") or "nobody has looked into it yet"
        count = len(run["violations"])
        yield f"| {run['date']} | {run['seed']} | {first} | {count} | {verdict} |\n"


_ENDS = ("served", "failed", "cancelled", "orphaned", "spoiled")


def plot(
    path: pathlib.Path,
    title: str,
    served: Sequence[float],
    strikes: Sequence[tuple[float, str]],
    rests: Sequence[tuple[float, float]],
) -> bool:
    """Draw how many requests were served in every ten seconds; False without matplotlib.

    :param served: seconds since the beginning, as with all times here.
    :param strikes: when which fault struck.
    :param rests: from when to when all was healed.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(12, 4.5), layout="constrained")
    end = max([*served, *(at for at, _ in strikes), _BAR])
    count = int(end // _BAR) + 1
    bars = [0] * count
    for at in served:
        bars[int(at // _BAR)] += 1
    axes.bar([_BAR * (n + 0.5) for n in range(count)], bars, width=_BAR * 0.9, color="#4c78a8")
    for begin, until in rests:
        axes.axvspan(begin, until, color="#54a24b", alpha=0.15, lw=0)
    families = sorted({name.partition("-")[0] for _, name in strikes})
    height = max([*bars, 1])
    for place, family in enumerate(families):
        times = [at for at, name in strikes if name.partition("-")[0] == family]
        level = height * (1.06 + 0.05 * place)
        axes.plot(times, [level] * len(times), "|", markersize=7, label=family, clip_on=False)
    axes.set(xlabel="seconds", ylabel="requests served in 10 s", title=title, xlim=(0, end))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, title="faults")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True
