"""``requests`` and ``explain(request)``: who waits for nodes, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nodepool_tx.explain.asking import ask
from nodepool_tx.explain.values import Explanation
from nodepool_tx.manhole.nodes import Detail
from nodepool_tx.manhole.showing import Table
from nodepool_tx.manhole.widths import wrapped
from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.pools.explaining import PoolExplanation
from nodepool_tx.reports.table import printable
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.requests import Reasons, request_status, shown_request
from nodepool_tx.store.maintenance import age_in_words

__all__ = ["Explained", "Requests", "explain"]

_HEADERS = ("id", "state", "age", "labels", "requestor", "tenant", "nodes", "why it waits")
_STATES = {state.value: state for state in RequestState}


class Requests:
    """The requests in ZooKeeper, in the order of the queue.

    ``requests.pending`` and the other states, ``requests(label='x')``,
    ``requests['100-0000000012']`` for one with all there is about it.
    """

    def __init__(
        self, farm: Farm, wanted: Callable[[NodeRequest], bool] = lambda request: True
    ) -> None:
        self._farm = farm
        self._wanted = wanted

    def __call__(
        self,
        *,
        state: str | None = None,
        label: str | None = None,
        requestor: str | None = None,
        tenant: str | None = None,
        provider: str | None = None,
    ) -> Requests:
        """Those of them that are so; ``provider`` is the one they ask for."""
        if state is not None:
            state = RequestState(state).value

        def fits(request: NodeRequest) -> bool:
            return (
                self._wanted(request)
                and state in (None, request.state.value)
                and (label is None or label in request.node_types)
                and requestor in (None, request.requestor)
                and tenant in (None, request.tenant_name)
                and provider in (None, request.provider)
            )

        return Requests(self._farm, fits)

    def __getattr__(self, name: str) -> Requests:
        if name in _STATES:
            return self(state=name)
        raise AttributeError(f"requests have no {name!r}; states are {', '.join(_STATES)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_STATES]

    def __iter__(self) -> Iterator[NodeRequest]:
        found = [request for request in self._farm.store.requests if self._wanted(request)]
        return iter(sorted(found, key=lambda request: request.sort_key))

    def __len__(self) -> int:
        return sum(1 for request in self._farm.store.requests if self._wanted(request))

    def __bool__(self) -> bool:
        return len(self) > 0

    def __repr__(self) -> str:
        return f"<{len(self)} requests>"

    def __getitem__(self, request_id: str) -> Detail:
        shown = shown_request(self._farm, request_id)
        if shown is None:
            raise KeyError(f"there is no request {request_id}")
        return Detail(f"request {request_id}", shown)

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        reasons = Reasons(self._farm)
        total = len(self)
        rows = (self._row(request, reasons) for request in self)
        yield from Table(_HEADERS, rows, "no requests", total).lines(width)

    def _row(self, request: NodeRequest, reasons: Reasons) -> tuple[Any, ...]:
        shown = request_status(request, self._farm.now, reasons)
        return (
            request.id,
            request.state.value,
            "" if shown["age"] is None else age_in_words(shown["age"]),
            request.node_types,
            request.requestor,
            request.tenant_name,
            len(request.nodes) or "",
            shown["reason"],
        )


class Explained:
    """An answer of ``explain``; the values behind it are ``.explanation``."""

    def __init__(self, explanation: Explanation) -> None:
        self.explanation = explanation

    def __repr__(self) -> str:
        return f"<{self.explanation.summary}>"

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        yield from wrapped(printable(self.explanation.summary), width)
        for pool in self.explanation.pools:
            yield ""
            yield from _pool_lines(pool, width)
        for launcher in self.explanation.silent:
            yield f"launcher {printable(launcher)} has not answered"


def _pool_lines(pool: PoolExplanation, width: int) -> Iterator[str]:
    title = f"{pool.provider}/{pool.pool} on {pool.launcher}: {pool.verdict}"
    yield from wrapped(printable(title), width)
    for rule in pool.rules:
        text = f"  {rule.effect.value:8} {rule.name}: {rule.words}"
        yield from wrapped(printable(text), width)
    for node in pool.nodes:
        yield from wrapped(printable(f"  node {node.node_id} {node.state}: {node.words}"), width)
    if pool.more_nodes:
        yield f"  ... and {pool.more_nodes} more nodes"


async def explain(farm: Farm, request: str | NodeRequest) -> Explained:
    """Why a request waits: asks all launchers and waits for two seconds at the most.

    :raises KeyError: there is no such request.
    """
    request_id = request.id if isinstance(request, NodeRequest) else str(request)
    found = await ask(farm.store, request_id, config=farm.reloader.config)
    if found is None:
        raise KeyError(f"there is no request {request_id}")
    return Explained(found)
