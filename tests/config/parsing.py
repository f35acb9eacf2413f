"""Configurations from text, without files."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

from nodepool_tx.config import Config, ConfigErrors, DriverRegistry, Sources, load, parse_sources
from nodepool_tx.config.source import SourceFile

#: The drivers that are built in, whatever is installed here.
BUILT_IN = DriverRegistry(load.BUILT_IN)


def parse(
    text: str | bytes,
    secure: str | None = None,
    env: Mapping[str, str] | None = None,
    drivers: DriverRegistry = BUILT_IN,
) -> Config:
    """The configuration in ``text``, indented as the caller likes."""
    data = text if isinstance(text, bytes) else dedent(text).encode()
    second = None if secure is None else SourceFile("secure", dedent(secure).encode(), secret=True)
    return parse_sources(Sources(SourceFile("main", data), second), env or {}, drivers=drivers)


def errors_of(
    text: str | bytes,
    secure: str | None = None,
    env: Mapping[str, str] | None = None,
    drivers: DriverRegistry = BUILT_IN,
) -> ConfigErrors:
    """What is wrong with the configuration in ``text``."""
    try:
        config = parse(text, secure, env, drivers)
    except ConfigErrors as errors:
        return errors
    raise AssertionError(f"nothing is wrong with {config!r}")


def static_provider(nodes: str) -> str:
    """A configuration with one static provider that has these nodes."""
    return (
        dedent(
            """\
            labels: [{name: a}, {name: b}]
            providers:
              - name: rack
                driver: static
                pools:
                  - name: main
                    nodes:
            """
        )
        + "\n".join("          " + line for line in dedent(nodes).strip("\n").splitlines())
        + "\n"
    )
