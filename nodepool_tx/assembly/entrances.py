"""How people come in who change something."""

from __future__ import annotations

import attrs

from nodepool_tx.assembly.core import Core
from nodepool_tx.audit import Audit
from nodepool_tx.auth.attempts import Attempts
from nodepool_tx.auth.ldap import LdapDirectory
from nodepool_tx.auth.log_ins import LogIns

__all__ = ["Entrances", "make_entrances"]


@attrs.frozen(kw_only=True)
class Entrances:
    """How people who change something come in."""

    audit: Audit
    attempts: Attempts
    directory: LdapDirectory
    log_ins: LogIns


def make_entrances(core: Core) -> Entrances:
    audit = Audit(core.reactor, core.initial.operations.audit_log)
    # Not before the process has the rights it is to have.
    core.reactor.callWhenRunning(audit.reopen)
    directory = LdapDirectory(core.reactor, lambda: core.operations().ldap)
    attempts = Attempts(core.reactor)
    return Entrances(
        audit=audit,
        attempts=attempts,
        directory=directory,
        log_ins=LogIns(core.reactor, directory, attempts, audit),
    )
