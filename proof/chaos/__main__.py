"""``python -m proof.chaos``."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from zope.interface import implementer

from proof.chaos.clock import NoFaketime, library
from proof.chaos.options import parse
from proof.chaos.runner import Runner


@implementer(ILogObserver)
class _Critical:
    """Shows what is critical in this process, and forgets the rest."""

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"] is LogLevel.critical:
            text = eventAsText(event, includeTimestamp=False, includeSystem=False)
            sys.stderr.write(text + "\n")


def main() -> int:
    """Run, until it ends or is interrupted; the exit status."""
    options = parse()
    try:
        library()
    except NoFaketime as e:
        sys.exit(f"chaos: {e}")
    globalLogBeginner.beginLoggingTo([_Critical()], discardBuffer=True, redirectStandardIO=False)
    loop: Any = reactor
    runner = Runner(loop, options, lambda line: print(line, flush=True))
    ended: Deferred[None] = Deferred()
    status = [1]
    stopping = [False]

    def begin() -> None:
        Deferred.fromCoroutine(runner.run()).addBoth(end)

    def end(result: Any) -> None:
        if isinstance(result, int):
            status[0] = result
        else:
            sys.stderr.write(f"{result}\n")
        ended.callback(None)
        if not stopping[0]:
            loop.stop()

    def stop() -> Deferred[None]:
        stopping[0] = True
        runner.interrupt()
        return ended

    loop.addSystemEventTrigger("before", "shutdown", stop)
    loop.callWhenRunning(begin)
    loop.run()
    return status[0]


if __name__ == "__main__":
    sys.exit(main())
