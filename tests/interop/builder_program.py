"""Runs Nodepool's builder with short intervals until it is told to stop, in its environment."""

import signal
import sys
import threading

from nodepool.builder import NodePoolBuilder


def main():
    """The only argument is the configuration."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    builder = NodePoolBuilder(sys.argv[1], num_builders=1, num_uploaders=1)
    builder.build_interval = builder.upload_interval = builder.cleanup_interval = 0.2
    builder.start()
    print("started", flush=True)
    over.wait()
    builder.stop()


if __name__ == "__main__":
    main()
