"""Launchers that are wrong in one way each, and which the search must find out.

If one of these passed, the models would not be looking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proof.model.explore import Model
from proof.model.handing_out import Flight, HandingOut, Mutation
from proof.model.reloading import Reloading
from proof.model.seen import Operations
from proof.model.serving import Serving
from proof.model.taking import Taking

__all__ = ["MUTANTS"]


def _only(kind: str, change: Callable[[Operations], Operations]) -> Mutation:
    """Change what is sent by those whose words begin like this."""
    return lambda words, asks: change(asks) if words.startswith(kind) else asks


def _unversioned(asks: Operations) -> Operations:
    return tuple(each._replace(version=-1) for each in asks)


def _without_locks(asks: Operations) -> Operations:
    """No proof that nobody has the lock, and no fence that we have it."""
    return tuple(each for each in asks if "lock" not in each.path)


def _is_of_request(path: str) -> bool:
    return path.startswith("/nodepool/requests")


def _request_first(flight: Flight) -> Flight:
    return _parted(flight, first=True)


def _nodes_first(flight: Flight) -> Flight:
    return _parted(flight, first=False)


def _parted(flight: Flight, first: bool) -> Flight:
    """The request and its nodes are written in two transactions."""
    if not flight.words.startswith("give"):
        return flight
    one = tuple(o for o in flight.operations if _is_of_request(o.path) is first)
    other = tuple(o for o in flight.operations if _is_of_request(o.path) is not first)
    return flight._replace(operations=one, then=other)


#: By what is wrong: how to make the model.
MUTANTS: dict[str, Callable[[], Model[Any]]] = {
    "a hand-out checks no versions": lambda: HandingOut(mutation=_only("give", _unversioned)),
    "a hand-out does not prove that nobody has the locks": lambda: HandingOut(
        revisions=1, mutation=_only("give", _without_locks)
    ),
    "the request is fulfilled before its nodes are promised": lambda: HandingOut(
        split=_request_first
    ),
    "nodes are promised before their request is fulfilled": lambda: HandingOut(split=_nodes_first),
    "the janitor frees nodes of requests it has not seen yet": lambda: HandingOut(barrier=False),
    "the janitor checks no versions": lambda: HandingOut(mutation=_only("put right", _unversioned)),
    "what is done about a taken request is not fenced": lambda: Taking(
        mutation=_only("take", _without_locks)
    ),
    "a lock is taken for held by whoever is in its queue": lambda: Taking(
        losses=0, looks=False, joins_late=True
    ),
    "a request's lock is given up before it is answered": lambda: Taking(
        wants=(2,),
        losses=0,
        revisions=1,
        releases_first=True,
        mutation=_only("take", _without_locks),
    ),
    "a launch is not fenced": lambda: Taking(mutation=_only("make", _without_locks), reduced=False),
    "the successor starts before the old service is idle": lambda: Reloading(waits_for_idle=False),
    "an owner acts without a barrier": lambda: Reloading(catches_up=False),
    "a slot is planned again before its new node is seen": lambda: Reloading(settles=False),
    "a node is removed, whatever has become of it": lambda: Reloading(
        "a node removed", mutation=_unversioned
    ),
    "the owner lock is given up before the writes are done": lambda: Reloading(
        stops=1, finishes_first=False, fenced=False
    ),
    "static changes do not prove who is the owner": lambda: Reloading(
        losses=0, usurpers=1, fenced=False
    ),
    "a reload changes a node that was promised meanwhile": lambda: Serving(
        "a node changed", wants=(1,), mutation=_unversioned
    ),
    "a reload removes a node that was promised meanwhile": lambda: Serving(
        "a node removed", losses=0, mutation=_unversioned
    ),
    "the successor begins while the old service writes": lambda: Serving(
        wants=(1,), waits_for_idle=False
    ),
    "a service does not know what the reload brought": lambda: Serving(
        "a node added", wants=(2,), patient=True, knows_new=False
    ),
}
