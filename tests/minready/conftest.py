"""Launchers are killed here."""

from tests.garbage import collected_between_tests

__all__ = ["collected_between_tests"]
