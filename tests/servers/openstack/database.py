"""MariaDB with all that the services keep, and copies of it for quick starts."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import time
from collections.abc import Mapping
from getpass import getuser
from pathlib import Path

from benchmarks.cached_venvs import cache_directory
from tests.servers.openstack.processes import Processes, StartFailed
from tests.servers.openstack.settings import PASSWORD, Site
from tests.servers.openstack.software import SEARCH

__all__ = ["Database", "Snapshot"]

_NAMES = (
    "keystone",
    "glance",
    "placement",
    "nova",
    "nova_api",
    "nova_cell0",
    "neutron",
    "cinder",
)
#: What belongs together with the database, below the site's folder.
_KEPT = (
    "mysql",
    "images",
    "state",
    "etc/keystone/fernet-keys",
    "etc/keystone/credential-keys",
)
#: Seconds after which InnoDB has written its log to the file, which it does every second.
_SETTLED = 2.5


def _program(name: str) -> str:
    found = shutil.which(name, path=SEARCH)
    assert found is not None, name
    return found


class Database:
    """The database server of one site; listens on a socket file only."""

    def __init__(self, site: Site, processes: Processes) -> None:
        self._site = site
        self._processes = processes
        self._data = site.root / "mysql"

    def make(self) -> None:
        """Make an empty one."""
        done = subprocess.run(
            [
                _program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self._data}",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise StartFailed(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")

    def start(self, *, moved: Mapping[str, str] | None = None) -> None:
        """Start it, with the databases of all services in it.

        :param moved: endpoints by service type, if what is in it was made with
            other ports and in another folder.
        """
        first = self._site.root / "init.sql"
        lines = [f"CREATE USER IF NOT EXISTS openstack@localhost IDENTIFIED BY '{PASSWORD}';"]
        for name in _NAMES:
            lines.append(f"CREATE DATABASE IF NOT EXISTS {name} DEFAULT CHARACTER SET utf8mb3;")
            lines.append(f"GRANT ALL ON {name}.* TO openstack@localhost;")
        for kind, url in (moved or {}).items():
            lines.append(
                "UPDATE keystone.endpoint e JOIN keystone.service s ON e.service_id = s.id"
                f" SET e.url = '{url}' WHERE s.type = '{kind}';"
            )
        if moved:
            images = f"file://{self._site.root / 'images'}/"
            lines.append(
                "UPDATE glance.image_locations"
                f" SET value = CONCAT('{images}', SUBSTRING_INDEX(value, '/', -1));"
            )
        first.write_text("\n".join(lines) + "\n")
        self._processes.start(
            "mariadb",
            [
                _program("mariadbd"),
                "--no-defaults",
                f"--user={getuser()}",
                f"--datadir={self._data}",
                f"--socket={self._site.socket}",
                f"--tmpdir={self._site.root / 'tmp'}",
                f"--pid-file={self._site.root / 'mysql.pid'}",
                f"--init-file={first}",
                "--skip-networking",
                "--skip-name-resolve",
                "--skip-log-bin",
                "--performance-schema=off",
                "--max-connections=500",
                "--innodb-buffer-pool-size=128M",
                "--innodb-log-file-size=16M",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-doublewrite=0",
            ],
        )
        self._processes.wait("mariadb", self._site.socket.exists)


class Snapshot:
    """A copy of everything a furnished cloud keeps.

    There is one for each version of the files here: with other files the cloud
    would be another one.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        here = Path(__file__).parent
        content = b"".join(
            file.read_bytes() for file in sorted(here.iterdir()) if file.suffix in (".py", ".txt")
        )
        self._name = f"openstack-{hashlib.sha256(content).hexdigest()[:12]}.tar"
        self._file = cache_directory() / self._name

    def exists(self) -> bool:
        return self._file.exists()

    def restore(self) -> None:
        with tarfile.open(self._file) as tar:
            tar.extractall(self._site.root, filter="fully_trusted")

    def take(self, processes: Processes) -> None:
        """Copy it while everything runs.

        The database stands still meanwhile, and later finds what it would find
        after a crash at that moment, which it is made for.
        """
        time.sleep(_SETTLED)
        new = self._file.with_suffix(f".{self._site.root.name}")
        try:
            with processes.frozen("mariadb"), tarfile.open(new, "w") as tar:
                for name in _KEPT:
                    tar.add(self._site.root / name, name)
            new.replace(self._file)
        finally:
            new.unlink(missing_ok=True)
        for old in self._file.parent.glob("openstack-*.tar"):
            if old.name != self._name:
                old.unlink(missing_ok=True)
