"""Reaching a node over SSH."""

import os
import pathlib
import stat

from nodepool_tx.cli.ssh import KnownHosts, remote_words, ssh_words
from nodepool_tx.model import Node, NodeState

NODE = Node(
    id="1",
    state=NodeState.IN_USE,
    interface_ip="192.0.2.7",
    connection_port=2222,
    username="zuul",
    host_keys=("ssh-ed25519 AAAA", "ssh-rsa BBBB"),
)


def test_the_host_keys_are_pinned() -> None:
    """Neither the user's known hosts nor the machine's are asked."""
    words = ssh_words(NODE, "/d/known_hosts", "/k")
    assert words == [
        "ssh",
        *("-o", "StrictHostKeyChecking=yes"),
        *("-o", "UserKnownHostsFile=/d/known_hosts"),
        *("-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", "UpdateHostKeys=no"),
        *("-i", "/k"),
        *("-o", "IdentitiesOnly=yes"),
        *("-p", "2222"),
        "zuul@192.0.2.7",
    ]


def test_a_node_without_host_keys_is_not_checked() -> None:
    """Its configuration says host-key-checking: false, or nobody knows its keys."""
    node = Node(id="1", state=NodeState.IN_USE, hostname="h")
    assert ssh_words(node, "/d/known_hosts") == [
        "ssh",
        *("-o", "StrictHostKeyChecking=no"),
        *("-o", "UserKnownHostsFile=/dev/null"),
        "zuul@h",
    ]


def test_an_unattended_ssh_asks_nothing() -> None:
    """It fails instead of waiting for a password nobody will type."""
    assert "BatchMode=yes" in ssh_words(NODE, "/x", unattended=True)
    assert "BatchMode=yes" not in ssh_words(NODE, "/x")


def test_one_word_is_a_line_for_the_remote_shell() -> None:
    """Several words arrive as they are, spaces and all."""
    assert remote_words(["echo $HOME; ls"]) == "echo $HOME; ls"
    assert remote_words(["echo", "$HOME", "a b"]) == "echo '$HOME' 'a b'"


def test_known_hosts_name_the_port_where_it_is_not_22(tmp_path: pathlib.Path) -> None:
    """The file is in a directory that others cannot look into, and goes with it."""
    plain = Node(id="2", state=NodeState.IN_USE, hostname="h", host_keys=("ssh-rsa CCCC",))
    known_hosts = KnownHosts([NODE, NODE, plain], str(tmp_path))
    path = pathlib.Path(known_hosts.path)
    assert path.read_text().splitlines() == [
        "[192.0.2.7]:2222 ssh-ed25519 AAAA",
        "[192.0.2.7]:2222 ssh-rsa BBBB",
        "h ssh-rsa CCCC",
    ]
    assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
    known_hosts.remove()
    assert list(tmp_path.iterdir()) == []
