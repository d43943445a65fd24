"""Turns: who is next where only so many may be at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from commonpool.task import Owner


class Turns:
    """So many places, for which owners wait in turn. No lock: for coroutines of one event loop.

    Guarantees:
        Never more are taken than there are places.
        Owners take turns; what waits for one owner comes in its order.

    Args:
        places: how many.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: OrderedDict[Owner, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, owner: Owner) -> None:
        """Take a place, and wait for one if there is none."""
        if self._free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._forget(owner, place)
            else:  # it has come in the same moment
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give a place back: to who is next, if anybody waits."""
        while self._waiting:
            owner, places = next(iter(self._waiting.items()))
            self._waiting.move_to_end(owner)
            place = places.popleft()
            if not places:
                del self._waiting[owner]
            if not place.cancelled():  # else it has not noticed yet
                place.set_result(None)
                return
        self._free += 1

    def _forget(self, owner: Owner, place: asyncio.Future[None]) -> None:
        places = self._waiting.get(owner)
        if places is not None and place in places:
            places.remove(place)
            if not places:
                del self._waiting[owner]
