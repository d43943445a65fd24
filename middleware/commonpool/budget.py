"""Budget: how much of something that tasks need at a worker there is."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Share(ABC):
    """What a task was granted of a budget."""

    @abstractmethod
    def give_back(self) -> None:
        """Let others have it. Doing it again changes nothing."""


class Budget(ABC):
    """How many tasks of a kind may be at workers at once: as many as a database has connections.

    A worker takes a share before it claims such a task, so that one that has to wait for its share
    never holds a task that the caller could run.
    """

    @abstractmethod
    def take(self, *, at_any_rate: bool = False) -> Share | None:
        """A share, or `None` where all are taken. Never waits.

        Args:
            at_any_rate: count one more, even where all are taken.
        """

    @abstractmethod
    def has_room(self) -> bool:
        """Whether `take` would give a share now."""
