"""How people come in who change something."""

from __future__ import annotations

import attrs

from nodepool_tx.assembly.core import Core
from nodepool_tx.assembly.sight import Sight
from nodepool_tx.audit import Audit
from nodepool_tx.auth.attempts import Attempts
from nodepool_tx.auth.ldap import LdapDirectory
from nodepool_tx.auth.log_ins import LogIns
from nodepool_tx.leases.desk import Desk
from nodepool_tx.leases.entry import Entry
from nodepool_tx.leases.http import LeasesOverHTTP
from nodepool_tx.leases.polls import Polls
from nodepool_tx.leases.service import LeaseService
from nodepool_tx.status.requests import Reasons

__all__ = ["Entrances", "make_entrances", "make_leases_over_http"]


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


def make_leases_over_http(
    core: Core, sight: Sight, entrances: Entrances, leases: LeaseService, polls: Polls
) -> LeasesOverHTTP:
    return LeasesOverHTTP(
        core.reactor,
        Desk(core.reactor, core.store, core.in_force, leases.requests_of),
        polls,
        Entry(core.reactor, entrances.attempts, entrances.log_ins),
        entrances.audit,
        lambda: core.operations().leases,
        lambda request: Reasons(sight.farm).of(request),
    )
