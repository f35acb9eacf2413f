"""Assigning requests to nodes: queue, rules, selection and the service that acts."""
