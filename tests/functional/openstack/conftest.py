"""One real OpenStack for all of these tests, in ``clouds.yaml`` as ``real`` and others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.openstack import OpenStack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.openstack)


@pytest.fixture(scope="package", autouse=True)
def openstack() -> Iterator[OpenStack]:
    """The cloud, found by whoever looks up ``real``, ``real-member`` or ``real-quota``."""
    with OpenStack() as cloud, pytest.MonkeyPatch.context() as patch:
        print(f"OpenStack: seconds until {cloud.steps}", file=sys.__stderr__, flush=True)
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.clouds_yaml))
        yield cloud
