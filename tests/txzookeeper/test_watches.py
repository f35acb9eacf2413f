"""Who is told of an event."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.txzookeeper import watches
from nodepool_tx.txzookeeper.interface import WatchEvent, WatchKind
from nodepool_tx.txzookeeper.watches import PersistentEntry, WatchRegistry

#: One that begins with another's name, without being below it, is among them.
PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/ab", "/ab/c", "/a/bc", "/a/b/c/d"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), PATHS, st.booleans()),
        st.tuples(st.just("discard"), st.integers(0, 9), st.none()),
        st.tuples(st.just("event"), PATHS, st.sampled_from([1, 2, 3])),
    ),
    max_size=40,
)
KINDS = {1: WatchKind.CREATED, 2: WatchKind.DELETED, 3: WatchKind.CHANGED}


def hears(entry: PersistentEntry, path: str) -> bool:
    """Whether an event concerns an entry, as ZooKeeper defines it."""
    if entry.path == path:
        return True
    return entry.recursive and path.startswith(entry.path.rstrip("/") + "/")


@given(STEPS, st.sampled_from([1, 2, 10_000]))
def test_persistent_watches_hear_what_concerns_them(
    steps: list[tuple[str, str | int, bool | int | None]], places: int
) -> None:
    """Those of the znode alone come first, then the recursive ones from the inside outwards."""
    registry = WatchRegistry()
    entries: list[PersistentEntry] = []
    told: list[tuple[PersistentEntry, WatchEvent]] = []

    def add(path: str, recursive: bool) -> None:
        entry = registry.add(path, lambda event: told.append((entry, event)), recursive)
        entries.append(entry)

    with patch.object(watches, "_PLACES", places):
        for step, what, more in steps:
            if step == "add":
                add(str(what), bool(more))
            elif step == "discard":
                if entries:
                    registry.discard(entries.pop(int(what) % len(entries)))
            else:
                path, number = str(what), int(more or 0)
                event = WatchEvent(KINDS[number], path)
                registry.dispatch(number, path)
                expected = [entry for entry in entries if hears(entry, path)]
                expected.sort(key=lambda entry: (entry.recursive, -len(entry.path)))
                assert told == [(entry, event) for entry in expected]
                told.clear()


def test_watches_that_come_and_go_while_an_event_is_told() -> None:
    """One that was stopped hears nothing more; one that was set hears the next event."""
    registry = WatchRegistry()
    told: list[str] = []

    def first(event: WatchEvent) -> None:
        told.append("first")
        registry.discard(second)
        registry.add("/a", lambda _: told.append("third"), True)

    registry.add("/a/b", first, False)
    second = registry.add("/a", lambda _: told.append("second"), True)
    registry.dispatch(3, "/a/b")
    assert told == ["first"]
    registry.dispatch(3, "/a/c")
    assert told == ["first", "third"]
