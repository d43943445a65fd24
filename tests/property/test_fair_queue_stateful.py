"""The fair queue under random use, held against a plain model of what it guarantees."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from commonpool import CommonPool
from commonpool.demand import LATELY, Demand
from commonpool.fair_queue import FairQueue
from commonpool.task import FanOut, Owner, Task
from tests.property.examples import EXAMPLES

POOL = CommonPool()  # for its clock; nothing is ever submitted to it


class FairQueueMachine(RuleBasedStateMachine):
    """Enters, takes, claims, withdraws and finishes in any order."""

    owners = Bundle("owners")
    fan_outs = Bundle("fan_outs")
    at_workers = Bundle("at_workers")

    @initialize(
        capacity=st.integers(1, 6),
        share=st.integers(1, 3),
        owners=st.integers(1, 4),
        workers=st.integers(1, 6),
    )
    def start(self, capacity, share, owners, workers):
        self.now = 0.0
        self.demand = Demand(workers, lambda: self.now)
        self.queue = FairQueue(capacity=capacity, share=share, demand=self.demand)
        self.all_owners = [Owner(POOL) for _ in range(owners)]
        self.everything: list[FanOut] = []
        self.claimed: set[Task] = set()
        self.waited: dict[Owner, int] = {}  # takes that others had since this owner's last

    @rule(target=fan_outs, size=st.integers(1, 8), which=st.integers(0, 3))
    def enter(self, size, which):
        owner = self.all_owners[which % len(self.all_owners)]
        fan_out = FanOut(owner, has_caller=True)
        fan_out.unstarted = deque(Task(lambda: None, fan_out) for _ in range(size))
        self.everything.append(fan_out)
        self.queue.enter(fan_out)
        return fan_out

    @rule(target=fan_outs, fan_out=fan_outs, size=st.integers(1, 3))
    def grow(self, fan_out, size):
        fan_out.unstarted.extend(Task(lambda: None, fan_out) for _ in range(size))
        self.queue.enter(fan_out)
        return fan_out

    @rule(seconds=st.sampled_from([0.001, LATELY / 10, LATELY, 100 * LATELY]))
    def pass_time(self, seconds):
        self.now += seconds

    @rule(target=at_workers)
    def take(self):
        ready = self.queue.ready
        may = self.owners_that_may_have_a_worker()
        assert ready == bool(may)
        task = self.queue.take()
        assert (task is not None) == ready
        if task is not None:
            self.claim(task)
            owner = task.fan_out.owner
            assert owner in may
            for other in may - {owner}:
                self.waited[other] = self.waited.get(other, 0) + 1
                assert self.waited[other] < len(self.all_owners), "an owner was passed over"
            self.waited[owner] = 0
        return task

    def owners_that_may_have_a_worker(self):
        return {
            fan_out.owner
            for fan_out in self.everything
            if fan_out.places and self.queue.may_start(fan_out.owner)
        }

    @invariant()
    def who_had_its_share_in_between_is_not_waiting(self):
        if hasattr(self, "queue"):
            may = self.owners_that_may_have_a_worker()
            self.waited = {owner: n for owner, n in self.waited.items() if owner in may}

    @rule(target=at_workers, fan_out=fan_outs)
    def start_without_waiting(self, fan_out):
        if not fan_out.unstarted or not self.queue.may_start(fan_out.owner):
            return None
        task = fan_out.unstarted[-1]
        self.queue.claim(task)
        self.queue.start(task)
        self.claim(task)
        return task

    @rule(task=consumes(at_workers))
    def finish(self, task):
        if task is not None:
            self.queue.finish(task)

    @rule(fan_out=fan_outs)
    def claim_next(self, fan_out):
        first = fan_out.unstarted[0] if fan_out.unstarted else None
        task = self.queue.claim_next(fan_out)
        assert task is first
        if task is not None:
            self.claim(task)

    @rule(fan_out=fan_outs, data=st.data())
    def claim_any(self, fan_out, data):
        if fan_out.unstarted:
            task = data.draw(st.sampled_from(list(fan_out.unstarted)))
            self.queue.claim(task)
            self.claim(task)

    @rule(fan_out=fan_outs)
    def withdraw(self, fan_out):
        for task in self.queue.withdraw(fan_out):
            self.claim(task)

    def claim(self, task):
        assert task not in self.claimed, "claimed twice"
        self.claimed.add(task)

    @invariant()
    def the_counts_are_right(self):
        if not hasattr(self, "queue"):
            return
        queue = self.queue
        assert queue.queued == sum(fan_out.places for fan_out in self.everything)
        assert queue.queued <= queue.capacity
        for owner in self.all_owners:
            own = [fan_out for fan_out in self.everything if fan_out.owner is owner]
            assert owner.queued == sum(fan_out.places for fan_out in own)
            assert set(owner.line) == {fan_out for fan_out in own if fan_out.places}
            assert len(owner.at_workers) <= queue.share
        assert queue.owners_waiting == sum(owner.queued > 0 for owner in self.all_owners)
        assert all(0 <= fan_out.places <= len(fan_out.unstarted) for fan_out in self.everything)

    @invariant()
    def while_a_place_is_free_no_task_is_without_one(self):
        if hasattr(self, "queue") and self.queue.queued < self.queue.capacity:
            assert not [fan_out for fan_out in self.everything if fan_out.kept]

    def teardown(self):
        """Drained, nothing is left."""
        if not hasattr(self, "queue"):
            return
        for owner in self.all_owners:
            for task in list(owner.at_workers):
                self.queue.finish(task)
        self.now += 1000 * LATELY  # who has left room need not any more
        while (task := self.queue.take()) is not None:
            self.claim(task)
            self.queue.finish(task)
        assert (self.demand._wanted, self.demand._owners, self.demand.large) == (0, 0, 0)  # noqa: SLF001
        assert not self.queue.holds_back
        assert not self.queue._large_at_workers  # noqa: SLF001
        assert self.queue.queued == self.queue.owners_waiting == 0
        assert not [fan_out for fan_out in self.everything if fan_out.unstarted]
        assert not self.queue.fan_outs()


FairQueueMachine.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None
)
test_fair_queue_under_random_use = FairQueueMachine.TestCase
