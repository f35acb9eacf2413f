"""Nodepool's launcher that looks more often; runs in Nodepool's virtual environment.

What it has got wrong (a request left pending, a slot left empty) it puts right once a minute,
and it looks every five seconds for nodes that came back, which is long for a test.  The first
two arguments are the numbers of seconds instead, the others are those of `nodepool-launcher`.
"""

import sys

from nodepool import launcher
from nodepool.cmd.launcher import main


def often(sweeps, returns):
    """Have all launchers of this process sweep, and take nodes back, that often."""
    begin = launcher.NodePool.__init__

    def __init__(self, *args, **options):
        begin(self, *args, **options)
        self.cleanup_interval = sweeps
        self.delete_interval = returns

    launcher.NodePool.__init__ = __init__


if __name__ == "__main__":
    often(float(sys.argv.pop(1)), float(sys.argv.pop(1)))
    main()
