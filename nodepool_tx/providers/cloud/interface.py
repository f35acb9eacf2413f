"""What a cloud must be able to do: the adapter, and the values it deals in.

An adapter is a thin, stateless translation between the engine and one cloud
account.  It decides nothing: when to call, how often, what to do about errors,
what is leaked and what is too much is the engine's business.

Every method may raise the errors of :mod:`nodepool_tx.providers.cloud.errors`,
and must not block the reactor.  The engine paces calls (``rate``), puts a
timeout on each by cancelling it, and calls from many coroutines at a time.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import attrs

from nodepool_tx.config.cloud import CloudLabel, CloudPool
from nodepool_tx.model import NodeRequest
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.resources import Amounts

__all__ = [
    "BUILD_ID",
    "IMAGE_NAME",
    "NODE_ID",
    "POOL_NAME",
    "PROVIDER_NAME",
    "UPLOAD_ID",
    "CanBeGivenUp",
    "CloudAdapter",
    "HearsOfFailedBoots",
    "ImageInCloud",
    "ImageUploadOrder",
    "Instance",
    "InstanceState",
    "ListsImages",
    "Login",
    "Order",
    "Resource",
]

#: The metadata by which a thing in the cloud is known to be ours; Nodepool 11's
#: names, so that each of the two finds what the other has made.
NODE_ID = "nodepool_node_id"
POOL_NAME = "nodepool_pool_name"
PROVIDER_NAME = "nodepool_provider_name"
BUILD_ID = "nodepool_build_id"
UPLOAD_ID = "nodepool_upload_id"
IMAGE_NAME = "nodepool_image_name"


class InstanceState(enum.Enum):
    """How far a server is, in the engine's terms."""

    BUILDING = "building"
    #: It runs; :meth:`CloudAdapter.finish` may have something left to do.
    ACTIVE = "active"
    #: It will never run; :attr:`Instance.fault` says why.
    FAILED = "failed"
    #: It is on its way out.
    DELETING = "deleting"


@attrs.frozen(kw_only=True)
class Login:
    """How to reach a server, where the image's configuration does not know.

    None leaves what the image says.
    """

    username: str | None = None
    python_path: str | None = None
    shell_type: str | None = None
    connection_type: str | None = None
    connection_port: Any = None
    host_keys: tuple[str, ...] | None = None


@attrs.frozen(kw_only=True)
class Instance:
    """A server, as a listing shows it.

    :ivar external_id: the cloud's; never used again for another server.
    :ivar metadata: what it was created with, at least our own keys.
    :ivar resources: what it counts for in the quota; None if that is unknown.
    :ivar interface_ip: the address to use it by.
    :ivar zone: the availability zone.
    :ivar fault: why it failed, as the error of the contract that it amounts to.
    :ivar attributes: defaults for the node's attributes.
    :ivar slot: which part of a shared machine it is.
    """

    external_id: str
    state: InstanceState
    name: str = ""
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    resources: Amounts | None = None
    interface_ip: str | None = None
    public_ipv4: str | None = None
    public_ipv6: str | None = None
    private_ipv4: str | None = None
    private_ipv6: str | None = None
    cloud: str | None = None
    region: str | None = None
    zone: str | None = None
    host_id: str | None = None
    fault: CloudError | None = None
    driver_data: Any = None
    node_properties: Mapping[str, Any] = attrs.field(factory=dict)
    login: Login | None = None
    attributes: Mapping[str, Any] | None = None
    slot: int | None = None

    @property
    def node_id(self) -> str | None:
        """The node it was made for, if it is one of ours."""
        return self.metadata.get(NODE_ID)


@attrs.frozen(kw_only=True)
class Order:
    """A server to be made.

    :ivar name: its host name, at most 15 characters for the sake of Windows.
    :ivar metadata: to be kept with it, and shown in every listing of it.
    :ivar image_id: the cloud's id of an uploaded image; None for an image that
        the label names itself.
    :ivar zone: the availability zone; None leaves it to the cloud.
    :ivar request: whom it is for, as far as the label's properties ask.
    """

    node_id: str
    name: str
    pool: CloudPool
    label: CloudLabel
    metadata: Mapping[str, str]
    image_id: str | None = None
    zone: str | None = None
    request: NodeRequest | None = None


@attrs.frozen(kw_only=True)
class Resource:
    """Something that could be left over: a server, an address, a port, an image.

    :ivar kind: one word for logs and metrics ("instance", "port", "image").
    :ivar metadata: our keys, where it carries them.  A thing without
        :data:`PROVIDER_NAME` is left alone, unless ``orphan``.
    :ivar orphan: the adapter can tell from the thing itself that nobody uses
        it and that it was ours (a port of a server that is gone).
    """

    kind: str
    external_id: str
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    orphan: bool = False


@attrs.frozen(kw_only=True)
class ImageUploadOrder:
    """An image file to be put into the cloud.

    :ivar name: what it is to be called there.
    :ivar format: "qcow2", "raw", ...
    :ivar meta: the provider's properties for this image.
    :ivar metadata: to be kept with it (our keys).
    """

    name: str
    path: Path
    format: str
    meta: Mapping[str, Any] = attrs.field(factory=dict)
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    md5: str | None = None
    sha256: str | None = None


@attrs.frozen(kw_only=True)
class ImageInCloud:
    """An image of a builder's, as a listing shows it.

    :ivar metadata: our keys, :data:`BUILD_ID` among them.
    """

    external_id: str
    name: str
    metadata: Mapping[str, str]


class CloudAdapter(Protocol):
    """One account in one cloud.

    ``start`` and ``stop`` bracket its life; ``start`` does not ask the cloud.
    """

    #: Seconds between the end of one listing and the start of the next while
    #: somebody waits for a server.
    poll_interval: float

    def start(self) -> None: ...

    async def stop(self) -> None:
        """Close connections; whatever is in flight is cancelled first."""

    # -- servers ---------------------------------------------------------

    async def create(self, order: Order) -> str:
        """Ask for a server; returns its id as soon as the cloud has one.

        The server appears in listings with ``order.metadata``, by which it is
        found again when this call never got its answer.

        :raises OverQuota, NoCapacity, RetryLater, InvalidConfiguration: no
            server was made.
        :raises CloudError: there may be one or not.
        """

    async def finish(self, order: Order, instance: Instance) -> Instance | None:
        """Do what is left to do for an active server, such as a public address.

        Called with each listing that shows the server ACTIVE, until it returns
        the server in its final form; None asks to be called with the next
        listing.  May be called again for a server that is finished, after a
        restart, and then returns it as it is.
        """

    async def delete(self, external_id: str) -> None:
        """Begin to delete a server and all that was made for it.

        May be called again while it is being deleted.  The server is gone when
        a listing that began after this call no longer shows it.

        :raises Gone: it is gone already.
        """

    async def list_instances(self) -> Sequence[Instance]:
        """Every server of the account, ours or not."""

    async def console(self, external_id: str) -> str | None:
        """What the server has written to its console; None where there is none."""

    # -- what may be had -------------------------------------------------
    #
    # Asked about every label when the provider starts, without waiting for
    # turns: what the answers have in common is to be read once.

    async def quota(self) -> Amounts:
        """The limits of the account; what is not named is not limited."""

    async def needs(self, label: CloudLabel) -> Amounts:
        """What one server of a label counts for; always ``instances`` 1.

        :raises InvalidConfiguration: there can be no such server.
        """

    async def zones(self) -> Sequence[str]:
        """Availability zones to choose from where a pool names none."""

    async def image_ready(self, label: CloudLabel) -> bool:
        """Whether the image that a label names itself is there.

        Not asked for a label with an uploaded disk image.
        """

    # -- leftovers -------------------------------------------------------

    async def list_resources(self) -> Sequence[Resource]:
        """Everything that could be left over, and every server of the account."""

    async def delete_resource(self, resource: Resource) -> None:
        """Remove something that was left over.

        :raises Gone: it is gone already.
        """

    # -- images ----------------------------------------------------------

    async def upload_image(self, order: ImageUploadOrder) -> str:
        """Put an image into the cloud; returns its id when it can be used."""

    async def delete_image(self, external_id: str) -> None:
        """Remove an image.

        :raises Gone: it is gone already.
        """


@runtime_checkable
class HearsOfFailedBoots(Protocol):
    """What an adapter may be able to do besides: draw a conclusion from a failed boot."""

    async def boot_failed(self, external_id: str) -> None:
        """A server that runs cannot be reached; it is deleted next."""


@runtime_checkable
class ListsImages(Protocol):
    """What an adapter may be able to do besides: show the images of builders.

    One that can upload images can do this, too.
    """

    async def list_images(self) -> Sequence[ImageInCloud]:
        """Every image of the account that carries :data:`BUILD_ID`, whoever put it there."""


@runtime_checkable
class CanBeGivenUp(Protocol):
    """What an adapter may be able to do besides: know that it is for the last time.

    For clouds in which something is kept beyond the servers made in it.
    """

    def give_up(self) -> None:
        """The provider was taken out of the configuration, and its last node is gone.

        :meth:`CloudAdapter.stop`, which comes next, removes what is left.
        """
