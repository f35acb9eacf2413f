"""The page that says how a soak went."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from proof.soak.part import Part
from proof.soak.plot import draw
from proof.soak.verdict import table

__all__ = ["PARTS", "report", "summary"]

PARTS = ("simulated", "real")

_HEAD = """\
# Soak: does a launcher that runs for long need ever more of anything?

Made by `python -m proof.soak`; the numbers are in `soak-simulated.csv` and `soak-real.csv`.
Growth is the slope of a series after the warm-up (Theil and Sen: the median of the slopes between
all pairs of samples) times the time after the warm-up.  A series grows when that is more than its
limit, which is a share of what it was in the first quarter, but never less than so much.  Lengths
of queues in the real part are judged by the lowest of each minute, as anything on the machine may
make them longer for a moment.

![All series](soak.svg)
"""


def summary(part: Part) -> str:
    """One line: what grows and what went wrong, or that nothing does."""
    growing = [each.name for each in part.verdicts() if each.grows]
    said = f"grows: {', '.join(growing)}" if growing else "nothing grows"
    if part.troubles:
        said += f"; {len(part.troubles)} things went wrong, the first: {part.troubles[0]}"
    return f"{part.name}: {said}"


def report(folder: pathlib.Path) -> list[Part]:
    """Write the page and the plots from what is kept of both parts; the parts."""
    found = [part for name in PARTS if (part := Part.read(folder, name)) is not None]
    sections = [_section(part) for part in found]
    (folder / "soak.md").write_text("\n".join([_HEAD, *sections]))
    if found:
        draw(found, folder)
    return found


def _section(part: Part) -> str:
    facts = "\n".join(f"- {name}: {value:,.10g}" for name, value in part.facts.items())
    seconds = part.samples.times[-1] - part.samples.times[0]
    looks = (
        f"{len(part.samples.times)} looks in {seconds / 60:.0f} minutes, of which "
        f"{part.warm_up / 60:.0f} are warm-up."
    )
    lines: Sequence[str] = (
        f"## The {part.name} part\n",
        f"**{summary(part).partition(': ')[2].capitalize()}.** {part.words}\n",
        f"{looks}\n",
        table(part.verdicts()),
        f"\n{facts}\n",
    )
    return "\n".join(lines)
