"""Histories made by hand, judged as they are made."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from nodepool_tx.store import paths
from proof.history.cast import Cast, Role
from proof.history.checker import ALL_RULES, Checker
from proof.history.logs import CommittedLog
from proof.history.rules import Rule, Violation
from proof.history.transactions import Operation, SessionClosed, Transaction

MINUTE = 60_000


def create(
    path: str, record: dict[str, Any] | None = None, *, ephemeral: bool = False
) -> Operation:
    data = b"" if record is None else json.dumps(record).encode()
    return Operation("create", path, data, None, ephemeral)


def write(path: str, record: dict[str, Any] | bytes) -> Operation:
    return Operation(
        "set", path, record if isinstance(record, bytes) else json.dumps(record).encode()
    )


def remove(path: str) -> Operation:
    return Operation("delete", path)


def check(path: str) -> Operation:
    return Operation("check", path)


def contender(lock: str, sequence: int = 0) -> str:
    return f"{lock}/{sequence:032x}__lock__{sequence:010d}"


def free_proof(lock: str) -> tuple[Operation, Operation]:
    """What decision 0002 writes."""
    return remove(lock), create(lock)


class Play:
    """A farm without servers: sessions do things, and each deed is judged at once."""

    def __init__(self, rules: Sequence[Callable[[], Rule]] = ALL_RULES) -> None:
        self.cast = Cast()
        self.checker = Checker(CommittedLog([]), self.cast, rules)
        self.zxid = 0
        self.milliseconds = 1_700_000_000_000
        self._sessions = 0x1000

    def session(self, role: Role | None = None) -> int:
        self._sessions += 1
        if role is not None:
            self.cast.name(self._sessions, role, f"{role.value} {self._sessions:x}")
        return self._sessions

    def launcher(self, *owns: str) -> int:
        """A launcher of ours that owns these providers."""
        session = self.session(Role.LAUNCHER)
        for provider in owns:
            self.good(session, create(contender(paths.owner_lock(provider)), ephemeral=True))
        return session

    def do(self, session: int, *operations: Operation, after: int = 1) -> list[Violation]:
        self.zxid += 1
        self.milliseconds += after
        return self.checker.judge(
            Transaction(self.zxid, self.milliseconds, session, tuple(operations))
        )

    def close(self, session: int) -> list[Violation]:
        self.zxid += 1
        return self.checker.judge(SessionClosed(self.zxid, self.milliseconds, session))

    def good(self, session: int, *operations: Operation, after: int = 1) -> None:
        """Do something in which no rule may see anything."""
        found = self.do(session, *operations, after=after)
        assert not found, [violation.words for violation in found]

    def bad(self, rule: str, session: int, *operations: Operation, after: int = 1) -> Violation:
        """Do something in which this rule sees something, and no other does."""
        found = self.do(session, *operations, after=after)
        assert {violation.rule for violation in found} == {rule}, found
        return found[0]


def static_node(**changes: Any) -> dict[str, Any]:
    return {
        "state": "ready",
        "provider": "rack",
        "pool": "main",
        "type": ["small"],
        "allocated_to": None,
        "launcher": "static driver",
        "hostname": "host-1",
        "username": "zuul",
        "connection_port": 22,
        "slot": 0,
        "external_id": "host-1",
        **changes,
    }


def cloud_node(**changes: Any) -> dict[str, Any]:
    return {
        "state": "init",
        "provider": "cloud",
        "pool": "main",
        "type": ["small"],
        "allocated_to": None,
        "launcher": "one",
        "external_id": None,
        "slot": None,
        **changes,
    }


def a_request(**changes: Any) -> dict[str, Any]:
    return {
        "state": "requested",
        "node_types": ["small"],
        "nodes": [],
        "requestor": "zuul",
        **changes,
    }


NODE = paths.node("0000000001")
NODE_LOCK = paths.node_lock("0000000001")
OTHER = paths.node("0000000002")
OTHER_LOCK = paths.node_lock("0000000002")
ASKED = paths.request("100-0000000001")
ASKED_LOCK = paths.request_lock("100-0000000001")
ASKED_ID = "100-0000000001"
ASKED_TOO = paths.request("100-0000000002")
ASKED_TOO_LOCK = paths.request_lock("100-0000000002")
ASKED_TOO_ID = "100-0000000002"
