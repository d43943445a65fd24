"""The same application, and the same tests, on every server."""
