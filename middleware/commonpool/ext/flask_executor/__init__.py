"""Flask-Executor's `Executor`, on the shared pool: a drop-in for its package.

Its documented API and settings are those of Flask-Executor 1.0 (flask-executor.readthedocs.io).
"""

from commonpool.ext.flask_executor.executor import Executor, ExecutorJob
from commonpool.ext.flask_executor.stored import FutureCollection

__all__ = ["Executor", "ExecutorJob", "FutureCollection"]
