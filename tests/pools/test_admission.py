"""How many requests a provider works on at a time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.pools.admission import Admission


class Pool:
    """Enters as often as it is told there may be a place, if it has something to do."""

    def __init__(self, name: str, admission: Admission, diary: list[str], work: int) -> None:
        self.name = name
        self.admission = admission
        self.diary = diary
        self.work = work

    def go(self) -> None:
        while self.work and self.admission.enter(self.go):
            self.work -= 1
            self.diary.append(self.name)


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.diary: list[str] = []

    def test_no_limit(self) -> None:
        """Without a limit everyone is let in."""
        admission = Admission()
        Pool("a", admission, self.diary, 1000).go()
        self.assertEqual((admission.active, admission.closed), (1000, False))

    def test_limit(self) -> None:
        """Never more than the limit are inside; each place that comes free is taken."""
        admission = Admission(2)
        Pool("a", admission, self.diary, 5).go()
        self.assertEqual(admission.active, 2)
        for _ in range(3):
            admission.leave()
            self.assertEqual(admission.active, 2)
        self.assertEqual(len(self.diary), 5)
        admission.leave()
        self.assertEqual(admission.active, 1)

    def test_closed(self) -> None:
        """A limit of 0 lets nobody in."""
        admission = Admission(0)
        self.assertTrue(admission.closed)
        self.assertFalse(admission.enter(lambda: None))

    def test_turns_are_taken(self) -> None:
        """Of several pools with more work than places, none waits for ever."""
        admission = Admission(1)
        for name in "abc":
            Pool(name, admission, self.diary, 10).go()
        for _ in range(9):
            admission.leave()
        # The first was in, and back in line, before the others came.
        self.assertEqual("".join(self.diary), "a" + "abc" * 3)

    def test_who_has_nothing_to_do_any_more(self) -> None:
        """A pool that waits and has no work left does not keep others out."""
        admission = Admission(1)
        busy, idle = Pool("a", admission, self.diary, 3), Pool("b", admission, self.diary, 1)
        busy.go()
        idle.go()
        idle.work = 0
        admission.leave()
        admission.leave()
        self.assertEqual(self.diary, ["a", "a", "a"])
