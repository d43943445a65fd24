"""The classic example of gevent: five requests that sleep in Python, then five in the database.

One process of gunicorn. A blocking worker answers one after another. gevent's answers all at once
that wait in Python, but a driver written in C waits where gevent does not see it, and nobody else
gets a turn: PyMySQL, in Python alone, gives way. With commonpool mysqlclient's calls are made on
native threads meanwhile.
"""

from __future__ import annotations

from stack.ways import Timing
from stack.ways.serving import ask
from stack.ways.sleepers import PYMYSQL, Sleeper, measured, served_by

TITLE = "Five requests at once that sleep 5 s in Python, then five in the database"
COLUMNS = ("Python, s", "database, s", "together, s")

SECONDS = 5.0
REQUESTS = 5

SLEEPERS = (
    Sleeper(way="gunicorn sync, mysqlclient", worker_class="sync"),
    Sleeper(way="gunicorn gevent, mysqlclient", worker_class="gevent"),
    Sleeper(way="gunicorn gevent, PyMySQL", worker_class="gevent", driver=PYMYSQL),
    Sleeper(way="gunicorn gevent, mysqlclient, commonpool", worker_class="gevent", commonpool=True),
)


def measure(scale: float) -> list[Timing]:
    """Time each way, with sleeps of so many times 5 s: until the last of five was answered."""
    return measured(SLEEPERS, lambda sleeper, url: _timing(sleeper, SECONDS * scale, url))


def _timing(sleeper: Sleeper, seconds: float, url: str) -> Timing:
    with served_by(sleeper, url) as address:
        for where in ("python", "sql"):
            ask(f"{address}/sleep/{where}/0.0")  # loaded, and connected
        last = [
            ask(f"{address}/sleep/{where}/{seconds:f}", REQUESTS)[-1].seconds
            for where in ("python", "sql")
        ]
    return Timing(way=sleeper.way, seconds=(*last, sum(last)))
