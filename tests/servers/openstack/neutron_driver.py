"""A driver for Neutron where there is no network; runs inside Neutron only.

ML2 has no driver of its own that binds ports on hosts without an agent.  This
one binds them all and calls them active; and it does what an L3 agent would do
to floating addresses: active with a port, down without.
"""

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins import constants as plugins
from neutron_lib.plugins import directory
from neutron_lib.plugins.ml2 import api


class BindAll(api.MechanismDriver):
    """Every port is bound, everywhere."""

    @property
    def connectivity(self):
        return portbindings.CONNECTIVITY_L2

    def initialize(self):
        for event in (events.AFTER_CREATE, events.AFTER_UPDATE):
            registry.subscribe(self._floating, resources.FLOATING_IP, event)

    def bind_port(self, context):
        for segment in context.segments_to_bind[:1]:
            context.set_binding(
                segment[api.ID],
                portbindings.VIF_TYPE_OVS,
                {portbindings.CAP_PORT_FILTER: True},
                status=constants.PORT_STATUS_ACTIVE,
            )

    def _floating(self, resource, event, trigger, payload):
        address = payload.latest_state
        used = address.get("port_id") or address.get("fixed_port_id")
        status = constants.FLOATINGIP_STATUS_ACTIVE if used else constants.FLOATINGIP_STATUS_DOWN
        directory.get_plugin(plugins.L3).update_floatingip_status(
            payload.context.elevated(), payload.resource_id, status
        )
