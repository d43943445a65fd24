"""Staged tasks: their own parts on their caller's thread and in order, their calls anywhere."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from commonpool import (
    DeadlineExceeded,
    PoolSaturated,
    WrongThread,
    as_task,
    current_executor,
    run_in_parallel,
    task,
    testing,
)
from commonpool.owner import current
from commonpool.staged import Call, Progress, StagedTask
from tests.helpers import Gate, wait_until


class Recipe:
    """A thing that asks for calls, one after another, and returns what they gave."""

    def __init__(self, *calls, in_turn=False, log=None, name=""):
        self.calls = calls
        self.in_turn = in_turn
        self.log = [] if log is None else log
        self.label = name
        self.threads = []
        self.closed = 0


class RecipeCall(Call):
    def __init__(self, fn):
        super().__init__()
        self._fn = fn

    def make(self):
        try:
            return self._fn()
        except Exception as error:
            self.failure = error
            self.fan_out.hurry = True
            return None


class RecipeTask(StagedTask):
    def __init__(self, recipe):
        super().__init__(recipe)
        self._steps = self._run(recipe)
        self.recipe = recipe

    @property
    def name(self):
        return f"recipe {self.recipe.label}"

    def _run(self, recipe):
        values = []
        if recipe.in_turn:
            yield Progress.IN_TURN
            recipe.log.append((recipe.label, "in turn"))
        for fn in recipe.calls:
            call = RecipeCall(fn)
            recipe.log.append((recipe.label, "asks"))
            yield call
            if call.failure is not None:
                raise call.failure
            recipe.log.append((recipe.label, call.value))
            values.append(call.value)
        return values

    def _advance(self):
        self.recipe.threads.append(threading.get_ident())
        assert task.running.task is self
        try:
            return next(self._steps)
        except StopIteration as stop:
            self.value = stop.value
        except BaseException as error:
            self.error = error
        return Progress.DONE

    def close(self):
        self.recipe.closed += 1


@pytest.fixture(autouse=True)
def _registered():
    as_task.register(Recipe, RecipeTask)
    yield
    as_task.register(Recipe, as_task.dispatch(object))


def test_its_value_is_the_result():
    results = run_in_parallel([Recipe(lambda: 1, lambda: 2), lambda: "plain", Recipe()])
    assert results == [[1, 2], "plain", []]


def test_keys_are_kept():
    assert run_in_parallel({"a": Recipe(lambda: 1), "b": lambda: 2}) == {"a": [1], "b": 2}


def test_its_own_parts_run_on_the_callers_thread():
    recipes = [Recipe(lambda: 1, lambda: 2) for _ in range(5)]
    run_in_parallel(recipes)
    assert {thread for recipe in recipes for thread in recipe.threads} == {threading.get_ident()}


def test_its_calls_are_made_side_by_side(make_pool):
    make_pool(max_workers=8)
    barrier = threading.Barrier(5)
    recipes = [Recipe(lambda: barrier.wait(30), lambda: barrier.wait(30)) for _ in range(5)]
    assert all(len(result) == 2 for result in run_in_parallel(recipes))


def test_its_calls_and_other_tasks_are_made_side_by_side(make_pool):
    make_pool(max_workers=8)
    barrier = threading.Barrier(4)
    tasks = [Recipe(lambda: barrier.wait(30)), lambda: barrier.wait(30)] * 2
    assert len(run_in_parallel(tasks)) == 4


def test_they_go_on_in_their_order_whatever_is_done_first(make_pool):
    make_pool(max_workers=8)
    log = []
    last = threading.Event()
    recipes = [
        Recipe(lambda: last.wait(30) and "a", log=log, name="1"),
        Recipe(lambda: "b", log=log, name="2"),
        Recipe(lambda: last.set() or "c", log=log, name="3"),
    ]
    run_in_parallel(recipes)
    assert log == [("1", "asks"), ("2", "asks"), ("3", "asks"), ("1", "a"), ("2", "b"), ("3", "c")]


def test_what_goes_on_in_turn_waits_for_all_before_it_and_none_after(make_pool):
    make_pool(max_workers=8)
    log = []
    recipes = [
        Recipe(lambda: "a", lambda: "b", log=log, name="1"),
        Recipe(lambda: "c", in_turn=True, log=log, name="2"),
        Recipe(lambda: "d", log=log, name="3"),
    ]
    assert run_in_parallel(recipes) == [["a", "b"], ["c"], ["d"]]
    assert log.index(("1", "b")) < log.index(("2", "in turn")) < log.index(("3", "asks"))


def test_other_tasks_do_not_wait_for_what_goes_on_in_turn(make_pool):
    make_pool(max_workers=2)
    met = threading.Barrier(2)
    assert run_in_parallel(
        [Recipe(lambda: met.wait(30) and 0, in_turn=True), lambda: met.wait(30) and 0]
    ) == [[0], 0]


def fail():
    raise LookupError("no such thing")


def test_the_first_failure_is_raised_as_itself_with_a_note():
    with pytest.raises(LookupError, match="no such thing") as caught:
        run_in_parallel([Recipe(lambda: 1), Recipe(fail, name="broken")])
    assert caught.value.__notes__ == ["in task 2 of 2 of a run_in_parallel: recipe broken"]


def test_a_failure_is_not_kept_waiting_by_what_is_before_it(make_pool):
    make_pool(max_workers=4)
    with Gate() as gate:
        failed = threading.Event()

        def fail_then_open():
            failed.set()
            raise LookupError

        log = []

        class Opening(Recipe):
            pass

        recipes = [
            Recipe(gate, log=log, name="slow"),
            Recipe(fail_then_open, log=log, name="failing"),
            Recipe(lambda: failed.wait(30) and gate.open(), log=log, name="last"),
        ]
        with pytest.raises(LookupError):
            run_in_parallel(recipes)
    assert ("slow", None) not in log  # it has not gone on


def test_a_failure_cancels_what_has_not_started(make_pool):
    make_pool(max_workers=1)
    ran = []
    with pytest.raises(LookupError):
        run_in_parallel([Recipe(fail, in_turn=True), Recipe(lambda: ran.append(1), in_turn=True)])
    assert ran == []


def test_exceptions_are_returned_where_that_is_wanted():
    first, second = run_in_parallel([Recipe(fail), Recipe(lambda: 1)], return_exceptions=True)
    assert isinstance(first, LookupError)
    assert second == [1]


def test_all_are_closed_whatever_happens():
    recipes = [Recipe(lambda: 1), Recipe(fail), Recipe(lambda: 2, in_turn=True)]
    with pytest.raises(LookupError):
        run_in_parallel(recipes)
    assert [recipe.closed for recipe in recipes] == [1, 1, 1]


def test_an_interruption_on_the_callers_thread_is_passed_on_at_once():
    def interrupt():
        raise KeyboardInterrupt

    class Interrupted(RecipeTask):
        def _advance(self):
            self.error = KeyboardInterrupt()
            return Progress.DONE

    as_task.register(Recipe, Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in_parallel([Recipe(interrupt)])


def test_a_deadline_ends_it_while_its_call_is_at_a_worker(make_pool):
    pool = make_pool(max_workers=2)
    with Gate() as gate:
        recipe = Recipe(gate)
        with pytest.raises(DeadlineExceeded, match="Running: "):
            run_in_parallel([recipe], timeout=0.05)
        assert recipe.closed == 1
        assert pool.stats().abandoned == 1
    wait_until(lambda: pool.stats().abandoned == 0)


def test_no_time_left_is_said_before_anything_is_begun():
    recipe = Recipe(lambda: 1)
    with pytest.raises(DeadlineExceeded):
        run_in_parallel([recipe], timeout=0)
    assert recipe.threads == []


def test_inline_it_gives_the_same():
    with testing.inline() as pool:
        assert run_in_parallel([Recipe(lambda: 1, lambda: 2), lambda: 3]) == [[1, 2], 3]
        assert current_executor().submit(Recipe(lambda: 1, lambda: 2)).result() == [1, 2]
        assert pool.stats().run_by_workers == 0


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_it_nests(make_pool, workers):
    make_pool(max_workers=workers)

    def nested(depth):
        if depth == 0:
            return [0]
        return run_in_parallel([Recipe(lambda: nested(depth - 1)), lambda: nested(depth - 1)])

    assert nested(4)[0][0] is not None


def test_a_future_is_done_when_its_call_is_and_finished_by_result(make_pool):
    make_pool(max_workers=2)
    recipe = Recipe(lambda: 1, lambda: 2)
    future = current_executor().submit(recipe)
    wait_until(future.done)
    assert len(recipe.threads) == 1
    assert future.result() == [1, 2]
    assert future.result() == [1, 2]
    assert len(recipe.threads) == 3
    assert future.exception() is None


def test_a_future_has_its_error(make_pool):
    make_pool(max_workers=2)
    future = current_executor().submit(Recipe(fail))
    assert isinstance(future.exception(), LookupError)
    with pytest.raises(LookupError):
        future.result()


def test_a_future_without_calls_is_done_at_once():
    future = current_executor().submit(Recipe())
    assert future.done()
    assert future.result() == []


def test_the_result_of_a_future_belongs_to_the_thread_that_submitted(make_pool):
    make_pool(max_workers=2)
    future = current_executor().submit(Recipe(lambda: 1))
    caught = []

    def take():
        try:
            future.result()
        except WrongThread as error:
            caught.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    assert "Call result() there" in str(caught[0])
    assert future.result() == [1]


def test_a_group_takes_its_staged_tasks_to_their_ends(make_pool):
    make_pool(max_workers=4)
    recipe = Recipe(lambda: 1, lambda: 2)
    with current_executor().task_group() as group:
        future = group.submit(recipe)
    assert len(recipe.threads) == 3
    assert future.result() == [1, 2]


def test_a_group_raises_the_failure_of_a_staged_task(make_pool):
    make_pool(max_workers=4)
    with pytest.raises(LookupError), current_executor().task_group() as group:  # noqa: PT012
        group.submit(Recipe(lambda: 1, fail))
        group.submit(lambda: 1)


def test_a_group_whose_block_fails_takes_its_calls_back(make_pool):
    make_pool(max_workers=1)
    ran = []
    with Gate() as gate:
        gated = current_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        with pytest.raises(KeyError), current_executor().task_group() as group:  # noqa: PT012
            group.submit(Recipe(lambda: ran.append(1)))
            raise KeyError
        gate.open()
        gated.result()
    assert ran == []


def test_it_has_no_place_in_the_background():
    with pytest.raises(TypeError, match="cannot run in the background"):
        current_executor().background(Recipe())


def test_settings_that_mean_nothing_to_it_are_refused():
    with pytest.raises(TypeError, match=r"session= means nothing to recipe"):
        run_in_parallel([Recipe()], session=object())
    with pytest.raises(TypeError, match="none of the tasks is one"):
        run_in_parallel([lambda: 1], snapshot="shared")


def test_where_there_is_no_room_it_is_rejected(make_pool, request_executor):
    pool = make_pool(max_workers=1, max_queue=1, overflow="reject")
    with Gate() as gate:
        other = request_executor()
        other.submit(gate)
        wait_until(lambda: gate.inside == 1)
        other.submit(lambda: None)
        token = current.set(request_executor())
        try:
            with pytest.raises(PoolSaturated):
                run_in_parallel([Recipe(lambda: 1), Recipe(lambda: 2), lambda: 3])
            assert run_in_parallel([Recipe(lambda: 1)]) == [[1]]  # the caller's own needs no room
        finally:
            current.reset(token)
        assert pool.stats().rejected == 1


def test_nothing_of_it_is_kept_alive(make_pool):
    make_pool(max_workers=2)

    class Value:
        pass

    kept = []

    def make():
        value = Value()
        kept.append(weakref.ref(value))
        return value

    gc.disable()  # a cycle would keep all rows of a result until garbage is collected
    try:
        run_in_parallel([Recipe(make), Recipe(make)])
        current_executor().submit(Recipe(make)).result()
        with current_executor().task_group() as group:
            group.submit(Recipe(make))
        del group
        wait_until(lambda: [ref() for ref in kept] == [None] * 4)
    finally:
        gc.enable()
