"""What happened lately to each node and request, within bounds."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

import attrs

from proof.history.acts import Layout
from proof.history.story import Storyteller
from proof.history.transactions import Entry
from proof.history.tree import Step, Znode

__all__ = ["Trails"]

#: Znodes that are remembered, those touched last; and steps of each.
ZNODES = 2000
STEPS = 40


@attrs.frozen
class _Moment:
    entry: Entry
    path: str
    before: Znode | None
    after: Znode | None


class Trails:
    """The last steps of the znodes touched last; a lock's are those of what it locks."""

    def __init__(self, teller: Storyteller, layout: Layout) -> None:
        self._teller = teller
        self._layout = layout
        self._moments: OrderedDict[str, deque[_Moment]] = OrderedDict()

    def note(self, step: Step) -> None:
        for path, (before, after) in step.changes.items():
            subject = self._layout.subject(path)
            moments = self._moments.get(subject)
            if moments is None:
                moments = self._moments[subject] = deque(maxlen=STEPS)
                if len(self._moments) > ZNODES:
                    self._moments.popitem(last=False)
            else:
                self._moments.move_to_end(subject)
            moments.append(_Moment(step.entry, path, before, after))

    def lines(self, paths: Iterable[str]) -> list[str]:
        """What is remembered about these, in the order in which it happened."""
        subjects = dict.fromkeys(self._layout.subject(path) for path in paths)
        moments = [moment for each in subjects for moment in self._moments.get(each, ())]
        moments.sort(key=lambda moment: moment.entry.zxid)
        return [
            f"{self._teller.head(moment.entry)} {words}"
            for moment in moments
            if (words := self._teller.change(moment.path, moment.before, moment.after))
        ]
