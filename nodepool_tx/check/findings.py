"""What can be wrong, and what a finding says.

Design note: when a finding counts
----------------------------------
A live farm is full of what looks wrong for a moment.  So each kind has a
*patience*: a finding of it counts when every look for so many seconds has shown
the same, of the same version of the same records.  What launchers put right by
themselves in their sweeps has an age besides, see
:class:`~nodepool_tx.check.farm.Ages`: before that nothing is wrong with it.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable

import attrs

from nodepool_tx.check.repairs import Repair

__all__ = ["KINDS", "Finding", "Kind", "Severity"]

#: Seconds between two looks at the least.
GLANCE = 2.0

#: Seconds for what Nodepool 11's launcher looks at every five seconds, or what
#: another process may just be in the middle of.
SETTLING = 15.0


class Severity(enum.Enum):
    """How bad it is."""

    #: Something cannot be used, or could be used twice.
    ERROR = "error"
    #: Something waits for somebody.
    WARNING = "warning"
    #: Something is left over, and hurts nobody.
    INFO = "info"


@attrs.frozen
class Kind:
    """One kind of findings.

    :ivar code: never changes its meaning.
    :ivar patience: seconds for which it must be seen unchanged.
    """

    code: str
    severity: Severity
    patience: float = SETTLING


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

_KINDS = (
    Kind("lock-ownerless", _E, GLANCE),
    Kind("lock-orphaned", _I, GLANCE),
    Kind("component-ownerless", _E, GLANCE),
    Kind("node-empty", _I, GLANCE),
    Kind("node-abandoned", _E),
    Kind("node-not-returned", _W),
    Kind("node-not-deleted", _W),
    Kind("node-promised-to-nobody", _E),
    Kind("node-promised-in-vain", _E),
    Kind("request-without-nodes", _E),
    Kind("node-given-twice", _E),
    Kind("request-abandoned", _E),
    Kind("request-not-accepted", _W, GLANCE),
    Kind("request-ownerless", _W, GLANCE),
    Kind("request-declined-by-gone", _W),
    Kind("provider-unserved", _W),
    Kind("static-left-behind", _W),
    Kind("static-left-in-use", _W),
    Kind("cloud-left-behind", _W),
    Kind("static-doubled", _E),
    Kind("static-missing", _W),
    Kind("static-not-configured", _W),
    Kind("static-out-of-service", _E),
    Kind("maintenance-not-configured", _I, GLANCE),
    Kind("cloud-leaked", _W),
    Kind("cloud-second-server", _W),
    Kind("cloud-lost", _E),
    Kind("cloud-not-asked", _W, 0.0),
    Kind("unreadable", _W, GLANCE),
    Kind("image-build-abandoned", _W),
    Kind("image-upload-abandoned", _W),
    Kind("image-upload-orphaned", _W),
    Kind("image-upload-not-configured", _W),
    Kind("image-upload-empty", _I),
    Kind("draining-done", _I),
    Kind("question-left-over", _I, GLANCE),
)

#: Every kind there is, by code.
KINDS = {kind.code: kind for kind in _KINDS}


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that is wrong.

    :ivar code: of a kind in :data:`KINDS`.
    :ivar what: what it is about, such as ``node 0000000042``.
    :ivar path: where that is: a path in ZooKeeper, or the cloud's id.
    :ivar words: what is wrong with it.
    :ivar provider: whose it is, where it is one provider's.
    :ivar repair: what would put it right; None leaves it to a person.
    :ivar left: why there is none, and what to do.
    :ivar evidence: what tells this from the same trouble with something newer.
    """

    code: str = attrs.field(validator=attrs.validators.in_(KINDS))
    what: str
    path: str
    words: str
    provider: str | None = None
    repair: Repair | None = None
    left: str = ""
    evidence: Hashable = ()

    @property
    def kind(self) -> Kind:
        return KINDS[self.code]

    @property
    def key(self) -> Hashable:
        """Two looks that show this have shown the same."""
        return (self.code, self.what, self.path, self.evidence)

    @property
    def identity(self) -> Hashable:
        """What the trouble is, whatever was written since."""
        return (self.code, self.what, self.path)
