"""The whole launcher over clouds that are processes' neighbours: reached by HTTP, and lasting."""
