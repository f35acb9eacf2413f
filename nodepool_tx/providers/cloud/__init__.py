"""Nodes that are made on demand and used once: what all clouds have in common.

A cloud is behind an adapter (:mod:`nodepool_tx.providers.cloud.interface`);
everything else is the engine's.
"""
