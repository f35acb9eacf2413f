"""Who is who: the sessions of a history and what they are there for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Cast", "Player", "Role"]


class Role(enum.Enum):
    """What somebody does here, and so which rules they are held to."""

    #: A launcher of ours: all rules.
    LAUNCHER = "launcher"
    #: Nodepool 11's launcher.  It cleans up some nodes without their locks, and removes locks
    #: that it takes for left behind, knows no owners of providers, and may register a slot that
    #: somebody else registers too: the rules `lock`, `contender`, `owner`, `slot`, `intent` and
    #: `promise` (but for who is promised what by a request) do not hold for what it does.
    NODEPOOL_11 = "nodepool 11"
    #: Asks for nodes and uses them, as Zuul does; so does, for all we know, every stranger: the
    #: operator's commands among them.  Held to the rules of nodes, and free with requests.
    CLIENT = "client"
    #: Breaks things on purpose: no rules at all.
    CHAOS = "chaos"


@attrs.frozen
class Player:
    """Somebody who has, or had, a session."""

    role: Role
    name: str


class Cast:
    """The players by session.

    Launchers are recognized by the component that they register; whom nobody has named is a
    client.  Sessions that ended stay known: what they made may be there for long.
    """

    def __init__(self) -> None:
        self._players: dict[int, Player] = {}

    def name(self, session: int, role: Role, name: str) -> None:
        """Say who somebody is, which goes before all that they register."""
        self._players[session] = Player(role, name)

    def registered(self, session: int, path: str, component: Mapping[str, Any]) -> None:
        """Somebody registered a component of a launcher at ``path``."""
        if session in self._players:
            return
        ours = str(component.get("version") or "")
        role = Role.NODEPOOL_11 if _is_nodepool_11(component) else Role.LAUNCHER
        name = path.rpartition("/")[2]
        self._players[session] = Player(role, f"{role.value} {name} {ours}".rstrip())

    def player(self, session: int) -> Player:
        """Who somebody is."""
        found = self._players.get(session)
        return found if found is not None else Player(Role.CLIENT, f"session {session:x}")

    def role(self, session: int) -> Role:
        return self.player(session).role


def _is_nodepool_11(component: Mapping[str, Any]) -> bool:
    return str(component.get("version") or "").startswith("11.")
