"""What can be done about findings, as values; :mod:`~nodepool_tx.check.repairing` does it.

Each holds the records as they were seen: it is carried out only if they are
still the same.
"""

from __future__ import annotations

import attrs

from nodepool_tx.model import ImageBuild, ImageUpload, Node, NodeRequest
from nodepool_tx.providers.cloud.interface import Resource

__all__ = [
    "Delete",
    "Deregister",
    "EndRequest",
    "FailImage",
    "ForgetDecliners",
    "Free",
    "Reclaim",
    "Remove",
    "Repair",
    "ResetRequest",
]


@attrs.frozen
class Remove:
    """Remove znodes, what is below first.

    :ivar paths: each with its version.
    """

    paths: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"remove {self.paths[-1][0]}"


@attrs.frozen
class Free:
    """Put a node back in stock that is promised to somebody.

    :ivar request: who it is promised to, if there is such a request.
    """

    node: Node
    request: NodeRequest | None = None

    def __str__(self) -> str:
        return "put it back in stock"


@attrs.frozen
class Delete:
    """Mark a node as to be deleted, which its launcher does."""

    node: Node

    def __str__(self) -> str:
        return "have its launcher delete it"


@attrs.frozen
class Deregister:
    """Remove the records of static nodes that nobody has."""

    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        count = len(self.nodes)
        return f"deregister {f'{count} nodes' if count > 1 else f'node {self.nodes[0].id}'}"


@attrs.frozen
class ResetRequest:
    """Give a pending request back to all launchers.

    :ivar free: nodes that were for it, and are put back in stock.
    :ivar doomed: nodes that were to be made for it, and are deleted.
    """

    request: NodeRequest
    free: tuple[Node, ...] = ()
    doomed: tuple[Node, ...] = ()

    def __str__(self) -> str:
        return "open it again"


@attrs.frozen
class EndRequest:
    """End a request that nobody can make use of.

    :ivar free: nodes that were for it, and are put back in stock.
    :ivar remove: remove it; else it fails.
    """

    request: NodeRequest
    free: tuple[Node, ...] = ()
    remove: bool = False

    def __str__(self) -> str:
        return "remove it" if self.remove else "fail it, so that its requestor asks again"


@attrs.frozen
class ForgetDecliners:
    """Let whoever comes decide anew about a request."""

    request: NodeRequest

    def __str__(self) -> str:
        return "forget who declined it"


@attrs.frozen
class FailImage:
    """Let a build or an upload fail that nobody works on; builders remove it then.

    :ivar lock: the directory of the lock that who works on it holds.
    :ivar has_lock: whether there is that directory.
    """

    record: ImageBuild | ImageUpload
    path: str
    lock: str
    has_lock: bool

    def __str__(self) -> str:
        return "let it fail"


@attrs.frozen
class Reclaim:
    """Remove something from a cloud that nobody uses."""

    provider: str
    resource: Resource

    def __str__(self) -> str:
        return f"remove the {self.resource.kind} from the cloud"


Repair = (
    Remove
    | Free
    | Delete
    | Deregister
    | ResetRequest
    | EndRequest
    | ForgetDecliners
    | FailImage
    | Reclaim
)
