"""The records that live in ZooKeeper, as frozen values.

The field names are those of Nodepool 11's JSON, so that a record written here
reads the same there.  Keys we do not know are kept in ``extra`` and written
back untouched.  ``version`` and ``mzxid`` say which write of the znode the
value was read from; they are not part of the JSON.

This module knows nothing of ZooKeeper, Twisted or the configuration.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from nodepool_tx.drafts import copier

__all__ = [
    "MIN_READY_REQUESTOR",
    "NODE_TRANSITIONS",
    "OURS",
    "RETURNED_STATES",
    "ComponentState",
    "IllegalTransition",
    "ImageBuild",
    "ImageState",
    "ImageUpload",
    "LauncherComponent",
    "Maintenance",
    "MaintenanceMode",
    "Node",
    "NodeRequest",
    "NodeState",
    "PoolComponent",
    "RequestState",
    "SortKey",
    "is_ours",
]

#: Who asks for the nodes that a launcher keeps in stock.
MIN_READY_REQUESTOR = "NodePool:min-ready"

#: What components of this program, of whatever version, have besides what Nodepool 11 writes.
OURS: Mapping[str, Any] = {"program": "nodepool_tx"}

#: Precedence, relative priority, submission order: smaller is served first.
SortKey = tuple[str, float, str]

_EMPTY: Mapping[str, Any] = {}


class NodeState(str, enum.Enum):
    """What a node is doing, as written in its znode."""

    INIT = "init"
    BUILDING = "building"
    TESTING = "testing"
    READY = "ready"
    IN_USE = "in-use"
    USED = "used"
    HOLD = "hold"
    FAILED = "failed"
    ABORTED = "aborted"
    DELETING = "deleting"
    #: The node is gone; only its znode is left to be removed.
    DELETED = "deleted"

    # It equals its text.
    __hash__ = str.__hash__


_S = NodeState

#: From which state a node may go to which, by anyone's hand.  Staying is
#: always allowed.  DELETING is reachable from everywhere: an operator may
#: delete any node.
NODE_TRANSITIONS: Mapping[NodeState, frozenset[NodeState]] = {
    _S.INIT: frozenset({_S.BUILDING, _S.FAILED, _S.ABORTED, _S.DELETING}),
    _S.BUILDING: frozenset({_S.READY, _S.TESTING, _S.FAILED, _S.ABORTED, _S.DELETING}),
    _S.TESTING: frozenset({_S.READY, _S.FAILED, _S.ABORTED, _S.DELETING}),
    _S.READY: frozenset({_S.IN_USE, _S.USED, _S.HOLD, _S.DELETING}),
    _S.IN_USE: frozenset({_S.USED, _S.HOLD, _S.READY, _S.DELETING}),
    _S.USED: frozenset({_S.HOLD, _S.DELETING}),
    _S.HOLD: frozenset({_S.USED, _S.READY, _S.DELETING}),
    _S.FAILED: frozenset({_S.HOLD, _S.DELETING}),
    _S.ABORTED: frozenset({_S.DELETING}),
    _S.DELETING: frozenset({_S.DELETED}),
    _S.DELETED: frozenset(),
}

#: A node in one of these that nobody holds a lock on is done with: a cloud
#: node is deleted, a static one goes back into service.
RETURNED_STATES = frozenset(
    {
        _S.USED,
        _S.IN_USE,
        _S.BUILDING,
        _S.FAILED,
        _S.DELETING,
        _S.DELETED,
        _S.ABORTED,
    }
)


class RequestState(str, enum.Enum):
    """How far a request has come, as written in its znode."""

    REQUESTED = "requested"
    #: A launcher works on it, and holds its lock while it does.
    PENDING = "pending"
    FULFILLED = "fulfilled"
    FAILED = "failed"

    # It equals its text.
    __hash__ = str.__hash__


class ComponentState(str, enum.Enum):
    """What a registered process or pool is doing."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class ImageState(str, enum.Enum):
    """What becomes of an image, as written in the znodes of builds and uploads.

    Only builds are ``building`` and only uploads ``uploading``.
    """

    BUILDING = "building"
    UPLOADING = "uploading"
    READY = "ready"
    DELETING = "deleting"
    FAILED = "failed"


class IllegalTransition(Exception):
    """A node was about to be written in a state its present one does not lead to."""

    def __init__(self, node_id: str, before: NodeState, after: NodeState) -> None:
        super().__init__(f"node {node_id} cannot go from {before.value} to {after.value}")


@attrs.frozen(kw_only=True)
class Node:
    """A test machine, or one slot of a static one.

    Times are seconds since the epoch.  ``type`` holds the node's labels;
    ``slot`` counts the parallel jobs of a static host from 0.
    """

    id: str = ""
    state: NodeState
    state_time: float = 0.0
    cloud: str | None = None
    provider: str | None = None
    pool: str | None = None
    type: tuple[str, ...] = ()
    allocated_to: str | None = None
    az: str | None = None
    region: str | None = None
    public_ipv4: str | None = None
    private_ipv4: str | None = None
    public_ipv6: str | None = None
    host_id: str | None = None
    interface_ip: str | None = None
    #: Usually a port; the Kubernetes drivers keep connection data here.
    connection_port: Any = 22
    image_id: Any = None
    launcher: str | None = None
    created_time: float | None = None
    external_id: Any = None
    hostname: str | None = None
    comment: str | None = None
    user_data: Any = None
    hold_job: str | None = None
    host_keys: tuple[str, ...] = ()
    username: str | None = "zuul"
    connection_type: str | None = None
    shell_type: str | None = None
    #: Seconds a held node is kept; None or 0 leaves it to the configuration.
    hold_expiration: int | None = None
    resources: Mapping[str, float] | None = None
    slot: int | None = None
    attributes: Mapping[str, Any] | None = None
    python_path: str | None = None
    tenant_name: str | None = None
    driver_data: Any = None
    requestor: str | None = None
    node_properties: Mapping[str, Any] | None = attrs.field(factory=dict)
    extra: Mapping[str, Any] = _EMPTY
    version: int = attrs.field(default=-1, eq=False)
    mzxid: int = attrs.field(default=0, eq=False)

    @property
    def identity(self) -> tuple[str | None, str | None, Any]:
        """What tells one static machine from another: host, user and port."""
        return (self.hostname, self.username, self.connection_port)

    def in_state(self, state: NodeState, now: float, **changes: Any) -> Node:
        """This node in another state since ``now``.

        :raises IllegalTransition: no such step is allowed from where it is.
        """
        if state is not self.state and state not in NODE_TRANSITIONS[self.state]:
            raise IllegalTransition(self.id, self.state, state)
        return self.changed(state=state, state_time=now, **changes)

    def as_written(self, node_id: str, version: int, mzxid: int) -> Node:
        """This node as ZooKeeper has it, once it was written there."""
        return self.changed(id=node_id, version=version, mzxid=mzxid)

    def changed(self, **changes: Any) -> Node:
        """A copy with other values in some fields; sooner done than by ``attrs.evolve``.

        :raises AttributeError: there is no such field.
        """
        return _copied_node(self, changes)


_copied_node = copier(Node)


@attrs.frozen(kw_only=True)
class NodeRequest:
    """Somebody's wish for nodes, one per label in ``node_types``, in that order."""

    id: str = ""
    state: RequestState
    state_time: float = 0.0
    declined_by: tuple[str, ...] = ()
    node_types: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    #: False asks for newly launched nodes, whatever is in stock.
    reuse: bool = True
    requestor: str | None = None
    requestor_data: Any = None
    #: A provider the requestor would rather have, if it is online.
    provider: str | None = None
    relative_priority: float = 0
    event_id: str | None = None
    created_time: float | None = None
    tenant_name: str | None = None
    extra: Mapping[str, Any] = _EMPTY
    version: int = attrs.field(default=-1, eq=False)
    mzxid: int = attrs.field(default=0, eq=False)

    @property
    def sort_key(self) -> SortKey:
        """Where it stands in the queue."""
        precedence, _, sequence = self.id.partition("-")
        return (precedence, self.relative_priority, sequence)

    @property
    def is_min_ready(self) -> bool:
        return self.requestor == MIN_READY_REQUESTOR

    @property
    def is_answered(self) -> bool:
        """It has its nodes, or gets none: no launcher has anything to do with it any more."""
        return self.state in (RequestState.FULFILLED, RequestState.FAILED)

    def in_state(self, state: RequestState, now: float, **changes: Any) -> NodeRequest:
        return self.changed(state=state, state_time=now, **changes)

    def as_written(self, version: int, mzxid: int) -> NodeRequest:
        """This request as ZooKeeper has it, once it was written there."""
        return self.changed(version=version, mzxid=mzxid)

    def changed(self, **changes: Any) -> NodeRequest:
        """A copy with other values in some fields; sooner done than by ``attrs.evolve``.

        :raises AttributeError: there is no such field.
        """
        return _copied_request(self, changes)


_copied_request = copier(NodeRequest)


@attrs.frozen(kw_only=True)
class ImageBuild:
    """One build of a disk image, whose name is ``image``.

    ``builder`` is the builder's host and ``builder_id`` what tells it from
    others there; ``formats`` are the files that there are of it.
    """

    id: str = ""
    image: str = ""
    state: ImageState
    state_time: float = 0.0
    builder: str | None = None
    builder_id: str | None = None
    formats: tuple[str, ...] = ()
    username: str | None = "zuul"
    python_path: str | None = "/usr/bin/python2"
    shell_type: str | None = None
    extra: Mapping[str, Any] = _EMPTY
    version: int = attrs.field(default=-1, eq=False)
    mzxid: int = attrs.field(default=0, eq=False)


@attrs.frozen(kw_only=True)
class ImageUpload:
    """A build of the disk image ``image``, as one provider has it.

    ``id`` counts the uploads of one build to one provider; only together with
    both does it name an upload.  ``external_id`` and ``external_name`` are the
    cloud's.
    """

    id: str = ""
    image: str = ""
    build_id: str = ""
    provider: str = ""
    state: ImageState
    state_time: float = 0.0
    external_id: Any = None
    external_name: str | None = None
    format: str | None = None
    username: str | None = "zuul"
    python_path: str | None = "/usr/bin/python2"
    shell_type: str | None = None
    extra: Mapping[str, Any] = _EMPTY
    version: int = attrs.field(default=-1, eq=False)
    mzxid: int = attrs.field(default=0, eq=False)


@attrs.frozen(kw_only=True)
class LauncherComponent:
    """A running launcher or builder, as the registry shows it."""

    kind: str
    hostname: str
    state: ComponentState = ComponentState.RUNNING
    version: str | None = None
    model_api: int = 0
    extra: Mapping[str, Any] = _EMPTY
    path: str = attrs.field(default="", eq=False)


@attrs.frozen(kw_only=True)
class PoolComponent:
    """A provider pool that answers requests, as the registry shows it.

    ``priority``: pools with a smaller number are asked first.  ``paused``: it
    is at quota, so others need not wait for it.
    """

    id: str
    name: str
    provider_name: str
    hostname: str
    supported_labels: frozenset[str] = frozenset()
    priority: int = 100
    paused: bool = False
    state: ComponentState = ComponentState.RUNNING
    version: str | None = None
    model_api: int = 0
    kind: str = "pool"
    extra: Mapping[str, Any] = _EMPTY
    path: str = attrs.field(default="", eq=False)


Component = LauncherComponent | PoolComponent


def is_ours(component: Component) -> bool:
    """Whether this program has registered it, in this process or another."""
    return OURS.items() <= component.extra.items()


class MaintenanceMode(str, enum.Enum):
    """How something was taken out of service."""

    #: To be emptied; comes back when somebody returns it.
    DRAIN = "drain"
    #: Worked on; comes back by itself at a given time, if there is one.
    MAINTAIN = "maintain"


@attrs.frozen(kw_only=True)
class Maintenance:
    """A static host or a whole provider that an operator took out of service.

    It is given no new work, jobs that run there end in their own time, and its
    free nodes leave ZooKeeper, whoever's launcher looks after them.

    :ivar host: the host's name as in the configuration, wherever it is listed;
        None if it is a provider.
    :ivar provider: the provider's name; None if it is a host.
    :ivar since: when it was taken out (seconds since the epoch).
    :ivar until: when it returns by itself.
    :ivar by: who did it.
    """

    mode: MaintenanceMode
    host: str | None = None
    provider: str | None = None
    reason: str = ""
    since: float = 0.0
    until: float | None = None
    by: str = ""
    version: int = attrs.field(default=-1, eq=False)

    @property
    def target(self) -> str:
        """What was taken out of service, in words."""
        return f"host {self.host}" if self.host is not None else f"provider {self.provider}"
