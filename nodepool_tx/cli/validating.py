"""``config-validate``: is this configuration one that a launcher takes?"""

from __future__ import annotations

import argparse
import json
from typing import Any

import attrs

from nodepool_tx.cli.options import FORMATS, Verbs
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.cli.target import DEFAULT_CONFIG
from nodepool_tx.cli.visit import World
from nodepool_tx.config import ConfigErrors, UnavailableProvider, load_config, validate_files
from nodepool_tx.config.errors import Problem
from nodepool_tx.reports.report import csv_text

__all__ = ["add_verbs"]


def add_verbs(verbs: Verbs) -> None:
    verbs.add_local(
        "config-validate",
        "check the configuration",
        validate,
        example="-c new.yaml config-validate",
        formats=FORMATS,
    )


async def validate(world: World, options: argparse.Namespace) -> int:
    """Tell all that is wrong with the configuration; 1 if a launcher would refuse it."""
    path = options.config or DEFAULT_CONFIG
    if options.format != "table":
        code, found = _as_value(path, options.secure, world)
        shown = json.dumps(found, indent=2) if options.format == "json" else _as_csv(found)
        world.terminal.result(shown)
        return code
    code, text = validate_files(path, options.secure, world.environ)
    world.terminal.result(text)
    return code


def _as_csv(found: dict[str, Any]) -> str:
    keys = [field.name for field in attrs.fields(Problem)]
    rows = (
        [severity, *(problem[key] for key in keys)]
        for severity in ("error", "warning")
        for problem in found[f"{severity}s"]
    )
    return csv_text(["severity", *keys], rows).removesuffix("\n")


def _as_value(path: str, secure: str | None, world: World) -> tuple[int, dict[str, Any]]:
    try:
        config = load_config(path, secure, world.environ)
    except ConfigErrors as e:
        return ExitCode.FAILED, {
            "config": path,
            "ok": False,
            "errors": [attrs.asdict(error) for error in e.errors],
            "omitted": e.omitted,
            "warnings": [attrs.asdict(warning) for warning in e.warnings],
        }
    unavailable = [
        Problem(path, 0, 0, f"provider {provider.name}", provider.reason)
        for provider in config.providers.values()
        if isinstance(provider, UnavailableProvider)
    ]
    return ExitCode.OK, {
        "config": path,
        "ok": True,
        "errors": [],
        "omitted": 0,
        "warnings": [attrs.asdict(problem) for problem in (*config.warnings, *unavailable)],
    }
