"""Nodes that are parts of nodes of other providers.

The cloud of such a provider is Nodepool itself.  It asks for *backing nodes*
like anybody else, by requests, and divides each into slots.  Which slot is
whose is written in ZooKeeper, a znode for each backing node, so that any number
of launchers can give out slots and none forgets anything in a restart.
"""
