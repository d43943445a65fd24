"""Who is next where only so many may be at a time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from commonpool.ext.offload.turns import Turns
from commonpool.task import Owner

A, B = cast("list[Owner]", [object(), object()])


async def soon() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def waiting(turns: Turns, taken: list[str], **names: Owner) -> dict[str, asyncio.Task[Any]]:
    async def take(name: str, owner: Owner) -> None:
        await turns.take(owner)
        taken.append(name)

    return {name: asyncio.create_task(take(name, owner)) for name, owner in names.items()}


def test_owners_take_turns_and_each_owners_come_in_order():
    async def main() -> list[str]:
        turns, taken = Turns(1), list[str]()
        waiting(turns, taken, a1=A, a2=A, a3=A, b1=B, b2=B)
        await soon()
        for _ in range(4):
            turns.give_back()
            await soon()
        return taken

    assert asyncio.run(main()) == ["a1", "a2", "b1", "a3", "b2"]


def test_who_is_cancelled_while_it_waits_is_passed_over():
    async def main() -> list[str]:
        turns, taken = Turns(1), list[str]()
        tasks = waiting(turns, taken, a1=A, a2=A, b1=B)
        await soon()
        tasks["a2"].cancel()
        turns.give_back()  # before it has noticed
        await soon()
        return taken

    assert asyncio.run(main()) == ["a1", "b1"]


def test_a_place_that_comes_with_a_cancellation_goes_to_the_next():
    async def main() -> list[str]:
        turns, taken = Turns(1), list[str]()
        tasks = waiting(turns, taken, a1=A, a2=A, b1=B)
        await soon()
        turns.give_back()
        tasks["a2"].cancel()  # it has the place, and does not know it
        await soon()
        assert tasks["a2"].cancelled()
        return taken

    assert asyncio.run(main()) == ["a1", "b1"]


def test_all_places_are_there_again_when_nobody_waits():
    async def main() -> list[str]:
        turns, taken = Turns(2), list[str]()
        tasks = waiting(turns, taken, a1=A, a2=A, b1=B, b2=B)
        await soon()
        tasks["b1"].cancel()
        tasks["b2"].cancel()
        await soon()
        turns.give_back()
        turns.give_back()
        waiting(turns, taken, c1=A, c2=A, c3=A)
        await soon()
        return taken

    assert asyncio.run(main()) == ["a1", "a2", "c1", "c2"]
