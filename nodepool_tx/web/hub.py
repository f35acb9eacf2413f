"""Live events for everybody who looks: made once, told to all.

Design note: what watching may cost
-----------------------------------
Whoever watches must not slow down the work.  So changes are collected, and told
at most four times a second; when telling takes long, because there are
thousands of streams or very large providers, it is done less often: a twentieth
of the time may go to it, and so much of the network.  An event is encoded once
for all streams, in short turns of the reactor.  A client that does not read as
fast is told nothing more until its connection is empty, and then to read
everything again: for each connection no more is kept than what was handed to it
at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from nodepool_tx.web.answers import NotToBeHad, encode
from nodepool_tx.web.feeds import PACE, Feed
from nodepool_tx.web.stream import EventStream
from nodepool_tx.web.turns import Turns

__all__ = ["Hub"]


#: How much longer than a delivery the pause before it is, at the least.
RESTRAINT = 19

#: Bytes a second to all streams together: sending costs the kernel's time, which we do not see.
MOST_BYTES = 10e6

#: Seconds between signs of life, and between looks for what nobody tells of.
HEARTBEAT = 15.0
REVIEW = 5.0

#: Streams at a time.
MOST_STREAMS = 2000

#: Seconds after which somebody who was turned away may ask again.
RETRY_AFTER = 30


class Hub:
    """All event streams of this process.

    :ivar most: streams at a time.
    :ivar delivered: events written to streams.
    :ivar skipped: events not written because a client was behind.
    :ivar refused: streams turned away because there were too many.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, feeds: Collection[Feed], most: int = MOST_STREAMS
    ) -> None:
        self._clock = clock
        self._feeds: Mapping[str, Feed] = {feed.topic: feed for feed in feeds}
        self.most = most
        self._streams: dict[EventStream, None] = {}
        self._wanted: Counter[str] = Counter()
        self._timer: IDelayedCall | None = None
        self._telling = False
        self._not_before = 0.0
        #: When a topic was told last.
        self._told: dict[str, float] = {}
        self._next_beat = 0.0
        self._next_review = 0.0
        self._number = 0
        self.delivered = 0
        self.skipped = 0
        self.refused = 0

    @property
    def topics(self) -> tuple[str, ...]:
        """What can be listened to."""
        return tuple(self._feeds)

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def behind(self) -> int:
        """Streams whose client does not keep up now."""
        return sum(stream.behind for stream in self._streams)

    # -- streams ---------------------------------------------------------

    def listen(
        self, request: Request, topics: frozenset[str], missed: bool = False
    ) -> Deferred[None]:
        """Tell a client of these topics until it goes; cancelling ends it.

        :param missed: it had a stream before, and may have missed something.
        :raises NotToBeHad: there are too many.
        """
        if len(self._streams) >= self.most:
            self.refused += 1
            raise NotToBeHad(
                503,
                "too many streams",
                f"there are {self.most} already",
                [("Retry-After", str(RETRY_AFTER))],
            )
        stream = EventStream(request, topics, self._gone)
        if not self._streams:
            now = self._clock.seconds()
            self._next_beat, self._next_review = now + HEARTBEAT, now + REVIEW
        self._streams[stream] = None
        for topic in topics:
            self._wanted[topic] += 1
            if self._wanted[topic] == 1:
                self._feeds[topic].watch(self._plan)
        stream.open(missed)
        self._plan()
        return stream.done

    def close(self) -> None:
        """End all streams."""
        for stream in tuple(self._streams):
            stream.end()
        self._rest()

    def _gone(self, stream: EventStream) -> None:
        del self._streams[stream]
        for topic in stream.topics:
            self._wanted[topic] -= 1
            if not self._wanted[topic]:
                self._feeds[topic].stop()
        if not self._streams:
            self._rest()

    # -- when ------------------------------------------------------------

    def _plan(self) -> None:
        """Make sure to be woken in time."""
        if self._telling or not self._streams:
            return
        times = [self._next_beat, self._next_review]
        times += [self._when(feed) for feed in self._feeds.values() if feed.dirty]
        due = max(self._not_before, min(times))
        delay = max(0.0, due - self._clock.seconds())
        if self._timer is None:
            self._timer = self._clock.callLater(delay, self._begin)
        elif self._timer.getTime() > due:
            self._timer.reset(delay)

    def _when(self, feed: Feed) -> float:
        """When a topic may be told again."""
        return self._told.get(feed.topic, 0.0) + feed.pace

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._timer = None
        self._telling = True
        Deferred.fromCoroutine(self._tell()).addErrback(self._failed).addBoth(self._ended)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("telling event streams failed", failure=failure)

    def _ended(self, _: object) -> None:
        self._telling = False
        self._plan()

    # -- telling ---------------------------------------------------------

    async def _tell(self) -> None:
        turns, sent = Turns(self._clock), 0
        try:
            now = self._clock.seconds()
            if now >= self._next_review:
                self._next_review = now + REVIEW
                for topic, feed in self._feeds.items():
                    if self._wanted[topic]:
                        feed.review()
            events = await self._collect(turns)
            if now >= self._next_beat:
                self._next_beat = now + HEARTBEAT
                sent = await self._write(events, b":\n\n", turns)
            elif events:
                sent = await self._write(events, b"", turns)
        finally:
            pause = max(PACE, RESTRAINT * turns.spent, sent / MOST_BYTES)
            self._not_before = self._clock.seconds() + pause

    async def _collect(self, turns: Turns) -> dict[str, bytes]:
        """An event for each topic of which there is something to tell."""
        events: dict[str, bytes] = {}
        for topic, feed in self._feeds.items():
            now = self._clock.seconds()
            if not feed.dirty or not self._wanted[topic] or now < self._when(feed):
                continue
            self._told[topic] = now
            try:
                told = await feed.collect(turns)
                if told is not None:
                    self._number += 1
                    events[topic] = b"event: %s\nid: %d\ndata: %s\n\n" % (
                        topic.encode(),
                        self._number,
                        encode(told),
                    )
            except Exception:
                feed.dirty = False
                self._log.failure("there is nothing to tell of {topic}", topic=topic)
            await turns.breathe()
        return events

    async def _write(self, events: Mapping[str, bytes], beat: bytes, turns: Turns) -> int:
        """Tell everybody what they want to hear, as one piece; bytes written."""
        sent = 0
        pieces: dict[frozenset[str], tuple[bytes, int]] = {}
        for stream in tuple(self._streams):
            if stream.topics not in pieces:
                chosen = [event for topic, event in events.items() if topic in stream.topics]
                pieces[stream.topics] = (beat + b"".join(chosen), len(chosen))
            piece, count = pieces[stream.topics]
            if piece:
                if stream.tell(piece, important=count > 0):
                    self.delivered += count
                    sent += len(piece)
                else:
                    self.skipped += count
            await turns.breathe()
        return sent
