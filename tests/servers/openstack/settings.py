"""The configuration of every service, as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

__all__ = ["ADDRESS", "BROKEN", "COMPUTES", "PASSWORD", "PORTS", "Site"]

ADDRESS = "127.0.0.1"
#: Of all users; nobody but this machine can reach the cloud.
PASSWORD = "loopback-only"
PORTS = (
    "keystone",
    "glance",
    "placement",
    "nova",
    "neutron",
    "cinder",
    "rabbitmq",
    "epmd",
    "erlang",
    "memcached",
)
COMPUTES = ("compute0",)
BROKEN = "broken"

Section = Mapping[str, Any]


def _ini(sections: Mapping[str, Section]) -> str:
    lines: list[str] = []
    for name, section in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in section.items()), ""]
    return "\n".join(lines)


@attrs.frozen
class Site:
    """One cloud: where its files are, and its ports.

    :ivar venv: the environment with the services.
    """

    root: Path
    venv: Path
    ports: Mapping[str, int]

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def socket(self) -> Path:
        """Of the database."""
        return self.root / "mysql.sock"

    @property
    def clouds_yaml(self) -> Path:
        return self.root / "clouds.yaml"

    def url(self, service: str, path: str = "") -> str:
        return f"http://{ADDRESS}:{self.ports[service]}{path}"

    @property
    def endpoints(self) -> dict[str, str]:
        """What goes into the catalog, by service type."""
        return {
            "identity": self.url("keystone", "/v3"),
            "image": self.url("glance"),
            "placement": self.url("placement"),
            "compute": self.url("nova", "/v2.1"),
            "network": self.url("neutron"),
            "block-storage": self.url("cinder", "/v3"),
        }

    def database(self, name: str) -> str:
        return f"mysql+pymysql://openstack:{PASSWORD}@localhost/{name}?unix_socket={self.socket}"

    def write(self) -> None:
        """Write the configuration of everything."""
        for service in ("keystone", "glance", "placement", "nova", "neutron", "cinder"):
            (self.etc / service).mkdir(parents=True, exist_ok=True)
            (self.root / "state" / service).mkdir(parents=True, exist_ok=True)
        for name in ("locks", "images", "tmp"):
            (self.root / name).mkdir(exist_ok=True)
        files = {
            "keystone/keystone.conf": self._keystone(),
            "glance/glance-api.conf": self._glance(),
            "placement/placement.conf": self._placement(),
            "nova/nova.conf": {
                **self._nova(),
                "database": self._pool("nova"),
                "api_database": self._pool("nova_api"),
            },
            "nova/nova-compute.conf": self._nova(),
            "neutron/neutron.conf": self._neutron(),
            "neutron/ml2_conf.ini": _ML2,
            "cinder/cinder.conf": self._cinder(),
        }
        for host in (*COMPUTES, BROKEN):
            state = self.root / "state" / f"nova-{host}"
            state.mkdir(exist_ok=True)
            own: dict[str, Any] = {"host": host, "state_path": state}
            if host == BROKEN:
                own["compute_driver"] = "fake.FakeBuildAbortDriver"
            files[f"nova/{host}.conf"] = {"DEFAULT": own}
        for name, sections in files.items():
            (self.etc / name).write_text(_ini(sections))
        self._write_clouds()

    def _write_clouds(self) -> None:
        def cloud(user: str, project: str) -> dict[str, Any]:
            return {
                "auth": {
                    "auth_url": self.endpoints["identity"],
                    "username": user,
                    "password": PASSWORD,
                    "project_name": project,
                    "user_domain_name": "Default",
                    "project_domain_name": "Default",
                },
                "region_name": "RegionOne",
                "interface": "public",
                "identity_api_version": 3,
            }

        clouds = {
            "real": cloud("admin", "admin"),
            "real-member": cloud("ci", "ci"),
            "real-quota": cloud("ci", "ci-small"),
        }
        self.clouds_yaml.write_text(yaml.safe_dump({"clouds": clouds}))

    def _pool(self, name: str) -> Section:
        return {"connection": self.database(name), "max_pool_size": 10, "max_overflow": 20}

    def _user(self, service: str) -> dict[str, Any]:
        """How a service logs in to Keystone."""
        return {
            "auth_url": self.endpoints["identity"],
            "auth_type": "password",
            "username": service,
            "password": PASSWORD,
            "project_name": "service",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "region_name": "RegionOne",
        }

    def _common(self, service: str) -> dict[str, dict[str, Any]]:
        memcached = f"{ADDRESS}:{self.ports['memcached']}"
        return {
            "DEFAULT": {
                "transport_url": f"rabbit://guest:guest@{ADDRESS}:{self.ports['rabbitmq']}/",
                "use_stderr": "true",
                "host": COMPUTES[0],
                "state_path": self.root / "state" / service,
            },
            "oslo_concurrency": {"lock_path": self.root / "locks"},
            "oslo_messaging_notifications": {"driver": "noop"},
            "oslo_messaging_rabbit": {"heartbeat_in_pthread": "false"},
            "cache": self._cache(),
            "keystone_authtoken": {
                **self._user(service),
                "www_authenticate_uri": self.endpoints["identity"],
                "memcached_servers": memcached,
                "service_token_roles": "service",
                "service_token_roles_required": "true",
            },
        }

    def _cache(self) -> dict[str, Any]:
        return {
            "enabled": "true",
            "backend": "dogpile.cache.pymemcache",
            "memcache_servers": f"{ADDRESS}:{self.ports['memcached']}",
        }

    def _keystone(self) -> Mapping[str, Section]:
        keys = self.etc / "keystone"
        return {
            "DEFAULT": {"use_stderr": "true", "public_endpoint": self.url("keystone", "/")},
            "database": self._pool("keystone"),
            "token": {"provider": "fernet", "expiration": 14400},
            # A password takes as long to try as it would take to guess: a quarter of a second.
            "identity": {"password_hash_rounds": 4},
            "fernet_tokens": {"key_repository": keys / "fernet-keys"},
            "fernet_receipts": {"key_repository": keys / "fernet-keys"},
            "credential": {"key_repository": keys / "credential-keys"},
            "cache": self._cache(),
            "oslo_messaging_notifications": {"driver": "noop"},
        }

    def _glance(self) -> Mapping[str, Section]:
        common = self._common("glance")
        common["DEFAULT"] |= {"enabled_backends": "disk:file", "bind_host": ADDRESS}
        return {
            **common,
            "database": self._pool("glance"),
            "glance_store": {"default_backend": "disk"},
            "disk": {"filesystem_store_datadir": self.root / "images"},
            "paste_deploy": {
                "flavor": "keystone",
                "config_file": self.venv / "etc/glance/glance-api-paste.ini",
            },
        }

    def _placement(self) -> Mapping[str, Section]:
        return {
            **self._common("placement"),
            "api": {"auth_strategy": "keystone"},
            "placement_database": {"connection": self.database("placement")},
        }

    def _nova(self) -> dict[str, Section]:
        """Of all of Nova, but for the database, which computes must not know."""
        common = self._common("nova")
        common["DEFAULT"] |= {
            "compute_driver": "fake.FakeDriver",
            "my_ip": ADDRESS,
            "osapi_compute_workers": 1,
            "instances_path": self.root / "state/nova",
            "vif_plugging_timeout": 0,
            "vif_plugging_is_fatal": "false",
            "max_concurrent_builds": 20,
            "sync_power_state_interval": -1,
            "default_schedule_zone": "az1",
            "heal_instance_info_cache_interval": 60,
            # Else periodic tasks, the discovery of hosts among them, begin within a minute.
            "periodic_fuzzy_delay": 0,
        }
        user = self._user("nova")
        return {
            **common,
            "wsgi": {"api_paste_config": self.venv / "etc/nova/api-paste.ini"},
            "api": {"response_validation": "ignore"},
            "conductor": {"workers": 1},
            "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 2},
            "quota": {"instances": 1000, "cores": 2000, "ram": 2000000},
            "glance": {"endpoint_override": self.url("glance"), "region_name": "RegionOne"},
            "cinder": {
                **user,
                "os_region_name": "RegionOne",
                "catalog_info": "block-storage::publicURL",
            },
            "placement": user,
            "neutron": user,
            "service_user": {**user, "send_service_user_token": "true"},
            "vnc": {"enabled": "false"},
            "barbican_service_user": user,
        }

    def _neutron(self) -> Mapping[str, Section]:
        common = self._common("neutron")
        common["DEFAULT"] |= {
            "core_plugin": "ml2",
            "service_plugins": "router",
            "auth_strategy": "keystone",
            "api_workers": 1,
            "rpc_workers": 0,
            "api_paste_config": self.venv / "etc/neutron/api-paste.ini",
            "dhcp_agent_notification": "false",
            "vlan_transparent": "false",
        }
        kinds = {"port": 5000, "floatingip": 1000, "network": 100, "subnet": 100, "router": 100}
        quotas = {**kinds, "security_group": 1000, "security_group_rule": 10000}
        return {
            **common,
            "database": self._pool("neutron"),
            "nova": self._user("nova"),
            "quotas": {f"quota_{kind}": count for kind, count in quotas.items()},
        }

    def _cinder(self) -> Mapping[str, Section]:
        common = self._common("cinder")
        common["DEFAULT"] |= {
            "auth_strategy": "keystone",
            "my_ip": ADDRESS,
            "api_paste_config": self.venv / "etc/cinder/api-paste.ini",
            "enabled_backends": "none",
            "default_volume_type": "__DEFAULT__",
            "glance_api_servers": self.url("glance"),
        }
        return {
            **common,
            "database": self._pool("cinder"),
            "coordination": {"backend_url": f"file://{self.root / 'state/cinder'}"},
            "none": {"volume_backend_name": "none"},
        }


_ML2: Mapping[str, Section] = {
    "ml2": {
        "type_drivers": "local,vxlan",
        "tenant_network_types": "local",
        "mechanism_drivers": "bindall",
        "extension_drivers": "port_security",
    },
    "ml2_type_vxlan": {"vni_ranges": "1:10000"},
    "securitygroup": {"enable_security_group": "true"},
}
