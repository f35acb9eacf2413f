"""Nodes over HTTP, for users without Zuul: asked for, followed, renewed, given back."""
