"""What goes wrong with calls of the simulated cloud."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nodepool_tx.providers.fake.api import Call
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["Trouble", "Troubles", "broken", "overloaded"]

#: Seconds that a cloud which is overloaded by chance asks to be left in peace.
PEACE = 1


@attrs.frozen
class Trouble:
    """One call that goes wrong.

    :ivar answer: what is said; None where the connection breaks.
    :ivar takes_effect: what was asked for is done all the same.
    """

    answer: Answer | None
    takes_effect: bool = False


def overloaded(seconds: int) -> Answer:
    """What a service says that wants to be left in peace."""
    inner = {"code": 503, "message": "the simulated service is overloaded"}
    return Answer(503, {"retry-after": str(seconds)}, {"serviceUnavailable": inner})


def broken() -> Answer:
    """What a service says that has a mistake."""
    inner = {"code": 500, "message": "a simulated failure"}
    return Answer(500, body={"computeFault": inner})


class Troubles:
    """Decides about each call whether it goes wrong: by order of a test, and by chance.

    :ivar lasting: what happens to every call, if anything.
    :ivar silent: no call is answered.
    """

    def __init__(self, cloud: SimulatedOpenStack) -> None:
        self._cloud = cloud
        self.lasting: Trouble | None = None
        self.silent = False
        self._ordered: list[tuple[Callable[[str, Call], bool], Trouble]] = []

    def order(
        self, service: str, method: str, kind: str, trouble: Trouble, *, times: int = 1
    ) -> None:
        """Let the next calls go wrong that ask a service for a kind of thing.

        :param kind: the first part of the path, such as ``servers``.
        """

        def concerns(asked: str, call: Call) -> bool:
            return (asked, call.method, *call.path[:1]) == (service, method, kind)

        self._ordered.extend([(concerns, trouble)] * times)

    def meet(self, service: str, call: Call) -> Trouble | None:
        """What happens to a call; None when it is well."""
        for place, (concerns, trouble) in enumerate(self._ordered):
            if concerns(service, call):
                del self._ordered[place]
                return trouble
        if self.lasting is not None:
            return self.lasting
        left = self._cloud.overloaded_until - self._cloud.clock.seconds()
        if left > 0:
            return Trouble(overloaded(-int(-left // 1)))
        random = self._cloud.random
        rate = self._cloud.simulation.api_failure_rate
        if rate and random.random() < rate:
            return random.choice(
                (
                    Trouble(overloaded(PEACE)),
                    Trouble(broken()),
                    Trouble(None),
                    Trouble(None, takes_effect=True),
                )
            )
        return None
