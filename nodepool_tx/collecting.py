"""When the garbage collector looks at everything there is.

Left to itself the interpreter looks through all objects of the program just
when many are being made: in the middle of a thousand launches, with a
quarter of a million objects to look at, for a tenth of a second or more in
which nothing else happens.  Here that waits until there is nothing else to do.
What it might find meanwhile is bounded by what the process has grown by: most
objects go without its help, so a process that does not grow has no garbage.

After such a look memory that is free is given back to the system, which the
C library does by itself at the end of its heap only: the records of ten thousand
nodes as text, needed for a moment, keep 17 MB otherwise.

The short looks at young objects are made less often than the interpreter would:
hardly anything of what they look at is garbage.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import time
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["Collector"]

#: Seconds between looks at whether it is time.
INTERVAL = 1.0
#: The process is idle when it used less than this share of a processor since the last look,
#: and the look came no later than so many seconds: one that gets no processor is not idle.
IDLE, LATE = 0.05, 0.01
#: So many looks in a row must find it idle: while a thousand servers boot it is so for a moment.
QUIET = 3
#: So many new objects make a look at the young ones due, and so many of those one at the somewhat
#: older ones, of which there are 12,000 then: that takes two milliseconds.
YOUNG = (2_000, 5)
#: Looks at the somewhat older ones since the last one at all, or bytes that the process has grown
#: by, from which on that is made when the process is idle.
DUE, GROWN = 4, 4_000_000
#: How many bytes the process may have grown by since the last one until it is made in any case.
OVERDUE = 100_000_000
#: Seconds for which one that has grown may go on being busy: at a steady load it always is.
BUSY = 300.0
#: Collections of all objects take at most this share of the time.
SHARE = 0.01
#: Never, by itself.
_NEVER = 2**31 - 1


def resident() -> int:
    """Bytes of memory that the process takes; where only its peak can be had, that."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def give_back() -> None:
    """Return free memory to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Collector(Service):
    """Has all objects looked at while nothing else is to be done, as far as that is possible.

    What was made before it starts, modules for the most part, is not looked
    at again.  An interpreter that collects in small steps does that all the same.

    :param cpu_time: the seconds of processor time that the process has used.
    :param memory: the bytes of memory that it takes.
    :param give_back: has it take no more than it needs.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        cpu_time: Callable[[], float] = time.process_time,
        memory: Callable[[], int] = resident,
        give_back: Callable[[], None] = give_back,
    ) -> None:
        self.setName("garbage collection")
        self._clock = clock
        self._cpu_time = cpu_time
        self._memory = memory
        self._give_back = give_back
        self._used = 0.0
        self._expected = 0.0
        self._not_before = 0.0
        self._grown_from = 0
        self._quiet = 0
        self._small_at = 0.0
        self._thresholds = gc.get_threshold()
        self._loop: LoopingCall | None = None

    def startService(self) -> None:
        super().startService()
        self._thresholds = gc.get_threshold()
        gc.freeze()
        gc.set_threshold(*YOUNG, _NEVER)
        self._used = self._cpu_time()
        self._grown_from = self._memory()
        self._small_at = self._clock.seconds()
        self._expected = self._clock.seconds() + INTERVAL
        self._loop = LoopingCall(self._look)
        self._loop.clock = self._clock
        self._loop.start(INTERVAL, now=False)

    def stopService(self) -> None:
        super().stopService()
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def _look(self) -> None:
        used = self._cpu_time() - self._used
        self._used += used
        now = self._clock.seconds()
        idle = used < IDLE * INTERVAL and now - self._expected < LATE
        self._quiet = self._quiet + 1 if idle else 0
        self._expected = now + INTERVAL
        memory = self._memory()
        # What it gave back is not a growth to come.
        self._grown_from = min(self._grown_from, memory)
        grown = memory - self._grown_from
        if grown < GROWN:
            self._small_at = now
        due = gc.get_count()[2] >= DUE or grown >= GROWN
        free = self._quiet >= QUIET or now - self._small_at >= BUSY
        if grown >= OVERDUE or (due and free and now >= self._not_before):
            self._collect()

    def _collect(self) -> None:
        before = self._cpu_time()
        found = gc.collect()
        self._give_back()
        took = self._cpu_time() - before
        self._used += took
        self._grown_from = self._memory()
        self._small_at = self._clock.seconds()
        self._not_before = self._small_at + took / SHARE
        self._log.debug("{found} objects of garbage found in {took:.3f} s", found=found, took=took)
