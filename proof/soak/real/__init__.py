"""Thirty minutes with a real ZooKeeper and real launchers."""
