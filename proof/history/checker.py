"""Applying the rules to a history, entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nodepool_tx.store import paths
from proof.history.acts import Act, Layout
from proof.history.cast import Cast
from proof.history.excuses import Excuses
from proof.history.lending import LeaseRule
from proof.history.locking import ContenderRule, LockRule, OwnerRule
from proof.history.logs import CommittedLog
from proof.history.promises import FulfilledRule, PromiseRule
from proof.history.rules import Rule, Violation
from proof.history.standing import IntentRule, SlotRule, StateRule
from proof.history.story import Storyteller
from proof.history.trails import Trails
from proof.history.transactions import Entry, Transaction
from proof.history.tree import Step, Tree

__all__ = ["ALL_RULES", "Checker"]

#: Every rule there is; each is made anew for each checker.
ALL_RULES: Sequence[Callable[[], Rule]] = (
    LockRule,
    ContenderRule,
    OwnerRule,
    StateRule,
    SlotRule,
    IntentRule,
    PromiseRule,
    FulfilledRule,
    LeaseRule,
)
#: Violations whose trails are kept, the latest.
_TRAILS = 1000


class Checker:
    """Reads what is new in a history and says what is wrong with it.

    A hole in the history is a violation too (``history``): from there on nothing is proven.

    :param root: the chroot of the farm; "" if it has none.  What is elsewhere is left out.
    :ivar tree: the znodes after all that was read.
    :ivar transactions: how many were judged.
    """

    def __init__(
        self,
        log: CommittedLog,
        cast: Cast,
        rules: Sequence[Callable[[], Rule]] = ALL_RULES,
        *,
        root: str = "",
        told: Callable[[Step], None] | None = None,
    ) -> None:
        self.log = log
        self.cast = cast
        self.tree = Tree(below=root + paths.ROOT)
        self.transactions = 0
        self._layout = Layout(root)
        self._rules = [rule() for rule in rules]
        self._excuses = Excuses()
        self._trails = Trails(Storyteller(cast, self._layout), self._layout)
        self._kept: dict[Violation, list[str]] = {}
        self._holes = 0
        self._told = told

    def step(self) -> list[Violation]:
        """Judge what was committed since the last call."""
        found: list[Violation] = []
        while entries := self.log.read_some():
            for entry in entries:
                found += self.judge(entry)
        for last, zxid in self.log.missing[self._holes :]:
            words = f"the history has a hole between {last:x} and {zxid:x}"
            found.append(Violation("history", zxid, words, ()))
        self._holes = len(self.log.missing)
        return found

    def judge(self, entry: Entry) -> list[Violation]:
        """Judge one entry, which follows those before."""
        step = self.tree.apply(entry)
        self._recognize(step)
        if self._told is not None:
            self._told(step)
        if not step.changes and not isinstance(entry, Transaction):
            return []
        self.transactions += isinstance(entry, Transaction)
        self._trails.note(step)
        act = Act(step, self._layout, self.cast)
        self._excuses.before(act)
        found: list[Violation] = []
        for rule in self._rules:
            for violation in rule.see(act):
                if self._excuses.excuse(violation.paths, entry.milliseconds):
                    continue
                found.append(violation)
                self._kept[violation] = self._trails.lines(violation.paths)
                if len(self._kept) > _TRAILS:
                    del self._kept[next(iter(self._kept))]
        self._excuses.after(act)
        return found

    def trail(self, violation: Violation) -> list[str]:
        """What led to a violation: the last steps of the znodes concerned, up to it.

        Of violations long ago nothing is known any more.
        """
        return self._kept.get(violation, [])

    def taint(self, path: str) -> None:
        """Excuse what happens to a znode until it is gone; paths are those of the farm's clients.

        What chaos's own sessions write is tainted without being told.
        """
        self._excuses.taint(self._layout.root + path)

    def untaint(self, path: str) -> None:
        """What happens to it from now on counts again."""
        self._excuses.untaint(self._layout.root + path)

    def _recognize(self, step: Step) -> None:
        prefix = f"{self._layout.root}{paths.COMPONENTS}/"
        for path, (before, after) in step.changes.items():
            if before is None and after is not None and after.owner and path.startswith(prefix):
                kind = path[len(prefix) :].partition("/")[0]
                if kind in ("launcher", "pool") and after.record is not None:
                    self.cast.registered(after.owner, path, after.record)
