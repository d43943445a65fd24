"""What can go wrong. Every kind says what happened, the numbers that explain it, and what to do."""

from __future__ import annotations

from concurrent.futures import CancelledError


class CommonPoolError(Exception):
    """The root of all errors that commonpool raises by itself.

    An exception raised inside a task is never wrapped: it reaches the caller as itself.
    """


class ConfigError(CommonPoolError, ValueError):
    """A setting is wrong. Raised when the application starts, never during a request."""


class PoolSaturated(CommonPoolError):
    """Every waiting place is taken and the pool was told to reject (``overflow="reject"``).

    Attributes:
        retry_after: whole seconds that a client should wait, as in the ``Retry-After`` header.
    """

    retry_after: int = 1


class DeadlineExceeded(CommonPoolError, TimeoutError):
    """The deadline of a request, a fan-out or a task passed before its result was there.

    What had not started was cancelled. What had started is abandoned: it keeps its worker until
    it returns, and its result is dropped.
    """


class TaskCancelled(CommonPoolError, CancelledError):
    """The task never started: it was cancelled, or its request ended, or a sibling failed."""


class WrongThread(CommonPoolError, RuntimeError):
    """A result or a session was used by a thread or a task that it does not belong to."""


class PoolClosed(CommonPoolError, RuntimeError):
    """The pool was closed, or belongs to another process, before the task gave a result."""
