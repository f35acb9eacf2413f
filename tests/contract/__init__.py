"""Tests that every implementation of one of our seams must pass."""
