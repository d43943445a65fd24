"""Garbage is collected by the threads of greenlets, never by those of native calls.

A driver makes rows on a native thread, and rows are what sets off a collection. What is collected
may be a session that nobody has closed: its connection would be given back from there, which wakes
or starts greenlets. They would be that thread's, which has no loop to run them.
"""

from __future__ import annotations

import gc
import os


class _Object:
    """Something that the collector counts."""


class Collecting:
    """Python's collector, which pauses while native calls are under way.

    Guarantees:
        It collects on the threads that begin and end such calls, by its own rules, each time that
        one ends.
        It is as it was before when none is under way.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._was_enabled = False

    def begin(self) -> None:
        """A native call is about to begin."""
        if self._under_way == 0:
            self._was_enabled = gc.isenabled()
            gc.disable()
        self._under_way += 1

    def end(self, _call: object = None) -> None:
        """A native call has ended."""
        self._under_way -= 1
        if self._was_enabled:
            gc.enable()
            _Object()  # by which a collection begins that is due
            if self._under_way:
                gc.disable()

    def forget(self) -> None:
        """In a process that was forked: the calls under way are its parent's."""
        if self._under_way and self._was_enabled:
            gc.enable()
        self._under_way = 0


collecting = Collecting()
os.register_at_fork(after_in_child=collecting.forget)
