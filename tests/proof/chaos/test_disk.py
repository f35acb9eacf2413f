"""The small disk."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from proof.chaos.disk import SmallDisk


def test_filled_while_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes full although more was written since it was measured; there is none but for root.

    Emptied, it takes what is written again.
    """
    disk = SmallDisk.make(0)
    if disk is None:
        # Where root may not mount anything either, there is nothing to fill.
        return
    measure, measured = os.statvfs, []

    def measure_too_early(path: Any) -> os.statvfs_result:
        found = measure(path)
        if not measured:
            (disk.directory / "log").write_bytes(bytes(100_000))
        measured.append(found)
        return found

    try:
        (disk.directory / "first").write_bytes(bytes(100_000))
        monkeypatch.setattr(os, "statvfs", measure_too_early)
        disk.fill()
        assert len(measured) == 2
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (disk.directory / "more").write_bytes(bytes(10_000))
        disk.empty()
        (disk.directory / "more").write_bytes(bytes(10_000))
    finally:
        disk.stop()
    assert not disk.directory.exists()
