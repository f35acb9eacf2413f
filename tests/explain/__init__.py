"""Why requests wait, over all launchers."""
