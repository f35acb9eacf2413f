"""Keeping nodes in stock: ``min-ready`` of the labels, by one launcher for all."""
