"""The launcher over HTTP: Nodepool 11's lists, a JSON API, live events, and the dashboard."""
