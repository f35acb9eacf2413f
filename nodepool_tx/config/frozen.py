"""Values that cannot change and are equal when they mean the same.

A configuration is compared with its successor to decide what a reload has to
replace, so its free-form parts (``node-attributes``, the sections of drivers
that are not available) need the same value semantics as the typed ones.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

__all__ = ["Frozen", "FrozenMapping", "thaw"]

K = TypeVar("K", bound=Hashable)
V_co = TypeVar("V_co", covariant=True)

#: What a free-form value is made of: scalars, tuples and FrozenMapping.
Frozen = Hashable


def _identity(value: object) -> object:
    """What ``value`` is compared by: 1, 1.0 and True differ, NaN equals NaN."""
    if isinstance(value, tuple):
        return tuple(_identity(item) for item in value)
    if isinstance(value, (bool, int, float)):
        return (type(value), "nan") if value != value else (type(value), value)
    return value


class FrozenMapping(Mapping[K, V_co]):
    """A mapping that is hashable and whose equality does not look at order.

    Iteration keeps the order of the file, for display.
    """

    __slots__ = ("_data", "_identity")

    def __init__(self, data: Mapping[K, V_co] | Iterable[tuple[K, V_co]] = ()) -> None:
        self._data: dict[K, V_co] = dict(data)
        self._identity: frozenset[tuple[K, object]] | None = None

    def _compared(self) -> frozenset[tuple[K, object]]:
        if self._identity is None:
            self._identity = frozenset((key, _identity(item)) for key, item in self._data.items())
        return self._identity

    def __getitem__(self, key: K) -> V_co:
        return self._data[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FrozenMapping):
            return NotImplemented
        return self is other or self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def __repr__(self) -> str:
        return f"FrozenMapping({self._data!r})"


def thaw(value: object) -> object:
    """The same value in plain dicts and lists, as :mod:`json` writes them."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value
