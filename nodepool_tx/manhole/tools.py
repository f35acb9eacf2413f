"""The names that are there at the console, for somebody at three in the morning."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from nodepool_tx.config.watch import CheckResult
from nodepool_tx.manhole import by_hand
from nodepool_tx.manhole.inflight import InFlight
from nodepool_tx.manhole.logview import LogView
from nodepool_tx.manhole.nodes import Hosts, Nodes
from nodepool_tx.manhole.providers import ConfigView, Pools, Providers, Zookeeper
from nodepool_tx.manhole.requests import Explained, Requests, explain
from nodepool_tx.manhole.scene import Scene
from nodepool_tx.manhole.widths import wrapped
from nodepool_tx.model import NodeRequest
from nodepool_tx.reports.table import printable
from nodepool_tx.status.farm import Farm

__all__ = ["known_names", "tools"]


_HELP = (
    ("nodes", "all nodes; nodes.ready, nodes(provider='x', label='y'), nodes['0000000012']"),
    ("hosts", "the machines of static providers; hosts.down, hosts('rack')"),
    ("requests", "who waits, and why; requests.pending, requests['100-0000000012']"),
    ("explain(id)", "why a request waits, rule by rule and pool by pool"),
    ("providers", "what runs here; providers['rack']"),
    ("pools", "what is offered, and how many wait for it"),
    ("tasks()", "all that is in flight and for how long: reloads, launches, looks, deletions"),
    ("config", "the configuration in force"),
    ("zk", "the connection to ZooKeeper; zk.get(path), zk.children(path)"),
    ("reload()", "read the configuration now and wait until it is in force"),
    ("idle('x')", "have a provider begin nothing more; resume('x') has it go on"),
    ("maintain('h', 'why')", "take a host or provider out of service; return_('h') ends it"),
    ("log('debug')", "set the level of the launcher's log; log.follow() shows it here"),
    ("background(x)", "wait for x without keeping the prompt; what it gives is shown here"),
    ("help(x)", "what something is for"),
)


class Help:
    """What there is; ``help(x)`` tells what something is for."""

    def __call__(self, thing: object = None) -> Help | Words:
        if thing is None:
            return self
        doc = inspect.getdoc(thing) or f"nothing is written about {type(thing).__name__}"
        return Words(doc)

    def __repr__(self) -> str:
        return "<help>"

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        yield "Python, with these names; what can be awaited is awaited."
        for name, words in _HELP:
            first, *more = wrapped(words, max(20, width - 24))
            yield f"  {name:20}  {first}"
            for piece in more:
                yield f"  {'':20}  {piece}"
        yield "Tab completes, Ctrl-C gives the prompt back, Ctrl-D leaves. All of it is audited."


class Words:
    """Text as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        for line in self._text.split("\n"):
            yield from wrapped(printable(line), width)


def known_names(farm: Farm) -> Iterator[str]:
    """Names and ids that are typed as text."""
    yield from farm.reloader.services()
    config = farm.reloader.config
    if config is not None:
        yield from config.labels
        for pool in config.pools:
            yield pool.name
            yield from (node.name for node in getattr(pool, "nodes", ()))
    for node in farm.store.nodes:
        yield node.id
    for request in farm.store.requests:
        yield request.id


def tools(
    scene: Scene,
    user: str,
    say: Callable[[str], None],
    run: Callable[[str, Coroutine[Any, Any, Any]], Deferred[Any]],
) -> dict[str, Any]:
    """The namespace of one user's console.

    :param say: writes a line there, in between.
    :param run: starts something that ``tasks()`` shows.
    """
    farm = scene.farm
    reloader = farm.reloader

    def explained(request: str | NodeRequest) -> Awaitable[Explained]:
        """Why a request waits, as every launcher sees it."""
        return explain(farm, request)

    def idle(provider: str) -> Awaitable[Words]:
        """Have a provider begin nothing more; waits until what is in flight is done.

        Ctrl-C ends the waiting, not the idling.
        """
        return _worded(by_hand.idle(reloader, provider))

    def resume(provider: str) -> Awaitable[Words]:
        """Have an idle provider go on."""
        return _worded(by_hand.resume(reloader, provider))

    def maintain(target: str, reason: str, duration: str | float | None = None) -> Awaitable[Words]:
        """Take a static host or a provider out of service, for all launchers.

        With a duration, such as '2h', it returns by itself.
        """
        return _worded(by_hand.maintain(farm, user, target, reason, duration))

    def return_(target: str) -> Awaitable[Words]:
        """Return a host or a provider to service."""
        return _worded(by_hand.return_to_service(farm, target))

    def tasks() -> InFlight:
        """Everything that has been begun and has not ended, and for how long."""
        return InFlight(farm, scene.consoles)

    async def reload() -> Words:
        """Read the configuration's files now, and wait until they are in force."""
        return Words(await _reload(scene))

    def background(awaitable: Awaitable[Any]) -> Words:
        """Wait for something without keeping the prompt; what it gives is shown."""

        async def wait() -> None:
            try:
                result = await awaitable
            except Exception as e:
                say(f"in the background: {type(e).__name__}: {e}")
                raise
            say(f"in the background: {result!r}"[:2000])

        run(f"{user}: in the background", wait()).addErrback(lambda _: None)
        return Words("see tasks()")

    return {
        "background": background,
        "config": ConfigView(farm),
        "explain": explained,
        "help": Help(),
        "hosts": Hosts(farm),
        "idle": idle,
        "log": LogView(scene.levels, say),
        "maintain": maintain,
        "nodes": Nodes(farm),
        "pools": Pools(farm),
        "providers": Providers(farm),
        "reload": reload,
        "requests": Requests(farm),
        "resume": resume,
        "return_": return_,
        "tasks": tasks,
        "zk": Zookeeper(farm),
    }


async def _worded(text: Coroutine[Any, Any, str]) -> Words:
    return Words(await text)


async def _reload(scene: Scene) -> str:
    farm = scene.farm
    reloader = farm.reloader
    before = len(reloader.reports) and reloader.reports[-1]
    result = await scene.watcher.check_now()
    if result is CheckResult.FAILED:
        return f"the files are not valid, the old configuration stays:\n{farm.launcher.last_errors}"
    if result is CheckResult.UNSETTLED:
        return "the files are being written at this moment: try again"
    while reloader.running:
        await deferLater(farm.clock, 0.1)
    report = reloader.reports[-1] if reloader.reports else None
    if report is None or report is before:
        return "the files have not changed"
    plan = report.plan
    said = [
        f"{word} {', '.join(names)}"
        for word, names in (
            ("kept", plan.kept),
            ("replaced", plan.replaced),
            ("added", plan.added),
            ("removed", plan.removed),
        )
        if names
    ]
    said += [f"rolled back {name}: {why}" for name, why in report.rolled_back.items()]
    return f"in force after {report.seconds:.1f} s: " + "; ".join(said or ["nothing to do"])
