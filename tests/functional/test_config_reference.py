"""The configurations that Nodepool 11 tests itself with, read by ours.

They come from Nodepool's source distribution, which pip fetches once and which
is kept beside the environments that the benchmarks keep.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from benchmarks.cached_venvs import NODEPOOL, cache_directory, environment
from nodepool_tx.config import (
    Config,
    ConfigErrors,
    StaticPool,
    StaticProvider,
    UnavailableProvider,
    load_config,
)
from tests.config.parsing import BUILT_IN
from tests.functional.comparable_config import comparable
from tests.functional.generated_clouds import generate

RELEASE = "nodepool-11.0.0"
SHA256 = "d5c998f6cc51fefae3aa40fc2193fca91c595576fa9773bbe3542cbd34b10825"
FIXTURES = f"{RELEASE}/nodepool/tests/fixtures/"

#: Run by Nodepool's Python, to tell what it makes of them.
PROGRAM = Path(__file__).with_name("reference_config.py")
CLOUD = re.compile(r"^\s+cloud: (\S+)", re.MULTILINE)

#: How many configurations to try beside Nodepool's own.
GENERATED = 400

#: What Nodepool's tests fill in before they use a file; the rest gets its name.
FILLED_IN = {"zookeeper_port": "2281", "zookeeper_chroot": "/test", "port": "8080"}

#: Files that are refused: the line of the first error and words of it.
REFUSED = {
    # Not a configuration, but a file of OpenStack's client.
    "clouds.yaml": (1, "clouds: the configuration has no such key"),
    # Its test puts a server in the place of null before it uses the file.
    "gce.yaml": (2, "zookeeper-servers[0].host: needs a value"),
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


def _download(archive: Path) -> None:
    """Let pip fetch the source distribution, and nothing else."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--disable-pip-version-check"]
        command += ["--dest", folder, RELEASE.replace("-", "==")]
        subprocess.run(command, check=True, timeout=300)
        os.replace(Path(folder) / archive.name, archive)


@pytest.fixture(scope="module")
def release() -> dict[str, str]:
    """The YAML files and the documentation of Nodepool's release, by path."""
    archive = cache_directory() / f"{RELEASE}.tar.gz"
    if not archive.exists():
        _download(archive)
    data = archive.read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256
    found: dict[str, str] = {}
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile() and member.name.endswith((".yaml", ".rst")):
                stream = members.extractfile(member)
                assert stream is not None
                found[member.name] = stream.read().decode()
    return found


@pytest.fixture(scope="module")
def fixtures(release: dict[str, str]) -> dict[str, str]:
    """Nodepool's files by name, filled in as its tests fill them in."""
    return {
        name.removeprefix(FIXTURES): re.sub(
            r"\{([a-z_]+)\}", lambda name: FILLED_IN.get(name[1], name[1]), text
        )
        for name, text in release.items()
        if name.startswith(FIXTURES) and name.endswith(".yaml")
    }


@pytest.fixture(scope="module")
def theirs(
    fixtures: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What Nodepool 11 makes of each of its files, run once for all of them."""
    folder = tmp_path_factory.mktemp("theirs")
    paths = {name: folder / name.replace("/", "__") for name in fixtures}
    for name, path in paths.items():
        path.write_text(fixtures[name])
    clouds = {cloud for text in fixtures.values() for cloud in CLOUD.findall(text)}
    answers = read_by_nodepool(list(paths.values()), clouds, folder)
    return {name: answers[str(path)] for name, path in paths.items()}


def read_by_nodepool(paths: list[Path], clouds: set[str], folder: Path) -> dict[str, Any]:
    """What Nodepool 11 makes of files that use these clouds."""
    login = {"username": "u", "password": "p", "project_name": "x", "auth_url": "http://[::1]"}
    client = folder / "clouds-of-all.yaml"
    client.write_text(yaml.safe_dump({"clouds": {cloud: {"auth": login} for cloud in clouds}}))
    done = subprocess.run(
        [str(environment(NODEPOOL) / "python"), "-I", str(PROGRAM), *map(str, paths)],
        env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(client)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def load(text: str, folder: Path, secure: str | None = None) -> Config:
    """Read a configuration as the launcher does."""
    path = folder / "nodepool.yaml"
    path.write_text(text)
    secure_path = folder / "secure.yaml"
    if secure is not None:
        secure_path.write_text(secure)
    return load_config(
        str(path),
        None if secure is None else str(secure_path),
        {"NODEPOOL_PORT": "8005"},
        drivers=BUILT_IN,
    )


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


def test_clouds_come_out_alike(
    fixtures: dict[str, str], theirs: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Each value of each provider of a driver we have is the one Nodepool 11 has."""
    compared = 0
    for name, answer in theirs.items():
        if answer["providers"] is None or name in REFUSED:
            continue
        config = load(fixtures[name], tmp_path)
        for provider in config.providers.values():
            ours = comparable(provider)
            if ours is None:
                continue
            expected = answer["providers"][provider.name]
            assert json.loads(json.dumps(ours)) == expected, f"{name}: {provider.name}"
            compared += 1
    assert compared > 100


def test_what_nodepool_takes_is_taken(
    fixtures: dict[str, str], theirs: dict[str, dict[str, Any]]
) -> None:
    """Of the files refused here, Nodepool's validator and loader take none both."""
    refused_there = {
        name for name, it in theirs.items() if not it["valid"] or it["providers"] is None
    }
    assert set(REFUSED) <= refused_there
    assert theirs["config_validate/metastatic_ok.yaml"]["valid"]


@pytest.mark.parametrize("driver", ["openstack", "metastatic"])
def test_examples_of_the_documentation(
    driver: str, release: dict[str, str], tmp_path: Path
) -> None:
    """The example of a driver's page is taken, and means the same, with its labels defined."""
    text = release[f"{RELEASE}/doc/source/{driver}.rst"]
    block = re.search(
        r"code-block:: yaml\n\n((?: +providers:\n)(?: .*\n|\n)+?)(?=\n {3}\.\.)", text
    )
    assert block is not None
    example = yaml.safe_load(dedent(block[1]))
    pools = [pool for provider in example["providers"] for pool in provider["pools"]]
    used = [label for pool in pools for label in pool["labels"]]
    path = tmp_path / "example.yaml"
    defined = {
        "labels": [{"name": name} for name in sorted({label["name"] for label in used})],
        "diskimages": [
            {"name": name} for name in sorted({label.get("diskimage", "x") for label in used})
        ],
    }
    path.write_text(yaml.safe_dump({**defined, **example}))
    answer = read_by_nodepool([path], {"example", "example2"}, tmp_path)[str(path)]
    assert answer["valid"]
    assert answer["providers"]
    config = load(path.read_text(), tmp_path)
    for name, provider in config.providers.items():
        ours, expected = comparable(provider), answer["providers"][name]
        assert ours is not None
        for pool in ours["pools"]:
            for label, theirs in expected["pools"][pool]["labels"].items():
                if "image" in theirs and theirs["image"] is None:
                    # The second provider has labels with images that it does not list.
                    ours["pools"][pool]["labels"][label]["image"] = None
        assert json.loads(json.dumps(ours)) == expected
    unlisted = [warning for warning in config.warnings if "not uploaded" in str(warning)]
    assert len(unlisted) == (2 if driver == "openstack" else 0)


def test_generated_clouds(tmp_path: Path) -> None:
    """Whatever Nodepool 11 takes is taken and comes out alike, as far as it can be used."""
    chance = random.Random(11)
    made = [generate(chance) for _ in range(GENERATED)]
    paths = [tmp_path / f"{number}.yaml" for number in range(GENERATED)]
    for path, (config, _) in zip(paths, made, strict=True):
        path.write_text(yaml.safe_dump(config))
    answers = read_by_nodepool(paths, {"x", "a", "deb"}, tmp_path)
    taken = refused = 0
    for path, (_, changed) in zip(paths, made, strict=True):
        answer = answers[str(path)]
        if not answer["valid"] or answer["providers"] is None:
            refused += 1
            continue
        (provider,) = load(path.read_text(), tmp_path).providers.values()
        ours = comparable(provider)
        assert ours is not None
        (expected,) = answer["providers"].values()
        for pool, of_pool in expected.get("pools", {}).items():
            for name, label in of_pool["labels"].items():
                if changed and "image" in label and label["image"] is None:
                    # The image is not in the provider's list; ours has the one at the top.
                    label["image"] = ours["pools"][pool]["labels"][name]["image"]
        assert json.loads(json.dumps(ours)) == expected, path.read_text()
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


def test_the_gce_file_as_its_test_completes_it(fixtures: dict[str, str], tmp_path: Path) -> None:
    """With a server the file with null in the place of one is taken."""
    text = fixtures["gce.yaml"].replace("host: null", "host: zk").replace("port: null", "port: 1")
    assert set(load(text, tmp_path).providers) == {"gcloud-provider"}


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
