"""Throw-away LDAP servers on loopback, with a small tree of people and groups.

    with Slapd(directory, certificate, key, ca) as server:
        ldap = Ldap(url=server.url, ...)

A server runs in the foreground as a child of this process and dies with it.
The tree is below ``dc=example,dc=org``: alice and bob in ``ou=people``, carol
whose entry can only be found by a search, groups of three kinds in
``ou=groups``, and the account ``cn=svc,ou=services`` that may read more than
the others.  Everybody's password is their name and ``-pw``.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
from types import TracebackType

__all__ = ["BASE", "STRANGE", "Slapd", "group", "person"]

BASE = "dc=example,dc=org"
#: Of whoever may do everything, when the tree is made.
_ROOT = (f"cn=admin,{BASE}", "admin-pw")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

_SCHEMAS = ("core", "cosine", "nis", "inetorgperson")


def person(name: str) -> str:
    """The DN of somebody in ``ou=people``."""
    return f"uid={name},ou=people,{BASE}"


def group(name: str) -> str:
    """The DN of a group."""
    return f"cn={name},ou=groups,{BASE}"


#: Somebody whose name contains all that has a meaning in DNs or filters.
STRANGE = 'Zoë (x),*+="#;\\'
_STRANGE_DN = f"uid={''.join(f'{chr(92)}{b:02x}' for b in STRANGE.encode())},ou=people,{BASE}"


def _entry(dn: str, *lines: str) -> str:
    return "\n".join([f"dn: {dn}", *map(_line, lines), "", ""])


def _line(line: str) -> str:
    """A line of LDIF, which is ASCII."""
    key, _, value = line.partition(": ")
    return line if line.isascii() else f"{key}:: {base64.b64encode(value.encode()).decode()}"


def _person(dn: str, name: str, *more: str) -> str:
    return _entry(
        dn,
        "objectClass: inetOrgPerson",
        f"uid: {name}",
        f"cn: {name}",
        f"sn: {name}",
        f"userPassword: {name}-pw",
        *more,
    )


_TREE = "".join(
    [
        _entry(BASE, "objectClass: dcObject", "objectClass: organization", "dc: example", "o: x"),
        *(
            _entry(f"ou={name},{BASE}", "objectClass: organizationalUnit", f"ou: {name}")
            for name in ("people", "groups", "services", "admins")
        ),
        _entry(
            f"cn=svc,ou=services,{BASE}",
            "objectClass: organizationalRole",
            "objectClass: simpleSecurityObject",
            "cn: svc",
            "userPassword: svc-pw",
        ),
        _person(person("alice"), "alice"),
        # Some directories tell of groups at the users only.
        _person(person("bob"), "bob", f"memberOf: {group('virtual')}"),
        _person(f"cn=Carol C,ou=admins,{BASE}", "carol"),
        _person(_STRANGE_DN, STRANGE),
        # Two of one name, in different places.
        _person(person("twin"), "twin"),
        _person(f"uid=twin,ou=admins,{BASE}", "twin"),
        _entry(
            group("ops"),
            "objectClass: groupOfNames",
            "cn: ops",
            f"member: {person('alice')}",
            f"member: cn=Carol C,ou=admins,{BASE}",
            f"member: {_STRANGE_DN}",
        ),
        _entry(
            group("unique"),
            "objectClass: groupOfUniqueNames",
            "cn: unique",
            f"uniqueMember: {person('alice')}",
        ),
        _entry(
            group("posix"),
            "objectClass: posixGroup",
            "cn: posix",
            "gidNumber: 5000",
            "memberUid: alice",
        ),
        # Nobody but the service account sees who is in it.
        _entry(
            group("secret"),
            "objectClass: groupOfNames",
            "cn: secret",
            f"member: {person('alice')}",
        ),
    ]
)


class Slapd:
    """One running server; made ready by ``with``.

    :param certificate: PEM files of the server's certificate, its key and the
        authority that signed it.
    :ivar url: asks for StartTLS; :attr:`ldaps` has TLS from the begin.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        certificate: pathlib.Path,
        key: pathlib.Path,
        ca: pathlib.Path,
    ) -> None:
        self.directory = directory
        self.ca = ca
        self._certificate = certificate
        self._key = key
        self.port, self.tls_port = _free_ports(2)
        self.url = f"ldap://localhost:{self.port}"
        self.ldaps = f"ldaps://localhost:{self.tls_port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Slapd:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """All the server has written."""
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it on its ports, with its tree."""
        database = self.directory / "db"
        if not database.exists():
            database.mkdir(parents=True)
            self._configure(database)
            self._fill()
        urls = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # In the foreground because of -d, which says little at this level.
                [_program("slapd"), "-d", "0", "-h", urls, "-f", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        self._wait(self._process)

    def stop(self) -> None:
        """End it; nothing of it runs afterwards."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)

    def freeze(self) -> None:
        """It takes connections from now on and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def _file(self) -> pathlib.Path:
        return self.directory / "slapd.conf"

    def _configure(self, database: pathlib.Path) -> None:
        lines = [
            *(f"include /etc/ldap/schema/{name}.schema" for name in _SCHEMAS),
            "modulepath /usr/lib/ldap",
            "moduleload back_mdb",
            "moduleload memberof",
            "loglevel none",
            f"TLSCACertificateFile {self.ca}",
            f"TLSCertificateFile {self._certificate}",
            f"TLSCertificateKeyFile {self._key}",
            "TLSProtocolMin 3.3",
            # No password is taken without TLS.
            "security simple_bind=128",
            "database mdb",
            f'suffix "{BASE}"',
            f'rootdn "{_ROOT[0]}"',
            f"rootpw {_ROOT[1]}",
            f"directory {database}",
            "maxsize 16777216",
            "overlay memberof",
            "memberof-group-oc groupOfNames",
            "access to attrs=userPassword by anonymous auth by * none",
            f'access to dn.exact="{group("secret")}" '
            f'by dn.exact="cn=svc,ou=services,{BASE}" read by * none',
            "access to attrs=memberOf "
            f'by dn.exact="cn=svc,ou=services,{BASE}" read by self read by * none',
            "access to * by users read by anonymous auth by * none",
        ]
        self._file.write_text("\n".join(lines) + "\n")

    def _fill(self) -> None:
        subprocess.run(
            [_program("slapadd"), "-q", "-f", str(self._file)],
            input=_TREE.encode(),
            check=True,
            capture_output=True,
            timeout=30,
        )

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(self.log)
            with contextlib.suppress(OSError):
                for port in (self.port, self.tls_port):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                return
            time.sleep(0.02)
        raise RuntimeError(f"slapd does not listen: {self.log}")


def _program(name: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        raise RuntimeError(f"no {name} found: install the package slapd")
    return path


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
