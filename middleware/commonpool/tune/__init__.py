"""Finds sizes by measurement: uWSGI is started with some, loaded, and looked at, again and again.

What is measured is kept in a file (`recording`), from which `commonpool plan` reads it.
"""
