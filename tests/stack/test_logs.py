"""Whatever a request's tasks say, and whatever is said of them, carries the request's id."""

from __future__ import annotations

import logging
from concurrent.futures import wait

import pytest

from commonpool import current_executor, run_in_parallel
from stack.app.request_ids import RequestIdFilter
from tests.helpers import Gate, wait_until

log = logging.getLogger("tests.stack.logs")


@pytest.fixture
def said(caplog):
    """The records so far, each as (request id, message)."""
    ids = RequestIdFilter()
    caplog.handler.addFilter(ids)
    with caplog.at_level(logging.INFO):
        yield lambda: [(record.request_id, record.getMessage()) for record in caplog.records]
    caplog.handler.removeFilter(ids)


@pytest.fixture
def get(app):
    """Answers a request, whose id is given, with what a view does; to the end of the response."""
    views = []
    app.add_url_rule("/it", "it", lambda: views[-1]() or "done")

    def get(id_, view):
        views.append(view)
        app.test_client().get("/it", headers={"X-Request-Id": id_}).close()

    return get


def broken():
    raise ZeroDivisionError


@pytest.mark.parametrize("timeout", [None, 60])
def test_records_of_tasks_carry_the_id_of_their_request(get, said, timeout):
    def view():
        run_in_parallel([lambda n=n: log.info("task %d", n) for n in range(4)], timeout=timeout)

    get("first", view)
    get("second", view)
    for id_ in ("first", "second"):
        assert sorted(text for request, text in said() if request == id_) == [
            f"task {n}" for n in range(4)
        ]


def test_an_error_that_nobody_asked_for_carries_it(get, said):
    get("abc", lambda: wait([current_executor().submit(broken)]) and None)
    wait_until(said)
    assert [request for request, text in said() if "nobody asked" in text] == ["abc"]


def test_an_abandoned_task_carries_it_when_the_request_is_over(get, said):
    gate = Gate()

    def view():
        current_executor().submit(gate)
        wait_until(lambda: gate.inside)

    get("abc", view)
    assert [request for request, text in said() if "Abandoned" in text] == ["abc"]
    gate.open()


def test_background_work_carries_it_when_the_request_is_over(get, said):
    gate = Gate()

    def later():
        gate()
        log.info("it is later")
        raise ZeroDivisionError

    get("abc", lambda: current_executor().background(later) and None)
    gate.open()
    wait_until(lambda: any("background task" in text for _, text in said()))
    assert [request for request, text in said() if "later" in text] == ["abc", "abc"]
