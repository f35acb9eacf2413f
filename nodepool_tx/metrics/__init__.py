"""Numbers for those who watch over launchers: statsd, and Prometheus at ``/metrics``.

What happens is counted as it is told (:mod:`nodepool_tx.events`); how things
are is read when somebody asks, from counts that are kept as things change.  So
neither costs more with more nodes.
"""
