"""Being sure that our server has seen what was done through another.

Design note: why not ``sync``
-----------------------------
``sync`` promises this, and keeps it on followers.  A leader answers it at once
(seen with ZooKeeper 3.8): a follower may already have applied and answered a
change that the leader has committed but not yet applied to its own tree, so a
client of the leader reads, after its ``sync``, what was true before.  Nor does
that ``sync`` wait for a request of our own that is still on its way from the
server we were connected to before.

A transaction has to take its place among all changes before it is answered,
even one that changes nothing.  It costs what a write costs.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.interface import TransactionFailed, ZookeeperAPI

__all__ = ["caught_up"]


def caught_up(client: ZookeeperAPI) -> Deferred[None]:
    """Fires when our server has applied all that anybody was answered before this call.

    Reads sent after this call, without waiting, show it.  What our own session
    asked for over an earlier connection has happened then, or never will.

    :raises ConnectionLoss: and the other errors of a request without an answer.
    """
    txn = client.transaction()
    txn.check("/")
    return txn.commit().addCallbacks(lambda _: None, _refused)


def _refused(failure: Failure) -> None:
    """There is no root, below a chroot that was not made yet: an answer all the same."""
    failure.trap(TransactionFailed)
