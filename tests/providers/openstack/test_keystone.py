"""Settings, tokens and endpoints, as openstacksdk and keystoneauth see them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from keystoneauth1.identity import base

from nodepool_tx.providers.cloud.errors import CloudError, Gone, InvalidConfiguration
from nodepool_tx.providers.openstack.keystone import Keystone as Cloud
from nodepool_tx.providers.openstack.keystone import look_up
from tests.providers.openstack.keystone_server import PROJECT, Keystone, keystone

#: Where nobody listens, so that a service's versions cannot be asked for.
AWAY = "http://127.0.0.1:1"

Configure = Callable[..., Cloud]


@pytest.fixture
def server() -> Iterator[Keystone]:
    with keystone() as server:
        yield server


@pytest.fixture
def configure(server: Keystone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Looks up a cloud ``home`` with these settings in clouds.yaml."""

    def look(region: str | None = None, **settings: Any) -> Cloud:
        auth = {
            "auth_url": f"{server.url}/v3",
            "username": "ci",
            "password": "very-secret",
            "project_name": "ci",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }
        auth = settings.pop("log_in", auth) | settings.pop("auth", {})
        clouds = {"home": {"auth": auth, "region_name": "north", **settings}}
        path = tmp_path / "clouds.yaml"
        path.write_text(yaml.safe_dump({"clouds": clouds}))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
        return look_up("home", region)

    return look


def test_renewed_while_it_is_used(
    server: Keystone, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may be looked for in one thread while another renews the token."""
    looking, renewing = threading.Event(), threading.Event()
    invalidate = base.BaseIdentityPlugin.invalidate

    class Hesitant:
        """keystoneauth's lock, which gives others the time to come between."""

        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()
            looking.set()
            renewing.wait(0.2)

    def renew(plugin: base.BaseIdentityPlugin) -> bool:
        invalid = invalidate(plugin)
        renewing.set()
        return invalid

    def token() -> None:
        looking.wait()
        cloud.token()

    server.catalog = {"compute": [("public", "north", f"{AWAY}/v2.1")]}
    with monkeypatch.context() as patched:
        patched.setattr(base, "threading", SimpleNamespace(Lock=Hesitant))
        patched.setattr(base.BaseIdentityPlugin, "invalidate", renew)
        cloud = configure()
        with ThreadPoolExecutor(2) as threads:
            found = threads.submit(cloud.locate, "compute")
            renewed = threads.submit(token)
        renewed.result()
        assert found.result() == f"{AWAY}/v2.1"


def located(cloud: Cloud, service: str) -> str:
    cloud.token()
    return cloud.locate(service)


class TestSettings:
    """What is read from clouds.yaml."""

    def test_read(self, configure: Configure) -> None:
        """Region, image format, and TLS; nobody is asked anything."""
        settings = configure(
            image_format="raw", cacert="/ca.pem", cert="/cert.pem", key="/key.pem"
        ).settings
        assert (settings.name, settings.region, settings.image_format) == ("home", "north", "raw")
        tls = settings.tls
        assert (tls.verify, tls.cacert, tls.cert, tls.key) == (
            True,
            "/ca.pem",
            "/cert.pem",
            "/key.pem",
        )

    def test_unverified(self, configure: Configure) -> None:
        """``verify: false`` asks for no certificate at all."""
        assert not configure(verify=False).settings.tls.verify

    def test_region(self, configure: Configure) -> None:
        """A provider chooses one of the cloud's regions."""
        assert configure("south", regions=["north", "south"]).settings.region == "south"

    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            ({"auth_type": "no-such-way"}, "no-such-way"),
            ({"log_in": {"username": "ci"}}, "auth_url"),
            ({"auth_type": "none"}, "auth_url"),
            ({"regions": ["south"]}, "north"),
        ],
    )
    def test_unusable(self, configure: Configure, settings: dict[str, Any], text: str) -> None:
        """A mistake in clouds.yaml is named; secrets are not."""
        region = "north" if "regions" in settings else None
        with pytest.raises(InvalidConfiguration, match=f"cloud home of clouds.yaml.*{text}") as hit:
            configure(region, **settings)
        assert "very-secret" not in str(hit.value)

    def test_no_such_cloud(self, configure: Configure) -> None:
        """A cloud that is not there is named."""
        configure()
        with pytest.raises(InvalidConfiguration, match=r"cloud away of clouds\.yaml"):
            look_up("away", None)


class TestTokens:
    """Logging in."""

    def test_token(self, server: Keystone, configure: Configure) -> None:
        """Each is new, and its life is counted on Keystone's own clock."""
        cloud = configure()
        tokens = [cloud.token() for _ in range(2)]
        assert [dict(token.headers) for token in tokens] == [
            {"X-Auth-Token": "token-1"},
            {"X-Auth-Token": "token-2"},
        ]
        assert [token.lifetime for token in tokens] == [3600.0, 3600.0]
        assert server.logins[0]["identity"]["password"]["user"]["name"] == "ci"

    def test_application_credential(self, server: Keystone, configure: Configure) -> None:
        """Other ways of logging in are keystoneauth's business."""
        own = {"application_credential_id": "id", "application_credential_secret": "secret"}
        log_in = {"auth_url": f"{server.url}/v3", **own}
        configure(auth_type="v3applicationcredential", log_in=log_in).token()
        assert server.logins[0]["identity"]["methods"] == ["application_credential"]

    def test_no_log_in(self, configure: Configure) -> None:
        """A cloud without Keystone has one endpoint for everything, and nothing runs out."""
        cloud = configure(auth_type="none", log_in={"endpoint": f"{AWAY}/v2.1"})
        assert cloud.token().lifetime is None
        assert cloud.locate("compute") == f"{AWAY}/v2.1"

    @pytest.mark.parametrize(
        ("status", "kind", "text"),
        [
            (401, InvalidConfiguration, "refuses the credentials of the cloud home"),
            (403, InvalidConfiguration, "refuses the credentials of the cloud home"),
            (500, CloudError, "no token for the cloud home"),
            (503, CloudError, "no token for the cloud home"),
            (429, CloudError, "no token for the cloud home"),
        ],
    )
    def test_refused(
        self,
        server: Keystone,
        configure: Configure,
        status: int,
        kind: type[CloudError],
        text: str,
    ) -> None:
        """Refused credentials are a mistake in the configuration, the rest is not."""
        server.status = status
        with pytest.raises(CloudError, match=text) as hit:
            configure().token()
        assert type(hit.value) is kind
        assert "very-secret" not in str(hit.value)

    def test_away(self, configure: Configure) -> None:
        """A Keystone that cannot be reached is named."""
        with pytest.raises(CloudError, match=f"from {AWAY}/v3") as hit:
            configure(auth={"auth_url": f"{AWAY}/v3"}).token()
        assert type(hit.value) is CloudError


class TestEndpoints:
    """From a service's type to its address."""

    @pytest.mark.parametrize(
        ("kind", "url", "service", "expected"),
        [
            ("compute", f"{AWAY}/v2.1", "compute", f"{AWAY}/v2.1"),
            ("compute", f"{AWAY}/compute/v2.1/", "compute", f"{AWAY}/compute/v2.1/"),
            ("network", AWAY, "network", f"{AWAY}/v2.0"),
            ("image", f"{AWAY}/image", "image", f"{AWAY}/image/v2"),
            ("volumev3", f"{AWAY}/v3/{PROJECT}", "block-storage", f"{AWAY}/v3/{PROJECT}"),
            ("block-storage", AWAY, "block-storage", f"{AWAY}/v3/{PROJECT}"),
            ("key-manager", f"{AWAY}/x", "key-manager", f"{AWAY}/x"),
        ],
    )
    def test_version(
        self,
        server: Keystone,
        configure: Configure,
        kind: str,
        url: str,
        service: str,
        expected: str,
    ) -> None:
        """An address with a version is used as it is, others get the usual one."""
        server.catalog = {kind: [("public", "north", url)]}
        assert located(configure(), service) == expected

    def test_old_and_new_volumes(self, server: Keystone, configure: Configure) -> None:
        """Next to an older API the one we speak is found."""
        server.catalog = {
            "volumev2": [("public", "north", f"{AWAY}/v2/{PROJECT}")],
            "volumev3": [("public", "north", f"{AWAY}/v3/{PROJECT}")],
        }
        assert located(configure(), "block-storage") == f"{AWAY}/v3/{PROJECT}"

    def test_interface_and_region(self, server: Keystone, configure: Configure) -> None:
        """Of several endpoints it is the one that clouds.yaml asks for."""
        server.catalog = {
            "compute": [
                (interface, region, f"{AWAY}/{interface}-{region}/v2.1")
                for region in ("south", "north")
                for interface in ("admin", "internal", "public")
            ]
        }
        assert located(configure(), "compute") == f"{AWAY}/public-north/v2.1"
        inside = configure(interface="internal")
        assert located(inside, "compute") == f"{AWAY}/internal-north/v2.1"
        south = configure("south", regions=["north", "south"])
        assert located(south, "compute") == f"{AWAY}/public-south/v2.1"

    def test_override(self, server: Keystone, configure: Configure) -> None:
        """An address in clouds.yaml replaces the catalog's."""
        server.catalog = {"compute": [("public", "north", f"{AWAY}/v2.1")]}
        cloud = configure(
            compute_endpoint_override="http://nova/v2.1",
            network_endpoint_override="http://neutron/",
            block_storage_endpoint_override="http://cinder/v3/%(project_id)s",
        )
        assert located(cloud, "compute") == "http://nova/v2.1"
        assert located(cloud, "network") == "http://neutron/v2.0"
        assert located(cloud, "block-storage") == f"http://cinder/v3/{PROJECT}"

    def test_missing(self, server: Keystone, configure: Configure) -> None:
        """What is not in the catalog is gone, and so is what only speaks another version."""
        server.catalog = {"image": [("public", "north", f"{AWAY}/v1")]}
        cloud = configure()
        for service in ("compute", "image"):
            with pytest.raises(Gone, match=f"cloud home has no {service} service in region north"):
                located(cloud, service)
