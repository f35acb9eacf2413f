"""What a client counts about itself, for metrics and the status page."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["LATENCY_BOUNDS", "Counters"]

#: Up to how many seconds the replies in each place of ``latency_counts`` took;
#: the last place is for all that took longer.
LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counters:
    """Plain numbers that only grow, except for the two gauges.

    One object per client, written from the request path: hence slots and no
    locking, no names to look up, no objects made.

    :ivar requests: sent to a server, without pings.
    :ivar replies: received, errors included.
    :ivar errors: replies that said no.
    :ivar lost: requests that a broken connection left without reply.
    :ivar latency_sum: seconds between a request's leaving and its reply, all replies.
    :ivar latency_max: the longest of them since it was last reset to 0.
    :ivar latency_counts: replies by the seconds they took, see :data:`LATENCY_BOUNDS`.
    :ivar events: watch events received.
    :ivar pings: keep-alives sent.
    :ivar bytes_sent: all frames, TLS overhead not included.
    :ivar bytes_received: all frames, TLS overhead not included.
    :ivar sessions: sessions established.
    :ivar reconnects: connections that took a session up again.
    :ivar failed_attempts: connection attempts that led to no session.
    :ivar in_flight: gauge; requests waiting for their reply.
    :ivar watches: gauge; watches kept, one-shot and persistent.
    """

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "errors",
        "events",
        "failed_attempts",
        "in_flight",
        "latency_counts",
        "latency_max",
        "latency_sum",
        "lost",
        "pings",
        "reconnects",
        "replies",
        "requests",
        "sessions",
        "watches",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.replies = 0
        self.errors = 0
        self.lost = 0
        self.latency_sum = 0.0
        self.latency_counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self.latency_max = 0.0
        self.events = 0
        self.pings = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.sessions = 0
        self.reconnects = 0
        self.failed_attempts = 0
        self.in_flight = 0
        self.watches = 0

    def note_reply(self, took: float) -> None:
        """Count a reply that took so many seconds."""
        self.replies += 1
        self.latency_sum += took
        self.latency_counts[bisect_left(LATENCY_BOUNDS, took)] += 1
        if took > self.latency_max:
            self.latency_max = took

    def snapshot(self) -> dict[str, float]:
        """All values by name, but for those that are no single number."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "latency_counts"}
