"""The whole launcher over clouds that are reached by HTTP and outlive it."""
