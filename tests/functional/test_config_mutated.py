"""Configurations of Nodepool 11 with one thing changed: still taken or refused as there.

A change is a key that is gone or mistyped, a value of another type or size, or
an item of a list written twice.  Ours must refuse what Nodepool 11's validator
or its launcher refuses, and take what both take.  What it does otherwise on
purpose is listed with its reason.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import yaml

from nodepool_tx.config import Config, ConfigErrors
from tests.functional.comparable_config import cloud_values, whole
from tests.functional.mutated_configs import Change, mutate
from tests.functional.reading import Files, Theirs, read_by_nodepool, verdict_of_ours
from tests.functional.test_config_complete import DISPUTED
from tests.functional.upstream_files import SECURE, fixtures

SEED = 20261122
MUTATIONS = 320
OF_SECURE_FILES = 40

#: The name of what has a changed secure file.
WITH_SECURE_FILE = "the secure file"

#: Words of our error for what is refused here only.
REFUSED_HERE = {
    "must not be empty": "an empty text can be no name, path or address",
    "is given twice": "there, the second silently takes the place of the first",
    "has the host name, user name and port of the node": "one machine would be given out twice",
    "not true or false": "there, true is 1 because it is in Python",
    "or more, not": "a number that can be no port, limit or size",
    "zookeeper-tls needs the key": "its guide requires all three, only its validator forgets to",
    "needs at least one label": "nobody could ever have the node",
    "there is no driver": "there, a name that begins with fake overrides the driver, even that",
    "the name of a driver": "as before",
}


def _nothing(change: Change, theirs: Theirs) -> bool:
    """A key without a value is as good as no key; the launcher there takes most of those."""
    return change.how == "replaced" and change.value is None


def _simulated(change: Change, theirs: Theirs) -> bool:
    """Nobody looks up the cloud of a simulated provider."""
    return change.key == "cloud" and change.how in ("removed", "replaced")


def _undefined(change: Change, theirs: Theirs) -> bool:
    """Something is not at the top that only sections name of which no validator looks for it."""
    gone = change.path[0] in ("labels", "diskimages")
    return gone and theirs.valid and str(theirs.trouble).startswith("KeyError")


#: What is taken here only.
TAKEN_HERE: tuple[Callable[[Change, Theirs], bool], ...] = (_nothing, _simulated, _undefined)


def _disabled(change: Change) -> bool:
    """A label with a min-ready below zero is offered by no pool here."""
    return change.key == "min-ready" and change.value == -1


def _repeated(change: Change) -> bool:
    """A server or a label of a node that is listed twice counts once here."""
    return change.how == "repeated" and change.key in ("zookeeper-servers", "labels")


def _chroot(change: Change) -> bool:
    """There, a chroot that does not begin with a slash becomes a part of the port."""
    return change.key == "chroot"


def _release(change: Change) -> bool:
    """There, the release 0 counts as none."""
    return change.key == "release" and change.value == 0


def _too_small(change: Change) -> bool:
    """A rate or a size that is too small to be one is not taken as it is here."""
    return change.key in ("rate", "min-ram", "volume-size") and change.value in (-1, 0)


#: What is taken by all and read differently.
READ_DIFFERENTLY: tuple[Callable[[Change], bool], ...] = (
    _disabled,
    _repeated,
    _chroot,
    _release,
    _too_small,
)


@attrs.frozen
class Tried:
    """A changed configuration and what all make of it."""

    name: str
    change: Change
    files: Files
    ours: Config | ConfigErrors
    theirs: Theirs

    @property
    def reason(self) -> str | None:
        """Why they may differ on whether to take it; None if there is no reason to."""
        if isinstance(self.ours, ConfigErrors):
            return next((words for words in REFUSED_HERE if words in str(self.ours)), None)
        return next((str(of.__doc__) for of in TAKEN_HERE if of(self.change, self.theirs)), None)


def _bases() -> Iterator[tuple[str, Any]]:
    """What there is to be changed."""
    for name, text in fixtures().items():
        filled_in = text.replace("%(NODEPOOL_PORT)", "8005")
        if not name.startswith("config_validate/") or "ok" in name:
            yield name, yaml.safe_load(filled_in)


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> list[Tried]:
    """All changes, of files on which all agree that they are taken without."""
    folder = tmp_path_factory.mktemp("mutated")
    bases = dict(_bases())
    usable = [name for name in bases if name not in DISPUTED]
    assert len(usable) > 160
    chance = random.Random(SEED)
    made: list[tuple[str, Change, Files]] = []
    for _ in range(MUTATIONS):
        name = chance.choice(usable)
        document, change = mutate(bases[name], chance)
        made.append((name, change, Files(yaml.safe_dump(document, sort_keys=False))))
    with_secure = fixtures()["secure_file_config.yaml"]
    secure = yaml.safe_load(fixtures()[SECURE])
    for _ in range(OF_SECURE_FILES):
        document, change = mutate(secure, chance)
        made.append((WITH_SECURE_FILE, change, Files(with_secure, yaml.safe_dump(document))))
    theirs = read_by_nodepool([files for _, _, files in made], folder)
    return [
        Tried(name, change, files, verdict_of_ours(files, folder), answer)
        for (name, change, files), answer in zip(made, theirs, strict=True)
    ]


def test_taken_or_refused(tried: list[Tried]) -> None:
    """Where they differ on whether to take a changed file, there is a reason to."""
    agreed: Counter[bool] = Counter()
    argued: Counter[str] = Counter()
    for one in tried:
        if one.name == WITH_SECURE_FILE:
            continue
        taken = isinstance(one.ours, Config)
        if taken == one.theirs.taken:
            agreed[taken] += 1
            continue
        why = f"{one.name}: {one.change}: {one.theirs.trouble or one.theirs.valid}: {one.ours}"
        assert one.reason is not None, why
        argued[one.reason] += 1
    assert min(agreed.values()) > MUTATIONS // 7
    assert argued.total() < MUTATIONS // 8


def test_secure_files(tried: list[Tried]) -> None:
    """No secure file is taken that is refused there; there, nobody validates one."""
    pairs = [
        (isinstance(one.ours, Config), one.theirs.whole is not None, one)
        for one in tried
        if one.name == WITH_SECURE_FILE
    ]
    for ours, theirs, one in pairs:
        assert theirs or not ours or _nothing(one.change, one.theirs), (
            f"{one.change}: {one.theirs.trouble}"
        )
    assert len({ours for ours, _, _ in pairs}) == 2


def test_read_alike(tried: list[Tried]) -> None:
    """What all of them take has the same values, but for what is read differently on purpose."""
    compared = 0
    for one in tried:
        if not isinstance(one.ours, Config) or not one.theirs.taken:
            continue
        assert one.theirs.whole is not None
        ours, theirs = json.loads(json.dumps(whole(one.ours))), one.theirs.whole
        for read in (ours, theirs):
            for image in read["diskimages"].values():
                # There, providers add formats that they want.
                del image["formats"]
        if one.name in ("secure_file_config.yaml", WITH_SECURE_FILE):
            # It has a chroot of the kind that is read differently.
            del ours["zookeeper"], theirs["zookeeper"]
        if not any(differs(one.change) for differs in READ_DIFFERENTLY):
            assert ours == theirs, f"{one.name}: {one.change}"
            assert one.theirs.providers is not None
            clouds, there = cloud_values(one.ours, one.theirs.providers)
            assert clouds == there, f"{one.name}: {one.change}"
            compared += 1
    assert compared > MUTATIONS // 7
