"""Looking so often that what is left is really wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nodepool_tx.check.asking import Asker
from nodepool_tx.check.farm import Ages, CloudView
from nodepool_tx.check.finding import find
from nodepool_tx.check.findings import GLANCE, Finding
from nodepool_tx.check.gathering import Gatherer

__all__ = ["Checker"]

#: How many looks are taken, one after the other, where there is suspicion.
_LOOKS = 6


class Checker:
    """Finds what is wrong.

    :param asker: None leaves the clouds alone.
    :param only: tell only what is about this provider.
    """

    def __init__(
        self,
        gatherer: Gatherer,
        clock: IReactorTime,
        ages: Ages,
        asker: Asker | None = None,
        only: str | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._gatherer = gatherer
        self._clock = clock
        self._ages = ages
        self._asker = asker
        self._only = only
        self._progress = progress
        self._clouds: Mapping[str, CloudView] = {}

    async def check(self) -> tuple[Finding, ...]:
        """All that several looks in a row have shown to be wrong.

        :raises Uncertain: the connection to ZooKeeper broke.
        """
        if self._asker is not None and self._asker.names():
            self._progress(f"asking the clouds of {', '.join(self._asker.names())}")
            await self._ask(self._asker.names())
        suspects = await self.look()
        began = self._clock.seconds()
        while patience := max((self._patience(each) for each in suspects), default=0.0):
            left = began + patience - self._clock.seconds()
            if left <= 0:
                break
            self._progress(f"looking again at what is suspicious, for {patience:.0f} s")
            await deferLater(self._clock, min(left, max(GLANCE / 2, patience / _LOOKS)))
            last = began + patience - self._clock.seconds() <= 0
            if last:
                await self._ask({each.provider for each in suspects if _is_of_cloud(each)})
            seen = {each.key: each for each in await self.look()}
            suspects = tuple(seen[each.key] for each in suspects if each.key in seen)
        return suspects

    def _patience(self, finding: Finding) -> float:
        """At the least a glance; no more than what is to count as overdue."""
        patience = finding.kind.patience
        return min(patience, max(GLANCE, self._ages.overdue))

    async def look(self) -> tuple[Finding, ...]:
        """What one look shows, with what the clouds showed last."""
        found = find(await self._gatherer.look(self._clouds))
        if self._only is None:
            return found
        return tuple(finding for finding in found if finding.provider == self._only)

    async def ask_again(self, provider: str) -> None:
        """Have the next look see a provider's cloud as it is now."""
        await self._ask({provider})

    async def _ask(self, names: Collection[str | None]) -> None:
        if self._asker is None:
            return
        wanted = [name for name in self._asker.names() if name in names]
        if wanted:
            farm = await self._gatherer.look()
            self._clouds = {**self._clouds, **await self._asker.ask(farm, wanted)}


def _is_of_cloud(finding: Finding) -> bool:
    return finding.code.startswith("cloud-") and finding.code != "cloud-left-behind"
