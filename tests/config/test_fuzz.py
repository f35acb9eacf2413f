"""No input makes reading fail in any other way than with ConfigErrors."""

from __future__ import annotations

import string
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nodepool_tx.config import (
    Config,
    ConfigErrors,
    StaticPool,
    StaticProvider,
    diskimages,
    drivers,
    fake,
    load,
    metastatic,
    openstack,
    openstack_images,
    openstack_pools,
    static,
    toplevel,
)
from nodepool_tx.config.diskimages import MAX_PARENTS
from tests.config.parsing import errors_of, parse


def read(data: bytes | str, secure: str | None = None) -> Config | ConfigErrors:
    """Read it; whatever comes out of that is well formed."""
    try:
        config = parse(data, secure=secure, env={"NODEPOOL_X": "a: b\n"})
    except ConfigErrors as found:
        errors = found
    else:
        hash(config)
        return config
    assert errors.errors
    for error in errors.errors:
        assert error.message
        assert (error.line == 0) == (error.column == 0)
        assert "\n" not in str(error)
    return errors


@given(st.binary(max_size=200))
def test_bytes(data: bytes) -> None:
    """Any bytes."""
    read(data)


@given(st.text(max_size=200))
def test_text(text: str) -> None:
    """Any text, but for lone surrogates, which no file in UTF-8 holds."""
    read(text.encode("utf-8", "replace"))


@given(st.text(alphabet="[]{}:,-?&*!|>'\"%@#=~<. \n\tab1", max_size=200))
@example("<<: <<")
@example("<<: [<<]")
@example("<<")
@example("a: =")
@example("=: 1")
@example("? <<\n: {a: b}")
@example("!!int x: y")
@example("!!binary aaaa")
@example("!!set {a, b}")
@example("&a : *a")
@example("1:1:1:1e5: 1")
@example("0x_: 1")
@example("2001-99-99")
@example("- !!bool x")
@example("!<tag:yaml.org,2002:int> ''")
@example("%YAML 1.1\n---\n...\n")
def test_yamlish_text(text: str) -> None:
    """Text from the letters that mean something in YAML."""
    read(text)


KEYS = sorted(
    load._KEYS
    | diskimages._KEYS
    | drivers.PROVIDER_KEYS
    | static._NODE_KEYS
    | static._POOL_KEYS
    | toplevel._LABEL_KEYS
    | toplevel._SERVER_KEYS
    | toplevel._WEBAPP_KEYS
    | set(toplevel._TLS_KEYS)
    | {"tenant-name", "max-cores"}
    | openstack.OPENSTACK_KEYS
    | openstack_pools._POOL_KEYS
    | openstack_pools._LABEL_KEYS
    | openstack_images._DISKIMAGE_KEYS
    | openstack_images._CLOUD_IMAGE_KEYS
    | fake._KEYS
    | fake._FLAVOR_KEYS
    | metastatic._LABEL_KEYS
    | {"simulation"}
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.sampled_from(
        ["static", "aws", "fake", "metastatic", "a", "a b", "", "%(NODEPOOL_X)", "%(NODEPOOL_Y)"]
    )
    | st.text(max_size=5)
)
keys = st.sampled_from(KEYS) | scalars.filter(lambda key: not isinstance(key, float))
trees: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(keys, below, max_size=6),
    max_leaves=30,
)


@given(trees | st.dictionaries(st.sampled_from(KEYS), trees, max_size=8), trees)
@settings(max_examples=200)
def test_known_keys_with_any_values(main: Any, secure: Any) -> None:
    """The keys there are, in any place and with anything below."""
    read(yaml.safe_dump(main), secure=yaml.safe_dump(secure))


names = st.text(string.ascii_letters + string.digits + ".-_", min_size=1, max_size=8)


@st.composite
def valid_configs(draw: st.DrawFn) -> dict[str, Any]:
    """Configurations without a mistake."""
    labels = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    hosts = draw(st.lists(names, max_size=8, unique=True))
    node_fields = st.fixed_dictionaries(
        {
            "labels": st.lists(st.sampled_from(labels), min_size=1, max_size=4, unique=True)
            | st.sampled_from(labels)
        },
        optional={
            "host-key": names | st.lists(names, max_size=2),
            "host-key-checking": st.booleans(),
            "timeout": st.integers(1, 100),
            "connection-port": st.integers(1, 65535),
            "connection-type": st.sampled_from(["ssh", "winrm", "network_cli"]),
            "shell-type": names,
            "username": names,
            "max-parallel-jobs": st.integers(0, 9),
            "python-path": names,
        },
    )
    nodes = [{"name": host, **draw(node_fields)} for host in hosts]
    cuts = sorted(draw(st.lists(st.integers(0, len(nodes)), max_size=3)))
    edges = zip([0, *cuts], [*cuts, len(nodes)], strict=True)
    pool_fields = st.fixed_dictionaries(
        {},
        optional={
            "priority": st.integers(-5, 500),
            "max-servers": st.integers(0, 9),
            "node-attributes": st.dictionaries(names, scalars_for_json, max_size=3),
        },
    )
    pools = [
        {"name": f"pool{number}", "nodes": nodes[begin:end], **draw(pool_fields)}
        for number, (begin, end) in enumerate(edges)
    ]
    images = draw(st.lists(names, max_size=MAX_PARENTS, unique=True))
    return {
        "labels": [
            {
                "name": label,
                "min-ready": draw(st.integers(-1, 5)),
                "max-ready-age": draw(st.integers(0, 5)),
            }
            for label in labels
        ],
        "providers": [
            {"name": "rack", "driver": "static", "pools": pools},
            {"name": "cloud", "driver": "aws", "anything": draw(trees_for_json)},
        ],
        "diskimages": [
            {"name": image, "elements": [image]} | ({"parent": before} if before else {})
            for before, image in zip([None, *images], images, strict=False)
        ],
    }


scalars_for_json = st.none() | st.booleans() | st.integers() | names
trees_for_json = st.recursive(
    scalars_for_json, lambda below: st.lists(below) | st.dictionaries(names, below), max_leaves=5
)


@given(valid_configs())
@settings(max_examples=150)
def test_valid_configurations(written: dict[str, Any]) -> None:
    """A configuration without a mistake is taken, with all that it says, and in
    flow and block style alike."""
    config = parse(yaml.safe_dump(written, default_flow_style=False))
    assert config == parse(yaml.safe_dump(written, default_flow_style=True))
    assert list(config.labels) == [label["name"] for label in written["labels"]]
    rack = config.providers["rack"]
    assert isinstance(rack, StaticProvider)
    for pool, given_ in zip(rack.pools, written["providers"][0]["pools"], strict=True):
        assert isinstance(pool, StaticPool)
        assert [node.name for node in pool.nodes] == [node["name"] for node in given_["nodes"]]
        for node, fields in zip(pool.nodes, given_["nodes"], strict=True):
            labels = fields["labels"]
            assert list(node.labels) == ([labels] if isinstance(labels, str) else labels)
            assert node.connection_port == fields.get("connection-port", 22)
            assert node.max_parallel_jobs == fields.get("max-parallel-jobs", 1)
    for number, image in enumerate(written["diskimages"]):
        assert len(config.diskimages[image["name"]].elements) == number + 1


@given(valid_configs(), st.data())
@settings(max_examples=100)
def test_one_mistake_in_a_valid_configuration(written: dict[str, Any], data: st.DataObject) -> None:
    """A key that does not exist is the only error, at its path."""
    places: list[tuple[str, dict[str, Any]]] = [("", written)]
    places += [(f"labels[{at}].", label) for at, label in enumerate(written["labels"])]
    places += [(f"diskimages[{at}].", image) for at, image in enumerate(written["diskimages"])]
    for at, pool in enumerate(written["providers"][0]["pools"]):
        path = f"providers[0].pools[{at}]."
        places.append((path, pool))
        places += [(f"{path}nodes[{n}].", node) for n, node in enumerate(pool["nodes"])]
    path, section = data.draw(st.sampled_from(places))
    section["mistake"] = 1
    (error,) = errors_of(yaml.safe_dump(written)).errors
    assert error.path == f"{path}mistake"
