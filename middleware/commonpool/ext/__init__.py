"""Adapters: each is a thin file of its own, imports the core, and is imported by none of it."""
