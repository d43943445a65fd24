"""Which coroutines are under way, and which wait until others have ended."""

from __future__ import annotations

from commonpool import CommonPool, PoolConfig
from commonpool.ext.asyncio.line import Line, LoopTask
from commonpool.task import FanOut, Owner


class Noted(LoopTask):
    """A task that is under way from its start on, until the test says that it has left."""

    def __init__(self, name: str, fan_out: FanOut, started: list[str]) -> None:
        super().__init__(lambda: None, fan_out)
        self.label = name
        self.started = started

    def start(self) -> None:
        self.started.append(self.label)


class Loop:
    """A line, whose tasks have names."""

    def __init__(self, max_coroutines: int) -> None:
        self.pool = CommonPool(PoolConfig(max_coroutines=max_coroutines))
        self.line = Line()
        self.started: list[str] = []
        self.tasks: dict[str, Noted] = {}

    def fan_out(self, *, has_caller: bool = False, owner: Owner | None = None) -> FanOut:
        return FanOut(owner or Owner(self.pool), has_caller=has_caller)

    def enter(self, fan_out: FanOut, *names: str, at_once: bool = False) -> None:
        for name in names:
            self.tasks[name] = Noted(name, fan_out, self.started)
            self.line.enter(self.tasks[name], at_once=at_once)

    def leave(self, *names: str) -> None:
        for name in names:
            self.line.leave(self.tasks[name])


def test_at_most_max_coroutines_are_under_way():
    loop = Loop(2)
    loop.enter(loop.fan_out(), "a", "b", "c", "d")
    assert loop.started == ["a", "b"]
    loop.leave("b")
    assert loop.started == ["a", "b", "c"]
    loop.leave("a", "c", "d")
    assert loop.started == ["a", "b", "c", "d"]
    assert len(loop.line) == 0


def test_a_fan_out_whose_caller_waits_has_one_besides():
    loop = Loop(1)
    loop.enter(loop.fan_out(), "stuck")
    fan_out = loop.fan_out(has_caller=True)
    loop.enter(fan_out, "a", "b", "c")
    assert loop.started == ["stuck", "a"]
    loop.leave("a")
    loop.leave("b")
    assert loop.started == ["stuck", "a", "b", "c"]
    loop.leave("c")
    loop.enter(fan_out, "d")
    assert loop.started[-1] == "d"


def test_owners_take_turns():
    loop = Loop(1)
    many, few = loop.fan_out(), loop.fan_out()
    loop.enter(many, "a1", "a2", "a3", "a4")
    loop.enter(few, "b1", "b2")
    loop.leave("a1", "a2", "b1", "a3", "b2", "a4")
    assert loop.started == ["a1", "a2", "b1", "a3", "b2", "a4"]


def test_within_an_owner_tasks_come_in_their_order():
    loop = Loop(1)
    owner = Owner(loop.pool)
    loop.enter(loop.fan_out(owner=owner), "a", "b")
    loop.enter(loop.fan_out(owner=owner), "c", "d")
    loop.leave("a", "b", "c", "d")
    assert loop.started == ["a", "b", "c", "d"]


def test_what_must_not_wait_takes_nobodys_turn():
    loop = Loop(1)
    fan_out = loop.fan_out()
    loop.enter(fan_out, "a", "b")
    loop.enter(fan_out, "now", at_once=True)
    assert loop.started == ["a", "now"]
    loop.leave("now")
    assert loop.started == ["a", "now"]
    loop.leave("a")
    assert loop.started == ["a", "now", "b"]


def test_what_is_hurried_starts_now_and_once():
    loop = Loop(1)
    loop.enter(loop.fan_out(), "a", "b", "c")
    loop.line.hurry(loop.tasks["c"])
    loop.line.hurry(loop.tasks["c"])
    assert loop.started == ["a", "c"]
    loop.leave("c", "a")
    assert loop.started == ["a", "c", "b"]


def test_what_is_taken_out_does_not_start():
    loop = Loop(1)
    loop.enter(loop.fan_out(), "a", "b", "c")
    assert loop.line.take_out(loop.tasks["b"])
    assert not loop.line.take_out(loop.tasks["b"])
    assert not loop.line.take_out(loop.tasks["a"])
    loop.leave("a")
    assert loop.started == ["a", "c"]
