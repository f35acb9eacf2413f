"""A farm in which everything goes wrong that can: ``python -m proof.chaos``."""
