"""The guarantee of PutOff, in its own words, and what it gives back."""

from __future__ import annotations

import pytest

from commonpool import CommonPool
from commonpool.put_off import PutOff
from commonpool.task import FanOut, Owner, Task
from tests.unit.test_budgets import Places


@pytest.fixture
def fan_out_of():
    pool = CommonPool()

    def make(*budgets: Places) -> tuple[FanOut, list[Task]]:
        fan_out = FanOut(Owner(pool), has_caller=True)
        tasks = [Task(lambda: None, fan_out) for _ in budgets]
        for task, budget in zip(tasks, budgets, strict=True):
            task.budget = budget
        return fan_out, tasks

    yield make
    pool.close(0)


def test_fan_outs_take_turns_for_the_shares_of_a_budget(fan_out_of):
    budget, put_off = Places(1), PutOff()
    large, of_large = fan_out_of(*[budget] * 5)
    small, of_small = fan_out_of(*[budget] * 2)
    put_off.add(large, budget, of_large)
    put_off.add(small, budget, of_small)
    turns = [put_off.next(budget) for _ in range(8)]
    assert turns == [
        *(task for pair in zip(of_large, of_small, strict=False) for task in pair),
        *of_large[2:],
        None,
    ]
    assert budget not in put_off


def test_a_share_is_for_tasks_of_its_budget_alone(fan_out_of):
    one, other, put_off = Places(1), Places(1), PutOff()
    fan_out, (first, second, third) = fan_out_of(one, other, one)
    put_off.add(fan_out, one, [first, third])
    put_off.add(fan_out, other, [second])
    assert put_off.next(other) is second
    assert other not in put_off
    assert [put_off.next(one) for _ in range(3)] == [first, third, None]
    assert put_off.next(Places(1)) is None


def test_a_caller_takes_its_tasks_out_whatever_their_budget(fan_out_of):
    one, other, put_off = Places(1), Places(1), PutOff()
    fan_out, (first, second) = fan_out_of(one, other)
    stranger, of_stranger = fan_out_of(one)
    put_off.add(fan_out, one, [first])
    put_off.add(fan_out, other, [second])
    put_off.add(stranger, one, of_stranger)
    assert put_off.take(fan_out) is first
    assert put_off.take_all(fan_out) == [second]
    assert put_off.take(fan_out) is None
    assert other not in put_off
    assert put_off.next(one) is of_stranger[0]
