"""A hundred requests at once that sleep in the database: what the pool of connections lets through.

SQLAlchemy's default has 5 connections and 10 more: a hundred requests are answered in sets of 15,
and who has waited for 30 s is answered with an error. With a connection for each request that can
come (two processes, 50 threads and 50 connections each: 100 of MariaDB's 151) all are answered at
once.
"""

from __future__ import annotations

from collections import Counter

from stack.ways import Timing
from stack.ways.serving import Answer, ask
from stack.ways.sleepers import (
    PYMYSQL,
    UWSGI_PROCESSES,
    UWSGI_THREADS,
    Sleeper,
    measured,
    served_by,
)

TITLE = "A hundred requests at once that sleep 5 s in the database"
COLUMNS = ("first, s", "last, s")

SECONDS = 5.0
REQUESTS = 100

SLEEPERS = (
    Sleeper(
        way="gunicorn gevent, PyMySQL, 5 + 10 connections",
        worker_class="gevent",
        driver=PYMYSQL,
    ),
    Sleeper(
        way=f"uWSGI, commonpool, {UWSGI_PROCESSES} x {UWSGI_THREADS} threads and connections",
        commonpool=True,
        connections=UWSGI_THREADS,
    ),
)


def measure(scale: float) -> list[Timing]:
    """Time each way, with sleeps of so many times 5 s; how many come in the largest set."""
    return measured(SLEEPERS, lambda sleeper, url: _timing(sleeper, SECONDS * scale, url))


def _timing(sleeper: Sleeper, seconds: float, url: str) -> Timing:
    with served_by(sleeper, url) as address:
        ask(f"{address}/sleep/sql/0.0")
        all_answers = ask(f"{address}/sleep/sql/{seconds:f}", REQUESTS, errors=True)
    answers = [answer for answer in all_answers if not answer.failed]
    failed = len(all_answers) - len(answers)
    return Timing(
        way=sleeper.way,
        seconds=(answers[0].seconds, answers[-1].seconds) if answers else (),
        at_once=largest_set(answers, seconds),
        note=f"answered with an error: {failed}" if failed else "",
    )


def largest_set(answers: list[Answer], seconds: float) -> int:
    """How many answers have come in the same of the times that one of them takes, at most."""
    sets = Counter(round(answer.seconds / seconds) for answer in answers)
    return max(sets.values(), default=0)
