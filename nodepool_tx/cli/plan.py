"""``plan``: what a reload of another configuration would do."""

from __future__ import annotations

import argparse
import math
from typing import Any

import attrs

from nodepool_tx.cli.options import FORMATS, Verbs
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.showing import show
from nodepool_tx.cli.visit import Visit
from nodepool_tx.config import Config, ConfigErrors, load_config
from nodepool_tx.preview.nodes import Effect
from nodepool_tx.preview.reload import Preview, preview
from nodepool_tx.reports.report import Column, Report, Sections, Tone

__all__ = ["add_verbs"]

_TONES = {
    "added": Tone.GOOD,
    "registered": Tone.GOOD,
    "changed": Tone.BUSY,
    "replaced": Tone.BUSY,
    "deregistered": Tone.BAD,
    "deleted": Tone.BAD,
    "removed": Tone.BAD,
    "unavailable": Tone.HELD,
}


def add_verbs(verbs: Verbs) -> None:
    verb = verbs.add(
        "plan",
        "show what a reload of another configuration would do",
        plan_new,
        example="plan new.yaml --fail-over 10",
        formats=FORMATS,
    )
    verb.add_argument("new", metavar="FILE", help="the configuration that is to come into force")
    verb.add_argument(
        "--new-secure",
        metavar="FILE",
        help="the file with secrets that is to come into force [that of -s]",
    )
    verb.add_argument(
        "--fail-over",
        metavar="PERCENT",
        type=_percent,
        help="end with code 1 if more than so many of the nodes there are would go",
    )


def _percent(text: str) -> float:
    value = float(text.removesuffix("%"))
    if not 0 <= value <= 100 or math.isnan(value):
        raise argparse.ArgumentTypeError("must be a number from 0 to 100")
    return value


async def plan_new(visit: Visit) -> int:
    """The whole verb; its exit code."""
    options = visit.options
    if visit.config is None:
        raise Complaint(
            "there is no configuration to compare with; name the one in force with -c",
            ExitCode.USAGE,
        )
    new = _load(visit, options.new, options.new_secure or options.secure)
    found = preview(visit.config, new, visit.store, visit.clock.seconds())
    show(visit, _sections(found, options.new))
    limit = options.fail_over
    if limit is not None and found.lost_percent > limit:
        raise Complaint(
            f"{found.lost} of {found.existing} nodes would go ({found.lost_percent:.1f} %), more "
            f"than the {limit:g} % of --fail-over"
        )
    return ExitCode.OK


def _load(visit: Visit, path: str, secure: str | None) -> Config:
    try:
        return load_config(path, secure, visit.world.environ)
    except ConfigErrors as errors:
        raise Complaint(f"a launcher would refuse it:\n{errors}", ExitCode.USAGE) from None


def _sections(found: Preview, path: str) -> Sections:
    return Sections(
        title=f"reload of {path}: {_in_short(found)}",
        about={
            "config": path,
            "changes_nothing": found.plan.changes_nothing and not found.nodes,
            "existing": found.existing,
            "lost": found.lost,
            "lost_percent": round(found.lost_percent, 2),
        },
        parts=(
            ("providers", "Providers", _providers(found)),
            ("nodes", "Nodes", _nodes(found)),
            ("notes", "Notes", _notes(found)),
        ),
        terse=True,
    )


def _in_short(found: Preview) -> str:
    plan = found.plan
    if plan.changes_nothing and not found.nodes:
        return "changes nothing"
    parts = [
        f"{len(names)} {word}"
        for word, names in (
            ("kept", plan.kept),
            ("replaced", plan.replaced),
            ("added", plan.added),
            ("removed", plan.removed),
        )
        if names
    ]
    providers = f"providers {', '.join(parts)}"
    nodes = [
        f"{count} {effect.value}" + (f" ({later} when they return)" if later else "")
        for effect in Effect
        if (count := found.count(effect))
        for later in [found.count(effect, in_use=True)]
    ]
    return f"{providers}; nodes {', '.join(nodes) or 'as they are'}"


def _providers(found: Preview) -> Report:
    plan = found.plan
    rows = [
        {"provider": name, "driver": found.drivers.get(name, ""), "effect": effect}
        for effect, names in (
            ("removed", plan.removed),
            ("replaced", plan.replaced),
            ("added", plan.added),
            ("kept", plan.kept),
            ("unavailable", plan.unavailable),
        )
        for name in names
    ]
    columns = (
        Column("provider", "Provider"),
        Column("driver", "Driver"),
        Column("effect", "Effect", tone=_TONES.get),
    )
    return _report(columns, rows)


def _nodes(found: Preview) -> Report:
    rows = [{**attrs.asdict(each), "effect": each.effect.value} for each in found.nodes]
    columns = (
        Column("effect", "Effect", tone=_TONES.get),
        Column("provider", "Provider"),
        Column("pool", "Pool"),
        Column("name", "Machine"),
        Column("slot", "Slot"),
        Column("node_id", "Node"),
        Column("state", "State"),
        Column("in_use", "When", lambda in_use: "when it returns" if in_use else "at once"),
        Column("words", "Why or how"),
    )
    return _report(columns, rows)


def _notes(found: Preview) -> Report:
    return _report((Column("note", "Note"),), [{"note": note} for note in found.notes])


def _report(columns: tuple[Column, ...], rows: list[dict[str, Any]]) -> Report:
    return Report(columns, tuple(rows), [column.key for column in columns])
