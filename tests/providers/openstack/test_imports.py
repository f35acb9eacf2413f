"""What a launcher without an OpenStack provider does not pay for."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import nodepool_tx.tap
import nodepool_tx.providers.openstack.credentials
import nodepool_tx.providers.openstack.http
import nodepool_tx.providers.openstack.keystone
heavy = {"keystoneauth1", "openstack", "requests"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""


def test_lazy() -> None:
    """The libraries that log in to clouds are imported when the first cloud is looked up."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[]\n", done.stderr
