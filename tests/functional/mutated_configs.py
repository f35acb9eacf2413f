"""Configurations with one thing changed by chance."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import attrs

__all__ = ["Change", "mutate"]

#: What is put in the place of a value.
STRANGE: tuple[Any, ...] = (0, -1, 5, 1.5, True, "", "a", "5", None, [], ["a"], [5], {}, {"k": "v"})

#: Keys of a provider that have nothing to do with its driver.
_OF_ALL = frozenset({"name", "max-concurrency", "priority"})

_JUDGED = ("static", "openstack", "fake", "metastatic")


@attrs.frozen
class Change:
    """What was done: ``path`` leads to where, and ``value`` is what is new there.

    :ivar how: ``removed``, ``mistyped`` (the key), ``replaced`` or ``repeated``
        (an item of a list).
    """

    how: str
    path: tuple[str | int, ...]
    before: Any
    value: Any = None

    @property
    def key(self) -> str:
        """The last key of the path that is a word."""
        return [part for part in self.path if isinstance(part, str)][-1]


def mutate(document: Any, chance: random.Random) -> tuple[Any, Change]:
    """A copy with one change, in what all drivers share or a driver that we have."""
    changed = copy.deepcopy(document)
    where, path = chance.choice(list(_places(changed, ())))
    key = path[-1]
    before = copy.deepcopy(where[key])
    how = chance.choice(("removed", "mistyped", "replaced", "replaced", "repeated"))
    if how == "mistyped" and isinstance(where, dict):
        kept = list(where.items())
        where.clear()
        where.update((_mistyped(name) if name == key else name, value) for name, value in kept)
        return changed, Change(how, path, before, _mistyped(str(key)))
    if how == "repeated" and isinstance(where, list):
        where.append(copy.deepcopy(where[key]))
        return changed, Change(how, path, before)
    if how == "removed":
        del where[key]
        return changed, Change(how, path, before)
    value = copy.deepcopy(chance.choice(STRANGE))
    where[key] = value
    return changed, Change("replaced", path, before, value)


def _mistyped(name: str) -> str:
    return name[:-1] if len(name) > 3 else name + "x"


_Place = tuple[Any, tuple[Any, ...]]


def _places(tree: Any, above: tuple[Any, ...]) -> Iterator[_Place]:
    keys: list[Any] = []
    if isinstance(tree, dict):
        keys = list(tree)
    elif isinstance(tree, list):
        keys = list(range(len(tree)))
    for key in keys:
        path = (*above, key)
        if len(path) == 2 and path[0] == "providers" and not _is_judged(tree[key]):
            yield from ((tree[key], (*path, of)) for of in sorted(_OF_ALL & set(tree[key])))
            continue
        yield tree, path
        yield from _places(tree[key], path)


def _is_judged(provider: Any) -> bool:
    driver = provider.get("driver", "openstack")
    return driver in _JUDGED or str(provider.get("name")).startswith("fake")
