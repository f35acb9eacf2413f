"""What :mod:`nodepool_tx.tap` puts together, in groups.

With it, the only part that knows every class.
"""
