"""What nobody has configured is not even imported, and takes no memory."""

from __future__ import annotations

import subprocess
import sys

#: Each takes megabytes.
LARGE = ("klein", "ldap3", "openstack", "prometheus_client", "treq", "twisted.web")


def test_launcher_without_anything() -> None:
    """The launcher itself needs none of the large libraries."""
    program = f"import sys, nodepool_tx.tap; print(sorted({{*{LARGE}}} & sys.modules.keys()))"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == "[]"
