"""From the configuration to what should be there."""

from __future__ import annotations

import attrs
import pytest

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.static.desired import Look, SlotKey, desired_of, key_of
from tests.providers.static.values import HOST, static_node, static_pool, static_provider


def test_each_node_becomes_a_host_with_its_slots() -> None:
    """Every option of the definition is carried over, with the pool's attributes."""
    node = static_node(
        "web1",
        ("a", "b"),
        host_keys=("ssh-rsa X",),
        host_key_checking=False,
        timeout=7,
        connection_port=2222,
        connection_type="network_cli",
        shell_type="csh",
        username="me",
        max_parallel_jobs=3,
        python_path="/py",
    )
    attributes = FrozenMapping({"n": FrozenMapping({"list": (1, 2)})})
    desired = desired_of(static_provider(static_pool(node, node_attributes=attributes)))
    host = desired.hosts["web1", "me", 2222]
    assert attrs.asdict(host) == {
        "provider": "rack",
        "pool": "main",
        "hostname": "web1",
        "username": "me",
        "port": 2222,
        "slots": 3,
        "labels": ("a", "b"),
        "connection_type": "network_cli",
        "shell_type": "csh",
        "python_path": "/py",
        "attributes": {"n": {"list": [1, 2]}},
        "host_keys": ("ssh-rsa X",),
        "host_key_checking": False,
        "timeout": 7.0,
        "identity": ("web1", "me", 2222),
        "look": Look.NONE,
    }
    assert list(desired.slot_keys()) == [SlotKey(("web1", "me", 2222), n) for n in range(3)]


def test_attributes_are_as_they_will_be_read_back() -> None:
    """A key that JSON turns into text would otherwise differ for ever."""
    attributes = FrozenMapping({1: "one", "when": "2024"})
    desired = desired_of(static_provider(static_pool(static_node(), node_attributes=attributes)))
    assert desired.hosts["web1", "zuul", 22].attributes == {"1": "one", "when": "2024"}


def test_pools_keep_their_attributes_apart() -> None:
    """A pool without attributes has none."""
    provider = static_provider(
        static_pool(static_node("a"), name="x", node_attributes=FrozenMapping({"k": 1})),
        static_pool(static_node("b"), name="y"),
    )
    hosts = desired_of(provider).hosts
    assert hosts["a", "zuul", 22].attributes == {"k": 1}
    assert hosts["b", "zuul", 22].attributes is None
    assert (hosts["a", "zuul", 22].pool, hosts["b", "zuul", 22].pool) == ("x", "y")


def test_what_is_wanted_in_a_slot() -> None:
    """Nothing beyond max-parallel-jobs, below zero, without a number, or elsewhere."""
    desired = desired_of(static_provider(static_pool(static_node(max_parallel_jobs=2))))
    here = ("web1", "zuul", 22)
    wanted = [desired.at(SlotKey(here, slot)) is not None for slot in (0, 1, 2, -1, None)]
    assert wanted == [True, True, False, False, False]
    assert desired.at(SlotKey(("web1", "root", 22), 0)) is None


@pytest.mark.parametrize(
    ("connection_type", "checking", "look"),
    [
        ("ssh", True, Look.KEYS),
        ("network_cli", True, Look.KEYS),
        ("ssh", False, Look.NONE),
        ("network_cli", False, Look.NONE),
        ("winrm", True, Look.PORT),
        ("winrm", False, Look.PORT),
        ("kubectl", True, Look.PORT),
    ],
)
def test_how_a_host_is_looked_at(connection_type: str, checking: bool, look: Look) -> None:
    """Keys over SSH unless nobody wants them, a connection for all others."""
    host = attrs.evolve(HOST, connection_type=connection_type, host_key_checking=checking)
    assert host.look is look


def test_any_record_has_a_key() -> None:
    """Also one of another driver, whose port is no number."""
    odd = Node(id="1", state=NodeState.READY, connection_port={"name": "pod"})
    assert hash(key_of(odd)) == hash(key_of(odd))
    assert key_of(odd).identity[0] is None
