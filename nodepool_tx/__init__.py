"""Nodepool on Twisted: hands out test machines to CI through ZooKeeper."""

__version__ = "0.1.0"
