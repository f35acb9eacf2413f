"""What can go wrong with a cloud, as far as the engine treats it differently.

This is the contract between adapters and the engine.  An adapter translates
whatever its cloud says into one of these; whatever else it lets out is treated
as :class:`CloudError`, and logged with its traceback, as it is a mistake of the
adapter.  The text of each is one line for an operator.
"""

from __future__ import annotations

__all__ = [
    "CloudError",
    "Gone",
    "InvalidConfiguration",
    "NoCapacity",
    "OverQuota",
    "RetryLater",
]


class CloudError(Exception):
    """The cloud failed in some other way: it may have done what was asked, or not.

    Timeouts, broken connections, answers that make no sense.  The engine looks
    whether the thing is there, cleans up, and tries again with a back-off.
    """


class Gone(CloudError):
    """There is no such thing (any more).

    For a deletion that is success; for a server that is waited for it is a
    failed attempt.
    """


class OverQuota(CloudError):
    """The project's quota does not allow it, now.

    Nothing was made.  The engine reads the quota again and waits for room; it
    is no failed attempt and does not count against the label.
    """


class NoCapacity(CloudError):
    """The cloud has no room for such a server there, now.

    The engine tries another availability zone, if there is one, and counts it
    against this one.
    """


class RetryLater(CloudError):
    """The cloud wants to be left in peace for a while; nothing was made.

    :ivar seconds: for how long; None if it did not say.
    """

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class InvalidConfiguration(CloudError):
    """What the label asks for does not exist or is not allowed in this cloud.

    Trying again is of no use until somebody changes the configuration or the
    cloud; nothing was made.
    """
