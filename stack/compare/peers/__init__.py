"""The peers, each in a module of its own that is imported in its own server's process alone.

Each has two routes. ``/one?seconds=S`` runs one query, as a view with one query is written.
``/queries?count=N&seconds=S`` runs N of them in the peer's way, and with ``&user=1`` one more
before them on the request's own session, as any page with a login does. Both answer
``{"results": [0, 1, ...]}``, in the order of the queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stack.compare.budget import Budget

SEQUENTIAL = "sequential"
SHARED = "shared"
PER_REQUEST = "per-request"
COMMONPOOL = "commonpool"

QUERIES = 5
"""How many queries the request of most measurements has."""


def _threads(budget: Budget) -> int:
    return budget.threads


def _without_pool(budget: Budget) -> int:
    """So many request threads that their queries keep to the budget without a pool."""
    return max(budget.connections // QUERIES, 1)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way to run a request's queries side by side.

    Attributes:
        name: what ``--peers`` calls it.
        title: what the tables call it.
        module: in this package; its ``create()`` makes the application.
        server: that of its documentation: ``uwsgi``, ``gunicorn`` or ``uvicorn``.
        driver: SQLAlchemy's name for the database driver.
        packages: modules of Python that it needs beside the stack's, by their distributions.
        threads: how many requests a process answers at once, where threads do.
        pooled: whether its connections come from a pool.
    """

    name: str
    title: str
    module: str
    server: str = "uwsgi"
    driver: str = "mysql+mysqldb"
    packages: Mapping[str, str]
    threads: Callable[[Budget], int] = _threads
    pooled: bool = True

    @property
    def application(self) -> str:
        """Its factory, without the parentheses."""
        return f"{__name__}.{self.module}:create"


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name=SEQUENTIAL,
            title="sequential view",
            module="sequential",
            packages={},
        ),
        Peer(
            name=PER_REQUEST,
            title="ThreadPoolExecutor per request",
            module="per_request",
            packages={},
        ),
        Peer(
            name=SHARED,
            title="shared ThreadPoolExecutor",
            module="shared",
            packages={},
        ),
        Peer(
            name="flask-executor",
            title="Flask-Executor",
            module="flask_executor_threads",
            packages={"flask_executor": "Flask-Executor"},
        ),
        Peer(
            name="to-thread",
            title="asyncio.run, to_thread",
            module="to_thread",
            packages={},
        ),
        Peer(
            name="async-driver",
            title="asyncio.run, asyncmy",
            module="async_driver",
            driver="mysql+asyncmy",
            packages={"asyncmy": "asyncmy"},
            threads=_without_pool,
            pooled=False,
        ),
        Peer(
            name="gevent",
            title="gunicorn, gevent, PyMySQL",
            module="greenlets",
            server="gunicorn",
            driver="mysql+pymysql",
            packages={"gunicorn": "gunicorn", "gevent": "gevent", "pymysql": "PyMySQL"},
        ),
        Peer(
            name="quart",
            title="uvicorn, Quart, asyncmy",
            module="coroutines",
            server="uvicorn",
            driver="mysql+asyncmy",
            packages={
                "uvicorn": "uvicorn",
                "uvloop": "uvloop",
                "httptools": "httptools",
                "quart": "Quart",
                "asyncmy": "asyncmy",
            },
        ),
        Peer(
            name=COMMONPOOL,
            title="commonpool",
            module="ours",
            packages={"commonpool": "commonpool"},
        ),
    )
}


def title(name: str) -> str:
    """What a table calls a peer; a measurement may have other names beside them."""
    return PEERS[name].title if name in PEERS else name
