"""Runs a cloud until Ctrl-C, for trying things out by hand."""

from __future__ import annotations

import contextlib
import signal
import sys

from tests.servers.openstack import OpenStack


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), OpenStack() as cloud:
        print(f"ready: {cloud.steps}")
        print(f"export OS_CLIENT_CONFIG_FILE={cloud.clouds_yaml}", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
