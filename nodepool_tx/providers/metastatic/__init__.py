"""Nodes that are parts of other nodes: several jobs on one backing node."""
