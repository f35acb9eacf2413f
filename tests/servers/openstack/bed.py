"""Starting and stopping a cloud."""

from __future__ import annotations

import atexit
import grp
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from getpass import getuser
from pathlib import Path
from types import TracebackType

from tests.servers.openstack import furnish, software
from tests.servers.openstack.database import Database, Snapshot
from tests.servers.openstack.processes import Processes
from tests.servers.openstack.settings import ADDRESS, BROKEN, COMPUTES, PASSWORD, PORTS, Site
from tests.servers.zookeeper import free_ports

__all__ = ["OpenStack"]

#: Requests each API server works on at a time.
_THREADS = 8
_RABBITMQ = """\
log.console.level = warning
loopback_users = none
total_memory_available_override_value = 1GB
"""
_ENTRY_POINTS = "[neutron.ml2.mechanism_drivers]\nbindall = neutron_driver:BindAll\n"


class OpenStack:
    """A cloud for a ``with`` block; starting takes a minute or so.

    :ivar directory: all it writes; gone after :meth:`stop`.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="openstack-"))
        atexit.register(self.stop)
        logs = self.directory / "log"
        logs.mkdir()
        self._processes = Processes(logs)
        self._begun = time.monotonic()
        #: Seconds from the beginning to each step, for whoever wants to know.
        self.steps: dict[str, float] = {}
        self._site: Site | None = None

    @property
    def clouds_yaml(self) -> Path:
        """The client configuration, for ``OS_CLIENT_CONFIG_FILE``."""
        return self.directory / "clouds.yaml"

    def log(self, name: str, lines: int = 200) -> str:
        """The end of what a part of it says: ``nova-api``, ``keystone``, ..."""
        return self._processes.log(name, lines)

    def __enter__(self) -> OpenStack:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Install what is missing, start everything, and see that it works.

        :raises Missing: something cannot be installed.
        :raises StartFailed: something does not start.
        """
        self._begun = time.monotonic()
        try:
            software.install_servers()
            self._step("servers installed")
            venv = software.python_environment()
            self._step("services installed")
            site = Site(self.directory, venv, dict(zip(PORTS, free_ports(len(PORTS)), strict=True)))
            self._site = site
            site.write()
            snapshot = Snapshot(site)
            if snapshot.exists():
                self._start_again(snapshot)
            else:
                with software.locked("openstack-snapshot"):
                    # Somebody else may have made it while we waited.
                    if snapshot.exists():
                        self._start_again(snapshot)
                    else:
                        self._start_new(snapshot)
            self._start_computes()
            furnish.add_computes(self.clouds_yaml)
            self._step("compute hosts")
            furnish.wait_until_it_works(self.clouds_yaml)
            self._processes.check()
            self._step("ready")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process and remove every file."""
        self._processes.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.stop)

    def _step(self, what: str) -> None:
        self.steps[what] = round(time.monotonic() - self._begun, 1)

    def _start_again(self, snapshot: Snapshot) -> None:
        snapshot.restore()
        self._start_brokers()
        site = self._configured
        Database(site, self._processes).start(moved=site.endpoints)
        self._step("database")
        self._start_keystone()
        self._start_services()
        self._wait_for_ports()
        self._step("services started")

    def _start_new(self, snapshot: Snapshot) -> None:
        site = self._configured
        self._start_brokers()
        database = Database(site, self._processes)
        database.make()
        database.start()
        self._make_schemas()
        self._step("schemas")
        self._start_keystone()
        self._processes.wait_for_port("keystone", site.ports["keystone"])
        furnish.identities(self.clouds_yaml, site.endpoints)
        self._step("users and catalog")
        self._start_services()
        self._wait_for_ports()
        furnish.furnish(self.clouds_yaml)
        self._step("furnished")
        snapshot.take(self._processes)
        self._step("kept for the next time")

    @property
    def _configured(self) -> Site:
        assert self._site is not None
        return self._site

    def _start_brokers(self) -> None:
        site = self._configured
        ports = {name: str(port) for name, port in site.ports.items()}
        here = site.root / "rabbitmq"
        here.mkdir()
        (here / "enabled_plugins").write_text("[].\n")
        (here / "rabbitmq.conf").write_text(_RABBITMQ)
        erlang = {"HOME": str(here), "ERL_EPMD_PORT": ports["epmd"], "ERL_EPMD_ADDRESS": ADDRESS}
        self._processes.start(
            "memcached",
            ["memcached", "-u", getuser(), "-l", ADDRESS, "-p", ports["memcached"], "-U", "0"],
            {"PATH": software.SEARCH},
        )
        self._processes.start("epmd", ["epmd", "-address", ADDRESS, "-port", ports["epmd"]], erlang)
        self._processes.wait_for_port("epmd", site.ports["epmd"])
        self._processes.start(
            "rabbitmq",
            [software.RABBITMQ],
            {
                **erlang,
                "PATH": software.SEARCH,
                "RABBITMQ_NODENAME": f"os{ports['rabbitmq']}@localhost",
                "RABBITMQ_NODE_IP_ADDRESS": ADDRESS,
                "RABBITMQ_NODE_PORT": ports["rabbitmq"],
                "RABBITMQ_DIST_PORT": ports["erlang"],
                "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
                "RABBITMQ_LOG_BASE": str(here / "log"),
                "RABBITMQ_LOGS": "-",
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
                "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq"),
                "RABBITMQ_PID_FILE": str(here / "pid"),
                "RABBITMQ_CONF_ENV_FILE": "/dev/null",
                "RABBITMQ_SERVER_START_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
                # One scheduler that does not spin: there are few messages.
                "RABBITMQ_SERVER_ERL_ARGS": (
                    "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none +P 1048576 +t 5000000"
                ),
            },
        )

    def _make_schemas(self) -> None:
        """All at a time, as each mostly waits for its interpreter."""
        site, run = self._configured, self._processes.run
        plugin = {"PYTHONPATH": str(self._neutron_plugin())}

        def manage(service: str, configuration: str) -> list[str]:
            return [self._bin(f"{service}-manage"), "--config-file", str(site.etc / configuration)]

        keystone = manage("keystone", "keystone/keystone.conf")
        nova = manage("nova", "nova/nova.conf")
        address = "{scheme}://{username}:{password}@{hostname}"
        neutron = [self._bin("neutron-db-manage")]
        for name in ("neutron.conf", "ml2_conf.ini"):
            neutron += ["--config-file", str(site.etc / "neutron" / name)]
        keys = ["--keystone-user", getuser(), "--keystone-group", grp.getgrgid(os.getgid()).gr_name]
        for name in ("fernet-keys", "credential-keys"):
            (site.etc / "keystone" / name).mkdir(mode=0o700)
        bootstrap = ["--bootstrap-password", PASSWORD, "--bootstrap-region-id", "RegionOne"]
        for interface in ("public", "internal", "admin"):
            bootstrap += [f"--bootstrap-{interface}-url", site.endpoints["identity"]]
        lanes: list[tuple[str, list[list[str]], dict[str, str] | None]] = [
            (
                "keystone-schema",
                [
                    [*keystone, "fernet_setup", *keys],
                    [*keystone, "credential_setup", *keys],
                    [*keystone, "db_sync"],
                    [*keystone, "bootstrap", *bootstrap],
                ],
                None,
            ),
            (
                "nova-schema",
                [
                    [*nova, "api_db", "sync"],
                    # Only templates are kept: the socket will be elsewhere next time.
                    [
                        *(*nova, "cell_v2", "map_cell0", "--database_connection"),
                        f"{address}/nova_cell0?{{query}}",
                    ],
                    [
                        *(*nova, "cell_v2", "create_cell", "--name", "cell1"),
                        *("--database_connection", f"{address}/{{path}}?{{query}}"),
                        *("--transport-url", f"{address}:{{port}}/"),
                    ],
                    [*nova, "db", "sync"],
                ],
                None,
            ),
            ("neutron-schema", [[*neutron, "upgrade", "heads"]], plugin),
            (
                "other-schemas",
                [
                    [*manage("glance", "glance/glance-api.conf"), "db", "sync"],
                    [*manage("placement", "placement/placement.conf"), "db", "sync"],
                    [*manage("cinder", "cinder/cinder.conf"), "db", "sync"],
                ],
                None,
            ),
        ]
        with ThreadPoolExecutor(len(lanes)) as pool:
            for done in [pool.submit(run, name, *steps, env=env) for name, steps, env in lanes]:
                done.result()

    def _start_keystone(self) -> None:
        site = self._configured
        self._api("keystone", "keystone.wsgi.api", OS_KEYSTONE_CONFIG_DIR=site.etc / "keystone")

    def _start_services(self) -> None:
        site = self._configured
        etc = site.etc
        nova = ["--config-file", etc / "nova/nova.conf"]
        self._processes.start("nova-conductor", [self._bin("nova-conductor"), *nova])
        self._api("placement", "placement.wsgi.api", OS_PLACEMENT_CONFIG_DIR=etc / "placement")
        self._processes.start("nova-scheduler", [self._bin("nova-scheduler"), *nova])
        self._api(
            "neutron",
            "neutron.wsgi.api",
            OS_NEUTRON_CONFIG_DIR=etc / "neutron",
            OS_NEUTRON_CONFIG_FILES="neutron.conf;ml2_conf.ini",
            PYTHONPATH=self._neutron_plugin(),
        )
        self._api(
            "nova",
            "nova.wsgi.osapi_compute",
            OS_NOVA_CONFIG_DIR="/",
            OS_NOVA_CONFIG_FILES=f"{site.venv}/etc/nova/api-paste.ini;{etc}/nova/nova.conf",
        )
        self._api("glance", "glance.wsgi.api", OS_GLANCE_CONFIG_DIR=etc / "glance")
        self._api(
            "cinder",
            "cinder.wsgi.api",
            more=("--pyargv", f"--config-file {etc / 'cinder/cinder.conf'}"),
        )

    def _wait_for_ports(self) -> None:
        """uWSGI listens before the service in it works; it lets requests wait."""
        for name in ("keystone", "placement", "neutron", "nova", "glance", "cinder"):
            self._processes.wait_for_port(name, self._configured.ports[name])

    def _start_computes(self) -> None:
        """Not before there is a conductor: they would look again only after ten seconds.

        New ones each time, as the fake hypervisor does not know itself again.
        """
        etc = self._configured.etc
        self._processes.wait("nova-conductor", lambda: self._said("nova-conductor", "Starting"))
        for host in (*COMPUTES, BROKEN):
            files = [etc / "nova/nova-compute.conf", etc / f"nova/{host}.conf"]
            self._processes.start(
                f"nova-compute-{host}",
                [self._bin("nova-compute"), *(w for f in files for w in ("--config-file", f))],
            )

    def _said(self, name: str, words: str) -> bool:
        return words in self._processes.log(name, 1000)

    def _api(self, name: str, module: str, *, more: Sequence[str] = (), **env: str | Path) -> None:
        """Start an API server under uWSGI."""
        site = self._configured
        self._processes.start(
            name,
            [
                *(self._bin("uwsgi"), "--http-socket", f"{ADDRESS}:{site.ports[name]}"),
                *("--module", f"{module}:application", "--venv", str(site.venv)),
                *("--master", "--processes", "1", "--threads", str(_THREADS), "--enable-threads"),
                *("--lazy-apps", "--need-app", "--die-on-term", "--no-orphans"),
                *("--buffer-size", "65535", "--listen", "100"),
                *("--chunked-input-limit", "67108864", "--add-header", "Connection: close"),
                *("--disable-logging", "--log-5xx", *more),
            ],
            {key: str(value) for key, value in env.items()},
        )

    def _neutron_plugin(self) -> Path:
        """A folder with the driver, as an installed package would be."""
        folder = self._configured.root / "plugin"
        metadata = folder / "neutron_driver-1.dist-info"
        if not metadata.exists():
            metadata.mkdir(parents=True)
            shutil.copy(Path(__file__).with_name("neutron_driver.py"), folder)
            (metadata / "METADATA").write_text(
                "Metadata-Version: 2.1\nName: neutron-driver\nVersion: 1\n"
            )
            (metadata / "entry_points.txt").write_text(_ENTRY_POINTS)
        return folder

    def _bin(self, name: str) -> str:
        return str(self._configured.venv / "bin" / name)
