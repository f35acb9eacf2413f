"""The demonstration: ``bin/demo``."""
