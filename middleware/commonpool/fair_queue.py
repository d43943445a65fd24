"""Whose task runs next: owners in turn, a share for each. No thread, no lock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from commonpool.demand import Demand
from commonpool.task import FanOut, Owner, Task


class FairQueue:
    """The waiting tasks of all owners, in a bounded number of places.

    Guarantees:
        At most `capacity` tasks hold a waiting place.
        Owners take turns: one that may have a worker is passed over by each other once at most.
        No owner has more than `share` tasks at workers, nor more than it has said itself.
        Those who want more than is usual leave room for the others, as `Demand` has it.
        Within an owner, tasks are taken in the order in which they came.
        A newcomer to a full queue takes places of the owner that has most, down to an equal number.
        While a place is free, no task is without one.

    The caller holds one lock around every call.
    """

    def __init__(self, capacity: int, share: int, demand: Demand | None = None) -> None:
        self.capacity = capacity
        self.share = share
        self.demand = demand
        self.queued = 0
        self.holds_back = False  # whether those that could keep more workers busy leave them
        self.fed = False  # whether free places went to tasks, since somebody set this to False
        # All owners that hold places; of those, the ones that may have a worker, in turn, and the
        # large ones that would have their turn, but leave room; and the fan-outs with more tasks
        # than places. Lines are OrderedDicts: a dict whose first entry is taken again and again
        # gets slower with each, and a deque cannot be left from the middle.
        self._waiting: dict[Owner, None] = {}
        self._turns: OrderedDict[Owner, None] = OrderedDict()
        self._held_back: OrderedDict[Owner, None] = OrderedDict()
        self._hungry: OrderedDict[FanOut, None] = OrderedDict()
        self._has_large = False  # whether there are large owners, or some are held back
        self._large_at_workers = 0  # tasks of large owners

    @property
    def owners_waiting(self) -> int:
        """How many owners hold waiting places."""
        return len(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether `take` would return a task."""
        if self._has_large:
            self._hold_back()
        return bool(self._turns)

    def may_start(self, owner: Owner) -> bool:
        """Whether one more task of this owner may be at a worker."""
        if owner.is_large and self._leaves_room():
            return False
        here = len(owner.at_workers)
        return here < self.share and here < owner.workers

    def hold_nobody_back(self) -> None:
        """Whoever comes, all that is here is to be done: the pool is closing."""
        self.demand = None
        self._has_large = False
        self._turns.update(self._held_back)
        self._held_back.clear()
        self.holds_back = False

    def _hold_back(self) -> None:
        """Have those that leave room wait with their turns, as long as there is any to be left."""
        if self._leaves_room():
            while self._turns and (owner := next(iter(self._turns))).is_large:
                del self._turns[owner]
                self._held_back[owner] = None
                self.holds_back = True
        elif self.holds_back:
            self._turns.update(self._held_back)
            self._held_back.clear()
            self.holds_back = False
            self._note_large()

    def _note_large(self) -> None:
        self._has_large = self.demand is not None and (self.demand.large > 0 or self.holds_back)

    def _leaves_room(self) -> bool:
        """Whether no more tasks of large owners may start, since others may come."""
        return self.demand is not None and self._large_at_workers >= self.demand.limit()

    def want(self, owner: Owner, workers: int) -> None:
        """An owner wants so many workers more than it did."""
        if self.demand is None:
            return
        was_large = owner.is_large
        self.demand.came(owner, workers)
        if owner.is_large is not was_large:
            self._note_large()
            here = len(owner.at_workers)
            self._large_at_workers += here if owner.is_large else -here
            self._held_back.pop(owner, None)  # whoever is to be, is found to be again
            if owner.queued:
                self._refresh(owner)

    def enter(self, fan_out: FanOut, *, again: bool = False) -> int:
        """Give the fan-out's unstarted tasks places as far as there are any; how many it holds.

        Args:
            fan_out: theirs.
            again: whether those without a place had one before; they are wanted no more than then.
        """
        wanted = fan_out.kept
        if wanted > 0:
            if not (again and fan_out.owner.wants):
                self.want(fan_out.owner, wanted)
            granted = min(wanted, self.capacity - self.queued)
            self._grant(fan_out, granted)
            if granted < wanted:
                self._displace_for(fan_out, wanted - granted)
            self._ask(fan_out)
        return fan_out.places

    def take(self) -> Task | None:
        """Claim the next task for a worker, which is counted as its owner's until `finish`."""
        if self._has_large:
            self._hold_back()
        if not self._turns:
            return None
        owner, _ = self._turns.popitem(last=False)
        fan_out = next(iter(owner.line), None)
        if fan_out is None or not fan_out.unstarted:
            self._mend(owner)
            return self.take()
        task = fan_out.unstarted.popleft()
        owner.at_workers[task] = None
        if owner.is_large:
            self._large_at_workers += 1
        self._give_back(fan_out, 1)
        self._feed()
        self._refresh(owner)
        return task

    def claim_next(self, fan_out: FanOut) -> Task | None:
        """Claim the next unstarted task of a fan-out for its caller."""
        unstarted = fan_out.unstarted
        if not unstarted:
            return None
        task = unstarted.popleft()
        kept = len(unstarted) - fan_out.places
        if kept < 0:
            if self._hungry or fan_out.places == 1:
                self._fit(fan_out)
            else:  # what _fit would do, at a third of the time
                fan_out.places -= 1
                fan_out.owner.queued -= 1
                self.queued -= 1
        elif not kept:
            self._hungry.pop(fan_out, None)
            self._note_done(fan_out.owner)
        return task

    def claim(self, task: Task) -> None:
        """Claim this unstarted task, wherever in its fan-out it stands."""
        task.fan_out.unstarted.remove(task)
        self._fit(task.fan_out)

    def withdraw(self, fan_out: FanOut) -> list[Task]:
        """Take all unstarted tasks of a fan-out out of the queue."""
        tasks = list(fan_out.unstarted)
        fan_out.unstarted.clear()
        self._fit(fan_out)
        return tasks

    def take_out(self, fan_out: FanOut, which: Callable[[Task], bool]) -> list[Task]:
        """Take some of a fan-out's unstarted tasks out of the queue."""
        taken = [task for task in fan_out.unstarted if which(task)]
        if taken:
            left = [task for task in fan_out.unstarted if not which(task)]
            fan_out.unstarted.clear()
            fan_out.unstarted.extend(left)
            self._fit(fan_out)
        return taken

    def leave(self, fan_out: FanOut) -> None:
        """Leave all of a fan-out's unstarted tasks to its caller."""
        if fan_out.places:
            self._give_back(fan_out, fan_out.places)
        self._hungry.pop(fan_out, None)
        self._feed()
        self._refresh(fan_out.owner)

    def fan_outs(self) -> list[FanOut]:
        """All fan-outs with tasks in the queue or waiting for a place in it."""
        in_line = {fan_out: None for owner in self._waiting for fan_out in owner.line}
        return list(in_line | self._hungry)

    def start(self, task: Task) -> None:
        """Count a task that goes to a worker without having waited, until `finish`."""
        owner = task.fan_out.owner
        self.want(owner, 1)
        owner.at_workers[task] = None
        if owner.is_large:
            self._large_at_workers += 1
        self._refresh(owner)

    def finish(self, task: Task) -> None:
        """A task has left its worker: its owner may have the next one."""
        owner = task.fan_out.owner
        del owner.at_workers[task]
        if owner.is_large:
            self._large_at_workers -= 1
        self._refresh(owner)

    def _mend(self, owner: Owner) -> None:
        """Count anew what an exception out of nowhere (Ctrl-C) has left half done."""
        for fan_out in list(owner.line):
            fan_out.places = min(fan_out.places, len(fan_out.unstarted))
            if not fan_out.places:
                del owner.line[fan_out]
        owner.queued = sum(fan_out.places for fan_out in owner.line)
        self._refresh(owner)
        self.queued = sum(waiting.queued for waiting in self._waiting)

    def _fit(self, fan_out: FanOut) -> None:
        """Give back the places of a fan-out that claimed tasks have left empty."""
        if fan_out.kept < 0:
            self._give_back(fan_out, -fan_out.kept)
            self._feed()
            self._refresh(fan_out.owner)
        elif not fan_out.kept:
            self._hungry.pop(fan_out, None)
            self._note_done(fan_out.owner)

    def _grant(self, fan_out: FanOut, places: int) -> None:
        if places > 0:
            owner = fan_out.owner
            fan_out.places += places
            owner.queued += places
            self.queued += places
            owner.line.setdefault(fan_out, None)
            self._refresh(owner)

    def _give_back(self, fan_out: FanOut, places: int) -> None:
        fan_out.places -= places
        fan_out.owner.queued -= places
        self.queued -= places
        if not fan_out.places:
            del fan_out.owner.line[fan_out]
        self._ask(fan_out)

    def _ask(self, fan_out: FanOut) -> None:
        """Have a fan-out in line for the next free places just as long as it wants any."""
        if fan_out.kept > 0:
            self._hungry.setdefault(fan_out, None)
        else:
            self._hungry.pop(fan_out, None)

    def _feed(self) -> None:
        """Give free places to those that ask, one each in turn."""
        while self._hungry and self.queued < self.capacity:
            fan_out, _ = self._hungry.popitem(last=False)
            self._grant(fan_out, 1)
            self.fed = True
            self._ask(fan_out)

    def _displace_for(self, newcomer: FanOut, wanted: int) -> None:
        """Move places from the owners that have most to a newcomer, down to an equal number."""
        while wanted > 0:
            victim = max(self._waiting, key=lambda owner: owner.queued)
            moved = min(wanted, (victim.queued - newcomer.owner.queued) // 2)
            if moved <= 0:
                return
            self._displace(victim, moved)
            self._grant(newcomer, moved)
            wanted -= moved

    def _displace(self, victim: Owner, places: int) -> None:
        """Take places from an owner, those of its latest fan-outs first."""
        for fan_out in list(reversed(victim.line)):
            taken = min(places, fan_out.places)
            self._give_back(fan_out, taken)
            places -= taken
            if not places:
                break
        self._refresh(victim)

    def _refresh(self, owner: Owner) -> None:
        """Bring the lists of owners up to date with what has become of this one."""
        if owner.queued:
            self._waiting.setdefault(owner, None)
            here = len(owner.at_workers)
            if here < self.share and here < owner.workers:
                if not (self.holds_back and owner in self._held_back):
                    self._turns.setdefault(owner, None)
                return
        else:
            self._waiting.pop(owner, None)
        self._turns.pop(owner, None)
        if self.holds_back:
            self._held_back.pop(owner, None)
        if not owner.at_workers:
            self._note_done(owner)

    def _note_done(self, owner: Owner) -> None:
        """An owner may want no workers any more."""
        if owner.wants and not (owner.queued or owner.at_workers) and self.demand is not None:
            was_large = owner.is_large
            self.demand.left(owner)
            if was_large:
                self._note_large()
