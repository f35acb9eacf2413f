"""Connection strings and TLS files."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from nodepool_tx.txzookeeper.endpoints import Server, Servers, parse_servers
from nodepool_tx.txzookeeper.tls import TLSFiles, TLSFilesError
from tests.servers.certificates import Authority


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zk", Servers((Server("zk", 2181),), "")),
        ("zk:2281", Servers((Server("zk", 2281),), "")),
        ("a:1,b:2 , c", Servers((Server("a", 1), Server("b", 2), Server("c", 2181)), "")),
        ("[::1]:2281", Servers((Server("::1", 2281),), "")),
        ("[fe80::1],10.0.0.1:5", Servers((Server("fe80::1", 2181), Server("10.0.0.1", 5)), "")),
        ("a:1,b:2/some/where", Servers((Server("a", 1), Server("b", 2)), "/some/where")),
        (" a/x/ ", Servers((Server("a", 2181),), "/x")),
        ("a:1/", Servers((Server("a", 1),), "")),
    ],
)
def test_connection_strings(text: str, expected: Servers) -> None:
    """Hosts, ports, IPv6 and chroot are told apart as kazoo does."""
    assert parse_servers(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "without a host name"),
        ("a:1,,b:2", "without a host name"),
        (":2181", "without a host name"),
        ("a:port", "not a port number: 'port'"),
        ("a:0", "not a port number: '0'"),
        ("a:70000", "not a port number: '70000'"),
        ("a:-1", "not a port number"),
        ("::1:2181", "needs brackets"),
        ("[::1", "written [address]:port"),
        ("[::1]2181", "written [address]:port"),
        ("[zk]:2181", "written [address]:port"),
        ("a:1//b", "empty name in the chroot"),
        ("a:1/b//c", "empty name in the chroot"),
    ],
)
def test_bad_connection_strings(text: str, complaint: str) -> None:
    """What is wrong with a connection string is said, with the part it is in."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_servers(text)


def test_tls_files(tmp_path: Path) -> None:
    """Good files make a context."""
    assert Authority(tmp_path).client().context() is not None


@pytest.mark.parametrize("field", ["cert", "key", "ca"])
def test_missing_tls_file(tmp_path: Path, field: str) -> None:
    """A file that is not there is named."""
    files = attrs.evolve(Authority(tmp_path).client(), **{field: str(tmp_path / "nowhere")})
    with pytest.raises(TLSFilesError, match=r"cannot read .*nowhere: No such file") as caught:
        files.context()
    assert str(tmp_path / "nowhere") in str(caught.value)


@pytest.mark.parametrize("field", ["cert", "key", "ca"])
def test_tls_file_of_rubbish(tmp_path: Path, field: str) -> None:
    """A file that holds something else is named, and what it should have been."""
    (tmp_path / "rubbish").write_text("not a certificate\n")
    files = attrs.evolve(Authority(tmp_path).client(), **{field: str(tmp_path / "rubbish")})
    with pytest.raises(TLSFilesError, match=r"rubbish does not hold the|does not hold CA"):
        files.context()


def test_key_of_another_certificate(tmp_path: Path) -> None:
    """A key that does not belong to the certificate is found out."""
    authority = Authority(tmp_path)
    files = attrs.evolve(authority.client(), key=authority.client().key)
    with pytest.raises(TLSFilesError, match=r"does not belong to|does not hold the client key"):
        files.context()


def test_tls_files_are_plain_data() -> None:
    """Files are compared by path, so that a reload can see what changed."""
    assert TLSFiles("a", "b", "c") == TLSFiles("a", "b", "c")
