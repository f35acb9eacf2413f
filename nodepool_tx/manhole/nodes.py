"""``nodes`` and ``hosts``: machines, as many as one wants to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nodepool_tx.manhole.showing import Table
from nodepool_tx.manhole.widths import wrapped
from nodepool_tx.model import Node, NodeState
from nodepool_tx.reports.table import printable
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.nodes import node_status
from nodepool_tx.status.providers import provider_status
from nodepool_tx.store.maintenance import age_in_words, in_words

__all__ = ["Detail", "Hosts", "Nodes"]

_HEADERS = ("id", "provider", "pool", "labels", "state", "age", "host", "address", "for", "lock")
_STATES = {state.value.replace("-", "_"): state for state in NodeState}


class Detail:
    """Everything about one thing, a line for each; also there as attributes of ``.data``."""

    def __init__(self, title: str, data: dict[str, Any], notes: Iterable[str] = ()) -> None:
        self._title = title
        self.data = data
        self._notes = tuple(notes)

    def __repr__(self) -> str:
        return f"<{self._title}>"

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        yield self._title
        room = max((len(key) for key in self.data), default=0)
        for key, value in self.data.items():
            if value not in (None, "", [], {}, ()):
                text = printable(
                    ", ".join(map(str, value)) if isinstance(value, list) else str(value)
                )
                first, *more = wrapped(text, max(20, width - room - 4))
                yield f"  {key.ljust(room)}  {first}"
                for piece in more:
                    yield f"  {' ' * room}  {piece}"
        for note in self._notes:
            yield from wrapped(f"  {printable(note)}", width)


class Nodes:
    """The nodes in ZooKeeper.

    ``nodes.ready`` and the other states, ``nodes(provider='x', label='y')``,
    ``nodes['0000000012']`` for one with all there is about it.
    """

    def __init__(
        self, farm: Farm, wanted: Callable[[Node], bool] = lambda node: True, words: str = ""
    ) -> None:
        self._farm = farm
        self._wanted = wanted
        self._words = words

    def __call__(
        self,
        *,
        provider: str | None = None,
        pool: str | None = None,
        label: str | None = None,
        state: str | None = None,
        host: str | None = None,
        request: str | None = None,
        locked: bool | None = None,
    ) -> Nodes:
        """Those of them that are so; ``request`` is the one they are promised to."""
        table = self._farm.store.nodes
        if state is not None:
            state = NodeState(state.replace("_", "-")).value

        def fits(node: Node) -> bool:
            return (
                self._wanted(node)
                and provider in (None, node.provider)
                and pool in (None, node.pool)
                and (label is None or label in node.type)
                and state in (None, node.state.value)
                and host in (None, node.hostname)
                and request in (None, node.allocated_to)
                and locked in (None, table.is_locked(node.id))
            )

        said = {
            "provider": provider,
            "pool": pool,
            "label": label,
            "state": state,
            "host": host,
            "request": request,
            "locked": locked,
        }
        words = ", ".join(f"{key} {value}" for key, value in said.items() if value is not None)
        return Nodes(self._farm, fits, ", ".join(filter(None, (self._words, words))))

    def __getattr__(self, name: str) -> Nodes:
        if name in _STATES:
            return self(state=_STATES[name].value)
        raise AttributeError(f"nodes have no {name!r}; states are {', '.join(_STATES)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_STATES]

    def __iter__(self) -> Iterator[Node]:
        found = [node for node in self._farm.store.nodes if self._wanted(node)]
        return iter(sorted(found, key=lambda node: node.id))

    def __len__(self) -> int:
        return sum(1 for node in self._farm.store.nodes if self._wanted(node))

    def __bool__(self) -> bool:
        return len(self) > 0

    def __repr__(self) -> str:
        return f"<{len(self)} nodes{f' with {self._words}' if self._words else ''}>"

    def __getitem__(self, node_id: str) -> Detail:
        """One node; the zeros its id begins with may be left out."""
        table = self._farm.store.nodes
        key = str(node_id)
        node = table.get(key) or table.get(key.zfill(10))
        if node is None:
            unreadable = table.unreadable.get(key)
            raise KeyError(f"node {key}: {unreadable or 'there is none'}")
        shown = node_status(node, table.is_locked(node.id))
        notes = []
        if node.hostname and (record := self._farm.store.maintenance.of_host(node.hostname)):
            notes.append(in_words(record, self._farm.now))
        return Detail(f"node {node.id}", shown, notes)

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        total = len(self)
        rows = (self._row(node) for node in self)
        words = f"no nodes{f' with {self._words}' if self._words else ''}"
        yield from Table(_HEADERS, rows, words, total).lines(width)

    def _row(self, node: Node) -> tuple[Any, ...]:
        return (
            node.id,
            node.provider,
            node.pool,
            node.type,
            node.state.value,
            age_in_words(self._farm.now - node.state_time),
            node.hostname,
            node.interface_ip or node.public_ipv4,
            node.allocated_to,
            "locked" if self._farm.store.nodes.is_locked(node.id) else "",
        )


class Hosts:
    """The machines of the static providers: ``hosts``, ``hosts('rack')``, ``hosts.down``."""

    def __init__(
        self, farm: Farm, provider: str | None = None, only: Callable[[Any], bool] = bool
    ) -> None:
        self._farm = farm
        self._provider = provider
        self._only = only

    def __call__(self, provider: str) -> Hosts:
        """Those of one provider."""
        return Hosts(self._farm, provider, self._only)

    @property
    def down(self) -> Hosts:
        """Those that do not answer."""
        return Hosts(self._farm, self._provider, lambda host: host["state"] == "down")

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in sorted(self._farm.reloader.services()):
            if self._provider in (None, name):
                status = provider_status(self._farm, name)
                for host in [] if status is None else status["hosts"]:
                    if self._only(host):
                        yield name, host

    def __repr__(self) -> str:
        return f"<{sum(1 for _ in self)} hosts>"

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        headers = ("host", "port", "provider", "pool", "state", "since", "free", "used", "why")
        yield from Table(headers, (self._row(*each) for each in self), "no hosts").lines(width)

    def _row(self, provider: str, host: dict[str, Any]) -> tuple[Any, ...]:
        since = host["since"]
        maintenance = host.get("maintenance")
        why = host["reason"]
        if maintenance:
            why = f"{maintenance['mode']}: {maintenance['reason']} {why}"
        return (
            host["hostname"],
            host["port"],
            provider,
            host["pool"],
            host["state"],
            "" if since is None else age_in_words(self._farm.now - since),
            f"{host['free']}/{host['slots']}",
            host["used"],
            why,
        )
