"""What a valid configuration comes to."""

from __future__ import annotations

import math

import pytest

from nodepool_tx.config import (
    Config,
    ConfigErrors,
    FrozenMapping,
    Label,
    PoolConfig,
    Server,
    StaticNode,
    StaticPool,
    StaticProvider,
    UnavailableProvider,
    Webapp,
    ZookeeperTls,
    load_config,
)
from tests.config.parsing import parse, static_provider


def only_node(nodes: str) -> StaticNode:
    pool = parse(static_provider(nodes)).pools[0]
    assert isinstance(pool, StaticPool)
    (node,) = pool.nodes
    return node


def test_defaults() -> None:
    """What is not given has Nodepool's defaults."""
    assert parse("labels: []") == Config(
        zookeeper_servers=(),
        zookeeper_timeout=10.0,
        zookeeper_tls=None,
        labels=FrozenMapping(),
        diskimages=FrozenMapping(),
        providers=FrozenMapping(),
        elements_dir=None,
        images_dir=None,
        build_log_dir=None,
        build_log_retention=7,
        max_hold_age=math.inf,
        webapp=Webapp(8005, "0.0.0.0"),
        tenant_resource_limits=FrozenMapping(),
    )


def test_everything_at_the_top() -> None:
    """Each key at the top arrives where it belongs."""
    config = parse(
        """
        webapp: {port: 80, listen_address: "::1"}
        elements-dir: /elements
        images-dir: /images
        build-log-dir: /logs
        build-log-retention: -1
        max-hold-age: 60
        zookeeper-timeout: 20
        zookeeper-servers:
          - {host: zk1, port: 2181, chroot: ci/}
          - {host: "[2001:DB8::1]", chroot: /ci}
        zookeeper-tls: {cert: c, key: k, ca: a}
        labels:
          - {name: one, min-ready: -1, max-ready-age: 5}
          - {name: two}
        """
    )
    assert config == Config(
        webapp=Webapp(80, "::1"),
        elements_dir="/elements",
        images_dir="/images",
        build_log_dir="/logs",
        build_log_retention=-1,
        max_hold_age=60,
        zookeeper_timeout=20.0,
        zookeeper_servers=(Server("zk1", 2181, "/ci"), Server("2001:db8::1", 2281, "/ci")),
        zookeeper_tls=ZookeeperTls("c", "k", "a"),
        labels=FrozenMapping({"one": Label("one", -1, 5), "two": Label("two", 0, 0)}),
    )
    assert config.labels["one"].disabled
    assert not config.labels["two"].disabled
    assert config.zookeeper_chroot == "/ci"
    assert type(config.zookeeper_timeout) is float


@pytest.mark.parametrize("value", ["0", "-1", "", "null"])
def test_max_hold_age_without_a_limit(value: str) -> None:
    """Zero, less or nothing is no limit."""
    assert parse(f"max-hold-age: {value}").max_hold_age == math.inf


def test_one_chroot_for_all_servers() -> None:
    """A chroot that one server names holds for all, as in a connection string."""
    config = parse("zookeeper-servers: [{host: a}, {host: b, chroot: /x/y}, {host: c, chroot: /}]")
    assert {server.chroot for server in config.zookeeper_servers} == {"/x/y"}


@pytest.mark.parametrize(
    "key", ["labels", "providers", "diskimages", "zookeeper-servers", "zookeeper-tls", "webapp"]
)
def test_sections_without_content(key: str) -> None:
    """A section whose content was commented out is no section, without a word."""
    config = parse(f"{key}:\n")
    assert config == Config()
    assert config.warnings == ()


def test_tenant_limits() -> None:
    """Limits are filed under the names that quotas use; the rest is kept."""
    config = parse(
        """
        tenant-resource-limits:
          - {tenant-name: t1, max-cores: 1, max-servers: 2, max-ram: 3, max-volumes: 4,
             max-volume-gb: 5, L-43DA4232: 448}
          - {tenant-name: t2}
        """
    )
    assert config.tenant_resource_limits == FrozenMapping(
        {
            "t1": FrozenMapping(
                {
                    "cores": 1,
                    "instances": 2,
                    "ram": 3,
                    "volumes": 4,
                    "volume-gb": 5,
                    "L-43DA4232": 448,
                }
            ),
            "t2": FrozenMapping({"cores": math.inf, "instances": math.inf, "ram": math.inf}),
        }
    )


def test_static_node_defaults() -> None:
    """A node needs a name and a label."""
    node = only_node("- {name: h1, labels: a}")
    assert node == StaticNode(
        name="h1",
        labels=("a",),
        host_keys=(),
        host_key_checking=True,
        timeout=5,
        connection_port=22,
        connection_type="ssh",
        shell_type=None,
        username="zuul",
        max_parallel_jobs=1,
        python_path="auto",
    )
    assert node.identity == ("h1", "zuul", 22)


def test_static_node_in_full() -> None:
    """Each key of a node arrives where it belongs; labels keep their order."""
    node = only_node(
        """
        - name: h1
          labels: [b, a]
          host-key: [ssh-rsa AAAA, ssh-ed25519 BBBB]
          host-key-checking: no
          timeout: 13
          connection-port: 22022
          connection-type: winrm
          shell-type: cmd
          username: admin
          max-parallel-jobs: 3
          python-path: /usr/bin/python3
        """
    )
    assert node == StaticNode(
        "h1",
        ("b", "a"),
        ("ssh-rsa AAAA", "ssh-ed25519 BBBB"),
        False,
        13,
        22022,
        "winrm",
        "cmd",
        "admin",
        3,
        "/usr/bin/python3",
    )


@pytest.mark.parametrize("labels", ["b a", "[b, a]", "[b a]", "'  b   a '", "|\n    b\n    a"])
def test_labels_are_split_everywhere(labels: str) -> None:
    """Labels separated by white space mean the same alone and in a list."""
    assert only_node(f"- name: h1\n  labels: {labels}").labels == ("b", "a")


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ("ssh-rsa K", ("ssh-rsa K",)),
        ("[]", ()),
        ("", ()),
        ("|\n    ssh-rsa K\n    ssh-ed25519 L\n", ("ssh-rsa K", "ssh-ed25519 L")),
        ("[' ssh-rsa K ']", ("ssh-rsa K",)),
    ],
)
def test_host_keys(given: str, keys: tuple[str, ...]) -> None:
    """One key, a list, or a text with one on each line."""
    assert only_node(f"- name: h1\n  labels: a\n  host-key: {given}").host_keys == keys


def test_legacy_ssh_port() -> None:
    """Files from long ago say ssh-port; connection-port wins over it."""
    assert only_node("- {name: h, labels: a, ssh-port: 2022}").connection_port == 2022
    both = "- {name: h, labels: a, ssh-port: 2022, connection-port: 2023}"
    assert only_node(both).connection_port == 2023


def test_static_pool() -> None:
    """A pool has the labels of its nodes, and free-form attributes."""
    config = parse(
        """
        labels: [{name: a}, {name: b}, {name: c}]
        providers:
          - name: rack
            driver: static
            max-concurrency: 4
            pools:
              - name: main
                max-servers: 2
                node-attributes: {rack: 7, 8: eight, true: yes, deep: {list: [1, null, x]}}
                nodes:
                  - {name: h1, labels: a b}
                  - {name: h1, labels: [b, c], username: other}
              - name: empty
        """
    )
    provider = config.providers["rack"]
    assert isinstance(provider, StaticProvider)
    assert (provider.driver, provider.priority, provider.max_concurrency) == ("static", None, 4)
    main, empty = provider.pools
    assert isinstance(main, StaticPool)
    assert main.provider_name == "rack"
    assert main.max_servers == 2
    assert main.labels == {"a", "b", "c"}
    assert [node.name for node in main.nodes] == ["h1", "h1"]
    assert main.node_attributes == FrozenMapping(
        {
            "rack": 7,
            "8": "eight",
            "true": True,
            "deep": FrozenMapping({"list": (1, None, "x")}),
        }
    )
    assert (empty.max_servers, empty.nodes, empty.node_attributes) == (math.inf, (), None)
    assert config.pools == (main, empty)


@pytest.mark.parametrize(
    ("provider", "pool", "effective"), [(None, None, 100), (7, None, 7), (7, 3, 3), (7, 0, 0)]
)
def test_priority(provider: int | None, pool: int | None, effective: int) -> None:
    """The pool's priority counts, else the provider's, else 100."""
    given = f"priority: {provider}" if provider is not None else "max-concurrency: -1"
    of_pool = f", priority: {pool}" if pool is not None else ""
    config = parse(
        f"providers: [{{name: r, driver: static, {given}, pools: [{{name: m{of_pool}}}]}}]"
    )
    assert config.pools[0].effective_priority == effective


def test_unavailable_provider() -> None:
    """Of a driver we do not have, what all drivers share is read; the rest is kept."""
    text = """
        labels: [{name: a}, {name: b}]
        providers:
          - name: cloud
            driver: aws
            priority: 5
            region-name: x
            since: 2020-01-01
            pools:
              - name: main
                max-servers: 8
                subnet-id: null
                labels: [{name: a, instance-type: big}, b]
        """
    provider = parse(text).providers["cloud"]
    assert isinstance(provider, UnavailableProvider)
    assert provider.pools == (
        PoolConfig(
            "main", "cloud", max_servers=8, provider_priority=5, labels=frozenset({"a", "b"})
        ),
    )
    assert provider.raw["region-name"] == "x"
    assert provider.reason == "the driver aws is not available in this version"
    assert provider == parse(text).providers["cloud"]
    assert provider != parse(text.replace("big", "small")).providers["cloud"]
    assert provider != parse(text.replace("null", "0")).providers["cloud"]


@pytest.mark.parametrize(
    ("written", "driver"),
    [
        ("{name: cloud, cloud: x}", "openstack"),
        ("{name: fake-one}", "fake"),
        ("{name: fake-one, driver: static}", "static"),
        ("{name: fake-one, driver: aws}", "aws"),
        ("{name: cloud, driver: fake}", "fake"),
    ],
)
def test_driver_of_a_provider(written: str, driver: str) -> None:
    """Names that begin with fake mean the fake driver only where none is given."""
    (provider,) = parse(f"providers: [{written}]").providers.values()
    assert provider.driver == driver


def test_values_that_mean_the_same_are_equal() -> None:
    """Order, quoting and aliases make no difference; a value does."""
    one = """
        labels: [{name: a}, {name: b}]
        providers:
          - name: r
            driver: static
            pools:
              - name: m
                node-attributes: {x: 1, y: 2}
                nodes:
                  - &base {name: h1, labels: [a], timeout: 9}
                  - {<<: *base, name: h2}
              - name: n
        """
    two = """
        labels: [{name: "b"}, {name: "a", min-ready: 0}]
        providers:
          - driver: "static"
            name: r
            pools:
              - name: n
              - nodes:
                  - {timeout: 9, labels: a, name: h2}
                  - {name: h1, labels: a, timeout: 9}
                name: m
                node-attributes: {y: 2, x: 1}
        """
    assert parse(one) == parse(two)
    assert hash(parse(one)) == hash(parse(two))
    assert parse(one) != parse(two.replace("y: 2", "y: true"))
    assert parse(one) != parse(two.replace("y: 2", "y: 2.0"))
    assert parse(one) != parse(two.replace("h2", "h3"))
    assert parse(one).digest != parse(two).digest


def test_merge_keys() -> None:
    """A mapping's own key wins, then the first mapping of a merged list."""
    node = only_node(
        """
        - name: h1
          labels: a
          <<: [{timeout: 1, username: first}, {timeout: 2, python-path: second}]
          username: own
        """
    )
    assert (node.timeout, node.username, node.python_path) == (1, "own", "second")


def test_a_real_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Files are read as UTF-8, with and without a byte order mark."""
    path = tmp_path / "nodepool.yaml"
    path.write_bytes("\ufefflabels:\r\n  - name: größe\r\n".encode())
    assert set(load_config(str(path)).labels) == {"größe"}
    with pytest.raises(ConfigErrors):
        load_config(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("zookeeper-timeout:", (1, 1, "zookeeper-timeout"), "no value"),
        (
            "zookeeper-servers: [{host: a}, {host: a}]",
            (1, 39, "zookeeper-servers[1].host"),
            "twice",
        ),
        (
            "tenant-resource-limits: [{tenant-name: t, max-core: 1}]",
            (1, 43, "tenant-resource-limits[0].max-core"),
            "did you mean max-cores?",
        ),
        (
            static_provider("- {name: h, labels: [a, a]}"),
            (8, 35, "providers[0].pools[0].nodes[0].labels[1]"),
            "twice",
        ),
        (
            static_provider("- {name: h, labels: a, max-parallel-jobs: 0}"),
            (8, 53, "providers[0].pools[0].nodes[0].max-parallel-jobs"),
            "out of service",
        ),
        (
            static_provider("- {name: h, labels: a, connection-type: winrm}"),
            (8, 51, "providers[0].pools[0].nodes[0].connection-type"),
            "5986",
        ),
        (
            static_provider("- {name: h, labels: a, ssh-port: 1, connection-port: 2}"),
            (8, 44, "providers[0].pools[0].nodes[0].ssh-port"),
            "not used",
        ),
        (
            "providers:\n- {name: x, driver: gce, pools: [{name: p, labels: [a]}]}",
            (2, 53, "providers[0].pools[0].labels[0]"),
            "not defined",
        ),
        (
            "elements-dir: 'x%(NODEPOOL_NO)'",
            (1, 15, "elements-dir"),
            "the environment variable NODEPOOL_NO is not set",
        ),
    ],
)
def test_warnings(text: str, place: tuple[int, int, str], words: str) -> None:
    """What works but was hardly meant is said, with its place."""
    (warning,) = parse(text).warnings
    assert (warning.line, warning.column, warning.path) == place
    assert words in str(warning)
    assert str(warning).startswith(f"main:{place[0]}:{place[1]}: warning: {place[2]}: ")


def test_one_machine_in_two_providers() -> None:
    """A node that two providers have is worth a warning that names both."""
    config = parse(
        """
        labels: [{name: a}]
        providers:
          - {name: r1, driver: static, pools: [{name: m, nodes: [{name: h, labels: a}]}]}
          - {name: r2, driver: static, pools: [{name: m, nodes: [{name: h, labels: a}]}]}
        """
    )
    (warning,) = config.warnings
    assert (warning.line, warning.path) == (5, "providers[1].pools[0].nodes[0].name")
    assert "line 4 (providers[0].pools[0].nodes[0])" in warning.message
