"""What a rule is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import attrs

from proof.history.acts import Act

__all__ = ["Rule", "Violation"]


@attrs.frozen
class Violation:
    """Something happened that must not.

    :ivar rule: the name of the rule that says so.
    :ivar zxid: of the entry that did it.
    :ivar words: what happened, for people.
    :ivar paths: the znodes concerned, the most important first.
    """

    rule: str
    zxid: int
    words: str
    paths: tuple[str, ...]


class Rule(Protocol):
    """Looks at every step, in order, and remembers what it needs to."""

    name: str

    def see(self, act: Act) -> Iterator[Violation]:
        """What is wrong with a step.

        Called for each of them, those that chaos took included; consumed to the end.
        """
