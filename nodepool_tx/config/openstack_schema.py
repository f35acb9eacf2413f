"""What is configured of an OpenStack cloud: values that never change.

Defaults are those of Nodepool 11's code, which its documentation does not
always tell: ``clean-floating-ips`` is off unless it is asked for.
"""

from __future__ import annotations

import attrs

from nodepool_tx.config.cloud import CloudImage, CloudLabel, CloudPool, CloudProvider
from nodepool_tx.config.frozen import Frozen, FrozenMapping

__all__ = ["OpenStackImage", "OpenStackLabel", "OpenStackPool", "OpenStackProvider"]

#: What an uploaded image is called unless the provider says otherwise.
IMAGE_NAME_FORMAT = "{image_name}-{timestamp}"


@attrs.frozen
class OpenStackImage(CloudImage):
    """An image of a provider, uploaded by a builder or in the cloud already.

    :ivar config_drive: None leaves it to the cloud.
    :ivar image_id: the cloud's id of an image that is not ours.
    :ivar image_name: name or id of an image that is not ours.
    :ivar meta: properties to upload the image with.
    :ivar pause: it is not to be uploaded.
    """

    config_drive: bool | None = None
    image_id: str | None = None
    image_name: str | None = None
    meta: FrozenMapping[str, Frozen] = attrs.field(factory=FrozenMapping)
    pause: bool = False

    @property
    def external_name(self) -> str:
        """What to look for in the cloud, when it is not ours: a name or an id."""
        return self.image_id or self.image_name or self.name


@attrs.frozen
class OpenStackLabel(CloudLabel):
    """A kind of server that an OpenStack pool makes.

    :ivar min_ram: MiB; the smallest flavor that has as much is taken.
    :ivar flavor_name: name or id of the flavor; with ``min_ram`` a part of
        its name.
    :ivar key_name: of a key pair in the cloud.
    :ivar volume_size: GiB, of the volume to boot from.
    :ivar instance_properties: metadata of the server.
    :ivar dynamic_instance_properties: likewise, with ``{request.id}`` and so
        on to be filled in.
    :ivar userdata: handed to the server as it is.
    :ivar networks: names or ids: the label's own if it has any, else its pool's.
    """

    min_ram: int = 0
    flavor_name: str | None = None
    key_name: str | None = None
    boot_from_volume: bool = False
    volume_size: int = 50
    instance_properties: FrozenMapping[str, Frozen] = attrs.field(factory=FrozenMapping)
    dynamic_instance_properties: FrozenMapping[str, Frozen] = attrs.field(factory=FrozenMapping)
    userdata: str | None = attrs.field(default=None, repr=False)
    networks: tuple[str, ...] = ()


@attrs.frozen
class OpenStackPool(CloudPool):
    """A part of an OpenStack project.

    :ivar cloud_labels: :class:`OpenStackLabel` by name.
    :ivar networks: names or ids, of labels that name none themselves.
    :ivar security_groups: names or ids; the project's default when empty.
    :ivar auto_floating_ip: give a server a floating address if it needs one.
    """

    cloud_labels: FrozenMapping[str, OpenStackLabel] = attrs.field(factory=FrozenMapping)
    networks: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    auto_floating_ip: bool = True
    host_key_checking: bool = True


@attrs.frozen
class OpenStackProvider(CloudProvider):
    """A project in a region of an OpenStack cloud.

    :ivar cloud: its name in ``clouds.yaml``.
    :ivar image_upload_timeout: seconds.
    :ivar image_name_format: of the names of uploaded images.
    :ivar post_upload_hook: a program to run on each uploaded image.
    :ivar clean_floating_ips: remove all addresses of the project that nothing
        is attached to.
    :ivar port_cleanup_interval: seconds between removals of the project's ports
        that are down; 0 for never.
    :ivar diskimages: what is to be uploaded, by name.
    :ivar cloud_images: what is in the cloud already, by the name labels use.
    """

    pools: tuple[OpenStackPool, ...] = attrs.field(default=(), eq=frozenset)
    cloud: str | None = None
    region_name: str | None = None
    image_upload_timeout: int = 3600
    image_name_format: str = IMAGE_NAME_FORMAT
    post_upload_hook: str | None = None
    clean_floating_ips: bool = False
    port_cleanup_interval: int = 600
    diskimages: FrozenMapping[str, OpenStackImage] = attrs.field(factory=FrozenMapping)
    cloud_images: FrozenMapping[str, OpenStackImage] = attrs.field(factory=FrozenMapping)
