"""The configurations that Nodepool 11 tests itself with: what ours says of them.

They come from Nodepool's source distribution, which pip fetches once and which
is kept beside the environments that the benchmarks keep.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml

from nodepool_tx.config import (
    Config,
    ConfigErrors,
    StaticPool,
    StaticProvider,
    UnavailableProvider,
)
from tests.functional.comparable_config import comparable
from tests.functional.generated_clouds import generate
from tests.functional.reading import Files, read_by_nodepool, read_by_us
from tests.functional.upstream_files import completed, documented
from tests.functional.upstream_files import fixtures as files_of_its_tests

#: How many configurations to try beside Nodepool's own.
GENERATED = 400

#: Files that are refused: the line of the first error and words of it.
REFUSED = {
    # Not a configuration, but a file of OpenStack's client.
    "clouds.yaml": (1, "clouds: the configuration has no such key"),
    # Its test expects a failure: there is no cloud to be used.
    "integration_noocc.yaml": (12, "an OpenStack provider needs the key 'cloud'"),
    # The tests of Nodepool's own validator that expect a failure.
    "config_validate/duplicate_diskimage_name.yaml": (70, "the diskimage trusty is given twice"),
    "config_validate/metastatic_error.yaml": (37, "differs from the label user-label in line 33"),
    "config_validate/missing_diskimage_provider.yaml": (6, "the diskimage wrong is not defined"),
    "config_validate/missing_parent_diskimage.yaml": (191, "this_does_not_exist is not defined"),
    "config_validate/missing_top_label.yaml": (12, "the label trusty is not defined"),
    "config_validate/no_diskimage_name.yaml": (29, "the diskimage trusty is not defined"),
    "config_validate/schema_error.yaml": (4, "nothandled: the configuration has no such key"),
    "config_validate/static_error.yaml": (4, "a static provider has no such key"),
    "config_validate/yaml_error.yaml": (57, "is not valid YAML"),
}

#: Files whose mistake lies in a section only the missing driver could judge.
NOT_JUDGED = {
    "config_validate/aws-fleet-allocation-strategy-error.yaml": "aws",
    "config_validate/aws-fleet-exclusive-error.yaml": "aws",
    "config_validate/k8s_spec_duplicate.yaml": "kubernetes",
}


@pytest.fixture(scope="module")
def fixtures() -> dict[str, str]:
    """Nodepool's files by name, filled in as its tests fill them in."""
    return dict(files_of_its_tests())


def load(text: str, folder: Path, secure: str | None = None) -> Config:
    """Read a configuration as the launcher does."""
    return read_by_us(Files(text, secure), folder)


def test_all_that_nodepool_takes(fixtures: dict[str, str], tmp_path: Path) -> None:
    """Every file is taken, but for those that are listed above."""
    refused: dict[str, str] = {}
    drivers: set[str] = set()
    for name, text in fixtures.items():
        if name in REFUSED or name == "secure_file_secure.yaml":
            continue
        try:
            config = load(text, tmp_path)
        except ConfigErrors as errors:
            refused[name] = str(errors)
            continue
        drivers |= {provider.driver for provider in config.providers.values()}
        written = yaml.safe_load(text.replace("%(NODEPOOL_PORT)", "8005"))
        assert list(config.providers) == [one["name"] for one in written.get("providers", [])]
        assert list(config.labels) == [one["name"] for one in written.get("labels", [])]
    assert refused == {}
    assert len(fixtures) == 185
    assert drivers == {"static", "openstack", "fake", "test", "aws", "azure", "gce", "ibmvpc"} | {
        "kubernetes",
        "openshift",
        "openshiftpods",
        "metastatic",
    }


@pytest.mark.parametrize(("driver", "unlisted"), [("openstack", 2), ("metastatic", 0)])
def test_examples_of_the_documentation(driver: str, unlisted: int, tmp_path: Path) -> None:
    """In the example of OpenStack's page are images that the second provider does not list."""
    config = load(completed(documented()[f"doc/source/{driver}.rst#0"]), tmp_path)
    assert len([one for one in config.warnings if "not uploaded" in str(one)]) == unlisted


def test_generated_clouds(tmp_path: Path) -> None:
    """Whatever Nodepool 11 takes is taken and comes out alike, as far as it can be used."""
    chance = random.Random(11)
    made = [generate(chance) for _ in range(GENERATED)]
    every = [Files(yaml.safe_dump(config)) for config, _ in made]
    answers = read_by_nodepool(every, tmp_path)
    taken = refused = 0
    for files, answer, (_, changed) in zip(every, answers, made, strict=True):
        if not answer.taken or answer.providers is None:
            refused += 1
            continue
        (provider,) = read_by_us(files, tmp_path).providers.values()
        ours = comparable(provider)
        assert ours is not None
        (expected,) = answer.providers.values()
        for pool, of_pool in expected.get("pools", {}).items():
            for name, label in of_pool["labels"].items():
                if changed and "image" in label and label["image"] is None:
                    # The image is not in the provider's list; ours has the one at the top.
                    label["image"] = ours["pools"][pool]["labels"][name]["image"]
        assert json.loads(json.dumps(ours)) == expected, files.main
        taken += 1
    assert min(taken, refused) > GENERATED // 4


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, fixtures: dict[str, str], tmp_path: Path) -> None:
    """A file with a mistake is refused for that mistake, at its line."""
    line, words = REFUSED[name]
    with pytest.raises(ConfigErrors) as raised:
        load(fixtures[name], tmp_path)
    first = raised.value.errors[0]
    assert first.line == line
    assert words in str(first)


@pytest.mark.parametrize("name", NOT_JUDGED)
def test_what_only_the_driver_could_refuse(
    name: str, fixtures: dict[str, str], tmp_path: Path
) -> None:
    """The section is kept as it is and its driver reported as not available."""
    providers = load(fixtures[name], tmp_path).providers.values()
    reasons = {one.reason for one in providers if isinstance(one, UnavailableProvider)}
    assert f"the driver {NOT_JUDGED[name]} is not available in this version" in reasons


def test_static_nodes(fixtures: dict[str, str], tmp_path: Path) -> None:
    """A static provider of Nodepool's tests comes out as it is written."""
    config = load(fixtures["static.yaml"], tmp_path)
    (provider,) = config.providers.values()
    assert isinstance(provider, StaticProvider)
    (pool,) = provider.pools
    assert isinstance(pool, StaticPool)
    assert pool.labels == {"fake-label", "fake-concurrent-label", "fake-windows-label"}
    assert [
        (node.name, node.labels, node.host_keys, node.connection_port, node.max_parallel_jobs)
        for node in pool.nodes
    ] == [
        ("fake-host-1", ("fake-label",), ("ssh-rsa FAKEKEY",), 22022, 1),
        ("fake-host-2", ("fake-concurrent-label",), ("ssh-rsa FAKEKEY",), 22, 2),
        ("fake-host-3", ("fake-windows-label",), (), 22, 1),
    ]
    assert [node.timeout for node in pool.nodes] == [13, 5, 5]
    assert [node.connection_type for node in pool.nodes] == ["ssh", "ssh", "winrm"]


def test_the_secure_file(fixtures: dict[str, str], tmp_path: Path) -> None:
    """The secure file of Nodepool's tests replaces the servers and adds variables."""
    config = load(
        fixtures["secure_file_config.yaml"], tmp_path, fixtures["secure_file_secure.yaml"]
    )
    assert [server.host for server in config.zookeeper_servers] == ["zookeeper_host"]
    assert config.diskimages["fake-image"].env_vars["REG_PASSWORD"] == "secret"
    assert "TMPDIR" in config.diskimages["fake-image"].env_vars


def test_inherited_images(fixtures: dict[str, str], tmp_path: Path) -> None:
    """The images of Nodepool's inheritance test have what that test expects."""
    images = load(fixtures["node_diskimage_parents.yaml"], tmp_path).diskimages
    assert set(images) == {"parent-image-1", "parent-image-2"}
    assert images["parent-image-1"].elements == ("fedora", "vm")
    assert images["parent-image-2"].elements == ("fedora", "intermediate", "vm")
    assert images["parent-image-1"].env_vars["PARENT_TEST_ENV_OVERRIDE"] == "abstract-base"
    assert images["parent-image-2"].env_vars["PARENT_TEST_ENV_OVERRIDE"] == "parent-image-2"
    assert "PARENT_TEST_ENV_INTERMEDIATE" not in images["parent-image-1"].env_vars
