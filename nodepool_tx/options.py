"""What can be said on the command line of ``twistd nodepool``, and in its environment."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping

from twisted.logger import InvalidLogLevelError, LogLevel
from twisted.python import usage

from nodepool_tx import __version__
from nodepool_tx.config import ConfigErrors, load_config
from nodepool_tx.embedded.layout import Layout, Lock, StateDirBusy
from nodepool_tx.embedded.runtime import MissingRuntime, find_runtime
from nodepool_tx.logs import FORMATS

__all__ = ["INTERVALS", "Options", "seconds"]

#: Option, environment variable, default in seconds, what it is.
INTERVALS = (
    ("cleanup-interval", "NODEPOOL_CLEANUP_INTERVAL", 60.0, "between sweeps for what was missed"),
    ("stats-interval", "NODEPOOL_STATS_INTERVAL", 5.0, "between reports of statistics"),
    ("lock-cleanup", "NODEPOOL_LOCK_CLEANUP", 300.0, "a vanished request's lock is kept"),
    (
        "image-check-timeout",
        "NODEPOOL_IMAGE_CHECK_TIMEOUT",
        300.0,
        "between looks at clouds",
    ),
    ("config-interval", "NODEPOOL_CONFIG_INTERVAL", 1.0, "between looks at the files"),
)


def seconds(name: str) -> Callable[[str], float]:
    """What reads a positive number of seconds; ``name`` is where it was given."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise usage.UsageError(f"{name}: {text!r} is not a positive number of seconds")
        return value

    return read


class Options(usage.Options):
    """What can be said on the command line of ``twistd nodepool``."""

    synopsis = "[options]"
    longdesc = "Answers the node requests in ZooKeeper from the providers in the configuration."
    optParameters = [
        ["config", "c", "/etc/nodepool/nodepool.yaml", "The configuration file"],
        ["secure", "s", None, "The file with secrets, if there is one"],
        [
            "state-dir",
            None,
            "/var/lib/nodepool",
            "Where the embedded ZooKeeper, used when the configuration names no "
            "zookeeper-servers, keeps its data",
        ],
        [
            "simulate-hosts",
            None,
            None,
            "Never contact static hosts whose address matches this regular expression "
            "and take them to be alive [environment: NODEPOOL_SIMULATE_HOSTS]",
        ],
        ["log-format", None, "text", f"One of {', '.join(FORMATS)}"],
        ["log-level", None, "info", "debug, info, warn, error or critical"],
        [
            "stop-timeout",
            None,
            10.0,
            "Seconds each part may take to stop",
            seconds("--stop-timeout"),
        ],
        *(
            [
                name,
                None,
                None,
                f"Seconds {what} [{default:g}; environment: {variable}]",
                seconds(f"--{name}"),
            ]
            for name, variable, default, what in INTERVALS
        ),
    ]
    optFlags = [["no-webapp", None, "Serve no HTTP, whatever the configuration says"]]
    compData = usage.Completions(
        optActions={
            "config": usage.CompleteFiles("*.yaml"),
            "secure": usage.CompleteFiles(),
            "state-dir": usage.CompleteDirs(),
        }
    )

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self.environ = environ

    def opt_version(self) -> None:
        """Show the version and leave."""
        sys.stdout.write(f"nodepool_tx {__version__}\n")
        sys.exit(0)

    def postOptions(self) -> None:
        """Read the configuration, so that a bad one is told before anything starts.

        :raises usage.UsageError: the command line is wrong; the text says how.
        :raises SystemExit: what it names cannot be used; the text, which goes
            to standard error without the list of options, says why.
        """
        for name, variable, default, _ in INTERVALS:
            if self[name] is None:
                self[name] = self._from_environment(variable, default)
        if self["simulate-hosts"] is None:
            self["simulate-hosts"] = self.environ.get("NODEPOOL_SIMULATE_HOSTS") or None
        if self["simulate-hosts"] is not None:
            try:
                self["simulated"] = re.compile(self["simulate-hosts"])
            except re.error as e:
                raise usage.UsageError(f"--simulate-hosts is no regular expression: {e}") from None
        if self["log-format"] not in FORMATS:
            raise usage.UsageError(f"--log-format must be one of {', '.join(FORMATS)}")
        try:
            LogLevel.levelWithName(self["log-level"])
        except InvalidLogLevelError:
            raise usage.UsageError(f"--log-level: no level {self['log-level']!r}") from None
        try:
            self["loaded"] = load_config(self["config"], self["secure"], self.environ)
        except ConfigErrors as errors:
            raise SystemExit(str(errors)) from None
        if not self["loaded"].zookeeper_servers:
            self._check_embedded()
        # twistd goes to another directory before anything is looked at again.
        for name in ("config", "secure", "state-dir"):
            if self[name] is not None:
                self[name] = os.path.abspath(self[name])

    def _check_embedded(self) -> None:
        """See now, and not after detaching, whether a ZooKeeper can be run."""
        layout = Layout(self["state-dir"])
        try:
            find_runtime()
            layout.create()
            Lock(layout).release()
        except (MissingRuntime, StateDirBusy) as e:
            raise SystemExit(str(e)) from None
        except OSError as e:
            raise SystemExit(
                f"the configuration names no zookeeper-servers, and the embedded ZooKeeper cannot "
                f"use the state directory {self['state-dir']}: {e.strerror or e}"
            ) from None

    def _from_environment(self, variable: str, default: float) -> float:
        text = self.environ.get(variable)
        return seconds(variable)(text) if text else default
