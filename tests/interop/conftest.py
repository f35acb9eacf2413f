"""One ZooKeeper with TLS for all of these tests, emptied for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.daemons import Endpoint, zookeeper
from tests.interop.tree import Tree


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    with zookeeper() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def tree(endpoint: Endpoint) -> Iterator[Tree]:
    with Tree(endpoint) as tree:
        tree.clear()
        yield tree
        tree.clear()
