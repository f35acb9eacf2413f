"""What clouds.yaml says of networks is heeded."""

from __future__ import annotations

from pathlib import Path

import pytest
from openstack.config import OpenStackConfig

from nodepool_tx.providers.openstack.hints import NetworkHints, read_hints
from nodepool_tx.providers.openstack.networks import Network, outlook_of

PLAIN = "clouds: {cloud: {auth_type: none, endpoint: x%s}}"

CASES = {
    "": NetworkHints(),
    ", private: true": NetworkHints(private=True),
    ", private: false": NetworkHints(),
    ", floating_ip_source: neutron": NetworkHints(),
    ", floating_ip_source: None": NetworkHints(floating=False),
    ", floating_ip_source: null": NetworkHints(floating=False),
    ", networks: [{name: a, routes_externally: true, nat_source: true}, "
    "{name: b, nat_destination: true}, {name: c, default_interface: true}]": NetworkHints(
        external=frozenset("a"),
        internal=frozenset("bc"),
        nat_source="a",
        nat_destination="b",
        default_interface="c",
    ),
}


@pytest.mark.parametrize("settings", CASES)
@pytest.mark.filterwarnings("ignore")
def test_hints(settings: str, tmp_path: Path) -> None:
    """Each setting is read as openstacksdk understands it."""
    path = tmp_path / "clouds.yaml"
    path.write_text(PLAIN % settings)
    config = OpenStackConfig(config_files=[str(path)], load_envvars=False)
    assert read_hints(config.get_one(cloud="cloud").config) == CASES[settings]


NETWORKS = (
    Network("1", "outside", external=True),
    Network("2", "flat", physical=True),
    Network("3", "tenant"),
    Network("4", "odd", external=True),
    Network("5", "routed"),
)


def test_what_is_public() -> None:
    """External networks, those outside of the cloud, and as the configuration says."""
    plain = outlook_of(NETWORKS, NetworkHints())
    assert plain.external == {"outside", "flat", "odd"}
    hints = NetworkHints(
        external=frozenset({"5", "unlisted"}),
        internal=frozenset({"odd", "2"}),
        private=True,
        default_interface="3",
    )
    outlook = outlook_of(NETWORKS, hints)
    assert outlook.external == {"outside", "routed", "5", "unlisted"}
    assert (outlook.private, outlook.default_interface) == (True, "tenant")
    assert outlook_of((), hints).default_interface == "3"
