"""Work that has no asynchronous form, in the reactor's threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

__all__ = ["in_thread"]


def in_thread(reactor: Any) -> Callable[[Callable[[], Any]], Deferred[Any]]:
    """Runs functions off the reactor; for what touches nothing that the reactor changes."""
    return lambda work: deferToThreadPool(reactor, reactor.getThreadPool(), work)
