"""Which ZooKeeper to talk to: the configuration's, or the embedded one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

import attrs

from nodepool_tx.cli.outcome import Complaint, ExitCode, NotYet
from nodepool_tx.config import Config, ConfigErrors, load_config
from nodepool_tx.embedded.location import is_attended, locate
from nodepool_tx.txzookeeper.tls import TLSFiles

__all__ = ["DEFAULT_CONFIG", "DEFAULT_STATE_DIR", "Target", "find_target"]

DEFAULT_CONFIG = "/etc/nodepool/nodepool.yaml"
DEFAULT_STATE_DIR = "/var/lib/nodepool"


@attrs.frozen
class Target:
    """Where ZooKeeper is.

    :ivar servers: as a connection string, with the chroot.
    :ivar described: for messages: what it is, and how we know of it.
    :ivar config: None if there is none, and the embedded one was looked for.
    """

    servers: str
    described: str
    tls: TLSFiles | None = None
    session_timeout: float = 10.0
    config: Config | None = None


def find_target(options: argparse.Namespace, environ: Mapping[str, str]) -> Target:
    """Read the configuration and follow it to ZooKeeper.

    Without a configuration in the usual place, an embedded ZooKeeper is still
    found, if one runs.

    :raises NotYet: the embedded ZooKeeper is being started.
    :raises Complaint: there is no configuration or it is wrong, or the
        embedded ZooKeeper does not run.
    """
    path = options.config or DEFAULT_CONFIG
    if options.config is None and not os.path.exists(path):
        return _embedded(
            options.state_dir,
            None,
            f"there is no configuration {path} (name yours with -c), and no embedded ZooKeeper "
            f"runs for {options.state_dir}",
        )
    try:
        config = load_config(path, options.secure, environ)
    except ConfigErrors as errors:
        more = f" (and {errors.count - 1} more: see nodepool config-validate)"
        raise Complaint(
            f"{errors.errors[0]}{more if errors.count > 1 else ''}", ExitCode.USAGE
        ) from None
    if not config.zookeeper_servers:
        return _embedded(
            options.state_dir,
            config,
            f"{path} names no zookeeper-servers, and no embedded ZooKeeper runs for "
            f"{options.state_dir}: is the launcher running, and with the same --state-dir?",
        )
    tls = config.zookeeper_tls
    servers = ",".join(
        f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"
        for server in config.zookeeper_servers
    )
    return Target(
        servers + config.zookeeper_chroot,
        f"{servers} ({path})",
        TLSFiles(cert=tls.cert, key=tls.key, ca=tls.ca) if tls else None,
        config.zookeeper_timeout,
        config,
    )


def _embedded(state_dir: str, config: Config | None, otherwise: str) -> Target:
    address = locate(state_dir)
    if address is None and is_attended(state_dir):
        raise NotYet(
            f"the embedded ZooKeeper of {state_dir} is not up yet: see the launcher's log",
            ExitCode.NO_ZOOKEEPER,
        )
    if address is None:
        raise Complaint(otherwise, ExitCode.NO_ZOOKEEPER)
    return Target(
        address,
        f"{address}, the embedded one of {state_dir}",
        session_timeout=config.zookeeper_timeout if config else 10.0,
        config=config,
    )
