"""What stops a `commonpool tune`."""

from __future__ import annotations


class TuneError(Exception):
    """It cannot go on. The message is one line, and what follows it the end of a log."""


class ServerError(TuneError):
    """uWSGI or the application does not come up with a setting, or has ended; others may do."""
