"""A pytest plugin that spreads the tests over several processes, file by file.

Files share servers within themselves, so a file stays in one process, and all
that needs the real OpenStack stays in one, as there is one of it.  What takes
longest begins first.  Most tests wait for servers more than half of the time,
so there are two processes for each processor, four at the most.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

_OPENSTACK = "tests/functional/openstack/"
#: Where tests take long, those that take longest first.
_LONG = (
    _OPENSTACK,
    "tests/functional/test_demo",
    "tests/proof/chaos/test_faults_",
    "tests/proof/model/test_models",
    "tests/functional/test_explain",
    "tests/functional/test_launcher_defects",
    "tests/proof/chaos/",
    "tests/proof/",
    "tests/functional/test_launcher_maintenance",
    "tests/interop/test_migration",
    "tests/interop/test_zuul_load",
    "tests/functional/test_launcher_connection",
    "tests/functional/test_cli",
    "tests/interop/",
    "tests/functional/",
    "tests/property/",
    "tests/test_reload_property",
    "tests/providers/",
    "tests/config/",
    "tests/pools/",
)


class _ByFile(LoadFileScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return _OPENSTACK if nodeid.startswith(_OPENSTACK) else super()._split_scope(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    return min(4, 2 * len(os.sched_getaffinity(0)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    return _ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        matching = (i for i, start in enumerate(_LONG) if item.nodeid.startswith(start))
        return next(matching, len(_LONG))

    items.sort(key=rank)
