"""ZooKeeper's own history of everything, and rules over it.

The truth comes from the servers' transaction logs: every step ever made, with its author,
without touching those who made it.
"""

from proof.history.cast import Cast, Player, Role
from proof.history.checker import ALL_RULES, Checker
from proof.history.logs import CommittedLog, LogFollower
from proof.history.rules import Rule, Violation

__all__ = [
    "ALL_RULES",
    "Cast",
    "Checker",
    "CommittedLog",
    "LogFollower",
    "Player",
    "Role",
    "Rule",
    "Violation",
]
