"""What is left of killed programs, and when it ends.

A killed launcher is one whose world goes on without it.  Its coroutines wait
for ever, and end when the garbage collector finds them: at any moment, in the
middle of whatever runs then.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

__all__ = ["collected_between_tests"]


@pytest.fixture(autouse=True)
def collected_between_tests() -> Iterator[None]:
    """Let them end after the test in which they were killed, and not in the middle of one."""
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.enable()
