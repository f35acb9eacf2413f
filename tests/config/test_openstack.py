"""The section of an OpenStack provider."""

from __future__ import annotations

import math

import pytest

from nodepool_tx.config import FrozenMapping
from nodepool_tx.config.cloud import CloudPool
from nodepool_tx.config.openstack import (
    OpenStackImage,
    OpenStackLabel,
    OpenStackPool,
    OpenStackProvider,
)
from tests.config.parsing import errors_of, parse

IMAGE = "cloud-images: [{name: x}]"
LABEL = "{name: a, cloud-image: x, min-ram: 1}"


def written(provider: str = "", pool: str = "", label: str = LABEL, images: str = IMAGE) -> str:
    """A configuration with one of each, and what is to be tried added to it."""
    more = f"\n    {provider}" if provider else ""
    in_pool = f", {pool}" if pool else ""
    return (
        "labels: [{name: a}, {name: b}]\n"
        "diskimages: [{name: base, abstract: true}, {name: deb, parent: base, username: me}]\n"
        "providers:\n"
        f"  - name: c\n    cloud: vex\n    {images}{more}\n"
        f"    pools: [{{name: p, labels: [{label}]{in_pool}}}]\n"
    )


def provider_of(text: str) -> OpenStackProvider:
    (provider,) = parse(text).providers.values()
    assert type(provider) is OpenStackProvider
    return provider


def label_of(text: str) -> OpenStackLabel:
    return provider_of(text).pools[0].cloud_labels["a"]


def test_defaults() -> None:
    """What is not given has the value that Nodepool 11's code gives it."""
    image = OpenStackImage(name="x", python_path="auto", connection_port=22)
    label = OpenStackLabel(name="a", image=image, min_ram=1, volume_size=50)
    assert provider_of(written()) == OpenStackProvider(
        name="c",
        driver="openstack",
        cloud="vex",
        rate=1.0,
        boot_timeout=60.0,
        launch_timeout=3600.0,
        launch_retries=3,
        image_upload_timeout=3600,
        image_name_format="{image_name}-{timestamp}",
        clean_floating_ips=False,
        port_cleanup_interval=600,
        cloud_images=FrozenMapping({"x": image}),
        pools=(
            OpenStackPool(
                name="p",
                provider_name="c",
                max_servers=math.inf,
                labels=frozenset({"a"}),
                cloud_labels=FrozenMapping({"a": label}),
                auto_floating_ip=True,
                host_key_checking=True,
            ),
        ),
    )


def test_everything() -> None:
    """Each key arrives where it belongs."""
    provider = provider_of(
        """
        labels: [{name: a}, {name: b}]
        diskimages: [{name: deb, username: me, python-path: /py, shell-type: csh}]
        providers:
          - name: c
            driver: openstack
            cloud: vex
            region-name: north
            priority: 7
            max-concurrency: 9
            rate: 0.25
            boot-timeout: 11
            launch-timeout: 12
            launch-retries: 13
            image-upload-timeout: 14
            image-name-format: "{image_name}"
            post-upload-hook: /hook
            clean-floating-ips: true
            port-cleanup-interval: 15
            diskimages:
              - {name: deb, pause: true, meta: {k: v}, config-drive: false,
                 connection-type: winrm}
            cloud-images:
              - {name: x, image-name: Debian, username: u, python-path: p, shell-type: s,
                 config-drive: true, connection-type: network_cli, connection-port: 23}
              - {name: y, image-id: "1-2"}
            pools:
              - name: p
                priority: 1
                max-servers: 2
                max-cores: 3
                max-ram: 4
                max-volumes: 5
                max-volume-gb: 6
                ignore-provider-quota: true
                availability-zones: [z2, z1]
                networks: [n]
                security-groups: [s]
                auto-floating-ip: false
                host-key-checking: false
                node-attributes: {k: v}
                labels:
                  - name: a
                    diskimage: deb
                    min-ram: 8
                    flavor-name: f
                    key-name: k
                    console-log: true
                    boot-from-volume: true
                    volume-size: 9
                    instance-properties: {ip: v}
                    dynamic-instance-properties: {dp: "for {request.id}"}
                    userdata: "#cloud-config"
                    networks: [m, o]
                    host-key-checking: true
                  - {name: b, cloud-image: x, flavor-name: f}
        """
    )
    meta = FrozenMapping({"k": "v"})
    deb = OpenStackImage(
        "deb", True, "me", "/py", "csh", "winrm", 5986, False, None, None, meta, True
    )
    x = OpenStackImage("x", False, "u", "p", "s", "network_cli", 23, True, None, "Debian")
    y = OpenStackImage("y", image_id="1-2")
    assert (provider.diskimages["deb"], x, y) == (deb, *provider.cloud_images.values())
    assert (x.external_name, y.external_name) == ("Debian", "1-2")
    assert (provider.rate, provider.boot_timeout, provider.launch_timeout) == (4.0, 11.0, 12.0)
    assert (provider.launch_retries, provider.image_upload_timeout) == (13, 14)
    assert (provider.region_name, provider.priority, provider.max_concurrency) == ("north", 7, 9)
    assert (provider.image_name_format, provider.post_upload_hook) == ("{image_name}", "/hook")
    assert (provider.clean_floating_ips, provider.port_cleanup_interval) == (True, 15)
    (pool,) = provider.pools
    assert pool.limits == {"instances": 2, "cores": 3, "ram": 4, "volumes": 5, "volume-gb": 6}
    assert (pool.ignore_provider_quota, pool.zones) == (True, ("z2", "z1"))
    assert (pool.networks, pool.security_groups, pool.auto_floating_ip) == (("n",), ("s",), False)
    assert (pool.host_key_checking, pool.node_attributes) == (False, FrozenMapping({"k": "v"}))
    assert (pool.effective_priority, pool.labels) == (1, {"a", "b"})
    a, b = pool.cloud_labels.values()
    assert a == OpenStackLabel(
        name="a",
        image=deb,
        host_key_checking=True,
        console_log=True,
        min_ram=8,
        flavor_name="f",
        key_name="k",
        boot_from_volume=True,
        volume_size=9,
        instance_properties=FrozenMapping({"ip": "v"}),
        dynamic_instance_properties=FrozenMapping({"dp": "for {request.id}"}),
        userdata="#cloud-config",
        networks=("m", "o"),
    )
    assert (b.image, b.networks, b.host_key_checking) == (x, ("n",), False)


@pytest.mark.parametrize(
    ("rate", "calls"), [("0.5", 2.0), ("4", 0.25), ("0", 0.0), ("'2'", 0.5), ("-1", 0.0)]
)
def test_rate_is_seconds_from_call_to_call(rate: str, calls: float) -> None:
    """The file says how long to wait; the provider how many calls go in a second."""
    assert provider_of(written(f"rate: {rate}")).rate == calls


def test_a_label_without_networks_of_its_own() -> None:
    """An empty list is a list of its own; without the key it has its pool's."""
    pool = "networks: [n]"
    assert label_of(written(pool=pool)).networks == ("n",)
    own = "{name: a, cloud-image: x, min-ram: 1, networks: []}"
    assert label_of(written(pool=pool, label=own)).networks == ()


def test_a_disk_image_changes_what_uses_it() -> None:
    """A label knows how to log in to its disk image, so a change of that is seen."""
    text = written(
        label="{name: a, diskimage: deb, min-ram: 1}", images="diskimages: [{name: deb}]"
    )
    image = label_of(text).image
    assert image is not None
    assert (image.username, image.python_path, image.diskimage) == ("me", "auto", True)
    assert provider_of(text) != provider_of(text.replace("username: me", "username: you"))
    assert provider_of(text) == provider_of(text + "\n# the same\n")


PATH = "providers[0].pools[0].labels[0]"


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (written().replace("    cloud: vex\n", ""), "providers[0]", "needs the key 'cloud'"),
        (written("region: x"), "providers[0].region", "did you mean region-name?"),
        (written("lunch-timeout: 1"), "providers[0].lunch-timeout", "did you mean launch-timeout?"),
        (written("networks: [n]"), "providers[0].networks", "it belongs to a pool"),
        (written("rate: fast"), "providers[0].rate", "a number of seconds, not text: fast"),
        (written("rate: .inf"), "providers[0].rate", "a number of seconds"),
        (written("boot-timeout: 1.5"), "providers[0].boot-timeout", "a whole number"),
        (written(pool="networks: n"), "providers[0].pools[0].networks", "must be a list"),
        (written(pool="networks: [1]"), "providers[0].pools[0].networks[0]", "in quotes: '1'"),
        (written(pool="azs: [z]"), "providers[0].pools[0].azs", "mean availability-zones?"),
        (written(pool="nodes: []"), "providers[0].pools[0].nodes", "driver: static"),
        (written(label="{name: a, cloud-image: x}"), PATH, "'flavor-name' or 'min-ram'"),
        (written(label="{name: a, min-ram: 1}"), PATH, "'diskimage' or 'cloud-image'"),
        (
            written(label="{name: a, min-ram: 1, diskimage: deb, cloud-image: x}"),
            f"{PATH}.cloud-image",
            "excludes diskimage",
        ),
        (
            written(label="{name: a, min-ram: 1, cloud-image: y}"),
            f"{PATH}.cloud-image",
            "the cloud-image y is not defined",
        ),
        (
            written(label="{name: a, min-ram: 1, diskimage: base}"),
            f"{PATH}.diskimage",
            "the diskimage base is abstract",
        ),
        (written(label="{name: z, cloud-image: x, min-ram: 1}"), f"{PATH}.name", "not defined"),
        (
            written(label="{name: a, cloud-image: x, min-ram: 1, flavor: f}"),
            f"{PATH}.flavor",
            "did you mean flavor-name?",
        ),
        (
            written(images="cloud-images: [{name: x, image-id: i, image-name: n}]"),
            "providers[0].cloud-images[0].image-name",
            "excludes image-id",
        ),
        (
            written(images=IMAGE + "\n    diskimages: [{name: deb, metadata: {}}]"),
            "providers[0].diskimages[0].metadata",
            "did you mean meta?",
        ),
    ],
)
def test_errors(text: str, path: str, words: str) -> None:
    """One mistake is one error, at its place, and says what to do."""
    (error,) = errors_of(text).errors
    assert error.path == path
    assert words in str(error)


def test_all_errors_at_once() -> None:
    """Mistakes of the provider, its images, its pools and its labels come together."""
    text = written(
        "rate: x\n    clowd: y",
        pool="max-cores: many",
        label="{cloud-image: y}",
        images="cloud-images: [{username: 5}]",
    )
    assert [error.path for error in errors_of(text).errors] == [
        "providers[0].cloud-images[0]",
        "providers[0].cloud-images[0].username",
        "providers[0].rate",
        "providers[0].clowd",
        PATH,
        PATH,
        f"{PATH}.cloud-image",
        "providers[0].pools[0].max-cores",
    ]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (written("nodepool-id: x"), "providers[0].nodepool-id", "no effect"),
        (written("rate: '1'"), "providers[0].rate", "remove the quotes"),
        (written("rate: -1"), "providers[0].rate", "0 is no limit"),
        (written("launch-retries: 0"), "providers[0].launch-retries", "is taken for 1"),
        (written("boot-timeout: 0"), "providers[0].boot-timeout", "leaves time for nothing"),
        (written("region-name: ''"), "providers[0].region-name", "is empty"),
        (written("image-name-format: '{imag}'"), "providers[0].image-name-format", "{image_name}"),
        (written(pool="max-ram: -1"), "providers[0].pools[0].max-ram", "there is no limit"),
        (
            written(label=f"{LABEL}, {LABEL}"),
            "providers[0].pools[0].labels[1].name",
            "the label a is given twice, first in line 7 (the last one counts)",
        ),
        (
            written(label="{name: a, min-ram: 1, diskimage: deb}"),
            f"{PATH}.diskimage",
            "not uploaded to this provider",
        ),
        (
            written(label=LABEL[:-1] + ", instance-properties: {k: 5}}"),
            f"{PATH}.instance-properties.k",
            "only texts for properties, not a whole number: 5 (put it in quotes)",
        ),
        *(
            (
                written(label=LABEL[:-1] + f", dynamic-instance-properties: {{k: {value}}}}}"),
                f"{PATH}.dynamic-instance-properties.k",
                words,
            )
            for value, words in [
                ("5", "put it in quotes"),
                ("'{request.idd}'", "a request has no idd (did you mean id?)"),
                ("'{job}'", "{job} is not known"),
                ("'{request.id'", "a brace that is meant as such is written twice"),
            ]
        ),
    ],
)
def test_warnings(text: str, path: str, words: str) -> None:
    """What Nodepool 11 takes without a word is taken with one."""
    (warning,) = parse(text).warnings
    assert warning.path == path
    assert words in str(warning)


def test_values_out_of_range_are_made_to_fit() -> None:
    """The engine never sees a time, a limit or a count that makes no sense."""
    provider = provider_of(
        written("launch-retries: -1\n    launch-timeout: -5", pool="max-cores: -3")
    )
    assert (provider.launch_retries, provider.launch_timeout) == (1, 1.0)
    assert provider.pools[0].max_cores == 0


def test_the_last_of_a_name_counts() -> None:
    """As in Nodepool 11, which says nothing about it."""
    second = "{name: a, cloud-image: x, min-ram: 2}"
    assert label_of(written(label=f"{LABEL}, {second}")).min_ram == 2


def test_limits_of_what_one_driver_counts() -> None:
    """A pool may have limits of resources that only its driver knows of."""
    pool = CloudPool(
        name="p", provider_name="c", max_servers=3, max_resources=FrozenMapping({"gpu": 2.0})
    )
    assert pool.limits == {"instances": 3, "gpu": 2}
