"""Nodes, requests and components in ZooKeeper: cached, indexed, changed safely."""
