"""What the interpreter holds, and how much of it belongs to something that is bounded."""

from __future__ import annotations

import gc
import sys
import types
from typing import Any

import attrs

__all__ = ["Held", "held", "weigh"]

_SHARED = (type, types.ModuleType, types.FunctionType, types.MethodType)


@attrs.frozen
class Held:
    """Objects that the garbage collector looks after, and blocks that Python has allocated."""

    objects: int
    blocks: int

    def __sub__(self, other: Held) -> Held:
        return Held(self.objects - other.objects, self.blocks - other.blocks)


def held() -> Held:
    """All that there is, without garbage."""
    gc.collect()
    return Held(len(gc.get_objects()), sys.getallocatedblocks())


def weigh(root: Any) -> tuple[Held, int]:
    """What can be reached from an object, itself included, and its bytes.

    A dictionary's table is a block of its own; one that is too large for Python's allocator is
    none, so this is more rather than less by one or two.
    """
    seen: dict[int, Any] = {}
    ahead = [root]
    while ahead:
        each = ahead.pop()
        if id(each) not in seen and not isinstance(each, _SHARED):
            seen[id(each)] = each
            ahead += gc.get_referents(each)
    objects = sum(gc.is_tracked(each) for each in seen.values())
    blocks = len(seen) + sum(isinstance(each, dict) for each in seen.values())
    return Held(objects, blocks), sum(sys.getsizeof(each) for each in seen.values())
