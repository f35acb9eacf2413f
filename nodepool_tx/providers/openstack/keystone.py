"""The part that openstacksdk and keystoneauth do: settings, tokens, endpoints.

Everything here blocks and belongs into a thread; see
:mod:`nodepool_tx.providers.openstack.credentials`.  The two libraries are
imported when the first cloud is looked up, so that launchers without one do
without them.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import attrs

from nodepool_tx.providers.cloud.errors import CloudError, Gone, InvalidConfiguration
from nodepool_tx.providers.openstack.hints import NetworkHints, read_hints
from nodepool_tx.providers.openstack.tls import TLSSettings

__all__ = ["CloudSettings", "Keystone", "KeystoneCloud", "Token", "look_up"]

#: Seconds that a single call to Keystone may take, unless clouds.yaml has an ``api_timeout``.
_CALL_TIMEOUT = 60.0


@attrs.frozen
class _Api:
    """A version of a service's API that the adapter speaks."""

    segment: str
    lowest: str
    highest: str
    suffix: str


#: What is spoken here, whatever else a cloud offers.
_SPOKEN = {
    "compute": _Api("v2.1", "2.1", "2.latest", "v2.1"),
    "network": _Api("v2.0", "2", "2.latest", "v2.0"),
    "image": _Api("v2", "2", "2.latest", "v2"),
    "block-storage": _Api("v3", "3", "3.latest", "v3/{project_id}"),
    "identity": _Api("v3", "3", "3.latest", "v3"),
}


@attrs.frozen
class CloudSettings:
    """What the client configuration says about a cloud.

    :ivar name: of the cloud.
    :ivar image_format: what its images are to be uploaded as (``qcow2``).
    :ivar networks: what it says of networks.
    """

    name: str
    region: str | None
    tls: TLSSettings
    image_format: str | None = None
    networks: NetworkHints = attrs.field(factory=NetworkHints)


@attrs.frozen
class Token:
    """What makes a request ours.

    :ivar headers: to be sent with it; secret.
    :ivar lifetime: seconds from when it was made; None: for ever.
    """

    headers: Mapping[str, str] = attrs.field(repr=False)
    lifetime: float | None = None


class Keystone(Protocol):
    """One cloud's settings and its Keystone; every method may block for minutes."""

    @property
    def settings(self) -> CloudSettings: ...

    def token(self) -> Token:
        """A new token.

        :raises InvalidConfiguration: the credentials are refused.
        :raises CloudError: Keystone cannot be reached, or has failed.
        """

    def locate(self, service: str) -> str:
        """Where a service is; the version of its API is part of the address.

        :raises Gone: the catalog has no such service.
        :raises CloudError: as :meth:`token`.
        """


def look_up(cloud: str | None, region: str | None) -> Keystone:
    """Find a cloud in the client configuration; None takes what the environment says.

    :raises InvalidConfiguration: there is no such cloud, or it cannot be used.
    """
    import yaml
    from keystoneauth1.exceptions import ClientException
    from openstack.config import OpenStackConfig
    from openstack.exceptions import ConfigException

    try:
        config = OpenStackConfig(app_name="nodepool")
        found = config.get_one(cloud=cloud, region_name=region)
        return KeystoneCloud(cloud or found.name or "envvars", found)
    except (
        ConfigException,
        ClientException,
        yaml.YAMLError,
        OSError,
        ValueError,
        # An option that the chosen way of logging in does not have.
        TypeError,
    ) as error:
        name = cloud or "of the environment"
        raise InvalidConfiguration(
            f"the cloud {name} of clouds.yaml cannot be used: {_line(error)}"
        ) from error


class KeystoneCloud:
    """A cloud of ``clouds.yaml``.

    :param found: openstacksdk's CloudRegion.
    """

    def __init__(self, name: str, found: Any) -> None:
        self._found = found
        verify, cert = found.get_requests_verify_args()
        pair = cert if isinstance(cert, tuple) else (cert, None)
        self._settings = CloudSettings(
            name=name,
            region=found.get_region_name() or None,
            tls=TLSSettings(
                cloud=name,
                verify=bool(verify),
                cacert=verify if isinstance(verify, str) else None,
                cert=pair[0],
                key=pair[1],
            ),
            image_format=found.config.get("image_format"),
            networks=read_hints(found.config),
        )
        #: keystoneauth fails where a token is renewed while another thread looks at it.
        self._turn = threading.Lock()
        self._session = found.get_session()
        self._session.timeout = self._session.timeout or _CALL_TIMEOUT

    @property
    def settings(self) -> CloudSettings:
        return self._settings

    def token(self) -> Token:
        from keystoneauth1.identity.base import BaseIdentityPlugin

        auth = self._session.auth
        with self._turn, self._explained():
            auth.invalidate()
            if not isinstance(auth, BaseIdentityPlugin):
                return Token(dict(self._session.get_auth_headers() or {}))
            access = auth.get_access(self._session)
            lifetime = None
            # From the cloud's own two times, so that our clock need not agree with its.
            if access.expires is not None and access.issued is not None:
                lifetime = (access.expires - access.issued).total_seconds()
            return Token({"X-Auth-Token": str(access.auth_token)}, lifetime)

    def locate(self, service: str) -> str:
        api = _SPOKEN.get(service)
        with self._turn, self._explained():
            override = self._found.get_endpoint(service)
            if override:
                return self._with_version(self._filled_in(override), api)
            for kind in self._kinds(service):
                found = self._endpoint(kind, skip_discovery=True)
                if found is None or not found.url:
                    continue
                if api is None or _speaks(found.url, api):
                    return str(found.url)
                seen = self._endpoint(kind, min_version=api.lowest, max_version=api.highest)
                if seen is not None and seen.url and _speaks(seen.url, api):
                    return str(seen.url)
                if not re.search(r"/v\d", found.url):
                    # Some clouds do not let everybody see which versions there are.
                    return self._with_version(found.url, api)
        where = f"region {self._settings.region}" if self._settings.region else "its regions"
        raise Gone(f"the cloud {self._settings.name} has no {service} service in {where}")

    def _kinds(self, service: str) -> Iterator[str]:
        yield self._found.get_service_type(service)
        if service == "block-storage":
            # Next to older versions under the other names.
            yield "volumev3"

    def _endpoint(self, kind: str, **how: Any) -> Any:
        from keystoneauth1.exceptions import EndpointNotFound

        try:
            return self._session.auth.get_endpoint_data(
                self._session,
                service_type=kind,
                service_name=self._found.get_service_name(kind),
                interface=self._found.get_interface(kind),
                region_name=self._found.get_region_name(kind),
                **how,
            )
        except EndpointNotFound:
            return None

    def _filled_in(self, template: str) -> str:
        """An address with the project's id in its place, as keystoneauth writes it."""
        if "%(" not in template:
            return template
        return template % {
            "project_id": self._session.get_project_id(),
            "tenant_id": self._session.get_project_id(),
            "user_id": self._session.get_user_id(),
        }

    def _with_version(self, url: str, api: _Api | None) -> str:
        if api is None or re.search(r"/v\d", url):
            return url
        suffix = api.suffix.format(project_id=self._session.get_project_id())
        return f"{url.rstrip('/')}/{suffix}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what keystoneauth raises into the errors of the contract."""
        from keystoneauth1 import exceptions as ksa
        from openstack.exceptions import ConfigException

        name = self._settings.name
        url = self._found.config.get("auth", {}).get("auth_url", "its Keystone")
        try:
            yield
        except (ksa.Unauthorized, ksa.Forbidden, ksa.MissingAuthMethods) as error:
            raise InvalidConfiguration(
                f"{url} refuses the credentials of the cloud {name} in clouds.yaml: {_line(error)}"
            ) from error
        except (ksa.AuthPluginException, ConfigException) as error:
            raise InvalidConfiguration(
                f"the cloud {name} of clouds.yaml cannot be used: {_line(error)}"
            ) from error
        except ksa.SSLError as error:
            raise CloudError(
                f"{url} of the cloud {name} has a certificate that is not trusted;"
                f" see cacert in clouds.yaml: {_line(error)}"
            ) from error
        except (ksa.ClientException, OSError, ValueError) as error:
            raise CloudError(f"no token for the cloud {name} from {url}: {_line(error)}") from error


def _speaks(url: str, api: _Api) -> bool:
    return f"/{api.segment}/" in f"{url}/"


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    # What urllib3 adds names its own objects.
    text = text.split(": HTTPConnectionPool")[0].split(": HTTPSConnectionPool")[0]
    home = os.path.expanduser("~")
    return (text.replace(home, "~") if home != "/" else text)[:500]
