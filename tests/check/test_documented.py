"""The page about ``nodepool check`` names what there is."""

from __future__ import annotations

import pathlib
import re

from nodepool_tx.check.findings import KINDS

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()


def test_every_kind_of_finding_is_described() -> None:
    """And nothing else is."""
    _, _, section = PAGE.partition("\n## nodepool check\n")
    section, _, _ = section.partition("\n## ")
    first = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert sorted(re.findall(r"`([a-z-]+)`", " ".join(first))) == sorted(KINDS)
