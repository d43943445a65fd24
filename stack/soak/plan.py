"""What a request does: the same steps for whoever asks with the same seed."""

from __future__ import annotations

from random import Random

from stack.soak.statements import Rows, SlowStatement, WrongStatement
from stack.soak.steps import (
    Background,
    Failing,
    Futures,
    Hurried,
    Mixed,
    Nested,
    Plain,
    Step,
    Unread,
)

MOST_SEEDS = 1 << 32

# How often each kind of step comes. What ends in a log line with a traceback is rarer.
KINDS: dict[type[Step], int] = {
    Plain: 24,
    Nested: 16,
    Futures: 16,
    Failing: 12,
    Mixed: 10,
    Rows: 6,
    Background: 4,
    Hurried: 4,
    Unread: 2,
    WrongStatement: 2,
    SlowStatement: 1,
}


def plan(seed: int, tasks: int) -> list[Step]:
    """The steps of one request.

    Args:
        seed: of its random numbers.
        tasks: how many they submit together, at least.
    """
    random = Random(seed)  # noqa: S311 - nothing is to be kept secret
    steps: list[Step] = []
    submitted = 0
    while submitted < tasks:
        (kind,) = random.choices(list(KINDS), list(KINDS.values()))
        step = kind(random)
        submitted += step.tasks
        steps.append(step)
    return steps
