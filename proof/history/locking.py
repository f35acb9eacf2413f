"""Rules of locks: who may write what, and who may not touch whose lock."""

from __future__ import annotations

from collections.abc import Iterator

from proof.history.acts import Act, Touched
from proof.history.cast import Role
from proof.history.rules import Violation

__all__ = ["ContenderRule", "LockRule", "OwnerRule"]

#: What is written into every static node, by Nodepool 11 too.
STATIC = "static driver"


class LockRule:
    """A node is written only under its lock, or with proof that nobody has it (decision 0002).

    By anybody; a request, by launchers: clients withdraw theirs and change its priority as they
    like, and so do launchers with requests of their own.  Removing a node needs no more proof:
    ZooKeeper does not remove it with a lock in it.
    """

    name = "lock"

    def see(self, act: Act) -> Iterator[Violation]:
        role = act.author.role
        if not act.deliberate or role in (Role.CHAOS, Role.NODEPOOL_11):
            return
        for node in act.nodes:
            if node.before is not None and node.after is not None and not act.entitled(node):
                yield self._violation(act, f"wrote node {node.id}", node)
        if role is not Role.LAUNCHER:
            return
        for request in act.requests:
            if request.before is None or act.entitled(request):
                continue
            if request.after is not None:
                yield self._violation(act, f"wrote request {request.id}", request)
            elif act.cast.role(request.before.creator) is not Role.LAUNCHER:
                yield self._violation(act, f"removed request {request.id}", request)

    def _violation(self, act: Act, what: str, touched: Touched) -> Violation:
        line = act.step.contenders_before(touched.lock)
        if line:
            why = f"whose lock {act.cast.player(line[0].owner).name} held"
        else:
            why = "without its lock, nor proof that nobody had it"
        words = f"{act.author.name} {what} {why}"
        return Violation(self.name, act.entry.zxid, words, (touched.path, touched.lock))


class ContenderRule:
    """Nobody is removed from a line for a lock, nor passed in it."""

    name = "contender"

    def see(self, act: Act) -> Iterator[Violation]:
        if not act.deliberate or act.author.role in (Role.CHAOS, Role.NODEPOOL_11):
            return
        for lock, before, after in act.contenders():
            if after is None and before is not None:
                if before.owner not in (0, act.session):
                    whose = act.cast.player(before.owner).name
                    words = f"{act.author.name} removed {whose} from the line for {lock}"
                    yield self._violation(act, words, lock)
            elif before is None and after is not None:
                line = act.step.contenders_before(lock)
                now = act.step.tree.contenders(lock)
                if line and now and now[0] is after and act.step.after(line[0].path) is not None:
                    whose = act.cast.player(line[0].owner).name
                    words = f"{act.author.name} came before {whose}, who held {lock}"
                    yield self._violation(act, words, lock)

    def _violation(self, act: Act, words: str, lock: str) -> Violation:
        return Violation(self.name, act.entry.zxid, words, (act.layout.subject(lock), lock))


class OwnerRule:
    """A launcher makes and removes static nodes only while it owns their provider."""

    name = "owner"

    def see(self, act: Act) -> Iterator[Violation]:
        if not act.deliberate or act.author.role is not Role.LAUNCHER:
            return
        for node in act.nodes:
            if node.before is not None and node.after is not None:
                continue
            record = node.is_ or node.was
            provider = record.get("provider")
            if record.get("launcher") != STATIC or not isinstance(provider, str):
                continue
            lock = act.layout.owner_lock(provider)
            if not act.holds(lock):
                what = "made" if node.before is None else "removed"
                words = (
                    f"{act.author.name} {what} node {node.id} of {provider}, not being its owner"
                )
                yield Violation(self.name, act.entry.zxid, words, (node.path, lock))
