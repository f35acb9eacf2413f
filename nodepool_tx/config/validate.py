"""What ``nodepool config-validate`` says about a configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nodepool_tx.config.drivers import DriverRegistry
from nodepool_tx.config.errors import ConfigErrors
from nodepool_tx.config.load import load_config
from nodepool_tx.config.schema import Config, StaticPool, UnavailableProvider

__all__ = ["summarize", "validate_files"]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def summarize(config: Config) -> str:
    """What a configuration holds, in one line."""
    nodes = sum(len(pool.nodes) for pool in config.pools if isinstance(pool, StaticPool))
    parts = [
        _counted(len(config.providers), "provider"),
        _counted(len(config.pools), "pool"),
        _counted(len(config.labels), "label"),
        _counted(nodes, "static node"),
    ]
    if config.diskimages:
        parts.append(_counted(len(config.diskimages), "disk image"))
    return ", ".join(parts)


def validate_files(
    config: str,
    secure: str | None = None,
    env: Mapping[str, str] = os.environ,
    *,
    drivers: DriverRegistry | None = None,
) -> tuple[int, str]:
    """Check a configuration.

    :return: the exit code, 0 when it can be used, and the text to print: one
        line for each problem and a summary at the end.
    """
    try:
        loaded = load_config(config, secure, env, drivers=drivers)
    except ConfigErrors as errors:
        lines = [str(warning) for warning in errors.warnings]
        lines += [str(errors), f"{config}: {_counted(errors.count, 'error')}"]
        return 1, "\n".join(lines)
    lines = [str(warning) for warning in loaded.warnings]
    lines += [
        f"{config}: warning: provider {provider.name}: {provider.reason}"
        for provider in loaded.providers.values()
        if isinstance(provider, UnavailableProvider)
    ]
    lines.append(f"{config}: ok, {summarize(loaded)}")
    return 0, "\n".join(lines)
