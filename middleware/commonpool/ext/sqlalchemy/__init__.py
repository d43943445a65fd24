"""SQLAlchemy's statements and queries as tasks: workers wait for rows, the session makes objects.

Importing this registers them with `as_task`, for SQLAlchemy 2.0 and 2.1::

    users, orders, items = run_in_parallel(
        [select(User).where(User.active), session.query(Order), session.query(Item).count],
        session=session,
    )
"""

from commonpool.ext.sqlalchemy import (
    connecting,
    engines,
    execution,
    forks,
    kept,
    rows,
    sessions,
    stopping,
    things,
)
from commonpool.ext.sqlalchemy.engines import limit_connections
from commonpool.ext.sqlalchemy.finding import session_providers
from commonpool.ext.sqlalchemy.replicas import send_reads
from commonpool.ext.sqlalchemy.scoped import register_scoped_session
from commonpool.ext.sqlalchemy.sessions import prepare_connection
from commonpool.ext.sqlalchemy.stats import StatementStats, stats

__all__ = [
    "StatementStats",
    "limit_connections",
    "prepare_connection",
    "register_scoped_session",
    "send_reads",
    "session_providers",
    "stats",
]

for _module in (connecting, engines, forks, sessions, rows, stopping, execution, kept):
    _module.install()

del _module, things  # things: imported for what it registers
