"""``check``: what is broken in ZooKeeper and in the clouds, and repairing it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from nodepool_tx.check.asking import Asker
from nodepool_tx.check.farm import Ages
from nodepool_tx.check.findings import KINDS, Finding, Severity
from nodepool_tx.check.gathering import Gatherer
from nodepool_tx.check.looking import Checker
from nodepool_tx.check.repairing import Outcome, Repaired, Repairer
from nodepool_tx.cli.options import FORMATS, Verbs, positive_seconds
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.showing import show
from nodepool_tx.cli.visit import Visit
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.offload import in_thread
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.cloud.outside import adapter_of
from nodepool_tx.reports.report import Column, Report, Tone

__all__ = ["add_verbs", "check"]

_TONES = {
    Severity.ERROR.value: Tone.BAD,
    Severity.WARNING.value: Tone.BUSY,
    Outcome.DONE.value: Tone.GOOD,
    Outcome.NOT_NEEDED.value: Tone.GOOD,
    Outcome.REFUSED.value: Tone.BAD,
}

_ORDER = [severity.value for severity in Severity]


def add_verbs(verbs: Verbs) -> None:
    verb = verbs.add(
        "check",
        "look for what is broken in ZooKeeper and the clouds, and repair it if asked to",
        check,
        example="check --repair --dry-run",
        formats=FORMATS,
        check=_fit,
    )
    verb.add_argument("--repair", action="store_true", help="repair what can be repaired")
    verb.add_argument(
        "--dry-run",
        action="store_true",
        help="only show what would be repaired, which is what happens without --repair, too",
    )
    verb.add_argument("--yes", action="store_true", help="do not ask before repairs")
    verb.add_argument("--no-clouds", action="store_true", help="do not ask the clouds")
    verb.add_argument(
        "--provider", metavar="PROVIDER", help="only what is about this one, and only its cloud"
    )
    verb.add_argument(
        "--overdue",
        metavar="SECONDS",
        type=positive_seconds,
        help="count at the latest after so long what otherwise counts after minutes or hours",
    )


def _fit(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.yes and not options.repair:
        parser.error("--yes goes with --repair")


async def check(visit: Visit) -> int:
    """The whole verb; its exit code."""
    options, terminal = visit.options, visit.terminal
    _know(visit)
    ages = Ages() if options.overdue is None else Ages.at_most(options.overdue)
    gatherer = Gatherer(visit.store, visit.clock, visit.config, ages)
    asker = None if options.no_clouds else _asker(visit)
    checker = Checker(gatherer, visit.clock, ages, asker, options.provider, terminal.progress)
    findings = sorted(await checker.check(), key=_rank)
    repaired = tuple(Repaired(finding) for finding in findings)
    repairing = options.repair and not options.dry_run
    if repairing and any(finding.repair is not None for finding in findings):
        await _be_sure(visit, repaired)
        repairer = Repairer(visit.store, visit.clock, checker, asker, terminal.progress)
        repaired = await repairer.repair(findings)
    if repaired or options.format != "table":
        show(visit, _report(repaired))
    terminal.note(_summary(visit, repaired, asker))
    unseen = asker is not None and options.provider in asker.silent
    if unseen or any(each.remains for each in repaired):
        return ExitCode.FAILED
    return ExitCode.OK


def _know(visit: Visit) -> None:
    """The provider that is asked for is known to somebody."""
    name, config = visit.options.provider, visit.config
    known = {*visit.store.nodes.providers(), *(config.providers if config is not None else ())}
    if name is not None and name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise Complaint(
            f"there is no provider {name} in the configuration, and it has no nodes: there is "
            f"{names}"
        )


def _asker(visit: Visit) -> Asker:
    reactor = visit.world.reactor

    def make(provider: ProviderConfig) -> CloudAdapter | None:
        return adapter_of(provider, visit.store, reactor, in_thread(reactor))

    return Asker(visit.config, visit.clock, make, visit.options.provider)


def _rank(finding: Finding) -> tuple[int, int, str, str]:
    kind = finding.kind
    codes = list(KINDS)
    return (_ORDER.index(kind.severity.value), codes.index(kind.code), finding.what, finding.path)


async def _be_sure(visit: Visit, repaired: Sequence[Repaired]) -> None:
    """Ask whoever is there.

    :raises Complaint: they do not want it, or there is nobody.
    """
    if visit.options.yes:
        return
    typed, count = visit.world.typed, _repairable(repaired)
    if not visit.world.interactive or typed is None:
        show(visit, _report(repaired))
        raise Complaint(
            "nothing was repaired: there is nobody to ask; nodepool check --repair --yes does "
            "not ask"
        )
    visit.terminal.settle()
    visit.terminal.note(_report(repaired).as_table())
    visit.terminal.note(f"Repair {count} of these {len(repaired)}?  [y/N]")
    if (await typed()).lower() not in ("y", "yes"):
        raise Complaint("nothing was repaired")


def _repairable(repaired: Iterable[Repaired]) -> int:
    return sum(1 for each in repaired if each.finding.repair is not None)


def _summary(visit: Visit, repaired: Sequence[Repaired], asker: Asker | None) -> str:
    store = visit.store
    seen = f"{len(store.nodes)} nodes, {len(store.requests)} requests"
    told = f"{seen}: {_found(repaired)}"
    if asker is not None and asker.silent:
        told += f"\nnot asked, as there is no cloud to be seen from here: {_names(asker.silent)}"
    if visit.config is None:
        told += "\nthere is no configuration, so nothing was compared with one (name yours with -c)"
    return told


def _found(repaired: Sequence[Repaired]) -> str:
    if not repaired:
        return "nothing is wrong"
    left = sum(1 for each in repaired if each.remains)
    if any(each.outcome is not None for each in repaired):
        refused = sum(1 for each in repaired if each.outcome is Outcome.REFUSED)
        return (
            f"{_counted(repaired)}, {len(repaired) - left} repaired or no longer there, "
            f"{refused} refused, {left - refused} left to you"
        )
    count = _repairable(repaired)
    return f"{_counted(repaired)}, {count} of which nodepool check --repair would repair"


def _counted(repaired: Sequence[Repaired]) -> str:
    return "1 finding" if len(repaired) == 1 else f"{len(repaired)} findings"


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


_COLUMNS = (
    Column("severity", "Severity", tone=_TONES.get),
    Column("code", "Code"),
    Column("what", "What"),
    Column("provider", "Provider", lambda name: name or ""),
    Column("path", "Where"),
    Column("words", "Finding"),
    Column("repair", "Repair"),
    Column("left", "Left to you"),
    Column("outcome", "Outcome", lambda outcome: outcome or "", tone=_TONES.get),
    Column("refusal", "Why"),
)

#: Whether it is shown depends on whether anything was repaired.
_OF_REPAIRS = ("outcome", "refusal")


def _report(repaired: Iterable[Repaired]) -> Report:
    rows = tuple(_row(each) for each in repaired)
    done = any(row["outcome"] for row in rows)
    shown = [column.key for column in _COLUMNS if done or column.key not in _OF_REPAIRS]
    return Report(_COLUMNS, rows, shown)


def _row(each: Repaired) -> dict[str, Any]:
    finding = each.finding
    return {
        "severity": finding.kind.severity.value,
        "code": finding.code,
        "what": finding.what,
        "provider": finding.provider,
        "path": finding.path,
        "words": finding.words,
        "repair": "" if finding.repair is None else str(finding.repair),
        "left": finding.left,
        "outcome": None if each.outcome is None else each.outcome.value,
        "refusal": each.words,
    }
