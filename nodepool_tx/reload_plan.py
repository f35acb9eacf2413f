"""What a reload is to do, and what came of it: pure values.

The reload itself, and ``nodepool plan``, compare configurations by this.
"""

from __future__ import annotations

from typing import Any

import attrs

from nodepool_tx.config.schema import Config, ProviderConfig, UnavailableProvider
from nodepool_tx.events import ReloadEnded

__all__ = ["ReloadPlan", "ReloadReport", "plan_reload"]


@attrs.frozen
class ReloadPlan:
    """What a new configuration means for the providers, by name and in order."""

    kept: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    #: Configured, but of a driver this version does not have.
    unavailable: tuple[str, ...] = ()

    @property
    def changes_nothing(self) -> bool:
        return not (self.replaced or self.added or self.removed)


def plan_reload(running: dict[str, ProviderConfig], new: Config) -> ReloadPlan:
    """Compare what runs with what is wanted; providers that compare equal stay."""
    unavailable = {
        name
        for name, provider in new.providers.items()
        if isinstance(provider, UnavailableProvider)
    }
    wanted = {name: p for name, p in new.providers.items() if name not in unavailable}
    both = wanted.keys() & running.keys()
    return ReloadPlan(
        kept=tuple(sorted(name for name in both if wanted[name] == running[name])),
        replaced=tuple(sorted(name for name in both if wanted[name] != running[name])),
        added=tuple(sorted(wanted.keys() - running.keys())),
        removed=tuple(sorted(running.keys() - wanted.keys())),
        unavailable=tuple(sorted(unavailable)),
    )


@attrs.frozen
class ReloadReport:
    """What came of a reload.

    :ivar rolled_back: providers whose new configuration could not be started,
        and why; their old service goes on, if there was one.
    :ivar seconds: how long it took.
    """

    plan: ReloadPlan
    rolled_back: dict[str, str]
    seconds: float

    def _came(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of them that were not rolled back."""
        return tuple(name for name in names if name not in self.rolled_back)

    def as_event(self) -> ReloadEnded:
        """What came into force, and what did not."""
        return ReloadEnded(
            kept=self.plan.kept,
            replaced=self._came(self.plan.replaced),
            added=self._came(self.plan.added),
            removed=self.plan.removed,
            rolled_back=tuple(self.rolled_back),
            seconds=self.seconds,
        )

    def in_words(self) -> dict[str, Any]:
        """The fields of the log line that tells of it."""
        event = self.as_event()
        names = ("kept", "replaced", "added", "removed")
        return {
            "applied": "in part" if self.rolled_back else "in full",
            "seconds": self.seconds,
            **{name: ", ".join(getattr(event, name)) or "none" for name in names},
            "rolled_back": "; ".join(f"{n} ({why})" for n, why in self.rolled_back.items())
            or "none",
        }
