"""The dashboard, as a page and as JSON."""

from __future__ import annotations

import re
import threading
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from sqlalchemy import func, select, union_all

from commonpool import testing
from commonpool.ext.sqlalchemy import stats
from stack.app.queries import DASHBOARD
from stack.app.runs import Mode, run_statements

TITLES = [
    "The year, day by day",
    "Delay by airline",
    "Delay by hour of departure",
    "Delay by visibility",
    "Delay by wind",
    "Delay by age of the plane",
    "Busiest routes",
    "Cancelled flights",
]

VOID = {"meta", "link", "br", "img"}


class Outline(HTMLParser):
    """Fails on tags that do not match, and collects ids and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert name != "style", "inline styles are blocked by the content security policy"
            if name == "id":
                self.ids.append(value or "")
            if name == "aria-labelledby":
                self.references += (value or "").split()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    return parser


@pytest.fixture(params=["parallel", "sequential"])
def mode(request):
    return request.param


def test_the_page_draws_every_query_and_its_lane_in_the_waterfall(client, mode):
    response = client.get(f"/?mode={mode}")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    for name, title in zip(DASHBOARD, TITLES, strict=True):
        assert f'<title id="{name}-title">{title}</title>' in response.text
        assert re.search(rf"<title>{title}: from \d+ to \d+ ms on .+</title>", response.text)
    assert '<title id="waterfall-title">When each query ran</title>' in response.text


def test_the_page_is_well_formed_and_every_chart_has_a_name_and_a_table(client):
    page = outline(client.get("/").text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert set(page.references) <= set(page.ids)
    text = client.get("/").text
    assert text.count('role="img"') == len(DASHBOARD) + 1
    assert text.count("<table>") == len(DASHBOARD)


def test_the_page_shows_the_times_and_the_switch(client, mode):
    text = client.get(f"/?mode={mode}").text
    for word in ("Elapsed", "Queries added up", "Ratio"):
        assert f"<dt>{word}</dt>" in text
    assert f'href="/?mode={mode}" aria-current="page"' in text
    assert text.count('aria-current="page"') == 1


def test_the_page_loads_nothing_from_elsewhere(client):
    response = client.get("/")
    sources = re.findall(r'(?:src|<link[^>]* href)="([^"]*)"', response.text)
    assert sources
    assert all(source.startswith("/static/") for source in sources)
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for source in sources:
        with client.get(source) as static:
            assert static.status_code == 200
            assert static.headers["Cache-Control"] == "public, max-age=3600"


def test_the_results_of_both_modes_are_equal(client):
    parallel, sequential = (
        client.get(f"/api/dashboard?mode={mode}").get_json() for mode in ("parallel", "sequential")
    )
    assert parallel["results"] == sequential["results"]
    assert list(parallel["results"]) == list(DASHBOARD)
    assert all(parallel["results"].values())


def test_the_json_tells_when_and_where_each_query_ran(client, mode):
    answer = client.get(f"/api/dashboard?mode={mode}").get_json()
    assert answer["mode"] == mode
    assert [task["name"] for task in answer["tasks"]] == list(DASHBOARD)
    for task in answer["tasks"]:
        assert set(task) == {"name", "start_ms", "end_ms", "thread"}
        assert 0 <= task["start_ms"] <= task["end_ms"] <= answer["elapsed_ms"]


def test_sequential_queries_run_one_after_another_on_one_thread(client):
    tasks = client.get("/api/dashboard?mode=sequential").get_json()["tasks"]
    assert len({task["thread"] for task in tasks}) == 1
    for earlier, later in pairwise(tasks):
        assert earlier["end_ms"] <= later["start_ms"]


def test_parallel_queries_run_at_the_same_time_on_several_threads(make_app, loaded):
    app = make_app(DATABASE_URL=loaded, STACK_DB_LATENCY_MS=50)
    tasks = app.test_client().get("/api/dashboard").get_json()["tasks"]
    assert len({task["thread"] for task in tasks}) > 1
    assert any(
        first["start_ms"] < second["end_ms"] and second["start_ms"] < first["end_ms"]
        for first in tasks
        for second in tasks
        if first is not second
    )


def test_in_parallel_workers_send_the_statements_and_none_has_to_stay_at_home(make_app, loaded):
    client = make_app(DATABASE_URL=loaded, STACK_DB_LATENCY_MS=50).test_client()
    before = stats()
    client.get("/api/dashboard")
    after = stats()
    assert after.at_home == before.at_home
    on_workers = after.on_workers - before.on_workers
    assert on_workers >= 4
    assert on_workers + after.by_callers - before.by_callers == len(DASHBOARD)


def test_one_after_another_the_pool_has_no_part_in_it(client):
    before = stats()
    client.get("/api/dashboard?mode=sequential")
    assert stats() == before


@pytest.mark.parametrize("mode", Mode)
def test_a_statements_time_is_until_its_last_row_is_there(app, mode):
    # SQLite computes a row when it is fetched.
    slow = union_all(*[select(func.sleep(0.05).label("slept")) for _ in range(3)])
    with app.app_context():
        done = run_statements({"one": slow, "other": slow}, mode)
    assert [len(rows) for rows in done.results.values()] == [3, 3]
    assert all(task.duration_ms >= 150 for task in done.tasks)


def test_a_request_without_a_free_worker_runs_its_statements_itself(make_app, loaded):
    client = make_app(DATABASE_URL=loaded, STACK_DB_LATENCY_MS=1).test_client()
    expected = client.get("/api/dashboard?mode=sequential").get_json()["results"]
    with testing.inline():
        answer = client.get("/api/dashboard").get_json()
    assert answer["results"] == expected
    assert {task["thread"] for task in answer["tasks"]} == {threading.current_thread().name}


def test_the_figures_are_those_of_the_data(client):
    results = client.get("/api/dashboard").get_json()["results"]
    assert len(results["days"]) == 365
    assert len(results["carriers"]) == 15
    assert len(results["routes"]) == 10
    assert sum(month["scheduled"] for month in results["cancellations"]) == 6_736
    flown = sum(day["flights"] for day in results["days"])
    assert flown == sum(carrier["flights"] for carrier in results["carriers"])
    assert flown == sum(hour["flights"] for hour in results["hours"])
    delays = [carrier["delay"] for carrier in results["carriers"]]
    assert delays == sorted(delays, reverse=True)


def test_an_unknown_mode_is_refused_with_a_sentence(client):
    response = client.get("/api/dashboard?mode=quantum")
    assert response.status_code == 400
    assert response.get_json()["message"] == (
        "mode is 'quantum'; it must be parallel or sequential"
    )
    page = client.get("/?mode=<b>")
    assert page.status_code == 400
    assert page.mimetype == "text/html"
    assert "<b>" not in page.text


def test_latency_delays_each_statement_and_the_page_says_so(make_app, loaded):
    app = make_app(DATABASE_URL=loaded, STACK_DB_LATENCY_MS="30")
    client = app.test_client()
    assert "Each statement is delayed by 30 ms" in client.get("/").text
    tasks = client.get("/api/dashboard").get_json()["tasks"]
    assert all(task["end_ms"] - task["start_ms"] >= 30 for task in tasks)


def test_without_latency_the_page_does_not_speak_of_it(client):
    assert "is delayed" not in client.get("/").text


def test_without_data_the_page_says_how_to_load_it(make_app, tmp_path, mode):
    client = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/none.db").test_client()
    page = client.get(f"/?mode={mode}")
    assert page.status_code == 503
    assert "<code>python -m stack load</code>" in page.text
    assert outline(page.text).open == []
    answer = client.get(f"/api/dashboard?mode={mode}")
    assert answer.status_code == 503
    assert "python -m stack load" in answer.get_json()["message"]
    assert not (tmp_path / "none.db").exists()


def test_an_empty_database_counts_as_not_loaded(make_app, tmp_path):
    (tmp_path / "empty.db").touch()
    client = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/empty.db").test_client()
    assert client.get("/").status_code == 503
    assert "python -m stack load" in client.get("/").text


def test_a_database_that_fails_is_a_page_and_not_a_traceback(make_app, tmp_path):
    (tmp_path / "bad.db").write_text("These are not the bytes of a database. " * 100)
    client = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/bad.db").test_client()
    response = client.get("/")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert "The database is down" in response.text


def test_an_unknown_address_is_a_page_for_people_and_json_for_programs(client):
    assert "Not Found" in client.get("/nowhere").text
    answer = client.get("/api/nowhere")
    assert answer.status_code == 404
    assert answer.get_json()["error"] == "Not Found"
    refused = client.post("/api/dashboard")
    assert refused.status_code == 405
    assert "GET" in refused.headers["Allow"]
