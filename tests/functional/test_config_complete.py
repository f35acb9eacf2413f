"""Every configuration in Nodepool 11's source distribution: taken or refused as there, read alike.

Nodepool 11 has two opinions of a file: its validator's, and that of its
launcher, which does not ask the validator.  Ours has one.  Where all three are
of one mind there is nothing to say; all others are listed here.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest

from nodepool_tx.config import Config, ConfigErrors, validate_files
from tests.config.parsing import BUILT_IN
from tests.functional.comparable_config import cloud_values, whole
from tests.functional.reading import Files, Theirs, read_by_nodepool, verdict_of_ours
from tests.functional.reference_config import ENVIRONMENT
from tests.functional.upstream_files import (
    SECURE,
    completed,
    documented,
    files,
    fixtures,
    others,
    top_level_keys,
)

UNAVAILABLE = "the mistake is in the section of a driver that is not available here"
STRICT = "its validator refuses it, and ours is never served what the validator refuses"
UNDEFINED = "a label that is not defined at the top; its validator does not look, nor does"
UNDEFINED += " ours where nothing comes of it"

#: Where ours, its validator and its launcher are not of one mind: who takes the file, and why.
DISPUTED: dict[str, tuple[str, str]] = {
    "aws/bad-config-images.yaml": ("ours launcher", UNAVAILABLE),
    "aws/diskimage-imdsv2-image.yaml": ("ours validator", UNAVAILABLE),
    "config_validate/aws-fleet-allocation-strategy-error.yaml": ("ours launcher", UNAVAILABLE),
    "config_validate/aws-fleet-exclusive-error.yaml": ("ours launcher", UNAVAILABLE),
    "config_validate/k8s_spec_duplicate.yaml": ("ours launcher", UNAVAILABLE),
    "clouds.yaml": ("launcher", STRICT),
    "config_validate/duplicate_diskimage_name.yaml": ("launcher", STRICT),
    "config_validate/schema_error.yaml": ("launcher", STRICT),
    "config_validate/static_error.yaml": ("launcher", STRICT),
    "tools/fake-dib.yaml": ("launcher", STRICT),
    "doc/source/configuration.rst#2": ("launcher", STRICT),
    "doc/source/configuration.rst#2 completed": ("launcher", STRICT),
    "config_validate/good.yaml": ("ours validator", UNDEFINED),
    "doc/source/aws.rst#0": ("ours validator", UNDEFINED),
    "doc/source/azure.rst#0": ("ours validator", UNDEFINED),
    "doc/source/ibmvpc.rst#0": ("ours validator", UNDEFINED),
    "doc/source/kubernetes.rst#0": ("ours validator", UNDEFINED),
    "doc/source/metastatic.rst#0": ("ours validator", UNDEFINED),
    "doc/source/openshift-pods.rst#0": ("ours validator", UNDEFINED),
    "doc/source/openshift.rst#0": ("ours validator", UNDEFINED),
    "config_validate/metastatic_error.yaml": (
        "validator",
        "two labels that contradict each other; the launcher and ours look",
    ),
    "doc/source/static.rst#0": (
        "validator",
        "a label that is not defined at the top, where a machine is lost over it",
    ),
    "tools/fake.yaml": ("ours launcher", "nobody looks up the cloud of a simulated provider"),
}

#: Values that differ: the file, where in it, ours and theirs.
DIFFERENT: dict[tuple[str, str], tuple[Any, Any]] = {
    # Its client cannot make sense of that; its test has a secure file replace it.
    ("secure_file_config.yaml", "zookeeper"): (
        ["invalid_host:1/invalid_chroot"],
        ["invalid_host:1invalid_chroot"],
    ),
}

#: The files there are, by where they are and whether they are configurations.
KINDS = {
    ("contrib", False): 1,
    ("doc", False): 16,
    ("etc", False): 1,
    ("nodepool", False): 1,
    ("nodepool fixtures", False): 2,
    ("nodepool fixtures", True): 183,
    ("playbooks", False): 9,
    ("playbooks", True): 1,
    ("releasenotes", False): 118,
    ("tools", False): 3,
    ("tools", True): 2,
}

#: How many values are compared at least.
FIELDS = 18_000


@attrs.frozen
class Read:
    """A configuration, as ours reads it and as Nodepool 11 does."""

    files: Files
    ours: Config | ConfigErrors
    theirs: Theirs

    @property
    def takers(self) -> str:
        """Which of ours, its validator and its launcher take it."""
        takes = {
            "ours": isinstance(self.ours, Config),
            "validator": self.theirs.valid,
            "launcher": self.theirs.whole is not None,
        }
        return " ".join(name for name, it_does in takes.items() if it_does)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Read]:
    """All of them by name, as they are, with its secure file, and with what they lack defined."""
    folder = tmp_path_factory.mktemp("every")
    examples = documented()
    texts = {**fixtures(), **others(), **examples}
    texts |= {f"{name} completed": completed(text) for name, text in examples.items()}
    secure = fixtures()[SECURE]
    found = {name: Files(text) for name, text in texts.items()}
    found |= {f"{name} secure": Files(text, secure) for name, text in fixtures().items()}
    theirs = read_by_nodepool(list(found.values()), folder)
    return {
        name: Read(each, verdict_of_ours(each, folder), answer)
        for (name, each), answer in zip(found.items(), theirs, strict=True)
    }


def test_no_file_is_missed(every: dict[str, Read]) -> None:
    """Everything that is or could be a configuration is looked at, or known not to be one."""
    counted: Counter[tuple[str, bool]] = Counter()
    for path in files():
        if path.startswith("nodepool/tests/fixtures/"):
            name = path.removeprefix("nodepool/tests/fixtures/")
            counted["nodepool fixtures", bool(top_level_keys(fixtures()[name]))] += 1
        elif "/" in path and not path.startswith("nodepool.egg-info"):
            counted[path.partition("/")[0], path in others()] += 1
    assert dict(counted) == KINDS
    assert (len(fixtures()), len(others()), len(documented())) == (185, 3, 13)
    assert len(every) == 2 * 185 + 3 + 2 * 13


def test_taken_or_refused(every: dict[str, Read]) -> None:
    """Ours takes what its validator and its launcher take, and refuses what both refuse."""
    takers = {name: read.takers for name, read in every.items() if not name.endswith(" secure")}
    disputed = {
        name: who for name, who in takers.items() if who not in ("", "ours validator launcher")
    }
    assert disputed == {name: who for name, (who, _) in DISPUTED.items()}
    assert Counter(takers.values())["ours validator launcher"] > 170


def test_with_a_secure_file(every: dict[str, Read]) -> None:
    """A secure file that names an image is taken with a file that has the image, as there."""
    pairs = {name: read for name, read in every.items() if name.endswith(" secure")}
    wrong = {
        name: read.takers
        for name, read in pairs.items()
        if isinstance(read.ours, Config) != read.theirs.taken
    }
    # As without: it says what the validator has to say of the file itself.
    assert {name.removesuffix(" secure") for name in wrong} <= set(DISPUTED)
    taken = [name for name, read in pairs.items() if isinstance(read.ours, Config)]
    refused = [name for name, read in pairs.items() if "unknown" in str(read.theirs.trouble)]
    assert "secure_file_config.yaml secure" in taken
    assert min(len(taken), len(refused)) > 60


def test_read_alike(every: dict[str, Read]) -> None:
    """Every value of every file that is taken is the same, from ZooKeeper's servers to nodes."""
    compared = 0
    different: dict[tuple[str, str], tuple[Any, Any]] = {}
    for name, read in every.items():
        if not isinstance(read.ours, Config) or read.theirs.whole is None:
            continue
        ours, theirs = json.loads(json.dumps(whole(read.ours))), read.theirs.whole
        _check_formats(ours, theirs, name)
        compared += _leaves(theirs)
        different |= {
            (name, key): (ours[key], theirs[key]) for key in theirs if ours[key] != theirs[key]
        }
        assert set(ours) == set(theirs)
        assert read.theirs.providers is not None
        clouds, there = cloud_values(read.ours, read.theirs.providers)
        assert clouds == there, name
        compared += _leaves(there)
    assert different == DIFFERENT
    assert compared > FIELDS


def _check_formats(ours: dict[str, Any], theirs: dict[str, Any], name: str) -> None:
    """There, each provider that an image is uploaded to adds the format that it wants."""
    for image, values in theirs["diskimages"].items():
        wanted = set(ours["diskimages"][image].pop("formats"))
        there = set(values.pop("formats"))
        assert wanted <= there <= wanted | {"qcow2", "vhd", "raw", "ova"}, f"{name}: {image}"


def _leaves(tree: object) -> int:
    if isinstance(tree, dict):
        return sum(_leaves(value) for value in tree.values())
    return 1


def test_the_command_says_the_same(every: dict[str, Read], tmp_path: Path) -> None:
    """`config-validate` ends with 1 for what the launcher refuses, and with 0 for all else."""
    for name, read in every.items():
        paths = read.files.write(tmp_path, "validated")
        code, text = validate_files(*paths, ENVIRONMENT, drivers=BUILT_IN)
        assert code == (0 if isinstance(read.ours, Config) else 1), f"{name}: {text}"


def test_other_sections_are_served(every: dict[str, Read]) -> None:
    """Of a file with a driver that is not available, all else is there, and a word about that."""
    unavailable = {"aws", "azure", "gce", "ibmvpc", "kubernetes", "openshift", "openshiftpods"}
    met: Counter[str] = Counter()
    for name, read in every.items():
        if not isinstance(read.ours, Config) or read.theirs.whole is None:
            continue
        for provider in read.ours.providers.values():
            reason = getattr(provider, "reason", None)
            if provider.driver in unavailable:
                assert reason == f"the driver {provider.driver} is not available in this version"
                assert read.ours.labels, name
                met[provider.driver] += 1
            elif provider.driver != "test":
                assert reason is None, name
    assert set(met) == unavailable
