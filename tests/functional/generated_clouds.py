"""Configurations of clouds by chance, good ones and ones with something changed."""

from __future__ import annotations

import copy
import random
from typing import Any

__all__ = ["generate"]

_BOTH = [True, False]
_CLOUD_IMAGE = {
    "image-id": ["i"],
    "username": ["u"],
    "python-path": ["p"],
    "shell-type": ["s"],
    "connection-type": ["ssh", "winrm"],
    "connection-port": [5],
    "config-drive": _BOTH,
}
_DISKIMAGE = {
    "pause": _BOTH,
    "meta": [{"k": "v"}],
    "config-drive": _BOTH,
    "connection-type": ["winrm", "network_cli"],
    "connection-port": [6],
}
_LABEL = {
    "key-name": ["k"],
    "console-log": _BOTH,
    "boot-from-volume": _BOTH,
    "volume-size": [5],
    "instance-properties": [{}, {"k": "v"}],
    "dynamic-instance-properties": [{"k": "{request.id}"}, {"k": "{x}"}],
    "userdata": ["u"],
    "networks": [[], ["n"]],
    "host-key-checking": _BOTH,
}
_POOL = {
    "max-servers": [0, 5],
    "node-attributes": [{"k": "v"}],
    "priority": [1],
    "networks": [["n"]],
    "auto-floating-ip": _BOTH,
    "host-key-checking": _BOTH,
    "ignore-provider-quota": _BOTH,
    "max-cores": [0, 7],
    "max-ram": [9],
    "max-volumes": [1],
    "max-volume-gb": [2],
    "availability-zones": [[], ["z"]],
    "security-groups": [["s"]],
}
_LAUNCHING = {
    "boot-timeout": [5],
    "launch-timeout": [6],
    "launch-retries": [1],
    "max-concurrency": [1, 0, -1],
    "priority": [2],
}
_PROVIDER = {
    **_LAUNCHING,
    "region-name": ["r"],
    "image-upload-timeout": [7],
    "nodepool-id": ["n"],
    "rate": [1, 0.5, "2", 0],
    "image-name-format": ["{image_name}"],
    "clean-floating-ips": _BOTH,
    "port-cleanup-interval": [0, 5],
    "post-upload-hook": ["h"],
}
_SLOTS = {
    "max-parallel-jobs": [1, 2],
    "grace-time": [0, 5],
    "min-retention-time": [0, 5],
    "max-age": [5, 6],
    "host-key-checking": _BOTH,
}
#: What is put in the place of a value.  Not what is refused here on purpose:
#: true for 1, names and ports that cannot be any, limits below zero.
_STRANGE = [5, 1.5, "a", "deb", None, [], ["a"], [5], {}, {"k": "v"}]


def generate(chance: random.Random) -> tuple[dict[str, Any], bool]:
    """A configuration, and whether something in it was changed."""
    provider = _metastatic(chance) if chance.random() < 0.25 else _cloud(chance)
    changed = chance.random() < 0.6
    if changed:
        _change(provider, chance)
    config = {
        "labels": [{"name": "a"}, {"name": "b"}],
        "diskimages": [{"name": "deb", "username": "u"}, {"name": "base", "abstract": True}],
        "providers": [provider],
    }
    return config, changed


def _some(options: dict[str, list[Any]], chance: random.Random) -> dict[str, Any]:
    return {key: chance.choice(of) for key, of in options.items() if chance.random() < 0.3}


def _cloud(chance: random.Random) -> dict[str, Any]:
    return {
        "name": "c",
        "driver": chance.choice(["openstack", "fake"]),
        "cloud": "x",
        "cloud-images": [{"name": "x", **_some(_CLOUD_IMAGE, chance)}],
        "diskimages": [{"name": "deb", **_some(_DISKIMAGE, chance)}],
        "pools": [
            {"name": name, "labels": _labels(chance), **_some(_POOL, chance)}
            for name in chance.choice([[], ["p"], ["p", "q"]])
        ],
        **_some(_PROVIDER, chance),
    }


def _labels(chance: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            **chance.choice([{"min-ram": 1}, {"flavor-name": "f"}]),
            **chance.choice([{"diskimage": "deb"}, {"cloud-image": "x"}]),
            **_some(_LABEL, chance),
        }
        for name in chance.choice([[], ["a"], ["b", "a"]])
    ]


def _metastatic(chance: random.Random) -> dict[str, Any]:
    labels = [
        {"name": "a", "backing-label": chance.choice("abc"), **_some(_SLOTS, chance)}
        for _ in range(chance.randint(0, 1))
    ]
    pool = {key: _POOL[key] for key in ("max-servers", "priority", "host-key-checking")}
    return {
        "name": "m",
        "driver": "metastatic",
        "pools": [{"name": "p", "labels": labels, **_some(pool, chance)}],
        **_some(_LAUNCHING, chance),
    }


def _change(tree: Any, chance: random.Random) -> None:
    """Take something out of a tree, or put something else in its place."""
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        below = waiting.pop()
        keys = list(below) if isinstance(below, dict) else range(len(below))
        places += [(below, key) for key in keys]
        waiting += [below[key] for key in keys if isinstance(below[key], (dict, list))]
    where, key = chance.choice(places)
    if chance.random() < 0.2:
        del where[key]
    else:
        where[key] = copy.deepcopy(chance.choice(_STRANGE))
