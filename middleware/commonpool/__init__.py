"""One bounded thread pool per process for synchronous WSGI applications, shared by all requests."""

from commonpool import servers as _servers
from commonpool.config import PoolConfig
from commonpool.errors import (
    CommonPoolError,
    ConfigError,
    DeadlineExceeded,
    PoolClosed,
    PoolSaturated,
    TaskCancelled,
    WrongThread,
)
from commonpool.owner import OwnerExecutor, TaskGroup, current_executor
from commonpool.parallel import as_task, run_in_parallel
from commonpool.pool import CommonPool
from commonpool.stats import PoolStats
from commonpool.wsgi import CommonPoolMiddleware

__all__ = [
    "CommonPool",
    "CommonPoolError",
    "CommonPoolMiddleware",
    "ConfigError",
    "DeadlineExceeded",
    "OwnerExecutor",
    "PoolClosed",
    "PoolConfig",
    "PoolSaturated",
    "PoolStats",
    "TaskCancelled",
    "TaskGroup",
    "WrongThread",
    "as_task",
    "current_executor",
    "run_in_parallel",
]

del _servers  # imported to find out what runs this process
