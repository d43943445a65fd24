"""For the tests of applications: a pool without threads, and a fresh start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from commonpool import process
from commonpool.pool import CommonPool

__all__ = ["inline", "reset"]


@contextmanager
def inline() -> Iterator[CommonPool]:
    """Run every task in its caller, in order, while the block runs: no thread, no surprise.

    `submit` and `background` run their task at once. Deadlines are kept between tasks. The pool
    is yielded for its `stats()`; config that an application asks for is accepted and not used.
    """
    pool = process.closed_pool()
    with process.replacing(pool):
        yield pool


def reset() -> None:
    """Close the process's pool and forget its config; the next use makes a new one."""
    process.reset()
