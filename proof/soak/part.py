"""What a part of the soak has found, in files from which the report is made."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

import attrs

from proof.soak.samples import Samples
from proof.soak.verdict import Limit, Verdict, judge

__all__ = ["Part"]


@attrs.frozen
class Part:
    """One of the two.

    :ivar name: ``simulated`` or ``real``.
    :ivar words: what was done, for people.
    :ivar facts: how often what was done, and other numbers.
    :ivar warm_up: seconds that do not count.
    :ivar troubles: what went wrong, whether or not anything grows.
    """

    name: str
    words: str
    facts: Mapping[str, float]
    warm_up: float
    limits: Mapping[str, Limit]
    troubles: tuple[str, ...]
    samples: Samples

    def verdicts(self) -> list[Verdict]:
        """One for each series that has a limit."""
        return judge(self.samples, self.warm_up, self.limits)

    @property
    def good(self) -> bool:
        """Nothing grows, and nothing went wrong."""
        return not self.troubles and not any(each.grows for each in self.verdicts())

    def write(self, folder: pathlib.Path) -> None:
        """Keep it in two files."""
        self.samples.write(folder / f"soak-{self.name}.csv")
        rest = {
            "words": self.words,
            "facts": dict(self.facts),
            "warm up": self.warm_up,
            "limits": {name: attrs.astuple(limit) for name, limit in self.limits.items()},
            "troubles": self.troubles,
        }
        text = json.dumps(rest, indent=1)
        (folder / f"soak-{self.name}.json").write_text(text + "\n")

    @classmethod
    def read(cls, folder: pathlib.Path, name: str) -> Part | None:
        """What :meth:`write` has kept; None if there is nothing."""
        path = folder / f"soak-{name}.json"
        if not path.exists():
            return None
        rest = json.loads(path.read_text())
        return cls(
            name,
            rest["words"],
            rest["facts"],
            rest["warm up"],
            {each: Limit(*limit) for each, limit in rest["limits"].items()},
            tuple(rest["troubles"]),
            Samples.read(folder / f"soak-{name}.csv"),
        )
