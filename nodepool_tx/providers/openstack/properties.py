"""The metadata of a server: what the label asks for, and by what we know it again."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.logger import Logger

from nodepool_tx.config.frozen import thaw
from nodepool_tx.config.openstack import OpenStackLabel
from nodepool_tx.model import NodeRequest
from nodepool_tx.providers.cloud.interface import Order

__all__ = ["REQUEST_FIELDS", "server_metadata"]

#: What a dynamic property may say about the request, and where the record has it.
REQUEST_FIELDS: Mapping[str, str] = {
    "id": "id",
    "labels": "node_types",
    "requestor": "requestor",
    "requestor_data": "requestor_data",
    "relative_priority": "relative_priority",
    "event_id": "event_id",
    "created_time": "created_time",
    "tenant_name": "tenant_name",
}

#: Nova refuses longer ones.
_LONGEST = 255

_log = Logger()


def server_metadata(provider_name: str, order: Order, label: OpenStackLabel) -> dict[str, str]:
    """Everything that is kept with a server.

    ``groups`` lets an Ansible inventory group servers by provider, image and
    label.  Properties may replace it, and nothing replaces our own keys.
    """
    image = label.image.name if label.image is not None else ""
    metadata = {"groups": ",".join((provider_name, image, label.name))}
    for key, value in label.instance_properties.items():
        metadata[key] = _text(value)
    for key, template in label.dynamic_instance_properties.items():
        try:
            metadata[key] = _RequestFormatter(order.request).format(str(template))
        except (ValueError, LookupError, TypeError, AttributeError) as e:
            _log.warn(
                "Property {key} of label {label} cannot be filled in and is left out: {error}",
                key=key,
                label=label.name,
                error=str(e),
            )
    metadata.update(order.metadata)
    return {key[:_LONGEST]: value[:_LONGEST] for key, value in metadata.items()}


class _RequestFormatter(string.Formatter):
    """Fills in ``{request.id}`` and so on, and reaches nothing else.

    Into a field that holds data one may index: ``{request.requestor_data[job]}``.
    """

    def __init__(self, request: NodeRequest | None) -> None:
        self._request = request

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        path, _, rest = field_name.partition("[")
        root, _, field = path.partition(".")
        if root != "request" or field not in REQUEST_FIELDS:
            raise LookupError(f"there is no {{{field_name}}}")
        if self._request is None:
            raise LookupError("there is no request")
        value = getattr(self._request, REQUEST_FIELDS[field])
        value = list(value) if isinstance(value, tuple) else value
        for step in f"[{rest}".split("[")[1:] if rest else ():
            key, closed, more = step.partition("]")
            if not closed or more or not isinstance(value, (Mapping, list)):
                raise LookupError(f"there is no {{{field_name}}}")
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value, root


def _text(value: Any) -> str:
    """A property as Nova takes it: always text."""
    return value if isinstance(value, str) else str(thaw(value))
