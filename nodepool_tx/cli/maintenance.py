"""The verbs that take hosts and providers out of service and return them."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, TimeoutError

from nodepool_tx.cli.options import Verbs, positive_seconds
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.request import who
from nodepool_tx.cli.showing import show
from nodepool_tx.cli.targets import HOST, PROVIDER, Place, Remaining, choose, remaining
from nodepool_tx.cli.visit import Visit
from nodepool_tx.cli.whens import parse_when
from nodepool_tx.maintenance import not_configured
from nodepool_tx.model import Maintenance, MaintenanceMode
from nodepool_tx.reports.maintenance import maintenance_report
from nodepool_tx.reports.report import Report
from nodepool_tx.store.change import Moved, Vanished
from nodepool_tx.store.maintenance import in_words

__all__ = ["add_verbs"]

#: How often it is tried to write a record that others write at the same time.
_ATTEMPTS = 5


def add_verbs(verbs: Verbs) -> None:
    drain = verbs.add(
        "drain",
        "take a host or a whole provider out of service until somebody returns it",
        drain_target,
        example="drain --wait rack2 --reason 'moving to the new hall'",
        check=_check,
    )
    drain.add_argument("target", metavar="HOST|PROVIDER")
    drain.add_argument("--reason", metavar="TEXT", default="", help="why, shown everywhere")
    drain.add_argument(
        "--wait", action="store_true", help="wait until no node of it is left in ZooKeeper"
    )
    drain.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        help="how long to wait with --wait [until it is empty]",
    )
    maintain = verbs.add(
        "maintain",
        "take a static host out of service, perhaps until a time",
        maintain_host,
        example="maintain node17.example.org --reason 'new disk' --until +2h",
    )
    maintain.add_argument("target", metavar="HOST")
    maintain.add_argument(
        "--reason", metavar="TEXT", required=True, type=_some_text, help="why, shown everywhere"
    )
    maintain.add_argument(
        "--until",
        metavar="WHEN",
        help="when it returns by itself: +90s, +30m, +2h, +1d, or such as 2030-01-31T18:00, "
        "in the local time zone unless it names one",
    )
    back = verbs.add(
        "return",
        "return a host or a provider to service",
        return_target,
        example="return node17.example.org",
        formats=(),
    )
    back.add_argument("target", metavar="HOST|PROVIDER")
    for verb in (drain, back):
        kind = verb.add_mutually_exclusive_group()
        for name in (HOST, PROVIDER):
            kind.add_argument(
                f"--{name}",
                dest="kind",
                action="store_const",
                const=name,
                help=f"it is the name of a {name}",
            )
    maintain.set_defaults(kind=HOST)
    for verb in (drain, maintain, back):
        verb.add_argument(
            "--force",
            action="store_true",
            help="though it is not known, or somebody else has taken it out of service",
        )
    verbs.add_list(
        "maintenance-list",
        "list what is out of service",
        list_maintenance,
        example="maintenance-list --watch",
    )


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.timeout is not None and not options.wait:
        parser.error("--timeout says how long --wait waits")


def _some_text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must say something")
    return text


def operator(environ: Mapping[str, str]) -> str:
    """The person who works here, also behind sudo, as ``user@host``."""
    behind = environ.get("SUDO_USER")
    return f"{behind}@{socket.gethostname()}" if behind else who()


# -- taking out and returning ------------------------------------------------


async def drain_target(visit: Visit) -> int:
    """``drain``: it is emptied, and stays so until somebody returns it."""
    place = choose(visit)
    record = await _take_out(visit, place, MaintenanceMode.DRAIN, None)
    if visit.options.wait:
        await _until_empty(visit, place)
    return show(visit, _report(visit, [record]))


async def maintain_host(visit: Visit) -> int:
    """``maintain``: somebody works on it."""
    until = visit.options.until
    moment = None if until is None else parse_when(until, visit.clock.seconds())
    record = await _take_out(visit, choose(visit), MaintenanceMode.MAINTAIN, moment)
    return show(visit, _report(visit, [record]))


async def return_target(visit: Visit) -> int:
    """``return``: from now on it is given work again."""
    place, store = choose(visit), visit.store
    for _ in range(_ATTEMPTS):
        record = _stored(visit, place)
        if record is None:
            visit.terminal.note(f"{place} is in service")
            return ExitCode.OK
        try:
            if await store.maintenance.remove(record):
                visit.terminal.note(f"{place} is back in service")
                return ExitCode.OK
        except Moved:
            # Whatever was written meanwhile, it is to be returned.
            pass
        await store.barrier()
    raise Complaint(f"others change the record of {place} all the time")


def _stored(visit: Visit, place: Place) -> Maintenance | None:
    """The record there is, though it may be over."""
    table = visit.store.maintenance
    return next((r for r in (*table.all(), *table.over()) if place.is_of(r)), None)


async def _take_out(
    visit: Visit, place: Place, mode: MaintenanceMode, until: float | None
) -> Maintenance:
    store, me = visit.store, operator(visit.world.environ)
    for _ in range(_ATTEMPTS):
        now = visit.clock.seconds()
        before = _stored(visit, place)
        over = before is not None and before.until is not None and before.until <= now
        mine = before if before is not None and not over and before.by == me else None
        reason = " ".join(visit.options.reason.split()) or (mine.reason if mine else "")
        if mine is not None and (mine.mode, mine.reason, mine.until) == (mode, reason, until):
            return mine
        if before is not None and not over:
            if mine is None and not visit.options.force:
                raise Complaint(f"{in_words(before, now)} (--force replaces that)")
            visit.terminal.note(f"this replaces: {in_words(before, now)}")
        record = Maintenance(
            mode=mode,
            host=place.host,
            provider=place.provider,
            reason=reason,
            since=now if mine is None else mine.since,
            until=until,
            by=me,
            version=-1 if before is None else before.version,
        )
        try:
            return await store.maintenance.put(record)
        except (Moved, Vanished):
            # Another operator, or its end: see what there is now.
            await store.barrier()
    raise Complaint(f"others change the record of {place} all the time")


# -- waiting -----------------------------------------------------------------


async def _until_empty(visit: Visit, place: Place) -> None:
    """Wait until there is no node of it that anybody has or could be given.

    :raises Complaint: there is one when the time is over, or it was returned.
    """
    empty = Deferred[None]()
    left = remaining(visit, place)

    def look(_: object = None) -> None:
        nonlocal left
        if empty.called or not visit.store.current:
            return
        left = remaining(visit, place)
        if _stored(visit, place) is None:
            empty.errback(Complaint(f"{place} was returned to service meanwhile"))
        elif not left.total:
            empty.callback(None)
        else:
            visit.terminal.progress(f"waiting for {place} to be empty: {left}")

    # What was just written has to be seen first.
    await visit.store.barrier()
    subscriptions: tuple[Callable[[], None], ...] = (
        visit.store.nodes.subscribe(look),
        visit.store.maintenance.subscribe(look),
        visit.store.when_current(look),
    )
    try:
        look()
        if visit.options.timeout is not None:
            empty.addTimeout(visit.options.timeout, visit.clock)
        await empty
    except TimeoutError:
        raise Complaint(
            f"{place} is not empty after {visit.options.timeout:g} s: {left}{_advice(left)}; it "
            "stays out of service",
            ExitCode.TIMED_OUT,
        ) from None
    finally:
        for end in subscriptions:
            end()
    visit.terminal.note(f"{place} is empty")


def _advice(left: Remaining) -> str:
    return " (does a launcher that has it run?)" if left.free else ""


# -- looking -----------------------------------------------------------------


async def list_maintenance(visit: Visit) -> Report:
    """``maintenance-list``."""
    return _report(visit, visit.store.maintenance.all())


def _report(visit: Visit, records: tuple[Maintenance, ...] | list[Maintenance]) -> Report:
    config = visit.config
    unknown = set() if config is None else {r.target for r in not_configured(records, config)}
    return maintenance_report(
        records,
        in_use=lambda record: remaining(visit, Place.of(record)).in_use,
        configured=lambda record: None if config is None else record.target not in unknown,
        now=visit.clock.seconds(),
    )
