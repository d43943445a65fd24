"""A request keeps what belongs to it: teardowns, uploads, streams, and its end."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from flask import Response, current_app, g, has_request_context, request, stream_with_context
from werkzeug.serving import WSGIRequestHandler, make_server

from commonpool import PoolSaturated, current_executor, run_in_parallel
from commonpool.testing import inline
from tests.helpers import Gate, wait_until


class Silent(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@pytest.fixture(params=["with workers", "inline"])
def either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once with workers, and once with all tasks run by their callers."""
    if request.param == "inline":
        with inline():
            yield
    else:
        yield


# Teardowns


@pytest.mark.usefixtures("either_way")
def test_teardown_request_runs_exactly_once_for_each_request(app, visit):
    torn_down: list[Any] = []
    app.teardown_request(torn_down.append)
    visit(app, lambda: run_in_parallel([lambda: request.path] * 20))
    assert torn_down == [None]


@pytest.mark.usefixtures("either_way")
def test_teardown_appcontext_runs_for_each_task_and_for_the_request(app, visit):
    names: list[Any] = []
    app.teardown_appcontext(lambda _: names.append(g.get("name")))

    def view() -> None:
        g.name = "request"
        run_in_parallel([lambda n=n: setattr(g, "name", n) for n in range(20)])
        assert sorted(names) == list(range(20))  # each before its result is there

    visit(app, view)
    assert names[20:] == ["request"]


@pytest.mark.usefixtures("either_way")
def test_teardown_appcontext_is_told_of_the_error_of_its_task(app, visit):
    told: list[Any] = []
    app.teardown_appcontext(told.append)

    def view() -> None:
        with pytest.raises(ZeroDivisionError):
            run_in_parallel([lambda: 1 / 0])

    visit(app, view)
    assert [type(error) for error in told] == [ZeroDivisionError, type(None)]


@pytest.mark.usefixtures("either_way")
def test_an_upload_stays_open_after_a_fan_out(app, visit):
    def view() -> tuple[bytes, bytes]:
        upload = request.files["file"]
        first = upload.read(4)
        run_in_parallel([lambda: request.files["file"].filename] * 5)
        return first, upload.read()

    data = {"file": (io.BytesIO(b"all of it"), "file.txt")}
    assert visit(app, view, method="POST", data=data) == (b"all ", b"of it")


@pytest.mark.usefixtures("either_way")
def test_a_task_may_read_an_upload(app, visit):
    def view() -> bytes:
        return run_in_parallel([lambda: request.files["file"].read(100)])[0]

    data = {"file": (io.BytesIO(b"all of it"), "file.txt")}
    assert visit(app, view, method="POST", data=data) == b"all of it"


# Streams


@pytest.mark.usefixtures("either_way")
def test_a_streaming_view_fans_out_in_each_step(app):
    @app.get("/")
    def view() -> Response:
        def steps() -> Iterator[str]:
            g.steps = 0
            for step in range(3):
                g.steps += 1
                yield "".join(run_in_parallel([lambda n=step: f"{request.args['q']}{n} "] * 2))
            yield str(g.steps)

        return Response(stream_with_context(steps()))

    assert app.test_client().get("/?q=x").text == "x0 x0 x1 x1 x2 x2 3"


def test_a_stream_is_the_request_that_it_belongs_to(app):
    @app.get("/")
    def view() -> Response:
        executor = current_executor()

        def steps() -> Iterator[str]:
            yield str(current_executor() is executor)

        return Response(steps())

    assert app.test_client().get("/").text == "True"


def test_a_stream_that_is_refused_before_its_first_chunk_is_503(app):
    @app.get("/")
    def view() -> Response:
        def steps() -> Iterator[str]:
            raise PoolSaturated("full")
            yield ""

        return Response(stream_with_context(steps()))

    # werkzeug's test client raises whatever a server is told of: a server is what this needs
    server = make_server("127.0.0.1", 0, app, request_handler=Silent)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    connection = HTTPConnection("127.0.0.1", server.server_port)
    connection.request("GET", "/")
    response = connection.getresponse()
    connection.close()
    thread.join()
    server.server_close()
    assert (response.status, response.getheader("Retry-After")) == (503, "1")


# The end of a request


def test_what_a_view_leaves_unstarted_is_cancelled_when_the_response_is_closed(make_app, visit):
    app = make_app(COMMONPOOL_MAX_WORKERS=1)
    with Gate() as gate:

        def view() -> Any:
            current_executor().submit(gate)
            wait_until(lambda: gate.inside)
            return current_executor().submit(int), current_executor().pool

        unstarted, pool = visit(app, view)
        assert unstarted.cancelled()
        assert pool.stats().abandoned == 1


def test_background_work_runs_in_an_app_context_after_the_request(app, visit):
    ended = threading.Event()
    torn_down = []
    app.teardown_appcontext(lambda _: torn_down.append(g.get("name", "request")))

    def work() -> str:
        assert ended.wait(10)
        g.name = "work"
        return current_app.name

    future = visit(app, lambda: current_executor().background(work))
    assert torn_down == ["request"]
    ended.set()
    assert future.result() == app.name
    assert torn_down == ["request", "work"]


def test_an_error_of_background_work_is_logged(app, visit, caplog):
    future = visit(app, lambda: current_executor().background(lambda: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        future.result()
    wait_until(lambda: "background task" in caplog.text)


# Outside of requests


def test_a_test_client_that_keeps_its_context_may_fan_out_in_it(app):
    app.add_url_rule("/", view_func=lambda: "done")
    with app.test_client() as client:
        client.get("/?q=x")
        assert run_in_parallel([lambda: request.args["q"]] * 3) == ["x"] * 3
    assert not has_request_context()


def test_a_shell_fans_out_in_an_app_context_without_a_request(app):
    with app.app_context():
        seen = run_in_parallel([lambda: (current_app.name, has_request_context())] * 3)
    assert seen == [(app.name, False)] * 3


def test_a_command_fans_out(app):
    @app.cli.command("count")
    def count() -> None:
        print(run_in_parallel([lambda: current_app.name] * 2))  # noqa: T201 - what commands do

    result = app.test_cli_runner().invoke(args=["count"])
    assert (result.exception, result.output) == (None, f"{[app.name] * 2}\n")


def test_inline_makes_a_view_deterministic(app, visit):
    order: list[int] = []
    with inline():
        visit(app, lambda: run_in_parallel([lambda n=n: order.append(n) for n in range(20)]))
    assert order == list(range(20))
